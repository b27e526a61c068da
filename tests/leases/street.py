"""The network in front of a Droplet's private interface, and a stranger there who knocks all the time.

Every knock has a number, and the moment at which it was sent is written down before it is. So what is
known is when the last knock was let in, and that does not depend on how busy the machine is.
"""

import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from tests.daemon.machine import until

if TYPE_CHECKING:
    from tests.conftest import Namespace
    from tests.daemon.machine import Machine

STRANGER = "10.10.0.200"
PORT = 7000
OPEN = f"""
[[allow]]
name = "knocks"
from = "any"
ports = ["{PORT}/udp"]
"""
"""What lets the stranger in; without it only peers are."""

_EVERY = 0.005
_NUMBER = struct.Struct("!I")


class Street:
    """Knocks, and who opened: `sent` has the moment (monotonic) of each, `heard` those that got in."""

    def __init__(self, machine: "Machine", outside: "Namespace") -> None:
        self.sent: list[float] = []
        self.heard: set[int] = set()
        self._machine = machine
        self._outside = outside
        self._over = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        host, outside = self._machine.namespace, self._outside
        there = str(outside.call(threading.get_native_id))
        host.run("ip", "link", "set", "eth1-far", "netns", there)
        outside.run("ip", "address", "add", f"{STRANGER}/20", "dev", "eth1-far")
        outside.run("ip", "link", "set", "eth1-far", "up")
        address = str(self._machine.own.address("private"))
        ear = host.call(_bound, address, PORT)
        mouth = outside.call(_bound, STRANGER, 0)
        for one in (ear, mouth):
            self._stack.callback(one.close)
        for work in (self._listen, self._knock):
            thread = threading.Thread(target=work, args=(ear if work == self._listen else mouth, address))
            thread.start()
            self._stack.callback(thread.join, 10)
        self._stack.callback(self._over.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def now(self) -> int:
        """The number of the next knock."""
        return len(self.sent)

    def open(self, since: int | None = None) -> None:
        """Wait until the stranger is let in, or was since a knock: a lease may be over by now."""
        begun = self.now if since is None else since
        until(lambda: self.opened(begun), what="the stranger to be let in")

    def opened(self, since: int) -> bool:
        """Whether any knock was let in from this number on."""
        return any(number >= since for number in self.heard)

    def shut(self) -> None:
        """Wait until none of twenty-five knocks in a row is let in."""
        until(self._shut, what="the stranger to be kept out")

    def _shut(self) -> bool:
        begun = len(self.sent)
        until(lambda: len(self.sent) >= begun + 25)
        time.sleep(0.05)  # the last of them may be on its way
        return not self.opened(begun)

    @property
    def last(self) -> float:
        """When the last knock that was let in was sent (monotonic)."""
        return self.sent[max(self.heard)] if self.heard else 0.0

    def _listen(self, ear: socket.socket, _: str) -> None:
        ear.settimeout(0.1)
        while not self._over.is_set():
            with suppress(TimeoutError):
                self.heard.add(_NUMBER.unpack(ear.recv(16))[0])

    def _knock(self, mouth: socket.socket, address: str) -> None:
        while not self._over.is_set():
            self.sent.append(time.monotonic())
            with suppress(OSError):  # nobody listens yet, or nobody knows the way
                mouth.sendto(_NUMBER.pack(len(self.sent) - 1), (address, PORT))
            time.sleep(_EVERY)


def _bound(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    return made
