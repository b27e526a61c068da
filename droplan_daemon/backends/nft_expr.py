"""Rules as the expressions that the kernel's virtual machine runs. PURE.

Laws:
1. `decode(encode(rule)) == rule` for every Rule without Foreign matches.
2. The expressions are those that nft(8) makes of the same rule's text, so that a table
   loaded from our script and one written by us are the same to the kernel and to us.
3. What cannot be read back without loss becomes a Foreign match: a rule that somebody
   edited never looks like one of ours.

Source: linux/netfilter/nf_tables.h; `nft --debug=netlink` for the sequences.
"""

import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.policy import Rate, Unit
from droplan_daemon.model.ruleset import (
    Armed,
    CtState,
    Dispatch,
    Foreign,
    From,
    Icmp,
    Interface,
    Log,
    Match,
    Protocol,
    Reply,
    Rule,
    State,
    To,
    Transport,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

IFNAMSIZ = 16
_NATIVE = sys.byteorder  # connection tracking states are compared in host order
_NFPROTO = {Family.IPV4: b"\x02", Family.IPV6: b"\x0a"}  # linux/netfilter.h
_FAMILY = {code: family for family, code in _NFPROTO.items()}
_ICMP = {Family.IPV4: Protocol.ICMP, Family.IPV6: Protocol.ICMPV6}
_SOURCE_OFFSET = {Family.IPV4: 12, Family.IPV6: 8}  # RFC 791, RFC 8200
_DESTINATION_OFFSET = {Family.IPV4: 16, Family.IPV6: 24}
_SECONDS = {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600, Unit.DAY: 86400}
_BURST = 5  # packets; what nft(8) takes when a script names none
_UNIT = {seconds: unit for unit, seconds in _SECONDS.items()}


@dataclass(frozen=True, slots=True)
class Meta:
    """Load packet metadata: IIFNAME, OIFNAME, NFPROTO or L4PROTO."""

    key: str


@dataclass(frozen=True, slots=True)
class Ct:
    """Load from connection tracking: STATE or DIRECTION."""

    key: str


@dataclass(frozen=True, slots=True)
class Payload:
    """Load packet bytes from the NETWORK or TRANSPORT header."""

    base: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Mask:
    """Bitwise and with `mask`."""

    mask: bytes


@dataclass(frozen=True, slots=True)
class Cmp:
    """Go on only if what was loaded compares so (EQ, NEQ, GTE, LTE) with `data`."""

    op: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Lookup:
    """Go on only if what was loaded is in this set."""

    set: str


@dataclass(frozen=True, slots=True)
class MapLookup:
    """Take the verdict that this map has for what was loaded; go on if it has none."""

    map: str


@dataclass(frozen=True, slots=True)
class Counter:
    """Count packets and bytes."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Go on at most `rate` times in `seconds`, with a burst."""

    rate: int
    seconds: int
    burst: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """Write a kernel log line."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Immediate:
    """End the rule with a verdict."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Opaque:
    """An expression that droplan never writes."""

    description: str


Expr = Meta | Ct | Payload | Mask | Cmp | Lookup | MapLookup | Counter | Limit | LogLine | Immediate | Opaque
Exprs = tuple[Expr, ...]


def encode(rule: Rule) -> Exprs:
    """The expressions of a rule; ValueError for a rule with a Foreign match."""
    out: list[Expr] = []
    established: set[tuple[Expr, Expr]] = set()
    for item in rule.matches:
        for need in _needs(item):
            if need not in established:
                established.add(need)
                out.extend(need)
        out.extend(_body(item))
    return (*out, *_statements(rule))


def _needs(item: Match) -> "Iterator[tuple[Expr, Expr]]":
    """What must hold before a header field may be read; nft(8) states each but once a rule."""
    if isinstance(item, From | To | Icmp):
        yield Meta("NFPROTO"), Cmp("EQ", _NFPROTO[item.family])
    if isinstance(item, Icmp):
        yield Meta("L4PROTO"), Cmp("EQ", bytes([_ICMP[item.family]]))
    if isinstance(item, Transport):
        yield Meta("L4PROTO"), Cmp("EQ", bytes([item.protocol]))


def _body(item: Match) -> Exprs:
    match item:
        case Interface(name, outbound):
            return Meta("OIFNAME" if outbound else "IIFNAME"), Cmp("EQ", _ifname(name))
        case State(states):
            return Ct("STATE"), Mask(_native(sum(states))), Cmp("NEQ", bytes(4))
        case Reply():
            return Ct("DIRECTION"), Cmp("EQ", b"\x01")
        case From(name, family):
            return Payload("NETWORK", _SOURCE_OFFSET[family], family.width), Lookup(name)
        case To(name, family):
            return Payload("NETWORK", _DESTINATION_OFFSET[family], family.width), Lookup(name)
        case Icmp(_, first, last):
            return Payload("TRANSPORT", 0, 1), *_between(first, last, 1)
        case Transport():
            return _ports(item)
        case Armed(lease):
            return Meta("NFPROTO"), Lookup(lease)
        case Foreign(description):
            message = f"a foreign match cannot be written: {description}"
            raise ValueError(message)


def _ports(item: Transport) -> Exprs:
    """Both ports given and single are one load of four bytes, as nft(8) merges them."""
    source, destination = item.source, item.destination
    if source and destination and source[0] == source[1] and destination[0] == destination[1]:
        return Payload("TRANSPORT", 0, 4), Cmp("EQ", _be16(source[0]) + _be16(destination[0]))
    out: list[Expr] = []
    for offset, ports in ((0, source), (2, destination)):
        if ports:
            out += [Payload("TRANSPORT", offset, 2), *_between(*ports, 2)]
    return tuple(out)


def _between(first: int, last: int, width: int) -> Exprs:
    low, high = first.to_bytes(width, "big"), last.to_bytes(width, "big")
    return (Cmp("EQ", low),) if first == last else (Cmp("GTE", low), Cmp("LTE", high))


def _statements(rule: Rule) -> "Iterator[Expr]":
    if rule.counter:
        yield Counter()
    if rule.log and rule.log.rate:
        yield Limit(rule.log.rate.count, _SECONDS[rule.log.rate.unit], _BURST)
    if rule.log:
        yield LogLine(rule.log.prefix)
    if isinstance(rule.verdict, Dispatch):
        yield Payload("TRANSPORT", 2, 2)
        yield MapLookup(rule.verdict.map)
    elif rule.verdict:
        yield Immediate(rule.verdict)


def decode(name: str, exprs: Exprs) -> Rule:
    """The Rule that these expressions are; one Foreign match when it is none of ours."""
    rule = _parse(name, exprs)
    with suppress(OverflowError):  # a number of more bytes than its field has: nobody of ours compares so
        if rule is not None and encode(rule) == exprs:
            return rule
    return Rule(name, (Foreign(" ".join(map(str, exprs))),))


@dataclass(slots=True)
class _Reading:
    """The rule read so far, and the header facts established in it."""

    matches: list[Match]
    family: Family | None = None
    protocol: Protocol | None = None
    counter: bool = False
    log: Log | None = None
    verdict: Verdict | Dispatch | None = None


def _parse(name: str, exprs: Exprs) -> Rule | None:
    reading, rest = _Reading([]), exprs
    while rest:
        following = _read_match(reading, rest) or _read_statement(reading, rest)
        if following is None:
            return None
        rest = following[0]
    return Rule(name, tuple(reading.matches), reading.counter, reading.log, reading.verdict)


def _read_match(reading: _Reading, exprs: Exprs) -> tuple[Exprs] | None:
    match exprs:
        case [Meta("NFPROTO"), Cmp("EQ", code), *rest] if code in _FAMILY:
            reading.family = _FAMILY[code]
        case [Meta("NFPROTO"), Lookup(name), *rest]:
            reading.matches.append(Armed(name))
        case [Meta("IIFNAME" | "OIFNAME" as key), Cmp("EQ", data), *rest] if len(data) == IFNAMSIZ:
            reading.matches.append(Interface(_text(data), key == "OIFNAME"))
        case [Ct("STATE"), Mask(mask), Cmp("NEQ", b"\0\0\0\0"), *rest]:
            reading.matches.append(State(_states(mask)))
        case [Ct("DIRECTION"), Cmp("EQ", b"\x01"), *rest]:
            reading.matches.append(Reply())
        case [Payload("NETWORK", offset), Lookup(name), *rest] if reading.family:
            kind = From if offset == _SOURCE_OFFSET[reading.family] else To
            reading.matches.append(kind(name, reading.family))
        case [Meta("L4PROTO"), Cmp("EQ", code), *_] if int.from_bytes(code, "big") in set(Protocol):
            reading.protocol = Protocol(int.from_bytes(code, "big"))
            return _read_transport(reading, exprs[2:])
        case _:
            return None
    return (tuple(rest),)


def _read_transport(reading: _Reading, exprs: Exprs) -> tuple[Exprs]:
    protocol = reading.protocol or Protocol.TCP
    match exprs:
        case [Payload("TRANSPORT", 0, 1), *_] if reading.family:
            span, rest = _read_span(exprs[1:])
            reading.matches.append(Icmp(reading.family, *(span or (0, 0))))
        case [Payload("TRANSPORT", 0, 4), Cmp("EQ", data), *rest_list]:
            source, destination = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:], "big")
            reading.matches.append(Transport(protocol, (source, source), (destination, destination)))
            rest = tuple(rest_list)
        case _:
            source_span, rest = _read_ports(exprs, 0)
            destination_span, rest = _read_ports(rest, 2)
            reading.matches.append(Transport(protocol, source_span, destination_span))
    return (rest,)


def _read_ports(exprs: Exprs, offset: int) -> tuple[tuple[int, int] | None, Exprs]:
    if exprs and exprs[0] == Payload("TRANSPORT", offset, 2):
        span, rest = _read_span(exprs[1:])
        return (span, rest) if span else (None, exprs)
    return None, exprs


def _read_span(exprs: Exprs) -> tuple[tuple[int, int] | None, Exprs]:
    match exprs:
        case [Cmp("EQ", data), *rest]:
            return (int.from_bytes(data, "big"),) * 2, tuple(rest)
        case [Cmp("GTE", low), Cmp("LTE", high), *rest]:
            return (int.from_bytes(low, "big"), int.from_bytes(high, "big")), tuple(rest)
        case _:
            return None, exprs


def _read_statement(reading: _Reading, exprs: Exprs) -> tuple[Exprs] | None:
    match exprs:
        case [Counter(), *rest]:
            reading.counter = True
        case [Limit(rate, seconds), LogLine(prefix), *rest] if seconds in _UNIT:
            reading.log = Log(prefix, Rate(rate, _UNIT[seconds]))
        case [LogLine(prefix), *rest]:
            reading.log = Log(prefix)
        case [Immediate(verdict), *rest]:
            reading.verdict = verdict
        case [Payload("TRANSPORT", 2, 2), MapLookup(name), *rest]:
            reading.verdict = Dispatch(name)
        case _:
            return None
    return (tuple(rest),)


def _ifname(name: str) -> bytes:
    return name.encode().ljust(IFNAMSIZ, b"\0")


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _states(mask: bytes) -> frozenset[CtState]:
    value = int.from_bytes(mask, _NATIVE)
    return frozenset(state for state in CtState if value & state)


def _native(value: int) -> bytes:
    return value.to_bytes(4, _NATIVE)


def _be16(value: int) -> bytes:
    return value.to_bytes(2, "big")
