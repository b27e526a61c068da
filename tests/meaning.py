"""What a policy means, said as plainly as can be: one packet, one question, no cleverness.

Independent of `droplan_daemon.policy`: it shares values with it and no code, so that compiler and
explain cannot be wrong together.
"""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction, Lifeline, Mode, Outbound, Scope, Unset
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.model.selector import And, Kind, Not, Or, Term

if TYPE_CHECKING:
    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Allow, InterfaceOverride, InterfacePolicy, Policy, Ports
    from droplan_daemon.model.selector import Selector
    from droplan_daemon.policy.explain import Packet

OF_ADDRESSES = (Kind.ANY, Kind.VPC_RANGE, Kind.PREFIX)
METADATA = bytes((169, 254, 169, 254))


@dataclass(frozen=True, slots=True)
class World:
    """The account as one Droplet sees it."""

    fleet: "Fleet"
    own: "Droplet"
    peers: frozenset[int]


def world(policy: "Policy", fleet: "Fleet", own: "Droplet") -> World:
    peers = frozenset(d.id for d in fleet.droplets if _is_peer(policy, fleet, own, d))
    return World(fleet, own, peers)


def _is_peer(policy: "Policy", fleet: "Fleet", own: "Droplet", other: "Droplet") -> bool:
    if other.id == own.id or (policy.peers.tag and policy.peers.tag not in other.tags):
        return False
    if policy.peers.scope is Scope.VPC:
        return bool(own.vpc and other.vpc and _joined(fleet, own.vpc, other.vpc))
    return policy.peers.scope is Scope.ACCOUNT or other.region == own.region


def _joined(fleet: "Fleet", one: str, other: str) -> bool:
    return one == other or any({one, other} == peering.vpcs for peering in fleet.peerings)


def picks_droplet(selector: "Selector", droplet: "Droplet", here: World) -> bool:
    match selector:
        case Not(part):
            return not picks_droplet(part, droplet, here)
        case And(parts):
            return all(picks_droplet(part, droplet, here) for part in parts)
        case Or(parts):
            return any(picks_droplet(part, droplet, here) for part in parts)
        case Term():
            return _is(selector, droplet, here)


def _is(term: Term, droplet: "Droplet", here: World) -> bool:
    return bool(
        term.kind is Kind.ALL
        or (term.kind is Kind.PEERS and droplet.id in here.peers)
        or (term.kind is Kind.SELF and droplet.id == here.own.id)
        or (term.kind is Kind.TAG and term.value in droplet.tags)
        or (term.kind is Kind.NAME and fnmatchcase(droplet.name, term.value))
        or (term.kind is Kind.ID and droplet.id == int(term.value))
        or (term.kind is Kind.REGION and droplet.region == term.value)
        or (term.kind is Kind.VPC and droplet.vpc == term.value)
    )


def holders(address: bytes, interface: InterfaceKind, here: World) -> "list[Droplet]":
    """The Droplets that have it; on the private network, of those that it connects us with."""
    return [
        droplet
        for droplet in here.fleet.droplets
        if address in droplet.addresses(interface)
        and (interface is InterfaceKind.PUBLIC or _near(droplet, here))
    ]


def _near(droplet: "Droplet", here: World) -> bool:
    if here.own.vpc is None or droplet.vpc is None:
        return here.own.vpc is None
    return _joined(here.fleet, here.own.vpc, droplet.vpc)


def about_addresses(selector: "Selector") -> bool:
    match selector:
        case Term(kind):
            return kind in OF_ADDRESSES
        case Not(part):
            return about_addresses(part)
        case And(parts) | Or(parts):
            return any(about_addresses(part) for part in parts)


def picks_address(selector: "Selector", address: bytes, interface: InterfaceKind, here: World) -> bool:
    if not about_addresses(selector):
        return any(picks_droplet(selector, d, here) for d in holders(address, interface, here))
    match selector:
        case Not(part):
            return not _one_of(part, address, interface, here)
        case And(parts):
            return all(_one_of(part, address, interface, here) for part in parts)
        case Or(parts):
            return any(_one_of(part, address, interface, here) for part in parts)
    return _one_of(selector, address, interface, here)


def _one_of(part: "Selector", address: bytes, interface: InterfaceKind, here: World) -> bool:
    """Inside a selector that ranges over all addresses, so does each of its parts."""
    match part:
        case Not(inner):
            return not _one_of(inner, address, interface, here)
        case And(parts):
            return all(_one_of(one, address, interface, here) for one in parts)
        case Or(parts):
            return any(_one_of(one, address, interface, here) for one in parts)
        case Term(Kind.ANY):
            return True
        case Term(Kind.PREFIX, text):
            return ip_address(address) in ip_network(text)
        case Term(Kind.VPC_RANGE):
            ours = [vpc.ip_range for vpc in here.fleet.vpcs if vpc.id == here.own.vpc]
            return any(ip_address(address) in ip_network(text) for text in ours)
    return any(picks_droplet(part, droplet, here) for droplet in holders(address, interface, here))


def passes(policy: "Policy", fleet: "Fleet", host: "Host", own: "Droplet", asked: "Packet") -> bool:
    """Whether the packet gets through."""
    here = world(policy, fleet, own)
    for override in policy.overrides:
        if picks_droplet(override.on, own, here):
            policy = replace(
                policy,
                mode=override.mode or policy.mode,
                private=_overridden(policy.private, override.private),
                public=_overridden(policy.public, override.public),
                denied_log=policy.denied_log
                if isinstance(override.denied_log, Unset)
                else override.denied_log,
            )
    return not _judged(policy, host, asked) or policy.mode is Mode.AUDIT or _allowed(policy, asked, here)


def _overridden(before: "InterfacePolicy", change: "InterfaceOverride") -> "InterfacePolicy":
    given = {
        "managed": change.managed,
        "allow_peers": change.allow_peers,
        "outbound": change.outbound,
    }
    for key, value in given.items():
        if value is not None:
            before = replace(before, **{key: value})  # type: ignore[arg-type]
    return before


def _judged(policy: "Policy", host: "Host", asked: "Packet") -> bool:
    section = policy.private if asked.kind is InterfaceKind.PRIVATE else policy.public
    name = host.private if asked.kind is InterfaceKind.PRIVATE else host.public
    if name is None or not section.managed:
        return False
    return asked.direction is Direction.INBOUND or section.outbound is Outbound.DROP


def _allowed(policy: "Policy", asked: "Packet", here: World) -> bool:
    section = policy.private if asked.kind is InterfaceKind.PRIVATE else policy.public
    if asked.direction is Direction.INBOUND and section.allow_peers:  # noqa: SIM102 - two questions
        if any(droplet.id in here.peers for droplet in holders(asked.address, asked.kind, here)):
            return True
    return any(_opens(allow, asked, here) for allow in policy.allows) or any(
        _keeps_alive(lifeline, asked) for lifeline in policy.lifelines
    )


def _opens(allow: "Allow", asked: "Packet", here: World) -> bool:
    return (
        allow.direction is asked.direction
        and allow.interface is asked.kind
        and picks_droplet(allow.on, here.own, here)
        and (not allow.ports or any(_is_port(ports, asked) for ports in allow.ports))
        and picks_address(allow.who, asked.address, asked.kind, here)
    )


def _is_port(ports: "Ports", asked: "Packet") -> bool:
    if Protocol[ports.protocol.name] != asked.protocol:
        return False
    return not ports.first or ports.first <= (asked.destination or 0) <= ports.last


def _keeps_alive(lifeline: Lifeline, asked: "Packet") -> bool:
    inbound = asked.direction is Direction.INBOUND
    ports = asked.source, asked.destination
    udp, tcp = asked.protocol == Protocol.UDP, asked.protocol == Protocol.TCP
    match lifeline:
        case Lifeline.ICMP_ERRORS:
            return (asked.protocol, asked.icmp_type) in {
                *((Protocol.ICMP, kind) for kind in (3, 11, 12)),
                *((Protocol.ICMPV6, kind) for kind in (1, 2, 3, 4)),
            }
        case Lifeline.NEIGHBOUR_DISCOVERY:
            return asked.protocol == Protocol.ICMPV6 and (
                asked.icmp_type in range(130, 137) or (not inbound and asked.icmp_type == 143)
            )
        case Lifeline.DHCP:
            ways = {(67, 68), (547, 546)} if inbound else {(68, 67), (546, 547)}
            return udp and ports in ways
        case Lifeline.DNS:
            return not inbound and (udp or tcp) and asked.destination == 53
        case Lifeline.NTP:
            return not inbound and udp and asked.destination == 123
        case Lifeline.METADATA:
            return not inbound and tcp and asked.destination == 80 and asked.address == METADATA
        case Lifeline.API:
            return not inbound and tcp and asked.destination == 443
