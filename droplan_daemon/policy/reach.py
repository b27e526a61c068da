"""Who gets through a Ruleset to which ports, and what another Ruleset would change. PURE.

Laws:
1. It reads the Ruleset alone, so that what the kernel holds can be compared with what it should.
2. Where nothing judges, everything gets through: an absent Ruleset judges nothing.
3. Replies are not its business; a rule that it cannot read gives nobody anything.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.ruleset import (
    Action,
    Dispatch,
    From,
    Icmp,
    Interface,
    To,
    Transport,
    Verdict,
)

from .openings import EVERYTHING, of_icmp, of_port_range, of_transport, without
from .space import contains, everything, intersection, space, union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.connection import Connection
    from droplan_daemon.model.fleet import Droplet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.ruleset import Chain, Match, Rule, Ruleset

    from .openings import Openings
    from .space import Space


@dataclass(frozen=True, slots=True)
class Spot:
    """Where packets are judged: an interface by its name, and a direction."""

    interface: str
    outbound: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """What one rule, by its name, lets through for the addresses of one family."""

    name: str
    family: Family
    where: "Space"
    openings: "Openings"


@dataclass(frozen=True, slots=True)
class Shift:
    """Addresses of one family that gain or lose something at a Spot."""

    spot: Spot
    family: Family
    where: "Space"
    gained: "Openings"
    lost: "Openings"


Reach = dict[Spot, tuple[Grant, ...]]


def reach(ruleset: "Ruleset | None") -> Reach:
    """What gets through wherever the Ruleset judges."""
    found: defaultdict[Spot, list[Grant]] = defaultdict(list)
    for chain in ruleset.chains.values() if ruleset else ():
        if chain.hook is None or ruleset is None:
            continue
        for spot, name in _entries(chain):
            found[spot] += _grants(ruleset, ruleset.chains[name], EVERYTHING)
    return {spot: tuple(grants) for spot, grants in found.items()}


def passes(found: Reach, spot: Spot, address: "Address", asked: "Openings") -> bool:
    """Whether a packet that asks for this gets through."""
    grants = found.get(spot)
    if grants is None:
        return True
    family = family_of(address)
    return any(
        grant.family is family
        and contains(grant.where, address)
        and bool(intersection(grant.openings, asked))
        for grant in grants
    )


def shifts(before: Reach, after: Reach) -> tuple[Shift, ...]:
    """What changes for whom, at the Spots that both judge."""
    return tuple(
        shift
        for spot in sorted(before.keys() & after.keys(), key=lambda one: (one.interface, one.outbound))
        for family in Family
        for shift in _shifts(spot, family, before[spot], after[spot])
    )


def cut(
    connections: "Iterable[Connection]", host: "Host", own: "Droplet", before: Reach, after: Reach
) -> "tuple[Connection, ...]":
    """The connections that are let through now and would not be."""
    return tuple(
        one for one in connections if _passes(one, host, own, before) and not _passes(one, host, own, after)
    )


def _passes(one: "Connection", host: "Host", own: "Droplet", found: Reach) -> bool:
    """Whether the side that opened it gets through; replies always do."""
    asked = of_port_range(one.protocol, one.destination_port, one.destination_port)
    for kind in InterfaceKind:
        name, ours = host.interface(kind), own.addresses(kind)
        if name and one.destination in ours and one.source not in ours:
            return passes(found, Spot(name, outbound=False), one.source, asked)
        if name and one.source in ours and one.destination not in ours:
            return passes(found, Spot(name, outbound=True), one.destination, asked)
    return True


def _entries(chain: "Chain") -> "Iterator[tuple[Spot, str]]":
    for rule in chain.rules:
        match rule.matches, rule.verdict:
            case (Interface(name, outbound),), Verdict(Action.GOTO | Action.JUMP, str(target)):
                yield Spot(name, outbound), target


def _grants(ruleset: "Ruleset", chain: "Chain", within: "Openings") -> "Iterator[Grant]":
    """What a chain lets through, of `within`; a rule without conditions that drops ends it."""
    for rule in chain.rules:
        match rule.verdict:
            case Verdict(Action.ACCEPT):
                yield from _granted(ruleset, rule, within)
            case Verdict(Action.DROP) if not rule.matches:
                return
            case Dispatch(name):
                yield from _dispatched(ruleset, rule, name, within)


def _granted(ruleset: "Ruleset", rule: "Rule", within: "Openings") -> "Iterator[Grant]":
    sides: list[tuple[Family, Space]] = [(family, everything(family)) for family in Family]
    for match in rule.matches:
        match match:
            case From(name, family) | To(name, family):
                sides = [(family, _held(ruleset, name))]
            case Icmp(family):
                sides = [(one, where) for one, where in sides if one is family]
        opened = _opened(match)
        if opened is None:
            return
        within = intersection(within, opened)
    for family, where in sides:
        if within and where:
            yield Grant(rule.name, family, where, within)


def _opened(match: "Match") -> "Openings | None":
    """What a condition leaves open; None where it cannot be said of a packet that opens a connection."""
    match match:
        case From() | To():
            return EVERYTHING
        case Transport(_, None, _):
            return of_transport(match)
        case Icmp(family, first, last):
            return of_icmp(family, first, last)
    return None


def _held(ruleset: "Ruleset", name: str) -> "Space":
    """The addresses of a set, hosts or ranges; none of one that is not there, as a kernel's may not be."""
    held = ruleset.sets.get(name)
    if held is None:
        return space(())
    width = held.family.width
    return space(
        (int.from_bytes(element[:width], "big"), int.from_bytes(element[-width:], "big"))
        for element in held.elements
    )


def _dispatched(ruleset: "Ruleset", rule: "Rule", name: str, within: "Openings") -> "Iterator[Grant]":
    protocols = [match.protocol for match in rule.matches if isinstance(match, Transport)]
    for first, last, chain in sorted(ruleset.maps[name].entries):
        for protocol in protocols:
            ports = of_port_range(protocol, first, last)
            yield from _grants(ruleset, ruleset.chains[chain], intersection(within, ports))


def _shifts(
    spot: Spot, family: Family, before: "Iterable[Grant]", after: "Iterable[Grant]"
) -> "Iterator[Shift]":
    """The addresses cut where anything begins or ends, and what differs in each piece."""
    grants = [(0, one) for one in before if one.family is family]
    grants += [(1, one) for one in after if one.family is family]
    edges: defaultdict[int, int] = defaultdict(int)
    for index, (_, grant) in enumerate(grants):
        for first, last in grant.where:
            edges[first] ^= 1 << index
            edges[last + 1] ^= 1 << index
    pieces: defaultdict[tuple[Openings, Openings], list[tuple[int, int]]] = defaultdict(list)
    known: dict[int, tuple[Openings, Openings]] = {}
    here, start = 0, 0
    for edge in sorted(edges):
        if here:
            if here not in known:
                known[here] = _difference(grants, here)
            pieces[known[here]].append((start, edge - 1))
        here, start = here ^ edges[edge], edge
    for (gained, lost), spans in pieces.items():
        if gained or lost:
            yield Shift(spot, family, space(spans), gained, lost)


def _difference(grants: "list[tuple[int, Grant]]", here: int) -> "tuple[Openings, Openings]":
    sides: list[list[Openings]] = [[], []]
    for index, (side, grant) in enumerate(grants):
        if here >> index & 1:
            sides[side].append(grant.openings)
    old, new = (union(*side) for side in sides)
    return without(new, old), without(old, new)
