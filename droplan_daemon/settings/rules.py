"""The forms of what stands in `[[allow]]` and `[[override]]`: names, selectors, ports. Pure.

Law: as in `forms`. Selectors come out parsed, so nothing of their syntax is left to later rooms.
"""

import re
from typing import TYPE_CHECKING, Any

from droplan_daemon.model.policy import Lifeline, PortProtocol, Ports
from droplan_daemon.model.selector import ADDRESS_KINDS, Kind, Or, Term, joined, terms
from droplan_daemon.plaintext import nearest
from droplan_daemon.policy.pick import bounded
from droplan_daemon.policy.selector import SelectorError, parse

from .forms import EXPECTED, UNSUITABLE, refuse, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from droplan_daemon.model.selector import Selector

EVERY_DROPLET = Term(Kind.ALL)

RESERVED = frozenset(
    {*Lifeline, "replies", "peers", "private", "public", "tcp ports", "udp ports", "denied", "denied log"}
)
"""Names of the rules that droplan writes by itself; counters and `explain` know rules by name."""

# A rule's name is its comment in the kernel, which nft(8) prints between quotes as it stands.
_NAME = re.compile(r"[!#-\[\]-~](?:[ !#-\[\]-~]{0,62}[!#-\[\]-~])?", re.ASCII)


def name(value: Any) -> str:
    """The name of a rule."""
    written = text(value)
    if not _NAME.fullmatch(written):
        raise refuse(EXPECTED)
    if written in RESERVED:
        raise refuse(UNSUITABLE, "must not be the name of one of droplan's own rules", "choose another name")
    return written


def one_or_more(value: Any) -> Any:
    """A string as a list of one; an empty list is a mistake."""
    if value == []:
        raise refuse(UNSUITABLE, "must not be an empty list", 'for everybody, write "any"')
    return [value] if isinstance(value, str) else value


def some_ports(value: Any) -> Any:
    """A list with something in it."""
    if value == []:
        raise refuse(UNSUITABLE, "must not be an empty list", "for every protocol and port, leave it out")
    if isinstance(value, str):
        raise refuse(EXPECTED, hint=f'write `ports = ["{_meant_ports(value) or "80/tcp"}"]`')
    if isinstance(value, int) and not isinstance(value, bool):
        raise refuse(EXPECTED, hint=_with_protocol(value, "write `ports = [{}]`"))
    return value


def some_ways_in(value: Any) -> Any:
    """A list with something in it; nothing in it says what `required` says."""
    if value == []:
        raise refuse(
            UNSUITABLE, "must not be an empty list", "for no way in at all, write `required = false`"
        )
    return some_ports(value)


def way_in(value: Any) -> Ports:
    """A port by which people come in."""
    found = ports(value)
    if not found.first:
        raise refuse(UNSUITABLE, f"has no port, and nobody logs in by {found}", 'write "22/tcp"')
    return found


def selector(value: Any) -> "Selector":
    """What `from` and `to` are made of. Whether a list is bounded is known when all of it is read."""
    written = text(value)
    try:
        return parse(written)
    except SelectorError as error:
        raise refuse(
            UNSUITABLE, f"is no selector: {error}", _meant(written, error), error.column - 1
        ) from None


def droplets(value: Any) -> "Selector":
    """What `on` is: a selector of Droplets."""
    found = selector(value)
    odd = next((term for term in terms(found) if term.kind in ADDRESS_KINDS), None)
    if odd is None:
        return found
    hint = (
        'for every Droplet, write "all"'
        if odd.kind is Kind.ANY
        else "`on` says which Droplets enforce the rule; an address belongs into `from` or `to`"
    )
    raise refuse(UNSUITABLE, f"must pick Droplets, and `{odd}` is about addresses", hint, _offset(value, odd))


def union(parts: "Sequence[Selector]") -> "Selector":
    """Any of them."""
    return joined(Or, tuple(parts))


def unbounded(parts: "Sequence[Selector]") -> int | None:
    """Which of these, taken together, lets in the rest of the world by its `not`; None: none does."""
    if bounded(union(parts)):
        return None
    # Beside an address every selector ranges over addresses, so each is judged beside one.
    beside = Term(Kind.ANY)
    return next((i for i, part in enumerate(parts) if not bounded(joined(Or, (part, beside)))), 0)


def _offset(written: str, term: Term) -> int | None:
    found = re.search(rf"(?<![^\s()]){re.escape(str(term))}(?![^\s()])", written)
    return found.start() if found else None


_OPERATORS = {"&&": "and", "&": "and", "+": "and", "||": "or", "|": "or", ",": "or", "!": "not", "-": "not"}
_NAMED = ("tag", "name", "id", "region", "vpc")
_WORDS = ("any", "all", "peers", "self", "vpc")


def _meant(written: str, error: SelectorError) -> str:
    """What to write instead of the word at the error, where that can be guessed."""
    found = re.match(r"[^\s()]*", written[error.column - 1 :])
    word = found[0] if found else ""
    lower = word.lower()
    if operator := _OPERATORS.get(lower) or (lower if lower in {"and", "or", "not"} else None):
        return "" if word == operator else f"write `{operator}`"
    kind, sign, value = re.match(r"([^:=]*)([:=]?)(.*)", lower).groups()  # type: ignore[union-attr]
    if sign and kind and (close := nearest(kind, _NAMED)):
        right = close == kind and sign == ":" and word == lower
        return "" if right else f"did you mean `{close}:{value}`?"
    if re.fullmatch(r"[0-9.:/a-f-]*[0-9][0-9.:/a-f-]*", lower) and not sign:
        return "an address is written 203.0.113.7, a prefix 203.0.113.0/24"
    if close := nearest(lower, _WORDS):
        return f"did you mean `{close}`?"
    return f"did you mean `tag:{word}` or `name:{word}`?" if re.fullmatch(r"[\w.-]+", word, re.ASCII) else ""


_LAST = 65_535
_PORTS = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?/([a-z0-9]+)", re.ASCII)
_NUMBERED = (PortProtocol.TCP, PortProtocol.UDP)
_WITHOUT_NUMBER = (PortProtocol.ICMP, PortProtocol.ICMPV6)


def ports(value: Any) -> Ports:
    """`80/tcp`, `8000-8100/udp`, `icmp` or `icmpv6`."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise refuse(EXPECTED, hint=_with_protocol(value, "write {}"))
    written = text(value)
    if written in _WITHOUT_NUMBER:
        return Ports(PortProtocol(written))
    parts = _PORTS.fullmatch(written)
    if parts is None:
        meant = _meant_ports(written)
        raise refuse(EXPECTED, hint=f'write "{meant}"' if meant else "")
    return _numbered(int(parts[1]), int(parts[2] or parts[1]), parts[3])


def _numbered(first: int, last: int, protocol: str) -> Ports:
    if protocol not in _NUMBERED:
        raise _wrong_protocol(first, last, protocol)
    if not (1 <= first <= _LAST and 1 <= last <= _LAST):
        wrong = last if 1 <= first <= _LAST else first
        raise refuse(UNSUITABLE, f"has the port {wrong}, and ports go from 1 to {_LAST}")
    if first > last:
        raise refuse(
            UNSUITABLE, f"has the range {first}-{last} backwards", f'write "{last}-{first}/{protocol}"'
        )
    return Ports(PortProtocol(protocol), first, last)


def _wrong_protocol(first: int, last: int, protocol: str) -> Exception:
    if protocol in _WITHOUT_NUMBER:
        return refuse(UNSUITABLE, f"has a port, and {protocol} has none", f'write "{protocol}"')
    span = f"{first}" if first == last else f"{first}-{last}"
    close = nearest(protocol, _NUMBERED)
    hint = f'did you mean "{span}/{close}"?' if close else ""
    reason = f"has the protocol `{protocol[:20]}`, and those with ports are tcp and udp"
    return refuse(UNSUITABLE, reason, hint or "for every protocol, leave `ports` out")


def _with_protocol(number: int, sentence: str) -> str:
    return sentence.format(f'"{number}/tcp"') if 1 <= number <= _LAST else ""


def _meant_ports(written: str) -> str:
    """What this surely means, in the proper form; empty where nobody knows."""
    lower = re.sub(r"\s", "", written.lower())
    if _PORTS.fullmatch(lower) or lower in _WITHOUT_NUMBER:
        return lower
    if lower in _NUMBERED:
        return f"1-{_LAST}/{lower}"
    if parts := re.fullmatch(r"(tcp|udp)[/:](\d{1,5}(?:-\d{1,5})?)", lower, re.ASCII):
        return f"{parts[2]}/{parts[1]}"
    if parts := re.fullmatch(r"(\d{1,5})(?:[-:](\d{1,5}))?(?:[/:](tcp|udp))?", lower, re.ASCII):
        span = f"{parts[1]}-{parts[2]}" if parts[2] else parts[1]
        return f"{span}/{parts[3] or 'tcp'}"
    return ""
