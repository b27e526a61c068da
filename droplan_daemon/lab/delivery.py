"""How an answer crosses the wire: whole, or broken in one exact way.

Law: no I/O. A broken delivery is a sequence of steps (bytes, a wait, a silence, a reset) that
the server carries out before it closes the connection; so each is tested without a socket.
"""

import zlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BLOCK = b" " * 65_536


@dataclass(frozen=True, slots=True)
class Wait:
    """Step: send nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Step: send nothing until the client goes away."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Step: end the connection with a TCP reset."""


Step = bytes | Wait | Hang | Abort


@dataclass(frozen=True, slots=True)
class Whole:
    """As it should be, and the connection stays open."""


@dataclass(frozen=True, slots=True)
class Drip:
    """The body comes `size` bytes at a time, one portion every `seconds`."""

    seconds: float = 0.5
    size: int = 1


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection closes after this many bytes of a body that was announced in full."""

    after: int


@dataclass(frozen=True, slots=True)
class Misdeclare:
    """`content-length` is off by this many bytes, in either direction."""

    by: int


@dataclass(frozen=True, slots=True)
class Bomb:
    """A valid gzip body that becomes `size` bytes when decoded (a thousandth on the wire)."""

    size: int = 300 * 2**20


@dataclass(frozen=True, slots=True)
class Endless:
    """A JSON body that goes on for `size` bytes, never ready, with no memory spent on it."""

    size: int = 10 * 2**30


@dataclass(frozen=True, slots=True)
class BlackHole:
    """The request is read and nothing ever comes."""


@dataclass(frozen=True, slots=True)
class Reset:
    """A TCP reset after this many bytes of the body (None: before the first byte of the answer)."""

    after: int | None = None


@dataclass(frozen=True, slots=True)
class Verbatim:
    """These bytes in place of an HTTP response, then the end of the connection."""

    data: bytes


WHOLE = Whole()
Delivery = Whole | Drip | Cut | Misdeclare | Bomb | Endless | BlackHole | Reset | Verbatim


def steps(delivery: Delivery, status: int, headers: "Mapping[str, str]", body: bytes) -> "Iterator[Step]":
    """What to do to the connection. Whole is one complete response that closes it."""
    length = {"content-length": str(len(body))}
    match delivery:
        case Whole():
            yield _head(status, {**headers, **length}) + body
        case Drip(seconds, size):
            yield _head(status, {**headers, **length})
            for at in range(0, len(body), size):
                yield Wait(seconds)
                yield body[at : at + size]
        case Cut(after):
            yield _head(status, {**headers, **length}) + body[:after]
        case Misdeclare(by):
            yield _head(status, {**headers, "content-length": str(max(0, len(body) + by))}) + body
        case Bomb(size):
            yield _head(status, {**headers, "content-encoding": "gzip"})
            yield from _gzip(size)
        case Endless(size):
            yield _head(status, headers) + b'{"droplets":['
            yield from _blanks(size)
        case BlackHole():
            yield Hang()
        case Reset(after):
            if after is not None:
                yield _head(status, {**headers, **length}) + body[:after]
            yield Abort()
        case Verbatim(data):
            yield data


def _head(status: int, headers: "Mapping[str, str]") -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    fields = {**headers, "connection": "close"}
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _blanks(size: int) -> "Iterator[bytes]":
    for at in range(0, size, len(_BLOCK)):
        yield _BLOCK[: size - at]


def _gzip(size: int) -> "Iterator[bytes]":
    packer = zlib.compressobj(level=9, wbits=31)  # 31: with a gzip header
    for block in _blanks(size):
        if packed := packer.compress(block):
            yield packed
    yield packer.flush()
