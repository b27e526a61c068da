"""`droplan explain FROM [PORT]`: the verdict for a sender, the rule that gives it, and why.

Law: it asks `policy.explain` and prints; which of its addresses a Droplet would use is all that is
decided here.
"""

import argparse
import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import HostUnknown
from droplan_daemon.model.addresses import Family, family_of, format_address, parse_address
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction, PortProtocol
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.plaintext import escape
from droplan_daemon.policy.explain import Explanation, Packet, Ruling, explain, grants
from droplan_daemon.policy.openings import labels

from . import output, wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.fleet import Droplet
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.outcomes import World

EXPLAIN = """\
FROM is a Droplet (name or id) or an address; PORT is such as 3306/tcp, 53/udp,
icmp or icmpv6. Without PORT: everything that FROM may reach.

Offline: with --fleet FILE (what GET /v2/droplets answers) and --as NAME, no
daemon, no root, no token and no network are needed.

examples:
  droplan explain mysql-1 3306/tcp
  droplan explain 203.0.113.9 443/tcp --interface public
  droplan explain web-1 --fleet fleet.json --as mysql-1
  droplan explain wordpress-1 80/tcp --out --fleet fleet.json --as haproxy-www

json: ok, droplet, answers (address, interface, direction, verdict, passes, rule,
  also, reasons (about, text)); without PORT: answers (..., allowed (rule, ports))
"""

_PORT = re.compile(r"([0-9]{1,5})/(tcp|udp)", re.ASCII)
_MOST_PORT = 65535
_ECHO = {PortProtocol.ICMP: 8, PortProtocol.ICMPV6: 128}
_WORDS = {
    Ruling.ALLOW: "allowed",
    Ruling.DENY: "denied",
    Ruling.AUDIT: "denied, but let through by mode audit",
}


@dataclass(frozen=True, slots=True)
class Service:
    """What is asked for; `port` None for ICMP, of which an echo request is asked."""

    protocol: PortProtocol
    port: int | None = None

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol}" if self.port else str(self.protocol)

    def packet(self, direction: Direction, kind: InterfaceKind, address: "Address") -> Packet:
        """The packet that asks for it."""
        number, echo = Protocol[self.protocol.name], _ECHO.get(self.protocol)
        return Packet(direction, kind, address, number, self.port, None, echo)

    def fits(self, address: "Address") -> bool:
        """Whether it can be asked of an address of this family."""
        family = {PortProtocol.ICMP: Family.IPV4, PortProtocol.ICMPV6: Family.IPV6}.get(self.protocol)
        return family in {None, family_of(address)}


def service(text: str) -> Service:
    """What PORT says. ArgumentTypeError says what would be right."""
    if text in {PortProtocol.ICMP, PortProtocol.ICMPV6}:
        return Service(PortProtocol(text))
    found = _PORT.fullmatch(text)
    if found and 0 < int(found[1]) <= _MOST_PORT:
        return Service(PortProtocol(found[2]), int(found[1]))
    hint = (
        f"{text}/tcp or {text}/udp" if text.isascii() and text.isdigit() else "80/tcp, 53/udp, icmp or icmpv6"
    )
    message = f"{text!r} is no port with a protocol: write {hint}"
    raise argparse.ArgumentTypeError(message)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command alone."""
    parser.add_argument("sender", metavar="FROM", help="a Droplet's name or id, or an address")
    parser.add_argument(
        "service", metavar="PORT", nargs="?", type=service, help="such as 22/tcp, 53/udp, icmp"
    )
    parser.add_argument("--out", action="store_true", help="the other way: from this Droplet to FROM")
    kinds = [kind.value for kind in InterfaceKind]
    parser.add_argument("--interface", choices=kinds, help="default: private where there is a way")


def run(args: argparse.Namespace) -> int:
    """The command."""
    world, policy = asyncio.run(_world(args))
    case = _Question(world, policy, Direction.OUTBOUND if args.out else Direction.INBOUND, args.service)
    packets = asyncio.run(case.packets(args.sender, args.interface))
    name = {droplet.id: droplet.name for droplet in world.fleet.droplets}[world.own.id]
    if args.json:
        answers = [case.plain(packet) for packet in packets]
        output.document({"ok": True, "droplet": {"id": world.own.id, "name": name}, "answers": answers})
        return 0
    output.warn(world)
    for line in case.lines(packets, args.sender):
        print(escape(line))
    return 0


async def _world(args: argparse.Namespace) -> "tuple[World, Policy]":
    async with wiring.cycle_for(args, wiring.nothing()) as cycle:
        return (await cycle.prospect()).world, cycle.policy


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked, of whom."""

    world: "World"
    policy: "Policy"
    direction: Direction
    service: Service | None

    async def packets(self, sender: str, interface: str | None) -> list[Packet]:
        """One for each address that the other side has on the interface. Raises HostUnknown."""
        kind, addresses = await self._addresses(sender, interface)
        asked = self.service or Service(PortProtocol.TCP)
        fitting = [address for address in addresses if asked.fits(address)]
        if not fitting:
            raise HostUnknown(_nowhere(sender, kind, self.service, addresses), reason="no_address")
        return [asked.packet(self.direction, kind, address) for address in fitting]

    async def _addresses(
        self, sender: str, interface: str | None
    ) -> "tuple[InterfaceKind, tuple[Address, ...]]":
        given = InterfaceKind(interface) if interface else None
        try:
            address = parse_address(sender)
        except ValueError:
            found = await wiring.Given(sender).locate(self.world.fleet)
            droplet = self.world.fleet.droplet(found.droplet_id)
            kind = given or self._way(droplet)
            return kind, droplet.addresses(kind) if droplet else ()
        private = any(address in droplet.private for droplet in self.world.fleet.droplets)
        near = private or self._in_vpc(address)
        return given or (InterfaceKind.PRIVATE if near else InterfaceKind.PUBLIC), (address,)

    def _way(self, droplet: "Droplet | None") -> InterfaceKind:
        """Private where both have an address there and the VPCs are connected."""
        own = self.world.own
        if not droplet or not droplet.private or not own.private:
            return InterfaceKind.PUBLIC
        near = own.vpc is None or droplet.vpc in self.world.fleet.peered_with(own.vpc)
        return InterfaceKind.PRIVATE if near else InterfaceKind.PUBLIC

    def _in_vpc(self, address: "Address") -> bool:
        from ipaddress import ip_address, ip_network

        ranges = [vpc.ip_range for vpc in self.world.fleet.vpcs if vpc.id == self.world.own.vpc]
        return any(ip_address(address) in ip_network(text, strict=False) for text in ranges)

    def _explained(self, packet: Packet) -> Explanation:
        return explain(self.policy, self.world.fleet, self.world.host, self.world.own, packet)

    def _allowed(self, packet: Packet) -> "Iterator[tuple[str, str]]":
        for grant in grants(self.policy, self.world.fleet, self.world.own, packet):
            yield grant.rule, ", ".join(labels(grant.openings))

    def plain(self, packet: Packet) -> dict[str, Any]:
        """An answer for programs."""
        found = self._explained(packet)
        about = {
            "address": format_address(packet.address),
            "interface": packet.kind.value,
            "direction": packet.direction.value,
        }
        if self.service is None:
            judged = found.ruling is not Ruling.UNJUDGED
            allowed = [{"rule": rule, "ports": ports} for rule, ports in self._allowed(packet)]
            return {**about, "judged": judged, "allowed": allowed}
        reasons = [{"about": reason.about.value, "text": reason.text} for reason in found.reasons]
        verdict = {"verdict": found.ruling.value, "passes": found.passes, "rule": found.rule}
        return {
            **about,
            "service": str(self.service),
            **verdict,
            "also": list(found.also),
            "reasons": reasons,
        }

    def lines(self, packets: list[Packet], sender: str) -> "Iterator[str]":
        """Answers for people; those that are alike once."""
        told: dict[object, str] = {}
        for packet in packets:
            found, address = self._explained(packet), format_address(packet.address)
            key = (found.ruling, found.rule, found.also) if self.service else tuple(self._allowed(packet))
            if key in told:
                yield f"likewise {address}"
                continue
            told[key] = address
            yield from (
                self._told(found, packet, sender) if self.service else self._listed(found, packet, sender)
            )

    def _told(self, found: Explanation, packet: Packet, sender: str) -> "Iterator[str]":
        yield f"{_WORDS.get(found.ruling, 'not judged')}: {self._between(packet, sender)}, {self.service}"
        if found.rule:
            yield f"  {'rule':<10} {found.rule}"
        if found.also:
            yield f"  {'also by':<10} {', '.join(found.also)}"
        for reason in found.reasons:
            yield f"  {reason.about.value:<10} {reason.text}"

    def _listed(self, found: Explanation, packet: Packet, sender: str) -> "Iterator[str]":
        yield f"{self._between(packet, sender)}:"
        if found.ruling is Ruling.UNJUDGED:
            yield f"  everything: {found.reasons[0].text}"
            return
        rows = [(ports, f"by rule '{rule}'") for rule, ports in self._allowed(packet)]
        for ports, rule in rows or [("nothing", "but what keeps the network alive")]:
            yield f"  {ports:<20} {rule}"

    def _between(self, packet: Packet, sender: str) -> str:
        address, own = format_address(packet.address), self.world.own.name
        other = sender if sender == address else f"{sender} ({address})"
        sides = (own, other) if self.direction is Direction.OUTBOUND else (other, own)
        return f"{sides[0]} to {sides[1]} on the {packet.kind} network"


def _nowhere(
    sender: str, kind: InterfaceKind, asked: Service | None, addresses: "tuple[Address, ...]"
) -> str:
    if addresses:
        return f"{sender} has no address on the {kind} network of which one can ask for {asked}"
    other = InterfaceKind.PUBLIC if kind is InterfaceKind.PRIVATE else InterfaceKind.PRIVATE
    return f"{sender} has no address on the {kind} network; try --interface {other}"
