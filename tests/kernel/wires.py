"""A Host on two networks, and everybody else: two namespaces, joined by a cable per network.

Peers and strangers are addresses of one namespace outside; who sends is which address a socket
is bound to. Sockets stay in the namespace that made them, whichever thread uses them.
"""

import select
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Self

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Policy
from droplan_daemon.policy.compile import compile_ruleset
from tests.conftest import Namespace
from tests.kernel.ground import Kernel, until
from tests.kernel.variants import BACKENDS

if TYPE_CHECKING:
    from types import TracebackType

    from droplan_daemon.model.ruleset import Ruleset
    from tests.kernel.variants import Make

HOST, PEER, OTHER, STRANGER = "10.110.0.2", "10.110.0.3", "10.110.0.4", "10.110.0.66"
HOST_PUBLIC, PEER_PUBLIC, STRANGER_PUBLIC = "203.0.113.2", "203.0.113.3", "203.0.113.66"
HOST_6, PEER_6, STRANGER_6 = "2001:db8::2", "2001:db8::3", "2001:db8::66"
VPC = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"
PRIVATE_RULES, PUBLIC_RULES = "private-in", "public-in"

IN_TIME = 10.0
"""Seconds for what must arrive; a busy machine may need them."""
IN_VAIN = 0.15
"""Seconds to wait for what must not."""

_HOST = Host(1, private="eth1", public="eth0")
_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # echo request, echo reply


def droplet(number: int, private: str, public: str, public_6: str) -> Droplet:
    found = tuple(map(parse_address, (public, public_6)))
    return Droplet(number, f"d{number}", vpc=VPC, private=(parse_address(private),), public=found)


OWN = droplet(1, HOST, HOST_PUBLIC, HOST_6)
THE_PEER = droplet(2, PEER, PEER_PUBLIC, PEER_6)
THE_OTHER = droplet(3, OTHER, "203.0.113.4", "2001:db8::4")


def fleet(*droplets: Droplet) -> Fleet:
    return Fleet(tuple(sorted((OWN, *droplets), key=lambda found: found.id)))


def compiled(policy: Policy, *peers: Droplet) -> "Ruleset":
    return compile_ruleset(policy, fleet(*peers), _HOST, OWN)


class Wires:
    """The two namespaces, and sockets in them."""

    def __init__(self, make: "Make" = BACKENDS["nftables"]) -> None:
        self._stack = ExitStack()
        # Where both ends of a cable have the same index the kernel looks at its carrier up to a second later.
        self._indexes = count(100)
        self.host = self._namespace()
        self.outside = self._namespace()
        self.kernel = Kernel(self.host, make=make)
        self._stack.callback(self.kernel.close)
        self._cable("eth1", (f"{HOST}/24",), (f"{PEER}/24", f"{OTHER}/24", f"{STRANGER}/24"))
        everybody = (f"{PEER_PUBLIC}/24", f"{STRANGER_PUBLIC}/24", f"{PEER_6}/64", f"{STRANGER_6}/64")
        self._cable("eth0", (f"{HOST_PUBLIC}/24", f"{HOST_6}/64"), everybody)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self._stack.close()

    def _namespace(self) -> Namespace:
        made = Namespace()
        self._stack.callback(made.close)
        made.run("ip", "link", "set", "lo", "up")
        return made

    def _cable(self, name: str, inner: tuple[str, ...], outer: tuple[str, ...]) -> None:
        self.join(name, self.host, inner, self.outside, outer)

    def join(
        self, name: str, one: Namespace, inner: tuple[str, ...], other: Namespace, outer: tuple[str, ...]
    ) -> None:
        """A cable of this name at both ends, with these addresses; it carries packets when this returns."""
        here, there = str(next(self._indexes)), str(other.call(threading.get_native_id))
        pair = ("type", "veth", "peer", "name", name, "netns", there)
        one.run("ip", "link", "add", name, "index", here, *pair)
        for end, addresses in ((one, inner), (other, outer)):
            for address in addresses:
                words = ("nodad",) if ":" in address else ()
                end.run("ip", "address", "add", address, "dev", name, *words)
            end.run("ip", "link", "set", name, "up")
        for end in (one, other):
            assert until(partial(_carries, end, name), 30.0), f"{name} does not come up"

    def third(self) -> Namespace:
        """One more namespace, with nothing in it."""
        return self._namespace()

    def open(self, where: Namespace, kind: int, address: str, port: int = 0) -> socket.socket:
        """A bound socket of that namespace; a listening one if it is TCP with a port."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = where.call(socket.socket, family, kind)
        self._stack.callback(made.close)
        made.settimeout(IN_TIME)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        where.call(made.bind, (address, port))
        if kind == socket.SOCK_STREAM and port:
            made.listen()
        return made

    def connected(
        self, source: str, to: str, port: int, *, where: Namespace | None = None, wait: float = IN_TIME
    ) -> socket.socket | None:
        """A TCP connection from outside (or `where`), or None when nobody answered in time."""
        made = self.open(where or self.outside, socket.SOCK_STREAM, source)
        made.settimeout(wait)
        with suppress(TimeoutError):
            made.connect((to, port))
            made.settimeout(IN_TIME)
            return made
        made.close()
        return None

    def tcp(self, source: str, to: str, port: int, *, through: bool = True) -> bool:
        """Whether a TCP handshake from outside succeeds."""
        made = self.connected(source, to, port, wait=IN_TIME if through else IN_VAIN)
        if made is None:
            return False
        made.close()
        return True

    def udp(self, source: str, server: socket.socket, *, port: int = 0, through: bool = True) -> bool:
        """Whether a datagram from outside reaches this server."""
        sender = self.open(self.outside, socket.SOCK_DGRAM, source, port)
        token = str(time.monotonic_ns()).encode()
        sender.sendto(token, server.getsockname()[:2])
        sender.close()
        return token in received(server, 1, IN_TIME if through else IN_VAIN)

    def ping(self, source: str, to: str, *, where: Namespace | None = None, through: bool = True) -> bool:
        """Whether an echo request is answered."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if ":" in to else socket.IPPROTO_ICMP
        with (where or self.outside).call(socket.socket, family, socket.SOCK_RAW, protocol) as raw:
            raw.bind((source, 0))
            number = time.monotonic_ns() & 0xFFFF
            request, reply = _ECHO[family]
            raw.sendto(icmp(request, 0, struct.pack("!HH", number, 1), family), (to, 0))
            end = time.monotonic() + (IN_TIME if through else IN_VAIN)
            while select.select([raw], [], [], max(0, end - time.monotonic()))[0]:
                data = raw.recv(2048)
                body = data if family == socket.AF_INET6 else data[20:]
                if body[0] == reply and body[4:6] == struct.pack("!H", number):
                    return True
        return False

    def count(self, rule: str, chain: str = PRIVATE_RULES) -> int:
        """Packets that a rule has counted."""
        return self.kernel.observation().counters[chain, rule]


def _carries(end: Namespace, name: str) -> bool:
    """Whether the kernel has seen the carrier: before that, multicast finds no route there.

    A neighbour solicitation is multicast; one that is lost is repeated after a second.
    """
    routes = end.run("ip", "-6", "route", "show", "table", "all", "type", "multicast")
    return f"ff00::/8 dev {name} " in routes


def icmp(kind: int, code: int, rest: bytes, family: int = socket.AF_INET) -> bytes:
    """An ICMP message; the kernel fills in the checksum of ICMPv6."""
    found = struct.pack("!BBH", kind, code, 0) + rest
    if family == socket.AF_INET6:
        return found
    return found[:2] + struct.pack("!H", checksum(found)) + found[4:]


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1])) + (
        data[-1] << 8 if len(data) & 1 else 0
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def received(server: socket.socket, most: int, wait: float) -> list[bytes]:
    """Up to so many datagrams that arrive in time."""
    found: list[bytes] = []
    end = time.monotonic() + wait
    while len(found) < most and select.select([server], [], [], max(0, end - time.monotonic()))[0]:
        found.append(server.recv(65536))
    return found
