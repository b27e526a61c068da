"""What is open from one side to another: any set of protocols, ports and ICMP types. PURE.

Laws:
1. Openings are a Space over the line of numbers `protocol * 65536 + port`, so a Boolean algebra
   with one canonical form. Where a protocol has no ports, all of its numbers go together.
2. `parse(labels(one)) == one` for everything that rules can open.
"""

import re
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.policy import PortProtocol, Ports
from droplan_daemon.model.ruleset import Protocol

from .space import Space, intersection, space, union

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.model.ruleset import Transport

Openings = Space

_PORTS = 1 << 16
_PROTOCOLS = 1 << 8
_NAMES = {int(Protocol[protocol.name]): protocol.value for protocol in PortProtocol}
_NUMBERS = {name: number for number, name in _NAMES.items()}

CLOSED: Openings = ()
EVERYTHING: Openings = ((0, _PROTOCOLS * _PORTS - 1),)
_EVERYTHING = "everything"
EXCEPT = "everything except "


def of_ports(entries: "Iterable[Ports]") -> Openings:
    """What a rule's `ports` open; no entries: everything."""
    found = space(_span(entry) for entry in entries)
    return found or EVERYTHING


def of_transport(one: "Transport") -> Openings:
    """What a match of a Rule lets through, whatever the source port."""
    return of_port_range(one.protocol, *(one.destination or (0, _PORTS - 1)))


def of_port_range(protocol: int, first: int, last: int) -> Openings:
    """These ports, inclusive, of a protocol by its IANA number."""
    return ((protocol * _PORTS + first, protocol * _PORTS + last),)


def of_icmp(family: Family, first: int, last: int) -> Openings:
    """ICMP of a family with a type in this inclusive range."""
    return of_port_range(Protocol.ICMP if family is Family.IPV4 else Protocol.ICMPV6, first, last)


def without(one: Openings, other: Openings) -> Openings:
    """What is in `one` and not in `other`."""
    return intersection(one, _complement(other))


def labels(one: Openings) -> tuple[str, ...]:
    """As `ports` writes it: `22/tcp`, `8000-8100/udp`, `icmp`; for nearly all, what is missing."""
    if one == EVERYTHING:
        return (_EVERYTHING,)
    closed = _complement(one)
    if _protocols(closed) < _protocols(one):
        return tuple(f"{EXCEPT}{label}" for label in labels(closed))
    parts = (part for span in one for part in _by_protocol(*span))
    return tuple(
        _label(*part) for part in sorted(parts, key=lambda part: (part[1] - part[0] + 1 == _PORTS, part))
    )


def parse(texts: "Iterable[str]") -> Openings:
    """The Openings of these labels. ValueError for a text that is none."""
    found = list(texts)
    missing = [text.removeprefix(EXCEPT) for text in found if text.startswith(EXCEPT)]
    if missing and len(missing) == len(found):
        return _complement(parse(missing))
    return union(*(_parsed(text) for text in found))


def _span(entry: Ports) -> tuple[int, int]:
    base = Protocol[entry.protocol.name] * _PORTS
    return (base + entry.first, base + entry.last) if entry.first else (base, base + _PORTS - 1)


def _complement(one: Openings) -> Openings:
    out: list[tuple[int, int]] = []
    start = 0
    for first, last in one:
        if start < first:
            out.append((start, first - 1))
        start = last + 1
    end = EVERYTHING[0][1]
    return (*out, (start, end)) if start <= end else tuple(out)


def _protocols(one: Openings) -> int:
    """How many protocols it is about."""
    return sum(last // _PORTS - first // _PORTS + 1 for first, last in one)


def _by_protocol(first: int, last: int) -> "Iterable[tuple[int, int]]":
    """A span cut at the borders of protocols."""
    for protocol in range(first // _PORTS, last // _PORTS + 1):
        base = protocol * _PORTS
        yield max(first, base), min(last, base + _PORTS - 1)


def _label(first: int, last: int) -> str:
    protocol, low = divmod(first, _PORTS)
    high = last % _PORTS
    name = _NAMES.get(protocol, f"protocol-{protocol}")
    if (low, high) == (0, _PORTS - 1):
        return name
    return f"{low}/{name}" if low == high else f"{low}-{high}/{name}"


_LABEL = re.compile(r"(?:(\d{1,5})(?:-(\d{1,5}))?/)?(?:protocol-(\d{1,3})|([a-z0-9]+))", re.ASCII)


def _parsed(text: str) -> Openings:
    found = _LABEL.fullmatch(text)
    if text == _EVERYTHING:
        return EVERYTHING
    if found is None or (found[4] and found[4] not in _NUMBERS):
        message = f"no ports: {text[:60]!r}"
        raise ValueError(message)
    protocol = int(found[3]) if found[3] else _NUMBERS[found[4]]
    first = int(found[1] or 0)
    last = int(found[2] or first) if found[1] else _PORTS - 1
    if not (first <= last < _PORTS and protocol < _PROTOCOLS):
        message = f"no ports: {text[:60]!r}"
        raise ValueError(message)
    return of_port_range(protocol, first, last)
