"""What standing peers notice of the daemon's life: nothing, not one packet of millions."""

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.daemon.flood import Flood
from tests.daemon.machine import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.model.ruleset import Ruleset
    from tests.daemon.machine import Machine, Running

pytestmark = pytest.mark.kernel

FULL = os.environ.get("DROPLAN_TEST_FULL") == "1"
ROUNDS, COMMITS, PACKETS = (40, 25, 10_000_000) if FULL else (4, 25, 1_000_000)
"""Rounds, commits in each of them, packets in all of them together."""

# Nothing of this by itself shuts a standing peer out; each is put right by another commit.
TAMPERING = (
    "delete element inet droplan private-peers-4 { $BYSTANDER }",
    "add element inet droplan private-peers-4 { 192.0.2.66 }",
    "add rule inet droplan inbound accept",
    "insert rule inet droplan private-in accept",
    "add set inet droplan mine { type ipv4_addr; }",
    "table inet droplan { flags dormant; }",
    "delete table inet droplan",
)


class Life:
    """A daemon that is killed, ended, started again, told other things, and meddled with."""

    def __init__(self, machine: "Machine") -> None:
        self.commits = self.starts = self.repairs = 0
        self._machine = machine
        machine.world.add_droplet("bystander", vpc=machine.vpc.id)
        self._running = self._started()

    def passing(self) -> None:
        """A Droplet comes, and the one before it goes: two commits."""
        world, commits = self._machine.world, self.commits
        came = world.add_droplet(f"passing-{commits}", vpc=self._machine.vpc.id)
        self._looks()
        address = str(came.address("private"))
        until(lambda: address in self._machine.peers, 60, "it comes")
        world.destroy_droplet(came.id)
        self._looks()
        until(lambda: address not in self._machine.peers, 60, "it goes")
        self.commits += 2

    def reloads(self, more: str) -> None:
        """Another policy: other rules."""
        before = self._machine.observe().ruleset
        self._machine.write(more, interval="1h")
        self._running.process.send_signal(signal.SIGHUP)
        until(lambda: self._machine.observe().ruleset != before, 60, "other rules")
        self.commits += 1

    def restarts(self, number: int) -> None:
        """It ends in this way, and is started again."""
        standing = self._ruleset()
        self._running.end(number)
        assert standing == self._ruleset()
        self._running = self._started()

    def meddles(self, script: str) -> None:
        """Somebody writes into our table; it is put right."""
        standing = self._ruleset()
        (address,) = self._machine.addresses("bystander")
        self._machine.namespace.run("nft", "-f", "-", text=script.replace("$BYSTANDER", address))
        until(lambda: self._machine.observe().ruleset == standing, 90, f"repair: {script}")
        self.repairs += 1

    def ends(self) -> None:
        """Told to stop."""
        assert 0 == self._running.end(signal.SIGTERM)

    def _started(self) -> "Running":
        self._machine.write(interval="1h")
        running = self._machine.start(log=f"log-{self.starts}")
        running.ready(seconds=90)
        self.starts += 1
        return running

    def _looks(self) -> None:
        self._running.process.send_signal(signal.SIGUSR1)

    def _ruleset(self) -> "Ruleset":
        found = self._machine.observe().ruleset
        assert found is not None
        return found


@pytest.mark.timeout(1500 if FULL else 300)
@pytest.mark.fault("G1", "G6")
def test_standing_peers_lose_no_packet(machine: "Machine", figure: "Callable[[str], None]") -> None:
    """Droplets pass by, policies change, the daemon ends and starts, others meddle: every packet arrives."""
    life = Life(machine)
    with Flood(machine) as flood:
        for number in range(ROUNDS):
            life.restarts(signal.SIGKILL if number % 2 else signal.SIGTERM)
            life.meddles(TAMPERING[number % len(TAMPERING)])
            life.reloads('[log]\ndenied = "off"')
            while life.commits < (number + 1) * COMMITS:
                life.passing()
        flood.until(PACKETS)
    life.ends()
    assert 0 == flood.lost
    figure(
        f"packets of standing peers lost: 0 of {flood.sent - flood.overflown:,} over {life.commits:,} "
        f"commits, {life.starts - 1} restarts and {life.repairs} repairs"
    )


def test_the_flood_sees_a_gap(machine: "Machine") -> None:
    """What the test above would miss otherwise: a peer is out for a hundred packets, and nobody repairs."""
    running = machine.start()
    running.ready()
    assert 0 == running.end(signal.SIGTERM)
    (peer,) = machine.addresses("web-2")
    element = f"element inet droplan private-peers-4 {{ {peer} }}"
    with Flood(machine) as flood:
        flood.more(1_000)
        machine.namespace.run("nft", "delete", element)
        flood.more(100)
        machine.namespace.run("nft", "add", element)
        flood.more(1_000)
    assert flood.lost > 0
