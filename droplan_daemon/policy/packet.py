"""A packet that opens a connection, and what is looked at to judge it. PURE.

Law: everything here is what the Policy *means*; nothing looks at a Ruleset.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import PortProtocol
from droplan_daemon.model.ruleset import Icmp, Protocol, To, Transport

from .lifelines import lifelines
from .members import Members
from .pick import ANY, elements, names_droplets_only, picked
from .space import contains

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.policy import Allow, Direction, Lifeline, Policy, Ports
    from droplan_daemon.model.ruleset import Match
    from droplan_daemon.model.selector import Selector

    from .scene import Scene

_NAMED: "dict[int, PortProtocol]" = {Protocol[protocol.name]: protocol for protocol in PortProtocol}
PORTED = frozenset({Protocol.TCP, Protocol.UDP})


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection, seen from the Droplet that judges it.

    `address` is the other side's: the source inbound, the destination outbound. `protocol` is the
    IANA number (`model.ruleset.Protocol` for those with a name). `destination` and `source` are the
    ports of tcp and udp as the sender wrote them, before anybody's DNAT; `icmp_type` is that of
    ICMP and ICMPv6.
    """

    direction: "Direction"
    kind: InterfaceKind
    address: "Address"
    protocol: int
    destination: int | None = None
    source: int | None = None
    icmp_type: int | None = None

    @property
    def named(self) -> PortProtocol | None:
        """The protocol as `ports` writes it; None for one that cannot be written there."""
        return _NAMED.get(self.protocol)

    @property
    def service(self) -> str:
        """What is asked for, as `ports` writes it: `22/tcp`, `icmp`, `protocol 47`."""
        name = self.named.value if self.named else f"protocol {self.protocol}"
        return f"{self.destination}/{name}" if self.protocol in PORTED else name


@dataclass(frozen=True, slots=True)
class Case:
    """A Packet, and all that is looked at to judge it; `mine` is the effective Policy."""

    policy: "Policy"
    mine: "Policy"
    view: "Scene"
    fleet: "Fleet"
    packet: Packet

    @property
    def owners(self) -> "tuple[Droplet, ...]":
        """The Droplets that have the other side's address, towards us, on this kind of interface."""
        address, kind = self.packet.address, self.packet.kind
        near = self.view.neighbours if kind is InterfaceKind.PRIVATE else self.view.everyone
        return tuple(d for d in self.fleet.droplets if d.id in near and address in d.addresses(kind))

    def picks(self, who: "Selector") -> bool:
        """Whether a selector picks the other side."""
        address, kind = self.packet.address, self.packet.kind
        family = family_of(address)
        if who == ANY:
            return True
        if names_droplets_only(who):
            return address in elements(who, self.view, kind, family)
        return contains(picked(who, self.view, kind, family), address)

    def here(self, allow: "Allow") -> bool:
        """Whether a rule is about this kind of interface and this direction."""
        return allow.interface is self.packet.kind and allow.direction is self.packet.direction

    def opened(self, allow: "Allow") -> bool:
        """Whether a rule is about what the packet asks for."""
        return not allow.ports or any(covers(ports, self.packet) for ports in allow.ports)

    def kept_alive(self, wanted: "frozenset[Lifeline]") -> "Iterator[str]":
        """The names of those lifelines, out of `wanted`, that let the packet through."""
        members = Members(self.view)
        for rule in lifelines(wanted, self.packet.direction, members):
            if all(_meets(self.packet, match, members) for match in rule.matches):
                yield rule.name


def covers(ports: "Ports", packet: Packet) -> bool:
    """Whether an entry of `ports` is about what the packet asks for."""
    if ports.protocol is not packet.named:
        return False
    if packet.protocol not in PORTED:
        return True
    return packet.destination is not None and ports.first <= packet.destination <= ports.last


def _meets(packet: Packet, match: "Match", members: Members) -> bool:
    """Whether a packet meets a condition of a lifeline. ValueError for one that no lifeline has."""
    match match:
        case Icmp(family, first, last):
            protocol = Protocol.ICMP if family is Family.IPV4 else Protocol.ICMPV6
            alike = packet.protocol == protocol and family is family_of(packet.address)
            return alike and _within((first, last), packet.icmp_type)
        case Transport(protocol, source, destination):
            ported = _within(source, packet.source) and _within(destination, packet.destination)
            return packet.protocol == protocol and ported
        case To(name):
            (held,) = (one.elements for one in members.sets() if one.name == name)
            width = len(packet.address)
            return any(e[:width] <= packet.address <= e[width:] for e in held if len(e) == 2 * width)
    message = f"a lifeline has a condition that cannot be explained: {match}"
    raise ValueError(message)


def _within(span: tuple[int, int] | None, number: int | None) -> bool:
    return span is None or (number is not None and span[0] <= number <= span[1])
