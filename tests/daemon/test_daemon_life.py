"""The real daemon from start to end: what it tells systemd, and what stays in the kernel."""

import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.delivery import BlackHole
from droplan_daemon.lab.faults import Deliver, Fault, Status
from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel

AT_ONCE = 10.0
"""Seconds: long for a busy machine, and less than any poll may last."""


@pytest.mark.fault("G10")
def test_ready_comes_after_the_rules(machine: "Machine") -> None:
    """When READY arrives, the kernel holds the peers already, and the status says who and on what budget."""
    running = machine.start()
    running.ready()
    assert machine.addresses(*PEERS) == machine.peers
    expected = r"enforcing 3 peers \(vpc lab\), last good poll \d+ s ago, budget [\d,]+/[\d,]+, next in \d+ s"
    assert re.fullmatch(expected, running.told("STATUS")[-1])
    assert [machine.status["ready"], machine.status["error"]] == [True, None]


@pytest.mark.fault("G10")
def test_no_ready_without_an_answer(machine: "Machine") -> None:
    """While the API answers 503 there is no READY and no table; with its first good answer there is."""
    machine.cloud.faults.add(Fault(Status(503)))
    running = machine.start()
    running.says("not enforcing yet, now failing: The API at 127.0.0.1 answered 503")
    assert ([], None) == (running.told("READY"), machine.observe().ruleset)
    machine.cloud.faults.clear()
    running.ready()
    assert machine.addresses(*PEERS) == machine.peers


@pytest.mark.fault("G2")
def test_sigterm_ends_it_and_the_rules_stand(machine: "Machine") -> None:
    """Exit 0, STOPPING told, the same table as before."""
    running = machine.start()
    running.ready()
    before = machine.observe()
    assert 0 == running.end(signal.SIGTERM)
    after = machine.observe()
    assert (before.ruleset, before.generation) == (after.ruleset, after.generation)
    assert ["1"] == running.told("STOPPING")
    assert running.lines("daemon.stopped")[0].endswith("rules=kept")


@pytest.mark.fault("B1", "G2")
def test_sigterm_does_not_wait_for_a_silent_api(machine: "Machine") -> None:
    """An answer that never comes does not keep the daemon from ending at once."""
    running = machine.start()
    running.ready()
    machine.cloud.faults.add(Fault(Deliver(BlackHole())))
    machine.polled()
    assert 0 == running.end(signal.SIGTERM, AT_ONCE)
    assert machine.addresses(*PEERS) == machine.peers


@pytest.mark.fault("G1")
def test_killed_and_restarted_it_writes_nothing(machine: "Machine") -> None:
    """SIGKILL leaves the table; the next start finds it as desired and commits nothing."""
    first = machine.start()
    first.ready()
    first.end(signal.SIGKILL)
    generation = machine.generation
    assert machine.addresses(*PEERS) == machine.peers
    second = machine.start()
    second.ready()
    assert generation == machine.generation


def test_the_same_world_again_writes_nothing(machine: "Machine") -> None:
    """Poll after poll over the same world leaves the generation and the log alone."""
    running = machine.start()
    running.ready()
    generation, lines, spent = machine.generation, len(running.log), running.told("STATUS")[-1]
    machine.polled(12)  # a poll is two requests or three
    until(lambda: running.status != spent)
    assert (generation, lines) == (machine.generation, len(running.log))


def test_who_comes_and_goes_is_named(machine: "Machine") -> None:
    """A new Droplet is let in, a destroyed one shut out, and the log has one line for each."""
    running = machine.start()
    running.ready()
    made = machine.world.add_droplet("web-3", vpc=machine.vpc.id, tags=("web",))
    gone = machine.droplet("mysql-1")
    machine.world.destroy_droplet(gone.id)
    expected = {made.address("private"), *machine.addresses("tunnel-1", "web-2")}
    until(lambda: machine.peers == expected)
    running.logs("peer.left")
    joined, left = running.lines("peer.joined"), running.lines("peer.left")
    said = [line.partition("peer.")[2] for line in (*joined, *left)]
    assert [
        f"joined  peer=web-3 id={made.id} address={made.address('private')} tags=web".replace("  ", " "),
        f"left peer=mysql-1 id={gone.id} address={gone.address('private')}",
    ] == said


def test_a_normal_day_is_a_short_log(machine: "Machine") -> None:
    """Start, one peer more, end: five lines."""
    running = machine.start()
    running.ready()
    machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    running.logs("peer.joined")
    running.end(signal.SIGTERM)
    events = [line.split()[2] for line in running.log]
    assert ["daemon.started", "peers.known", "daemon.ready", "peer.joined", "daemon.stopped"] == events


@pytest.mark.fault("C1")
def test_it_knows_who_it_is_without_metadata(machine: "Machine") -> None:
    """What the metadata service said at the first start serves the second one, when it is silent."""
    first = machine.start()
    first.ready()
    first.end(signal.SIGTERM)
    machine.metadata.faults.add(Fault(Status(503)))
    for name in ("eth0", "eth1"):  # nor are there addresses to tell by
        machine.namespace.run("ip", "address", "flush", "dev", name)
    second = machine.start()
    second.ready()
    world = machine.status["world"]
    assert isinstance(world, dict)
    assert ("state", {"private": "eth1", "public": "eth0"}) == (world["host_known_by"], world["interfaces"])


def test_without_memory_metadata_or_addresses_it_waits(machine: "Machine") -> None:
    """A machine that cannot be told from a stranger changes nothing, and says what to do."""
    machine.metadata.faults.add(Fault(Status(503)))
    for name in ("eth0", "eth1"):
        machine.namespace.run("ip", "address", "flush", "dev", name)
    running = machine.start()
    running.logs("host.unknown")
    assert ([], None) == (running.told("READY"), machine.observe().ruleset)


@pytest.mark.parametrize("wrong", ["missing/socket", "@droplan-nobody-listens", "a" * 200])
@pytest.mark.fault("G9")
def test_a_dead_service_manager_is_no_trouble(machine: "Machine", wrong: str) -> None:
    """A NOTIFY_SOCKET that nobody serves keeps nothing from being enforced."""
    running = machine.start(environ={"NOTIFY_SOCKET": wrong})
    running.logs("daemon.ready")
    assert machine.addresses(*PEERS) == machine.peers
    assert 0 == running.end(signal.SIGTERM)


def test_state_that_cannot_be_kept_is_no_trouble(machine: "Machine") -> None:
    """Folders that cannot be made: rules are enforced all the same, and each is told once."""
    blocked = machine.folder / "file"
    blocked.touch()
    folders = {"STATE_DIRECTORY": f"{blocked}/state", "RUNTIME_DIRECTORY": f"{blocked}/run"}
    running = machine.start(environ=folders)
    running.ready()
    machine.polled(6)  # some more cycles
    assert machine.addresses(*PEERS) == machine.peers
    assert [1, 1] == [len(running.lines(f"{name}.write.failed")) for name in ("state", "status")]


@pytest.mark.fault("G1")
def test_killed_at_any_moment_the_kernel_holds_old_or_new(machine: "Machine") -> None:
    """With two fleets in turn and SIGKILL in between, the set is always one of the two."""
    old = machine.addresses(*PEERS)
    for turn in range(4):
        running = machine.start()
        running.ready()
        until(lambda: machine.peers == old)  # what was restored may be the other fleet of the turn before
        made = [machine.world.add_droplet(f"more-{n}", vpc=machine.vpc.id) for n in range(20)]
        new = old | {str(droplet.address("private")) for droplet in made}
        time.sleep(0.1 * turn)
        running.end(signal.SIGKILL)
        assert machine.peers in (old, new)
        for droplet in made:
            machine.world.destroy_droplet(droplet.id)
