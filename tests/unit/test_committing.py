"""A Plan into the kernel, when something is in the way: what is tried again, left out, or taken back."""

import asyncio
import errno
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon import commits, report
from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.committing import (
    ATTEMPTS,
    BARRED,
    BARRED_LONGEST,
    BARRED_UNSURE,
    MOST,
    Committing,
    Lessons,
    flush,
)
from droplan_daemon.diff import diff
from droplan_daemon.errors import (
    CommitConflict,
    CommitRejected,
    CommitUnknown,
    CommitUnsent,
    Retry,
    RolledBack,
    SourceUnavailable,
)
from droplan_daemon.keeping import Keeping
from droplan_daemon.model.plan import AddElements
from droplan_daemon.model.policy import Policy
from droplan_daemon.model.ruleset import Foreign
from droplan_daemon.outcomes import Committed, Failed, Prospect, Refused, Unchanged
from tests.unit.cycles import Bench, Cards, Shelf, droplet, fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.effects import Observation
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.plan import Plan
    from droplan_daemon.outcomes import Outcome

THREE = fleet(droplet(1), droplet(2), droplet(3))
OTHER_RULES = Policy(denied_log=None)
_SET = "private-peers-4"


@dataclass
class Ticking:
    """A Clock that moves by sleeping alone."""

    time: float = 5_000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def boottime(self) -> float:
        return self.time

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@dataclass
class Scripted(FakeBackend):
    """A kernel that answers commits as it is told, then as it should; counts them."""

    answers: list[Retry]
    done_all_the_same: bool = False
    asked: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def commit(self, plan: "Plan", at: int) -> None:
        self.asked += 1
        if not self.answers:
            return super().commit(plan, at)
        if self.done_all_the_same:
            super().commit(plan, at)
        raise self.answers.pop(0)


class Picky(FakeBackend):
    """Refuses to take certain elements in, the lowest first, and counts commits."""

    def __init__(self, *bad: bytes) -> None:
        super().__init__()
        self.bad = frozenset(bad)
        self.asked = 0

    def commit(self, plan: "Plan", at: int) -> None:
        self.asked += 1
        for index, change in enumerate(plan.changes):
            found = sorted(change.elements & self.bad) if isinstance(change, AddElements) else []
            if found:
                raise CommitRejected("no", errno=errno.EEXIST, change=index, element=found[0])
        super().commit(plan, at)


@dataclass
class Line:
    """A Probe that answers as it is told, the last answer for ever."""

    answers: list[bool]
    name: str = "API"
    asked: int = 0

    async def reaches(self) -> bool:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@dataclass
class Behind:
    """A Probe whose other end is reached only while the kernel holds these rules."""

    kernel: FakeBackend
    name: str = "API"

    def __post_init__(self) -> None:
        self.open = self.kernel.observe().ruleset

    async def reaches(self) -> bool:
        return self.kernel.observe().ruleset == self.open


def _unsent() -> CommitUnsent:
    return CommitUnsent("no buffers", errno=errno.ENOBUFS)


def _lost() -> CommitUnknown:
    return CommitUnknown("no answer", reason="no_reply")


def _peers(count: int) -> "Fleet":
    """A fleet with so many Droplets beside us, and room for their addresses."""
    return fleet(droplet(1), *(droplet(n) for n in range(2, count + 2)))


def _address(number: int) -> bytes:
    return droplet(number).private[0]


def _held(kernel: FakeBackend) -> frozenset[bytes]:
    ruleset = kernel.observe().ruleset
    return ruleset.sets[_SET].elements if ruleset else frozenset()


def _setbacks(outcome: "Outcome") -> list[tuple[type, int]]:
    assert isinstance(outcome, Committed | Unchanged)
    return [(type(one.error), one.times) for one in outcome.setbacks]


# What hinders for a moment.


@pytest.mark.fault("D4")
@pytest.mark.parametrize("times", range(1, ATTEMPTS))
def test_what_could_not_be_sent_is_sent_again(times: int) -> None:
    """Each time after a longer wait; the cycle is Committed, and knows how often it took."""
    bench = Bench([THREE], kernel=Scripted([_unsent() for _ in range(times)]))
    clock = bench.cycle.clock = Ticking()
    outcome = bench.run()
    assert [(CommitUnsent, times)] == _setbacks(outcome)
    assert {2, 3} == bench.held
    assert times == len(clock.slept)
    assert sorted(set(clock.slept)) == clock.slept
    assert [("info", "commit.retry", "ENOBUFS", times)] == [
        (level, event, fields["errno"], fields["retry"])
        for level, event, fields in commits.setbacks(outcome)  # type: ignore[arg-type]
    ]


@pytest.mark.fault("D4")
def test_what_cannot_be_sent_is_not_sent_for_ever() -> None:
    """After five attempts the cycle fails with what is missing, and nothing has changed."""
    kernel = Scripted([_unsent() for _ in range(99)])
    bench = Bench([THREE], kernel=kernel)
    bench.cycle.clock = Ticking()
    outcome = bench.run()
    assert isinstance(outcome, Failed)
    assert (CommitUnsent, ATTEMPTS) == (type(outcome.error), kernel.asked)
    assert ("commit.retry", "ENOBUFS") == _told(outcome)
    assert None is kernel.observe().ruleset


def _told(outcome: Failed | Refused) -> tuple[str, str]:
    _, event, fields = report.trouble(outcome.error, None)
    return event, fields.get("errno") or fields["reason"]


@pytest.mark.fault("D3", "D6")
def test_a_lost_answer_is_told_and_then_that_all_is_well() -> None:
    """The kernel did it: `commit.unknown` with the reason, then `commit.verified`; nothing is sent twice."""
    kernel = Scripted([_lost()], done_all_the_same=True)
    outcome = Bench([THREE], kernel=kernel).run()
    assert isinstance(outcome, Committed)
    told = [(event, fields.get("reason")) for _, event, fields in commits.setbacks(outcome)]
    assert [("commit.unknown", "no_reply"), ("commit.verified", None)] == told
    assert 1 == kernel.asked


@pytest.mark.fault("D5", "D6")
@pytest.mark.parametrize("times", range(1, ATTEMPTS))
def test_what_never_got_there_is_sent_again(times: int) -> None:
    """No answer, and the read-back says that nothing has happened: again, at most four times."""
    kernel = Scripted([_lost() for _ in range(times)])
    bench = Bench([THREE], kernel=kernel)
    assert [(CommitUnknown, times)] == _setbacks(bench.run())
    assert ({2, 3}, times + 1) == (bench.held, kernel.asked)


@pytest.mark.fault("D5", "D6")
def test_what_never_gets_there_is_given_up() -> None:
    """Five times in a row: the cycle fails, and says that what it wrote is not there."""
    kernel = Scripted([_lost() for _ in range(99)])
    outcome = Bench([THREE], kernel=kernel).run()
    assert isinstance(outcome, Failed)
    assert (("commit.unknown", "mismatch"), ATTEMPTS) == (_told(outcome), kernel.asked)


def test_what_was_acknowledged_and_is_not_there_is_not_written_again_at_once() -> None:
    """Somebody undoes it as soon as it stands: who fights back is left to the next cycle."""

    class Undone(Scripted):
        def commit(self, plan: "Plan", at: int) -> None:
            self.asked += 1

    kernel = Undone([])
    assert isinstance(Bench([THREE], kernel=kernel).run(), Failed)
    assert 1 == kernel.asked


@pytest.mark.fault("D10")
@pytest.mark.parametrize("times", range(1, ATTEMPTS))
def test_a_conflict_is_told_with_how_often(times: int) -> None:
    """One line, however many there were."""
    kernel = Scripted([CommitConflict("others were faster") for _ in range(times)])
    outcome = Bench([THREE], kernel=kernel).run()
    assert isinstance(outcome, Committed)
    (event,) = commits.setbacks(outcome)
    assert ("info", "commit.conflict", times) == (*event[:2], event[2]["retry"])


@given(st.lists(st.sampled_from(["unsent", "lost", "done", "conflict"]), max_size=12))
def test_whatever_hinders_it_is_all_or_nothing(script: list[str]) -> None:
    """In any order: Committed with everything in the kernel and read back, or Failed; never more than 5."""
    made: dict[str, Callable[[], Retry]] = {"unsent": _unsent, "lost": _lost, "done": _lost}
    made["conflict"] = lambda: CommitConflict("again")

    class Kernel(Scripted):
        def commit(self, plan: "Plan", at: int) -> None:
            self.done_all_the_same = bool(left) and left.pop(0) == "done"
            super().commit(plan, at)

    left = list(script)
    kernel = Kernel([made[each]() for each in script])
    bench = Bench([THREE], kernel=kernel)
    bench.cycle.clock = Ticking()
    outcome = bench.run()
    assert kernel.asked <= ATTEMPTS
    first = script.index("done") if "done" in script else len(script)
    good = first < ATTEMPTS
    assert good is isinstance(outcome, Committed | Unchanged)
    assert ({2, 3} if good else set()) == bench.held


def test_no_frame_outlives_its_cycle() -> None:
    """An error that an Outcome keeps has neither a traceback nor a cause."""
    answers: list[Retry] = [_lost(), CommitConflict("x")]
    for answer in answers:
        answer.__cause__ = OSError("of the edge")
    outcome = Bench([THREE], kernel=Scripted(answers)).run()
    assert isinstance(outcome, Committed)
    assert 2 == len(outcome.setbacks)
    for one in outcome.setbacks:
        assert (None, None, None) == (one.error.__traceback__, one.error.__cause__, one.error.__context__)


# Elements that the kernel refuses.


@pytest.mark.fault("D7")
def test_one_bad_element_keeps_nobody_else_out() -> None:
    """All others are in, the Outcome says whose it is, and STATUS, the status and the log do."""
    bench = Bench([_peers(200)], kernel=Picky(_address(77)))
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    assert set(range(2, 202)) - {77} == bench.held
    assert outcome.world.desired == bench.kernel.observe().ruleset
    (event,) = commits.rejected(outcome.world)
    assert ("warning", "commit.rejected") == event[:2]
    assert ("EEXIST", "d-77", "10.10.0.77", 1) == tuple(
        event[2][name] for name in ("errno", "peer", "address", "elements")
    )
    standing = report.Standing(Policy(), outcome.world, outcome, 1.0)
    assert "10.10.0.77 (d-77)" in report.headline(standing, None, 1.0)
    assert ["commit.rejected"] == [one["event"] for one in report.as_dict(standing, None, 1.0)["remarks"]]


@pytest.mark.fault("D7")
def test_who_was_refused_is_tried_again_at_the_next_change() -> None:
    """Not in each cycle: the same fleet again writes nothing. With the next newcomer they get their turn."""
    kernel = Picky(_address(77))
    bench = Bench([_peers(200), _peers(200), _peers(201), _peers(202)], kernel=kernel)
    bench.run()
    asked = kernel.asked
    again = bench.run()
    assert isinstance(again, Unchanged)
    assert (asked, [77]) == (kernel.asked, [one.element[-1] for one in again.world.quarantined])
    assert isinstance(bench.run(), Committed)
    assert (asked + 2, set(range(2, 203)) - {77}) == (kernel.asked, bench.held)
    kernel.bad = frozenset()
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    assert ((), set(range(2, 204))) == (outcome.world.quarantined, bench.held)


@pytest.mark.fault("D7")
def test_who_has_left_is_not_refused_any_more() -> None:
    """The Droplet whose address the kernel refused is gone: nothing is left out."""
    without = fleet(*(d for d in _peers(200).droplets if d.id != 77))
    bench = Bench([_peers(200), without, without, without], kernel=Picky(_address(77)))
    bench.run()
    for outcome in (bench.run(), bench.run(), bench.run()):
        assert isinstance(outcome, Unchanged)
        assert () == outcome.world.quarantined


@pytest.mark.fault("D7")
@given(st.integers(0, 250), st.data())
def test_few_are_left_out_or_nothing_is_done(count: int, data: st.DataObject) -> None:
    """At most one in a hundred: everybody else is in. More: nothing has changed, and the refusal is told."""
    bad = data.draw(st.sets(st.sampled_from(range(2, count + 2)), max_size=6) if count else st.just(set()))
    kernel = Picky(*(_address(number) for number in bad))
    bench = Bench([_peers(count)], kernel=kernel)
    outcome = bench.run()
    if len(bad) * 100 <= count:
        assert isinstance(outcome, Committed)
        assert {_address(n) for n in range(2, count + 2) if n not in bad} == _held(kernel)
    else:
        assert isinstance(outcome, Failed)
        assert ("commit.rejected", "EEXIST") == _told(outcome)
        assert None is kernel.observe().ruleset


def _prospect(kernel: FakeBackend, wanted: "Fleet") -> Prospect:
    """What a cycle that begins with the World of this fleet has before it."""
    bench = Bench([wanted])
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    observation: Observation = kernel.observe()
    return Prospect(outcome.world, observation, diff(observation.ruleset, outcome.world.desired))


@pytest.mark.fault("D7")
def test_nobody_who_is_in_is_left_out() -> None:
    """A table that is made anew refuses an element that the old one has: nothing is done, all stay in."""
    kernel = Picky()
    Bench([_peers(200)], kernel=kernel).run()
    kernel._ruleset = replace(kernel.observe().ruleset, comment="another")  # type: ignore[type-var]
    kernel.bad = frozenset({_address(77)})
    with pytest.raises(CommitRejected):
        asyncio.run(Committing(kernel).run(_prospect(kernel, _peers(200))))
    assert set(map(_address, range(2, 202))) == _held(kernel)


@pytest.mark.fault("D7")
def test_never_more_than_so_many_attempts() -> None:
    """However large the fleet, a hundred bad elements are the end of it: each costs an attempt."""
    many = fleet(droplet(1), *(replace(droplet(2), id=n, private=(_number(n),)) for n in range(2, 12_002)))
    kernel = Picky(*(_number(n) for n in range(2, MOST + 3)))
    assert isinstance(Bench([many], kernel=kernel).run(), Failed)
    assert kernel.asked <= MOST + 1
    kernel.bad -= {_number(2)}
    outcome = Bench([many], kernel=kernel).run()
    assert isinstance(outcome, Committed)
    assert MOST == len(outcome.world.quarantined)
    (event,) = commits.rejected(outcome.world)
    assert f"and {MOST - 1} more" in event[2]["message"]


def _number(number: int) -> bytes:
    return b"\x0a\x0a" + number.to_bytes(2, "big")


# Rules that cut us off.


def _enforcing(*answers: "Fleet | Exception", line: Line | None = None) -> Bench:
    """A Cycle that enforces three Droplets, and then gets these answers and other rules."""
    bench = Bench([THREE, *answers])
    bench.cycle.clock = Ticking()
    bench.run()
    assert isinstance(bench.kernel, FakeBackend)
    bench.cycle.policy, bench.cycle.probe = OTHER_RULES, line or Behind(bench.kernel)
    return bench


@pytest.mark.fault("B4")
def test_rules_that_cut_us_off_are_taken_back() -> None:
    """Refused as rolled back, the kernel as before, and the log names what cannot be reached."""
    bench = _enforcing(THREE)
    before = bench.kernel.observe().ruleset
    outcome = bench.run()
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, RolledBack)
    assert before == bench.kernel.observe().ruleset
    level, event, fields = report.trouble(outcome.error, None)
    assert ("warning", "commit.rolled_back", "api") == (level, event, fields["probe"])


@pytest.mark.fault("B4")
def test_one_failure_is_none() -> None:
    """A connection may fail by itself: the second one counts."""
    line = Line([False, True])
    bench = _enforcing(THREE, line=line)
    assert isinstance(bench.run(), Committed)
    assert 2 == line.asked


@pytest.mark.fault("B4")
def test_the_first_rules_of_all_can_be_taken_back() -> None:
    """Where there was no table there is none again."""
    bench = Bench([THREE])
    bench.cycle.clock, bench.cycle.probe = Ticking(), Line([False])
    assert isinstance(bench.run(), Refused)
    assert None is bench.kernel.observe().ruleset


@pytest.mark.fault("B4")
def test_rules_that_cut_us_off_are_not_tried_at_once_again() -> None:
    """Nothing is written for ten minutes, then they get another chance, and then twice as long nothing."""
    bench = _enforcing(THREE)
    clock = bench.cycle.clock
    assert isinstance(clock, Ticking)
    wait = BARRED
    for _ in range(6):
        outcomes = [bench.run()]
        generation = bench.kernel.generation()
        clock.time += wait - 10
        outcomes.append(bench.run())
        assert ["rolled_back"] * 2 == [o.error.reason for o in outcomes if isinstance(o, Refused)]
        assert generation == bench.kernel.generation()
        clock.time += 10
        wait = min(BARRED_LONGEST, 2 * wait)
    bench.cycle.probe = Line([True])
    assert isinstance(bench.run(), Committed)
    assert None is bench.cycle.lessons.barred


@pytest.mark.fault("B4")
def test_an_api_that_is_away_by_itself_bars_nothing_for_long() -> None:
    """It is not reached with the rules of before either: half a minute later the new get their chance."""
    line = Line([False])
    bench = _enforcing(THREE, line=line)
    before, clock = bench.kernel.observe().ruleset, bench.cycle.clock
    assert isinstance(clock, Ticking)
    outcome = bench.run()
    assert isinstance(outcome, Refused)
    assert "nor with those of before" in str(outcome.error)
    assert before == bench.kernel.observe().ruleset
    line.answers = [True]
    clock.time += BARRED_UNSURE
    assert isinstance(bench.run(), Committed)


@pytest.mark.fault("B4")
def test_what_is_taken_back_is_what_should_have_been_there() -> None:
    """Somebody removed our table before new rules cut us off: there is one again, the old one."""
    bench = _enforcing(THREE)
    before = bench.kernel.observe().ruleset
    flush(bench.kernel)
    assert isinstance(bench.run(), Refused)
    assert before == bench.kernel.observe().ruleset


@pytest.mark.fault("B4")
def test_a_reload_is_another_chance() -> None:
    """Whoever reloads says that they want it tried now; so do other rules than those."""
    bench = _enforcing(THREE)
    bench.run()
    fresh = Bench([THREE], OTHER_RULES, bench.kernel)
    fresh.cycle.inherit(bench.cycle)
    fresh.cycle.probe = Line([True])
    assert isinstance(fresh.run(), Committed)


@pytest.mark.fault("B4")
def test_members_cut_nobody_off() -> None:
    """A change of the fleet is not probed, nor is a cycle that writes nothing."""
    line = Line([False])
    bench = Bench([THREE, fleet(droplet(1), droplet(2), droplet(3), droplet(4)), THREE])
    bench.run()
    bench.cycle.probe = line
    assert isinstance(bench.run(), Committed)
    assert 0 == line.asked


@pytest.mark.fault("B4")
def test_whom_we_did_not_reach_before_decides_nothing() -> None:
    """The API is down and the new policy is enforced for those that were known: nothing is taken back."""
    line = Line([False])
    bench = Bench([THREE, SourceUnavailable("down", reason="connect")])
    bench.cycle.clock = Ticking()
    bench.cycle.keeping = Keeping(Shelf(), Cards(), bench.cycle.clock)
    bench.run()
    bench.cycle.policy, bench.cycle.probe, bench.cycle.recallable = OTHER_RULES, line, True
    assert isinstance(bench.run(), Failed)
    assert isinstance(asyncio.run(bench.cycle.recall()), Committed)
    assert 0 == line.asked


@pytest.mark.fault("B4")
@pytest.mark.parametrize(
    ("answers", "kind", "asked"),
    [([True, False, False, True], Refused, 4), ([True, True], Committed, 2), ([False], Committed, 2)],
    ids=["cut off", "reached", "not reached before either"],
)
def test_a_start_with_other_rules_asks_before_and_after(answers: list[bool], kind: type, asked: int) -> None:
    """A restart is no way round: rules that cut off what was reached a moment ago are taken back."""
    shelf, line = Shelf(), Line(answers)
    bench = Bench([THREE])
    bench.cycle.clock = Ticking()
    bench.cycle.keeping = Keeping(shelf, Cards(), bench.cycle.clock)
    bench.run()
    restarted = Bench([THREE], OTHER_RULES, bench.kernel)
    restarted.cycle.clock, restarted.cycle.probe = bench.cycle.clock, line
    restarted.cycle.keeping = Keeping(shelf, Cards(), bench.cycle.clock)
    outcome = asyncio.run(restarted.cycle.resume(shelf.load()))
    assert (kind, asked) == (type(outcome), line.asked)


@pytest.mark.fault("B4")
def test_a_boot_waits_for_nobody() -> None:
    """What was kept is enforced on an empty kernel without asking whether anybody can be reached."""
    shelf, line, clock = Shelf(), Line([False]), Ticking()
    bench = Bench([THREE])
    bench.cycle.keeping = Keeping(shelf, Cards(), clock)
    bench.run()
    booted = Bench([THREE])
    booted.cycle.clock, booted.cycle.probe = clock, line
    booted.cycle.keeping = Keeping(shelf, Cards(), clock)
    assert isinstance(asyncio.run(booted.cycle.resume(shelf.load())), Committed)
    assert (0, []) == (line.asked, clock.slept)


def test_what_is_not_ours_is_not_written_again() -> None:
    """Over a table that holds what droplan never writes, there is nothing to go back to: no probe."""
    kernel, line = FakeBackend(), Line([False])
    Bench([THREE], kernel=kernel).run()
    found = kernel.observe().ruleset
    assert found
    chain = found.chains["private-in"]
    odd = replace(chain, rules=(replace(chain.rules[0], matches=(Foreign("x"),)), *chain.rules[1:]))
    kernel._ruleset = replace(found, chains=found.chains | {"private-in": odd})
    committing = Committing(kernel, probe=line, lessons=Lessons())
    outcome = asyncio.run(committing.run(_prospect(kernel, THREE), reached=True))
    assert isinstance(outcome, Committed)
    assert 0 == line.asked
