"""The forms that a value in the file can have, each parsed in one place. Pure.

Law: what a parser refuses it refuses as a PydanticCustomError whose *type* says how it is
told to a person (see `translate`): EXPECTED, the words of its Form say what would be right;
UNSUITABLE, the form is right, and `reason` says what is not.
An `offset` in its context is how many characters into the string the mistake stands.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from pydantic_core import PydanticCustomError

from droplan_daemon.model.policy import Rate, Unit
from droplan_daemon.plaintext import mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum

EXPECTED = "expected"
UNSUITABLE = "unsuitable"

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.1, 86_400.0
SHORTEST_STALE, LONGEST_STALE = 60.0, 365 * 86_400.0

LAST_PORT = 65_535
IPV6 = 6
_PORT = re.compile(r"\d{1,6}", re.ASCII)

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])", re.ASCII)

# One more than a person reads, far below what the kernel's 64 bits hold.
_MOST = 1_000_000
_RATE = re.compile(r"(\d{1,7})/(second|minute|hour|day)", re.ASCII)

# Source: DigitalOcean's API description, schema `tags.name`; compared in one case.
_TAG = re.compile(r"[A-Za-z0-9_:-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is written, in words that follow "must be"."""

    words: str


def refuse(kind: str, reason: str = "", hint: str = "", offset: int | None = None) -> PydanticCustomError:
    """What a parser raises; `kind` is EXPECTED or UNSUITABLE."""
    return PydanticCustomError(kind, "{reason}", {"reason": reason, "hint": hint, "offset": offset})


def text(value: Any) -> str:
    """A string, and nothing that could be turned into one."""
    if not isinstance(value, str):
        raise refuse(EXPECTED)
    return value


def choice(enum: "type[StrEnum]") -> "Callable[[Any], StrEnum]":
    """A parser for the members of `enum`."""

    def member(value: Any) -> "StrEnum":
        try:
            return enum(text(value))
        except ValueError:
            raise refuse(EXPECTED) from None

    return member


def duration(value: Any) -> float:
    """Seconds of `30s`, `1h30m`, `1.5m`, `500ms`."""
    written = text(value)
    if not _DURATION.fullmatch(written):
        raise refuse(EXPECTED)
    seconds = _seconds(written)
    if not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
        raise refuse(UNSUITABLE, "must be between 100ms and 24h")
    return seconds


def _seconds(written: str) -> float:
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(written))


def staleness(value: Any) -> float | None:
    """Seconds of `12h`; None of `off`."""
    written = text(value)
    if written == "off":
        return None
    if not _DURATION.fullmatch(written):
        raise refuse(EXPECTED)
    seconds = _seconds(written)
    if not SHORTEST_STALE <= seconds <= LONGEST_STALE:
        hint = 'an API that is away for a moment is no reason: "off" keeps Droplets however long it lasts'
        raise refuse(UNSUITABLE, "must be between 1m and 365d", hint)
    return seconds


def members(value: Any) -> int:
    """A whole number of Droplets."""
    if type(value) is not int:
        raise refuse(EXPECTED)
    if not 1 <= value <= _MOST:
        raise refuse(UNSUITABLE, f"must be between 1 and {_MOST:,}")
    return value


def rate(value: Any) -> Rate | None:
    """The Rate of `60/minute`; None of `off`."""
    written = text(value)
    if written == "off":
        return None
    parts = _RATE.fullmatch(written)
    if parts is None:
        raise refuse(EXPECTED)
    count = int(parts[1])
    if not 1 <= count <= _MOST:
        raise refuse(UNSUITABLE, f"must have a count between 1 and {_MOST:,}", 'to log nothing, write "off"')
    return Rate(count, Unit(parts[2]))


def tag(value: Any) -> str:
    """A tag in its canonical (lower) case."""
    if not _TAG.fullmatch(text(value)):
        raise refuse(EXPECTED)
    return str(value).lower()


def path(value: Any) -> str:
    """A path of a file, as it stands."""
    written = text(value)
    if not written or not written.isprintable():
        raise refuse(EXPECTED)
    if "/" not in written and mask(written, doubtful=True) != written:
        hint = "put the token into a file of its own and name that file here"
        raise refuse(UNSUITABLE, "must be the path of a file, not the secret itself", hint)
    return written


def prom_file(value: Any) -> str:
    """A path that node_exporter's textfile collector reads: it looks at *.prom alone."""
    written = path(value)
    if not written.endswith(".prom"):
        raise refuse(UNSUITABLE, "must end in .prom", "node_exporter reads no other file")
    return written


def listen(value: Any) -> tuple[str, int]:
    """The address (IPv6 in brackets) and port of `127.0.0.1:9753`."""
    host, _, port = text(value).rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise refuse(EXPECTED) from None
    if bracketed != (address.version == IPV6) or not _PORT.fullmatch(port):
        raise refuse(EXPECTED)
    if not 1 <= int(port) <= LAST_PORT:
        raise refuse(UNSUITABLE, f"must have a port between 1 and {LAST_PORT:,}")
    return str(address), int(port)


def api_url(value: Any) -> str:
    """An https URL; http only to a loopback address, since it carries the token."""
    return _url(value, lambda address: address.is_loopback, "a loopback address (127.0.0.1)")


def metadata_url(value: Any) -> str:
    """An https URL; http only where it cannot leave the machine's own link."""
    return _url(
        value,
        lambda address: address.is_loopback or address.is_link_local,
        "a loopback or link-local address (127.0.0.1, 169.254.169.254)",
    )


def on_loopback(url: str) -> bool:
    """Whether a URL that is in order leads no further than this machine."""
    return _is(lambda address: address.is_loopback, urlsplit(url).hostname or "")


def _url(value: Any, near: "Callable[[Any], bool]", where: str) -> str:
    parts = _split(text(value))
    if parts.scheme == "http" and not _is(near, parts.hostname or ""):
        raise refuse(UNSUITABLE, f"may use http only to {where}", "write https://")
    if "@" in parts.netloc:
        raise refuse(UNSUITABLE, "must not hold a user or a password")
    if "?" in str(value) or "#" in str(value):
        raise refuse(UNSUITABLE, "must not hold a query (?) or a fragment (#)")
    return str(value).rstrip("/")


def _split(written: str) -> SplitResult:
    """The parts of an absolute http or https URL. urlsplit drops line breaks, so they go first."""
    if not written.isascii() or not written.isprintable() or " " in written or "\\" in written:
        raise refuse(EXPECTED)
    try:
        parts = urlsplit(written)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that hold no address, a port out of range
        raise refuse(EXPECTED) from None
    if not usable:
        raise refuse(EXPECTED)
    return parts


def _is(near: "Callable[[Any], bool]", host: str) -> bool:
    if host == "localhost":  # always loopback: RFC 6761, section 6.3
        return True
    try:
        return near(ip_address(host))
    except ValueError:
        return False
