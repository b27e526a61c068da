"""Law 1 of the design: the kernel holds exactly the previous Ruleset or the next one.

While two hundred transactions change a thousand things each, a standing peer loses nothing and a
stranger gains nothing: any moment in between would let a packet through, or lose one.
"""

import os
import socket
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import CommitRejected
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.plan import CreateTable, DeleteChain, DeleteTable, Plan
from droplan_daemon.model.policy import Policy
from droplan_daemon.model.ruleset import Action, Protocol, Rule, Transport, Verdict
from tests.kernel.ground import hosts, until
from tests.kernel.wires import HOST, PEER, STRANGER, THE_PEER, Wires, compiled

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Ruleset

pytestmark = pytest.mark.kernel

COMMITS = 200
FULL = "DROPLAN_TEST_FULL" in os.environ
CHANGES = 1_000
PORT = 8000
_AT_ONCE = 32


def _shape(number: int) -> "Ruleset":
    """The policy with 500 of other peers, all of them others than in the shape before; rules differ too."""
    found = compiled(Policy(), THE_PEER)
    others = hosts(f"10.{1 + number % 50}.0.0", CHANGES // 2) | {parse_address(PEER)}
    # Every twentieth time the set's schema changes, which makes a new table in the same transaction.
    size = 16_384 << (number // 20 % 2)
    peers = replace(found.sets["private-peers-4"], elements=others, capacity=size)
    judge = found.chains["private-in"]
    extra = Rule(
        f"extra {number % 3}",
        (Transport(Protocol.TCP, None, (9, 9)),),
        counter=True,
        verdict=Verdict(Action.DROP),
    )
    rules = (*judge.rules[: number % 3], extra, *judge.rules[number % 3 :])
    return replace(
        found,
        sets={"private-peers-4": peers},
        chains=found.chains | {"private-in": replace(judge, rules=rules)},
    )


@dataclass
class Flood:
    """A peer and a stranger who send as fast as they are received."""

    wires: Wires
    sent: int = 0
    arrived: int = 0
    strangers: int = 0

    def run(self, end: threading.Event) -> None:
        """Until the end, bursts from both, each read before the next is sent."""
        server, forbidden = (
            self.wires.open(self.wires.host, socket.SOCK_DGRAM, HOST, p) for p in (PORT, PORT + 1)
        )
        peer = self.wires.open(self.wires.outside, socket.SOCK_DGRAM, PEER)
        stranger = self.wires.open(self.wires.outside, socket.SOCK_DGRAM, STRANGER)
        server.setblocking(False)
        forbidden.setblocking(False)
        while not end.is_set():
            for _ in range(_AT_ONCE):
                peer.sendto(b"peer", (HOST, PORT))
                stranger.sendto(b"stranger", (HOST, PORT + 1))
            self.sent += _AT_ONCE
            self._read(server, forbidden)
        until(lambda: self._read(server, forbidden) or self.sent == self.arrived)

    def _read(self, server: socket.socket, forbidden: socket.socket) -> bool:
        self.arrived += _waiting(server)
        self.strangers += _waiting(forbidden)
        return False


def _waiting(server: socket.socket) -> int:
    count = 0
    while True:
        try:
            server.recv(100)
        except BlockingIOError:
            return count
        count += 1


class Echo:
    """A TCP flow of the peer: every byte comes back."""

    def __init__(self, wires: Wires) -> None:
        listening = wires.open(wires.host, socket.SOCK_STREAM, HOST, PORT)
        far = wires.connected(PEER, HOST, PORT)
        assert far is not None
        self.far, self.near = far, listening.accept()[0]
        self.near.settimeout(2)

    def __call__(self) -> None:
        self.far.send(b"?")
        assert b"?" == self.near.recv(1)
        self.near.send(b"!")
        assert b"!" == self.far.recv(1)

    def retransmitted(self) -> int:
        """Segments that had to be sent again, at either end (tcpi_total_retrans, linux/tcp.h)."""
        infos = (end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104) for end in (self.far, self.near))
        return sum(int.from_bytes(info[100:104], "little") for info in infos)


@pytest.mark.fault("D24")
def test_two_hundred_commits_lose_and_gain_no_packet(wires: Wires) -> None:
    """During 200 commits of 1,000 changes a peer loses 0 packets of UDP or TCP; a stranger gets 0 in.

    With iptables a commit takes longer: 25 of them, but for a full run.
    """
    commits = COMMITS if FULL or wires.kernel.backend.name == "nftables" else 25
    wires.kernel.become(_shape(0))
    echo, flood, end = Echo(wires), Flood(wires), threading.Event()
    sender = threading.Thread(target=flood.run, args=(end,))
    sender.start()
    try:
        for number in range(1, commits + 1):
            plan = wires.kernel.become(_shape(number))
            assert plan
            echo()
    finally:
        end.set()
        sender.join()
    assert (flood.sent, 0, 0) == (flood.arrived, flood.strangers, echo.retransmitted())
    assert flood.sent > 10 * commits
    echo.near.close()


@pytest.mark.fault("D7")
def test_a_refused_commit_loses_and_gains_no_packet(wires: Wires) -> None:
    """A transaction that begins by removing everything and then fails never removed anything."""
    wires.kernel.become(_shape(0))
    echo, flood, end = Echo(wires), Flood(wires), threading.Event()
    wrong = Plan((DeleteTable(), CreateTable("x"), DeleteChain("nowhere")))
    sender = threading.Thread(target=flood.run, args=(end,))
    sender.start()
    try:
        for _ in range(50):
            with pytest.raises(CommitRejected):
                wires.kernel.commit(wrong)
            echo()
    finally:
        end.set()
        sender.join()
    assert (flood.sent, 0, 0) == (flood.arrived, flood.strangers, echo.retransmitted())
    assert _shape(0) == wires.kernel.holds()
    echo.near.close()
