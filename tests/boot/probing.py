"""A peer and a stranger who send without pause, as frames at the far end of the private cable.

Law: a burst is read before the next is sent, so no buffer loses anything, and every packet that is
missing was dropped by a rule.
"""

import socket
import struct
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Self

from tests.daemon.machine import until
from tests.kernel.wires import checksum

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

PEERS_PORT, STRANGERS_PORT = 8000, 8001
STRANGER = "10.10.15.66"
_AT_ONCE = 8
_SECONDS = 10.0


def _frame(mac: str, source: str, to: str, port: int) -> bytes:
    """A UDP datagram without a checksum, as IPv4 allows."""
    ends = socket.inet_aton(source) + socket.inet_aton(to)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 29, 0, 0, 64, socket.IPPROTO_UDP, 0) + ends
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    ethernet = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("0401aabbccdd0800")
    return ethernet + head + struct.pack("!HHHH", 4000, port, 9, 0) + b"?"


def carries(machine: "Machine", end: str) -> bool:
    """Whether the kernel has seen the carrier; before that, the cable loses what is sent into it."""
    routes = machine.namespace.run("ip", "-6", "route", "show", "table", "all", "type", "multicast")
    return f"ff00::/8 dev {end} " in routes


class Prober:
    """Sends from the moment it is entered; `checked` counts of packets are asked for between phases."""

    def __init__(self, machine: "Machine", peer: str) -> None:
        own = str(machine.own.address("private"))
        call = machine.namespace.call
        machine.namespace.run("ip", "link", "set", "eth1-far", "up")
        for end in ("eth1", "eth1-far"):
            until(partial(carries, machine, end), 60, f"{end} up")
        self._servers = [call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for server, port in zip(self._servers, (PEERS_PORT, STRANGERS_PORT), strict=True):
            call(server.bind, (own, port))
            server.setblocking(False)
        self._cable = call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)
        self._cable.bind(("eth1-far", 0))
        mac = machine.own.private_mac
        self._frames = [_frame(mac, peer, own, PEERS_PORT), _frame(mac, STRANGER, own, STRANGERS_PORT)]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0
        self.arrived = [0, 0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for one in (*self._servers, self._cable):
            one.close()

    def stop(self) -> None:
        """Send no more; wait for what is on its way."""
        self._end.set()
        self._thread.join(_SECONDS)

    def more(self, bursts: int = 5) -> None:
        """Wait until so many bursts more have been sent."""
        wanted, end = self.sent + bursts * _AT_ONCE, time.monotonic() + 60
        while self.sent < wanted:
            assert time.monotonic() < end, "the prober stands still"
            time.sleep(0.001)

    @property
    def peers(self) -> int:
        """Packets of the peer that came in."""
        return self.arrived[0]

    @property
    def strangers(self) -> int:
        """Packets of the stranger that came in."""
        return self.arrived[1]

    def _run(self) -> None:
        while not self._end.is_set():
            for _ in range(_AT_ONCE):
                for frame in self._frames:
                    self._cable.send(frame)
            self.sent += _AT_ONCE
            self._read()
        end = time.monotonic() + 0.5
        while self.arrived[0] < self.sent and time.monotonic() < end:
            self._read()

    def _read(self) -> None:
        for index, server in enumerate(self._servers):
            self.arrived[index] += _waiting(server)


def _waiting(server: socket.socket) -> int:
    count = 0
    while True:
        try:
            server.recv(16)
        except BlockingIOError:
            return count
        count += 1
