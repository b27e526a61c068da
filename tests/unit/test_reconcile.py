"""One cycle: what it comes to, and what the kernel holds afterwards."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.committing import ATTEMPTS
from droplan_daemon.errors import (
    CommitConflict,
    CommitRejected,
    CommitUnknown,
    HostUnknown,
    NotPermitted,
    RateLimited,
    Refusal,
    Retry,
    SourceDenied,
    SourceDoubtful,
    SourceUnavailable,
)
from droplan_daemon.model.fleet import Skipped
from droplan_daemon.model.plan import AddElements, RemoveElements
from droplan_daemon.model.policy import Peers, Policy
from droplan_daemon.outcomes import Committed, Failed, Refused, Unchanged
from droplan_daemon.reconcile import Cycle, flush
from tests.unit.cycles import HOST, Answers, Bench, Known, droplet, fleet

if TYPE_CHECKING:
    from droplan_daemon.effects import Observation
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.plan import Plan

THREE = fleet(droplet(1), droplet(2), droplet(3))
TWO = fleet(droplet(1), droplet(2))


class Contended(FakeBackend):
    """Somebody else commits just before us, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def commit(self, plan: "Plan", at: int) -> None:
        if self.times:
            self.times -= 1
            self._generation += 1
        super().commit(plan, at)


class Restless(FakeBackend):
    """Somebody else commits once, right after the first look; remembers at which generation we commit."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def observe(self) -> "Observation":
        found = super().observe()
        if found.generation == 1:
            self._generation += 1
        return found

    def commit(self, plan: "Plan", at: int) -> None:
        self.asked.append(at)
        super().commit(plan, at)


class Speechless(FakeBackend):
    """The answer to a commit is lost; the commit may be, too."""

    def __init__(self, *, done: bool) -> None:
        super().__init__()
        self.done = done

    def commit(self, plan: "Plan", at: int) -> None:
        if self.done:
            super().commit(plan, at)
        raise CommitUnknown("no answer", reason="no_reply")


class Deaf(FakeBackend):
    """Takes every commit, and does nothing."""

    def commit(self, plan: "Plan", at: int) -> None:
        """Nothing."""


class ShortSighted(FakeBackend):
    """The n-th observation misses an element, as a dump of a growing hash does."""

    blurred = -1

    def observe(self) -> "Observation":
        found = super().observe()
        self.blurred -= 1
        if self.blurred == 0 and found.ruleset:
            sets = {
                name: replace(item, elements=frozenset(sorted(item.elements)[1:]))
                for name, item in found.ruleset.sets.items()
            }
            return replace(found, ruleset=replace(found.ruleset, sets=sets))
        return found


class Refusing(FakeBackend):
    """The kernel says no, whatever it is."""

    def commit(self, plan: "Plan", at: int) -> None:
        raise CommitRejected("refused", errno=28, change=0)


class Forbidden(FakeBackend):
    """The kernel does not even let us look."""

    def observe(self) -> "Observation":
        raise NotPermitted("not permitted")


def test_the_first_cycle_commits() -> None:
    """On an empty kernel the desired Ruleset is made, and read back."""
    bench = Bench([THREE])
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    assert ({2, 3}, outcome.world.desired) == (bench.held, outcome.observation.ruleset)


def test_the_second_cycle_writes_nothing() -> None:
    """The same world again is Unchanged, and the generation stays."""
    bench = Bench([THREE])
    bench.run()
    generation = bench.kernel.generation()
    assert isinstance(bench.run(), Unchanged)
    assert generation == bench.kernel.generation()


@pytest.mark.fault("D24")
def test_a_change_of_the_fleet_is_a_change_of_elements() -> None:
    """One Droplet less and one more are two Changes, and no rule is touched."""
    bench = Bench([THREE, fleet(droplet(1), droplet(2), droplet(4))])
    bench.run()
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    assert [RemoveElements, AddElements] == [type(change) for change in outcome.plan.changes]
    assert {2, 4} == bench.held


@pytest.mark.parametrize(
    "error",
    [
        SourceUnavailable("down", reason="connect"),
        RateLimited("slow down", wait=1),
        SourceDenied("no", status=401),
        SourceDenied("no", status=403, scope="droplet:read"),
        SourceDoubtful("odd", reason="bad_body"),
        HostUnknown("who", reason="ambiguous"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.reason}",
)
def test_an_error_of_the_source_changes_nothing(error: Retry) -> None:
    """It is Failed with just that error, the kernel is as it was, and the next answer counts again."""
    bench = Bench([THREE, error, TWO])
    bench.run()
    generation = bench.kernel.generation()
    assert Failed(error) == bench.run()
    assert (generation, {2, 3}) == (bench.kernel.generation(), bench.held)
    assert isinstance(bench.run(), Committed)
    assert {2} == bench.held


def test_an_unknown_host_changes_nothing() -> None:
    """Who does not know himself writes nothing."""
    error = HostUnknown("who am I", reason="not_in_fleet")

    class Lost(Known):
        async def locate(self, fleet: "Fleet") -> "Host":
            raise error

    bench = Bench([THREE])
    bench.cycle.finder = Lost()
    assert Failed(error) == bench.run()
    assert set() == bench.held


def test_an_answer_without_us_is_refused() -> None:
    """A complete answer in which this Droplet is not is of another account."""
    bench = Bench([THREE, fleet(droplet(2)), fleet()])
    bench.run()
    generation = bench.kernel.generation()
    for outcome in (bench.run(), bench.run()):
        assert isinstance(outcome, Refused)
        assert "self_missing" == outcome.error.reason
    assert (generation, {2, 3}) == (bench.kernel.generation(), bench.held)


def test_a_skipped_droplet_is_carried_over() -> None:
    """An entry that cannot be read this time is not gone, while others come and go."""
    bench = Bench([THREE, fleet(droplet(1), droplet(4), skipped=(Skipped(3, "odd"),)), TWO])
    bench.run()
    bench.run()
    assert {3, 4} == bench.held
    bench.run()
    assert {2} == bench.held


def test_a_skipped_stranger_holds_removals() -> None:
    """An odd entry that nobody knew may be anybody: who is in stays in, who comes gets in."""
    odd = (Skipped(None, "odd"),)
    bench = Bench([THREE, fleet(droplet(1), droplet(4), skipped=odd), fleet(droplet(1), droplet(4))])
    bench.run()
    assert isinstance(bench.run(), Committed)
    assert {2, 3, 4} == bench.held
    generation = bench.kernel.generation()
    bench.cycle.source = Answers([fleet(droplet(1), droplet(4), skipped=odd)])
    assert isinstance(bench.run(), Unchanged)
    assert generation == bench.kernel.generation()
    bench.cycle.source = Answers([fleet(droplet(1), droplet(4))])
    bench.run()
    assert {4} == bench.held


def test_after_a_restart_a_skipped_droplet_stays() -> None:
    """Without a Fleet to remember, what the kernel holds is what is known."""
    bench = Bench([THREE])
    bench.run()
    restarted = Bench([fleet(droplet(1), droplet(2), skipped=(Skipped(3, "odd"),))], kernel=bench.kernel)
    restarted.run()
    assert {2, 3} == restarted.held


@pytest.mark.fault("D10")
@pytest.mark.parametrize("times", range(1, ATTEMPTS))
def test_a_second_writer_is_waited_for(times: int) -> None:
    """A conflict is looked at anew and tried again within the cycle."""
    bench = Bench([THREE], kernel=Contended(times))
    assert isinstance(bench.run(), Committed)
    assert {2, 3} == bench.held


def test_a_commit_is_conditional_on_what_was_observed() -> None:
    """Not on what the kernel has come to since: the first attempt is for the old generation, and fails."""
    kernel = Restless()
    assert isinstance(Bench([THREE], kernel=kernel).run(), Committed)
    assert [1, 2] == kernel.asked


@pytest.mark.fault("D10")
def test_a_writer_without_end_is_a_conflict() -> None:
    """After so many attempts the cycle gives up, having done nothing."""
    bench = Bench([THREE], kernel=Contended(ATTEMPTS))
    outcome = bench.run()
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, CommitConflict)
    assert set() == bench.held


@pytest.mark.fault("D3")
def test_a_lost_answer_is_read_back() -> None:
    """The kernel did it and its answer was lost: Committed, since that is what the kernel holds."""
    bench = Bench([THREE], kernel=Speechless(done=True))
    assert isinstance(bench.run(), Committed)
    assert {2, 3} == bench.held


@pytest.mark.fault("G10")
@pytest.mark.parametrize("kernel", [Speechless(done=False), Deaf()], ids=["no answer", "a false one"])
def test_what_is_not_there_is_not_committed(kernel: FakeBackend) -> None:
    """Whatever was answered, a Ruleset that cannot be read back is a failure of its own kind."""
    bench = Bench([THREE], kernel=kernel)
    outcome = bench.run()
    assert isinstance(outcome, Failed)
    assert (CommitUnknown, "mismatch") == (type(outcome.error), outcome.error.reason)


@pytest.mark.fault("D7", "D19")
def test_a_refusal_of_the_kernel_is_told_as_one() -> None:
    """The kernel's no to the same Plan twice is Failed with its errno; nothing is tried for ever."""
    bench = Bench([THREE], kernel=Refusing())
    outcome = bench.run()
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, CommitRejected)
    assert 28 == outcome.error.errno


@pytest.mark.parametrize("blurred", [1, 2])
def test_a_short_read_does_no_harm(blurred: int) -> None:
    """An observation that misses an element leads to a second look, before the commit or after it."""
    kernel = ShortSighted()
    bench = Bench([THREE, fleet(droplet(1), droplet(2), droplet(3), droplet(4))], kernel=kernel)
    bench.run()
    kernel.blurred = blurred
    assert isinstance(bench.run(), Committed)
    assert {2, 3, 4} == bench.held


def test_a_short_read_of_a_good_kernel_writes_nothing() -> None:
    """What seems to be missing, and is not, is found out by the second look."""
    kernel = ShortSighted()
    bench = Bench([THREE], kernel=kernel)
    bench.run()
    generation, kernel.blurred = kernel.generation(), 1
    assert isinstance(bench.run(), Unchanged)
    assert generation == kernel.generation()


def test_only_what_cannot_be_helped_is_raised() -> None:
    """Missing rights end the process, and nothing else leaves a cycle as an exception."""
    with pytest.raises(NotPermitted):
        Bench([THREE], kernel=Forbidden()).run()


def test_a_prospect_changes_nothing() -> None:
    """Looking ahead gives the Plan and leaves the kernel alone."""
    cycle = Cycle(Bench([THREE]).policy, Answers([THREE]), Known(HOST), FakeBackend())
    prospect = asyncio.run(cycle.prospect())
    assert prospect.plan
    assert (None, 1) == (cycle.backend.observe().ruleset, cycle.backend.generation())


def test_a_refused_answer_is_not_remembered() -> None:
    """Only a Fleet that was acted on counts as what was known before."""
    bench = Bench([THREE, fleet(droplet(2)), THREE])
    bench.run()
    bench.run()
    assert THREE is bench.cycle.previous


# Removing it all.


def test_flush_removes_the_table() -> None:
    """And says whether there was one."""
    bench = Bench([THREE])
    bench.run()
    assert [True, False] == [flush(bench.kernel), flush(bench.kernel)]
    assert None is bench.kernel.observe().ruleset


def test_flush_waits_for_a_second_writer() -> None:
    """Others may commit meanwhile, though not for ever."""
    kernel = Contended(0)
    Bench([THREE], kernel=kernel).run()
    kernel.times = ATTEMPTS - 2
    assert True is flush(kernel)
    Bench([THREE], kernel=kernel).run()
    kernel.times = ATTEMPTS
    with pytest.raises(CommitConflict):
        flush(kernel)


def test_flush_believes_the_kernel_alone() -> None:
    """A commit without effect is no removal."""
    full = Bench([THREE])
    full.run()
    kernel = Deaf(full.kernel.observe().ruleset)
    with pytest.raises(CommitConflict):
        flush(kernel)


def test_errors_are_of_the_tree() -> None:
    """Refused carries a Refusal and nothing else does."""
    outcome = Bench([fleet(droplet(2))]).run()
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, Refusal)


def test_a_refused_policy_is_not_taken_for_the_one_that_is_enforced() -> None:
    """A repair while it is refused changes nothing about that: what it takes away later is never held."""
    known = tuple(map(droplet, range(1, 12)))
    bench = Bench([fleet(*known)])
    bench.run()
    tagged = (*(droplet(number, tags=("new",)) for number in (1, 2, 3)), *known[3:])
    other = droplet(12, tags=("other",))
    narrow = Policy(peers=Peers(tag="new"))
    fresh = Bench([fleet(*known, other), fleet(*tagged, other)], narrow, bench.kernel)
    fresh.cycle.inherit(bench.cycle)
    assert isinstance(fresh.run(), Refused)
    asyncio.run(fresh.cycle.repair())
    outcome = fresh.run()
    assert isinstance(outcome, Committed)
    assert ({2, 3}, ()) == (fresh.held, outcome.world.doubts)
