"""Machines on wires for law 8: a Host, a network behind it, and somebody on each seat.

    private wire ── eth1 ┐        ┌ eth2 ── inner wire ── the machine behind (a container)
                         │  Host  │
    public wire ─── eth0 ┘        └ ports published by DNAT, the way out masqueraded

Laws:
1. Who is a Droplet, and of which kind, is the Fleet's business; here everybody has a seat, and
   stays. Only the Host's Ruleset changes from case to case.
2. A packet counts as arrived when a raw socket of any machine got it: after the whole of the
   Host's netfilter, whatever NAT did to it.
3. A packet that comes late is still a packet that came: it is found in the next round.
"""

import selectors
import socket
import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

from droplan_daemon.diff import diff
from droplan_daemon.lab.topology import Machine, Nic, Route, Topology
from droplan_daemon.model.addresses import Family, format_address, parse_address
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.policy.packet import Packet
from tests.kernel.probes import CHECKSUM_AT, OTHER, message, number_of
from tests.kernel.variants import BACKENDS
from tests.worlds import OWN_SEAT, SEATS, STRANGERS, Seat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from droplan_daemon.backends.iptables import IptablesBackend
    from droplan_daemon.backends.nft import NftBackend
    from droplan_daemon.lab.netns import Namespace
    from droplan_daemon.model.ruleset import Ruleset
    from tests.kernel.variants import Make

EVERYBODY: tuple[Seat, ...] = (*SEATS, *STRANGERS)
BEHIND, BEHIND_6 = "172.17.0.2", "fd00:17::2"
_GATE, _GATE_6 = "172.17.0.1", "fd00:17::1"
METADATA = "169.254.169.254"
PUBLISHED = {Protocol.TCP: (80, 8050, 8100), Protocol.UDP: (53, 8050)}
BEHIND_PORT = 9000
"""What the Host publishes of the machine behind it, all of it at one port there."""

DEVICES = {InterfaceKind.PRIVATE: "eth1", InterfaceKind.PUBLIC: "eth0"}
_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_RANGES = {
    InterfaceKind.PRIVATE: ("10.10.0.0/24", "10.20.0.0/24", "10.99.0.0/24"),
    InterfaceKind.PUBLIC: (
        "203.0.113.0/24",
        "198.51.100.0/24",
        "192.0.2.0/24",
        "2001:db8::/64",
        "2001:db8:1::/64",
        "2001:db8:9::/64",
    ),
}
_NAT = f"""
table inet published {{
    chain in {{
        type nat hook prerouting priority dstnat;
        iifname "eth2" return
        fib daddr type != local return
        meta nfproto ipv4 tcp dport {{ 80, 8050, 8100 }} dnat ip to {BEHIND}:{BEHIND_PORT}
        meta nfproto ipv4 udp dport {{ 53, 8050 }} dnat ip to {BEHIND}:{BEHIND_PORT}
        meta nfproto ipv6 tcp dport {{ 80, 8050, 8100 }} dnat ip6 to [{BEHIND_6}]:{BEHIND_PORT}
        meta nfproto ipv6 udp dport {{ 53, 8050 }} dnat ip6 to [{BEHIND_6}]:{BEHIND_PORT}
    }}
    chain out {{
        type nat hook postrouting priority srcnat;
        ip saddr 172.17.0.0/24 oifname {{ "eth0", "eth1" }} masquerade
        ip6 saddr fd00:17::/64 oifname "eth0" masquerade
    }}
}}
"""
_SWITCHES = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}
_CT_FLUSH = struct.pack("=IHHII", 20, 1 << 8 | 2, 0x5, 1, 0) + bytes(4)  # IPCTNL_MSG_CT_DELETE, of all


class Way(Enum):
    """Which way a packet takes through the Host."""

    INTO = "to the Host, or to what it publishes"
    ROUTED = "through the Host to the machine behind it"
    OUT_OF = "from the Host"
    FORWARDED = "from the machine behind the Host"
    ACROSS = "in on one wire, out on the other"


_OUTWARD = (Way.OUT_OF, Way.FORWARDED)


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet: its way, who is at the other end, on which wire and in which family.

    `other` is the far end of ACROSS, which is on the other wire.
    """

    way: Way
    seat: Seat
    kind: InterfaceKind
    family: Family
    protocol: int
    destination: int | None = None
    source: int | None = None
    icmp_type: int | None = None
    other: Seat | None = None

    def questions(self) -> tuple[Packet, ...]:
        """How each Place that judges it sees it; it gets through when all let it pass."""
        about = self.protocol, self.destination, self.source, self.icmp_type
        here = address(self.seat, self.kind, self.family)
        if self.way in (Way.INTO, Way.ROUTED):
            return (Packet(Direction.INBOUND, self.kind, parse_address(here), *about),)
        if self.way in _OUTWARD:
            return (Packet(Direction.OUTBOUND, self.kind, parse_address(here), *about),)
        assert self.other is not None
        there = address(self.other, opposite(self.kind), self.family)
        return (
            Packet(Direction.INBOUND, self.kind, parse_address(here), *about),
            Packet(Direction.OUTBOUND, opposite(self.kind), parse_address(there), *about),
        )


def opposite(kind: InterfaceKind) -> InterfaceKind:
    return InterfaceKind.PUBLIC if kind is InterfaceKind.PRIVATE else InterfaceKind.PRIVATE


def address(seat: Seat, kind: InterfaceKind, family: Family) -> str:
    if kind is InterfaceKind.PRIVATE:
        return seat.private
    return seat.public if family is Family.IPV4 else seat.public_6


METADATA_SEAT = Seat("10.99.0.9", METADATA, "2001:db8:9::9")
"""The metadata service, at the machine of the last stranger."""


@dataclass(frozen=True, slots=True)
class _Receiver:
    raw: socket.socket
    family: socket.AddressFamily
    protocol: int


@dataclass(slots=True)
class Crossroads:
    """A context manager; leaving it removes everything."""

    topology: Topology = field(default_factory=Topology)
    make: "Make" = BACKENDS["nftables"]
    _kernel: "NftBackend | IptablesBackend" = field(init=False)
    _conntrack: socket.socket = field(init=False)
    _senders: dict[tuple[object, ...], socket.socket] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.topology.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for key in list(self._selector.get_map().values()):
            key.data.raw.close()
        self._selector.close()
        for made in (*self._senders.values(), self._conntrack):
            made.close()
        self._kernel.close()
        self.topology.close()

    @property
    def host(self) -> "Namespace":
        return self.topology.namespace("host")

    def _build(self) -> None:
        for wire in ("private", "public", "inner"):
            self.topology.add_segment(wire)
        for machine in _machines():
            made = self.topology.add(machine)
            made.call(_switch)
            made.call(_ip, *_settled(machine.name))
        self.host.call(subprocess.run, ["nft", "-f", "-"], input=_NAT, text=True, check=True)
        self._kernel = self.host.call(self.make, 5.0)
        self._conntrack = self.host.call(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 12)
        for name in self.topology.machines:
            for family in Family:
                for protocol in _protocols(family):
                    self._receive(name, _AF[family], protocol)

    def _receive(self, machine: str, family: socket.AddressFamily, protocol: int) -> None:
        made = self.topology.namespace(machine).call(
            socket.socket, family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol
        )
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._selector.register(made, selectors.EVENT_READ, _Receiver(made, family, protocol))

    def enforce(self, desired: "Ruleset | None") -> None:
        """Make the Host's kernel hold this."""
        self.host.call(self._enforce, desired)

    def _enforce(self, desired: "Ruleset | None") -> None:
        found = self._kernel.observe()
        self._kernel.commit(diff(found.ruleset, desired), found.generation)

    def forget(self) -> None:
        """Empty the Host's connection tracking."""
        self._conntrack.send(_CT_FLUSH)
        answer = self._conntrack.recv(4096)
        (error,) = struct.unpack_from("=i", answer, 16)
        assert error == 0

    def arrivals(self, sent: "Sequence[Probe]", expected: "Sequence[bool]") -> list[bool]:
        """Send them all; which of them arrived. Those expected are waited for, others only for a moment.

        What goes in and what goes out is sent apart, for what has no port, or a fixed one, would pass
        as a reply to the other. Raises AssertionError when a packet of an earlier round arrives now.
        """
        found = [False] * len(sent)
        for outward in (False, True):
            here = [i for i, probe in enumerate(sent) if (probe.way in _OUTWARD) is outward]
            came = self._round([sent[i] for i in here], [expected[i] for i in here])
            for i, one in zip(here, came, strict=True):
                found[i] = one
        return found

    def _round(self, sent: "Sequence[Probe]", expected: "Sequence[bool]") -> list[bool]:
        self.forget()
        numbers = [self._send(probe) for probe in sent]
        awaited = {number for number, wanted in zip(numbers, expected, strict=True) if wanted}
        seen: set[int] = set()
        deadline = time.monotonic() + 2
        while not awaited <= seen and time.monotonic() < deadline:
            seen |= self._drained(0.05)
        seen |= self._drained(0.002)
        assert seen <= set(numbers), "a packet came after its time"
        return [number in seen for number in numbers]

    def _drained(self, wait: float) -> set[int]:
        found: set[int] = set()
        while ready := self._selector.select(wait):
            wait = 0
            for key, _ in ready:
                found |= _read(key.data)
        return found

    def _send(self, probe: Probe) -> int:
        number = next(self._numbers)
        machine, device, source, target = _course(probe)
        sender = self._sender(machine, device, source, probe)
        one, two = _ports(probe, 1024 + number % 60_000)
        ends = parse_address(source) + parse_address(target) if probe.family is Family.IPV4 else b""
        # A drop after routing is told to a local sender.
        with suppress(PermissionError):
            sender.sendto(message(probe.protocol, number, one, two, ends), (target, 0))
        return number

    def _sender(self, machine: str, device: str, source: str, probe: Probe) -> socket.socket:
        key = machine, device, source, probe.protocol
        if key not in self._senders:
            made = self.topology.namespace(machine).call(
                socket.socket, _AF[probe.family], socket.SOCK_RAW, probe.protocol
            )
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            if probe.family is Family.IPV6 and probe.protocol in CHECKSUM_AT:
                at = CHECKSUM_AT[probe.protocol]
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, at)
            made.bind((source, 0))
            self._senders[key] = made
        return self._senders[key]


def _read(receiver: _Receiver) -> set[int]:
    found: set[int] = set()
    with suppress(BlockingIOError):
        while True:
            data = receiver.raw.recv(2048)
            number = number_of(receiver.family, receiver.protocol, data)
            if number is not None:
                found.add(number)
    return found


def _protocols(family: Family) -> tuple[int, ...]:
    return (
        Protocol.TCP,
        Protocol.UDP,
        Protocol.ICMP if family is Family.IPV4 else Protocol.ICMPV6,
        OTHER,
    )


def _ports(probe: Probe, fresh: int) -> tuple[int, int]:
    """Source and destination port; for ICMP type and identifier. What is not said is fresh."""
    if probe.icmp_type is not None:
        return probe.icmp_type, fresh
    return probe.source or fresh, probe.destination or 0


def _course(probe: Probe) -> tuple[str, str, str, str]:
    """The machine that sends, by which device, its address, and where to."""
    device, family = DEVICES[probe.kind], probe.family
    there, ours = address(probe.seat, probe.kind, family), address(OWN_SEAT, probe.kind, family)
    inner = BEHIND if family is Family.IPV4 else BEHIND_6
    match probe.way:
        case Way.INTO:
            return _named(probe.seat), device, there, ours
        case Way.ROUTED:
            return _named(probe.seat), device, there, inner
        case Way.OUT_OF:
            return "host", device, ours, there
        case Way.FORWARDED:
            return "behind", "eth0", inner, there
        case Way.ACROSS:
            assert probe.other is not None
            return _named(probe.seat), device, there, address(probe.other, opposite(probe.kind), family)


def _named(seat: Seat) -> str:
    return f"seat-{EVERYBODY.index(seat)}"


def _mac(machine: int, device: int) -> str:
    return f"06:00:00:00:{machine:02x}:{device:02x}"


def _machines() -> list[Machine]:
    """The Host is number 0, the machine behind it 1, the seats follow."""
    gates = Nic("eth2", _mac(0, 2), "inner", (f"{_GATE}/24", f"{_GATE_6}/64"))
    metadata = (Route(f"{METADATA}/32"),)
    inner = (Route("0.0.0.0/0", _GATE), Route("::/0", _GATE_6))
    found = [
        Machine("host", (*_cards(OWN_SEAT, 0, metadata), gates)),
        Machine("behind", (Nic("eth0", _mac(1, 0), "inner", (f"{BEHIND}/24", f"{BEHIND_6}/64"), inner),)),
    ]
    return [
        *found,
        *(Machine(_named(seat), _cards(seat, number)) for number, seat in enumerate(EVERYBODY, 2)),
    ]


def _cards(seat: Seat, number: int, public: tuple[Route, ...] = ()) -> tuple[Nic, Nic]:
    private_routes = tuple(map(Route, _RANGES[InterfaceKind.PRIVATE]))
    public_routes = tuple(map(Route, _RANGES[InterfaceKind.PUBLIC]))
    also = (f"{METADATA}/32",) if seat is STRANGERS[-1] else ()
    return (
        Nic("eth1", _mac(number, 1), "private", (f"{seat.private}/32",), private_routes),
        Nic(
            "eth0",
            _mac(number, 0),
            "public",
            (f"{seat.public}/32", f"{seat.public_6}/128", *also),
            public_routes + public,
        ),
    )


def _settled(machine: str) -> list[str]:
    """Neighbours known for good, so that no Ruleset can cut them, and the ways through the Host."""
    if machine == "behind":
        return [f"neigh replace {gate} lladdr {_mac(0, 2)} dev eth0" for gate in (_GATE, _GATE_6)]
    if machine == "host":
        return [
            *(line for number, seat in enumerate(EVERYBODY, 2) for line in _neighbours(seat, number)),
            f"neigh replace {METADATA} lladdr {_mac(len(EVERYBODY) + 1, 0)} dev eth0",
            *(f"neigh replace {inner} lladdr {_mac(1, 0)} dev eth2" for inner in (BEHIND, BEHIND_6)),
        ]
    return [*_neighbours(OWN_SEAT, 0), *_through_the_host()]


def _neighbours(seat: Seat, number: int) -> list[str]:
    return [
        f"neigh replace {seat.private} lladdr {_mac(number, 1)} dev eth1",
        *(f"neigh replace {a} lladdr {_mac(number, 0)} dev eth0" for a in (seat.public, seat.public_6)),
    ]


def _through_the_host() -> list[str]:
    """Chosen by the device that a socket is bound to; worse than every direct way."""
    return [
        f"route add 172.17.0.0/24 via {OWN_SEAT.private} dev eth1 metric 500",
        f"route add 172.17.0.0/24 via {OWN_SEAT.public} dev eth0 metric 600",
        f"route add fd00:17::/64 via {OWN_SEAT.public_6} dev eth0 metric 600",
        f"route add default via {OWN_SEAT.private} dev eth1 metric 500",
        f"route add default via {OWN_SEAT.public} dev eth0 metric 600",
    ]


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)


def _switch() -> None:
    for name, value in _SWITCHES.items():
        Path("/proc/sys", name).write_text(value, encoding="ascii")


def told(probe: Probe) -> str:
    """For the message of a failure."""
    asked = "; ".join(
        f"{p.direction} {p.kind} {format_address(p.address)} {p.service} from {p.source} type {p.icmp_type}"
        for p in probe.questions()
    )
    return f"{probe.way.value}: {asked}"
