"""Machines on wires: namespaces joined by bridges.

Laws:
1. A *segment* is a bridge in the provider's namespace; a *machine* is a namespace with one end
   of a veth pair in it for each of its network cards, the other end plugged into a segment.
2. Machines come and go while others talk; adding or removing one touches no other.
3. There is no way out: no namespace has a link to the world outside.

It is told what to build in values (`Machine`, `Nic`) and knows nothing of DigitalOcean.
"""

import errno
import time
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Interface, ip_interface, ip_network
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from droplan_daemon.errors import Fatal, KernelUnsupported

from .netns import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/if_addr.h: usable at once. Duplicate detection would keep an IPv6 address silent for a second or two.
IFA_F_NODAD = 0x02

# linux/rtnetlink.h: the destination is on the wire itself.
RT_SCOPE_LINK = 253

_CARRIER_DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class Route:
    """A way to `destination` (a prefix): through the router `via`, or straight on the wire (None)."""

    destination: str
    via: str | None = None


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card: name inside the machine, MAC, the segment it is plugged into.

    `addresses` carry their prefix length (`203.0.113.11/24`, `2001:db8::11/64`).
    """

    name: str
    mac: str
    segment: str
    addresses: tuple[str, ...]
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer: its name, which is unique in the topology, and its cards."""

    name: str
    nics: tuple[Nic, ...]


class Topology:
    """The wires and what hangs on them. A context manager; leaving it removes everything."""

    def __init__(self) -> None:
        self.provider = Namespace("provider")
        self._open = True
        self._ports = count()
        self._segments: dict[str, str] = {}
        self._machines: dict[str, tuple[Namespace, tuple[str, ...]]] = {}
        try:
            self.provider.call(_wake)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove every machine and every segment; closing twice is closing once."""
        for name in tuple(self._machines):
            self.remove(name)
        if self._open:
            self._open = False
            self.provider.close()

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments' names."""
        return tuple(self._segments)

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines' names, in the order in which they came."""
        return tuple(self._machines)

    def namespace(self, machine: str) -> Namespace:
        """The namespace of a machine; KeyError when there is none of this name."""
        return self._machines[machine][0]

    def add_segment(
        self,
        name: str,
        addresses: tuple[str, ...] = (),
        routes: tuple[Route, ...] = (),
        *,
        routed: bool = False,
    ) -> None:
        """Lay a wire; `addresses` (with prefix length) and `routes` are the provider's own on it.

        `routed`: the provider passes on what comes from this wire for another one.
        """
        number = len(self._segments)
        bridge, mac = f"wire{number}", f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        self.provider.call(_lay, bridge, mac)
        self.provider.call(_configure, Nic(bridge, mac, name, addresses, routes))
        if routed:
            self.provider.call(_switch, f"net/ipv4/conf/{bridge}/forwarding", "1")
        self._segments[name] = bridge

    def add(self, machine: Machine) -> Namespace:
        """Build a machine and plug it in. Raises ValueError when the name is taken."""
        if machine.name in self._machines:
            raise ValueError(f"there is a machine named {machine.name} already")
        inside = Namespace(machine.name)
        ports: list[str] = []
        try:
            inside.call(_wake)
            for nic in machine.nics:
                ports.append(f"port{next(self._ports)}")
                bridge = self._segments[nic.segment]
                self.provider.call(_plug, ports[-1], bridge, nic, inside.fd)
                inside.call(_configure, nic)
                inside.call(_await_carrier, nic.name)
                self.provider.call(_await_carrier, ports[-1], bridge)
        except BaseException:
            self._unplug(tuple(ports))
            inside.close()
            raise
        self._machines[machine.name] = inside, tuple(ports)
        return inside

    def remove(self, name: str) -> None:
        """Switch a machine off: its cards are gone at once, its programs are killed."""
        inside, ports = self._machines.pop(name)
        # The kernel takes a namespace apart in its own time; the wire is cut here and now.
        self._unplug(ports)
        inside.close()

    def _unplug(self, ports: tuple[str, ...]) -> None:
        for port in ports:
            self.provider.call(_delete_link, port)


@contextmanager
def _links() -> "Iterator[Any]":
    try:
        with IPRoute() as links:
            yield links
    except NetlinkError as error:
        if error.code == errno.EOPNOTSUPP:
            raise KernelUnsupported(
                "This kernel lacks veth or bridge links, of which the lab is made: use a stock one.",
                feature="veth, bridge",
            ) from error
        raise Fatal(f"The kernel refused a link of the lab: {error.args[-1]}.") from error


def _index(links: Any, name: str) -> int:
    found: list[int] = links.link_lookup(ifname=name)
    return found[0]


def _wake() -> None:
    # Else Linux answers for any address of its own on any wire, and the private network leaks.
    _switch("net/ipv4/conf/all/arp_ignore", "1")
    with _links() as links:
        links.link("set", index=_index(links, "lo"), state="up")


def _switch(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(value, encoding="ascii")


def _lay(bridge: str, mac: str) -> None:
    with _links() as links:
        # Snooping would drop neighbour solicitations until it has seen a querier, and there is none.
        # Without a MAC of its own a bridge takes that of a port, another one when ports come and go.
        links.link("add", ifname=bridge, kind="bridge", br_mcast_snooping=0, address=mac)


def _plug(port: str, bridge: str, nic: Nic, namespace: int) -> None:
    with _links() as links:
        peer = {"ifname": nic.name, "address": nic.mac, "net_ns_fd": namespace}
        links.link("add", ifname=port, kind="veth", peer=peer)
        links.link("set", index=_index(links, port), master=_index(links, bridge), state="up")


def _configure(nic: Nic) -> None:
    # Router advertisements and solicitations are noise that a capture of the lab should not show.
    _switch(f"net/ipv6/conf/{nic.name}/accept_ra", "0")
    with _links() as links:
        index = _index(links, nic.name)
        _assign(links, index, nic.addresses)
        links.link("set", index=index, state="up")
        for route in nic.routes:
            _route(links, index, route)


def _await_carrier(*names: str) -> None:
    # A card that is up sends into nothing until the kernel's link watch has run, which can take a
    # second on a busy machine (net/core/link_watch.c); the first SYN would be lost.
    deadline = time.monotonic() + _CARRIER_DEADLINE
    with _links() as links:
        for name in names:
            index = _index(links, name)
            while links.link("get", index=index)[0].get_attr("IFLA_OPERSTATE") != "UP":
                if time.monotonic() > deadline:
                    raise Fatal(
                        f"The kernel did not bring up the lab's link {name}: this machine is too busy."
                    )
                time.sleep(0.001)


def _assign(links: Any, index: int, addresses: tuple[str, ...]) -> None:
    for interface in map(ip_interface, addresses):
        flags = {"flags": IFA_F_NODAD} if isinstance(interface, IPv6Interface) else {}
        length = interface.network.prefixlen
        links.addr("add", index=index, address=str(interface.ip), prefixlen=length, **flags)


def _route(links: Any, index: int, route: Route) -> None:
    destination = str(ip_network(route.destination))
    way = {"scope": RT_SCOPE_LINK} if route.via is None else {"gateway": route.via}
    links.route("add", dst=destination, oif=index, **way)


def _delete_link(name: str) -> None:
    with _links() as links:
        links.link("del", ifname=name)
