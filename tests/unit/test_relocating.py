"""A cycle between two polls: it repairs and follows interfaces, by what was read back last."""

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.errors import HostUnknown
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.host import Host, Lost
from droplan_daemon.outcomes import Committed, Failed, Unchanged
from droplan_daemon.reconcile import flush
from tests.unit.cycles import HOST, Answers, Bench, droplet, fleet

if TYPE_CHECKING:
    from droplan_daemon.effects import Observation
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.outcomes import Outcome

TWO = fleet(droplet(1), droplet(2))


@dataclass
class Follows:
    """A Follower that says what it was told to."""

    host: Host = HOST
    error: HostUnknown | None = None

    async def follow(self, fleet: "Fleet") -> Host:
        if self.error:
            raise self.error
        return self.host


class Counting(FakeBackend):
    """A kernel that counts how often it is read."""

    reads = 0

    def observe(self) -> "Observation":
        self.reads += 1
        return super().observe()


@pytest.fixture
def bench() -> Bench:
    """A cycle that has enforced two Droplets, and whose Source fails from now on."""
    made = Bench([TWO, RuntimeError("nobody may be asked")], kernel=Counting())
    assert isinstance(made.run(), Committed)
    made.cycle.follower = Follows()
    return made


def _relocated(bench: Bench) -> "Outcome":
    return asyncio.run(bench.cycle.relocate())


def _repaired(bench: Bench) -> "Outcome":
    return asyncio.run(bench.cycle.repair())


def _asked(bench: Bench) -> int:
    assert isinstance(bench.cycle.source, Answers)
    return bench.cycle.source.asked


def test_a_repair_asks_nobody(bench: Bench) -> None:
    """What was removed is there again, and the World is the one that it was."""
    before = bench.cycle.last
    flush(bench.kernel)
    outcome = _repaired(bench)
    assert isinstance(outcome, Committed)
    assert ({2}, 1) == (bench.held - {1}, _asked(bench))
    assert before == bench.cycle.last


def test_a_repair_of_what_is_whole_writes_and_reads_nothing(bench: Bench) -> None:
    """To ask for the generation is enough."""
    assert isinstance(bench.kernel, Counting)
    reads, generation = bench.kernel.reads, bench.kernel.generation()
    assert isinstance(_repaired(bench), Unchanged)
    assert (reads, generation) == (bench.kernel.reads, bench.kernel.generation())


def test_nothing_is_repaired_before_something_was_enforced() -> None:
    """Nobody knows what should be there."""
    for act in (_repaired, _relocated):
        bench = Bench([TWO])
        outcome = act(bench)
        assert isinstance(outcome, Failed)
        assert ("not_enforced", None) == (outcome.error.reason, bench.kernel.observe().ruleset)


def test_an_interface_of_another_name_is_another_ruleset(bench: Bench) -> None:
    """For the same Droplets, without asking who they are."""
    bench.cycle.follower = Follows(Host(1, "ens7", "eth0", "metadata"))
    outcome = _relocated(bench)
    assert isinstance(outcome, Committed)
    assert ("ens7", TWO, 1) == (outcome.world.host.private, outcome.world.fleet, _asked(bench))
    ruleset = bench.kernel.observe().ruleset
    assert ruleset
    assert "ens7" in str(ruleset.chains["inbound"].rules)


SAME = {
    "the same": Host(1, "eth1", "eth0"),
    "known by other means": Host(1, "eth1", "eth0", "state"),
    "silent": replace(HOST, silent="connect"),
}


@pytest.mark.parametrize("host", SAME.values(), ids=SAME)
def test_what_concerns_others_is_no_work(bench: Bench, host: Host) -> None:
    """Interfaces came and went, and ours are where they were: the kernel is not even read."""
    assert isinstance(bench.kernel, Counting)
    reads = bench.kernel.reads
    bench.cycle.follower = Follows(host)
    assert isinstance(_relocated(bench), Unchanged)
    assert reads == bench.kernel.reads


GONE = {
    "nobody knows": Follows(error=HostUnknown("gone", reason="interface_missing")),
    "the managed one is lost": Follows(
        Host(1, None, "eth0", lost=(Lost(InterfaceKind.PRIVATE, "interface_missing", "gone"),))
    ),
}


@pytest.mark.parametrize("follower", GONE.values(), ids=GONE)
def test_an_interface_that_vanishes_opens_nothing(bench: Bench, follower: Follows) -> None:
    """The rules stay as they are, and it is said that something is missing."""
    before = bench.kernel.observe()
    bench.cycle.follower = follower
    outcome = _relocated(bench)
    assert isinstance(outcome, Failed)
    assert ("interface_missing", before) == (outcome.error.reason, bench.kernel.observe())


def test_a_new_configuration_is_not_enforced_by_the_way(bench: Bench) -> None:
    """An interface that changes between a reload and its poll waits for that poll."""
    bench.cycle.digest = "another"
    bench.cycle.follower = Follows(Host(1, "ens7", "eth0"))
    before = bench.kernel.observe()
    assert isinstance(_relocated(bench), Unchanged)
    assert before == bench.kernel.observe()


def test_a_cycle_that_waits_for_its_source_keeps_nobody_from_repairing(bench: Bench) -> None:
    """The kernel is taken only while something is done to it."""
    flush(bench.kernel)

    class Endless:
        budget = None

        async def gather(self) -> "Fleet":
            await asyncio.Event().wait()
            raise AssertionError

    async def both() -> "Outcome":
        bench.cycle.source = Endless()
        poll = asyncio.create_task(bench.cycle.run())
        await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(bench.cycle.repair(), 30)
        finally:
            poll.cancel()

    assert isinstance(asyncio.run(both()), Committed)
    assert {2} <= bench.held
