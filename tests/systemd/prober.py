"""Runs outside of the machine under test: knocks and asks without pause, and writes down what came of it.

    prober.py RECORD NAME,KIND,SOURCE,TARGET,PORT ...

KIND is `tcp` (a connection attempt), `udp` (a numbered datagram that is to come back, always from the same
port) or `fresh` (the same from another port each time: nothing that the kernel tracks is carried on). RECORD
gets one line for each event, `monotonic seconds, event, name, number`; the events are `sent`, `answer` (a
connection, or a reset: whatever it is, somebody answered), `echo`, and `error`.

Standard library only: it is a process of its own, so that nothing in the tests can stop it for a while.
"""

import selectors
import socket
import struct
import sys
import time
from contextlib import suppress

EVERY = 0.02
PATIENCE = 0.8
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Probe:
    """One source, target and kind."""

    def __init__(self, text: str, ready: selectors.BaseSelector, record) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
        self.name, self.kind, self.source, self.target, port = text.split(",")
        self.port = int(port)
        self.number = 0
        self._ready = ready
        self._record = record
        self._waiting: dict[int, tuple[socket.socket, float]] = {}
        self._udp = self._open_udp(0) if self.kind == "udp" else None

    def note(self, event: str, number: int) -> None:
        self._record.write(f"{time.monotonic():.6f} {event} {self.name} {number}\n")

    def probe(self) -> None:
        self.number += 1
        try:
            if self._udp:
                self.note("sent", self.number)
                self._udp.sendto(str(self.number).encode(), (self.target, self.port))
            elif self.kind == "fresh":
                self._ask(self._open_udp(self.number))
            else:
                self._knock()
        except OSError:
            self.note("error", self.number)

    def _open_udp(self, number: int) -> socket.socket:
        opened = socket.socket(socket.AF_INET6 if ":" in self.source else socket.AF_INET, socket.SOCK_DGRAM)
        # One after the other, and below those that the kernel gives out by chance.
        opened.bind((self.source, 20_000 + number % 10_000 if number else 0))
        opened.setblocking(False)
        self._ready.register(opened, selectors.EVENT_READ, (self, number))
        return opened

    def _ask(self, asking: socket.socket) -> None:
        self._waiting[self.number] = asking, time.monotonic()
        self.note("sent", self.number)
        asking.sendto(str(self.number).encode(), (self.target, self.port))

    def _knock(self) -> None:
        knocking = socket.socket(socket.AF_INET6 if ":" in self.source else socket.AF_INET)
        knocking.setblocking(False)
        knocking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._waiting[self.number] = knocking, time.monotonic()
        self._ready.register(knocking, selectors.EVENT_WRITE, (self, self.number))
        knocking.bind((self.source, 0))
        self.note("sent", self.number)
        with suppress(BlockingIOError):
            knocking.connect((self.target, self.port))

    def heard(self, number: int) -> None:
        if self._udp:
            with suppress(OSError):
                data, sender = self._udp.recvfrom(2048)
                if sender[0] == self.target:
                    self.note("echo", int(data))
            return
        waiting = self._waiting.get(number)
        if waiting and self.kind == "fresh":
            self.note("echo", number)
            self._forget(number)
        elif waiting:
            wrong = waiting[0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            answered = wrong in {0, 104, 111}  # ECONNRESET, ECONNREFUSED
            self.note("answer" if answered else "error", number)
            self._forget(number)

    def tidy(self, now: float) -> None:
        """Give up what nobody answered: before a second SYN leaves, for a lost one counts."""
        for number in [n for n, (_, since) in self._waiting.items() if since < now - PATIENCE]:
            self._forget(number)

    def _forget(self, number: int) -> None:
        knocking, _ = self._waiting.pop(number)
        self._ready.unregister(knocking)
        knocking.close()


def main() -> None:
    ready = selectors.DefaultSelector()
    with open(sys.argv[1], "w", buffering=1) as record:  # noqa: PTH123
        probes = [Probe(text, ready, record) for text in sys.argv[2:]]
        due = time.monotonic()
        while True:
            for key, _ in ready.select(max(0.0, due - time.monotonic())):
                key.data[0].heard(key.data[1])
            now = time.monotonic()
            if now >= due:
                due = max(due + EVERY, now)
                # What is there already was heard above, however long this process had to wait for its turn.
                for probe in probes:
                    probe.tidy(now)
                    probe.probe()


if __name__ == "__main__":
    main()
