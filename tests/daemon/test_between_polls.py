"""The loop between two polls: tasks that die, clocks that jump, a kernel that takes its time."""

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.cli import holding
from droplan_daemon.clock import SystemClock
from droplan_daemon.daemon import CYCLE_LIMIT
from droplan_daemon.diff import diff
from droplan_daemon.effects import Disturbance
from droplan_daemon.errors import CommitUnknown, HostUnknown, KernelUnsupported
from droplan_daemon.lapse import WRITTEN
from droplan_daemon.model.host import Host
from droplan_daemon.model.ruleset import Ruleset
from droplan_daemon.model.stance import Stance
from droplan_daemon.pacing import FREE
from droplan_daemon.policy.lease import PAUSE, audited
from droplan_daemon.repairs import SHARE
from droplan_daemon.watching import RESTARTS
from tests.daemon.test_daemon_loop import LONG, STOP, THREE, TWO, Bench, _after, _nothing, bench
from tests.unit.cycles import HOST, Answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from droplan_daemon.daemon import Parts
    from droplan_daemon.effects import Observation
    from droplan_daemon.model.fleet import Fleet

__all__ = ["bench"]


class Skewed(SystemClock):
    """A Clock of which each hand can be moved, and that does not wait long."""

    def __init__(self) -> None:
        self.wall = self.boot = 0.0

    def now(self) -> float:
        return super().now() + self.wall

    def monotonic(self) -> float:
        return super().monotonic() + self.boot

    def boottime(self) -> float:
        return super().boottime() + self.boot

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


def _tampered(bench: Bench) -> None:
    """Somebody removes everything."""
    kernel = bench.kernel
    found = kernel._ruleset
    kernel._ruleset, kernel._generation = None, kernel._generation + 1
    assert diff(found, None)


def _hourly(bench: Bench, **more: object) -> "Parts":
    return replace(bench.parts(Answers([TWO])), interval=3600.0, **more)  # type: ignore[arg-type]


class Told:
    """A stream of Disturbances that a test feeds; it dies as often as it is told to."""

    def __init__(self, *deaths: Exception) -> None:
        self.deaths = list(deaths)
        self.begun = 0
        self.next: list[Disturbance] = []

    async def __call__(self) -> "AsyncIterator[Disturbance]":
        self.begun += 1
        if self.deaths:
            raise self.deaths.pop(0)
        while True:
            while self.next:
                yield self.next.pop(0)
            await asyncio.sleep(0.005)


def test_what_somebody_changed_is_put_right_between_polls(bench: Bench) -> None:
    """The kernel holds it again long before the next poll, and nobody was asked."""
    told, source = Told(), Answers([TWO])
    parts = replace(bench.parts(source), interval=3600.0, disturbances=told)

    def tamper() -> None:
        _tampered(bench)
        told.next.append(Disturbance("nft", 42, "table deleted"))

    bench.run(parts, (bench.diary.has("READY"), tamper), (lambda: "tamper.repaired" in bench.events, STOP))
    assert 1 == source.asked
    assert None is not bench.kernel.observe().ruleset
    (detected,) = (entry for entry in bench.log.entries if entry["event"] == "tamper.detected")
    assert ("nft", 42, "table deleted") == (detected["by"], detected["pid"], detected["change"])


def test_a_change_that_was_undone_is_not_told(bench: Bench) -> None:
    """Somebody touched our table, and it is as it should be: nothing is said or written."""
    told = Told()

    def touch() -> None:
        bench.kernel._generation += 1
        told.next.append(Disturbance("nft", 42, "rule added, rule deleted"))

    seen = bench.diary.has("observe", 3)  # two of the first cycle, one of the look
    bench.run(_hourly(bench, disturbances=told), (bench.diary.has("READY"), touch), (seen, STOP))
    assert [] == [event for event in bench.events if event.startswith(("tamper", "task"))]
    assert 1 == len(bench.diary.of("commit"))


def test_the_audit_finds_what_no_event_told(bench: Bench) -> None:
    """Events can be lost, and not everything has any: the kernel is looked at now and then."""
    bench.audit = 0.05
    bench.run(
        _hourly(bench),
        (bench.diary.has("READY"), lambda: _tampered(bench)),
        (lambda: "tamper.repaired" in bench.events, STOP),
    )
    assert None is not bench.kernel.observe().ruleset
    assert "somebody" == next(e["by"] for e in bench.log.entries if e["event"] == "tamper.detected")


def test_an_audit_of_a_kernel_where_nothing_changed_reads_nothing(bench: Bench) -> None:
    """To ask for the generation is enough."""
    bench.audit = 0.01
    bench.run(_hourly(bench), (bench.diary.has("READY"), _nothing), (_after(0.3), STOP))
    assert 2 == len(bench.diary.of("observe"))


def test_what_happens_while_the_first_cycle_ends_is_found_soon(bench: Bench) -> None:
    """What is heard before anything is enforced is not kept; a second later the kernel is looked at."""
    observe = bench.kernel.observe

    def once_read_back() -> "Observation":
        found = observe()
        if 2 == len(bench.diary.of("observe")):
            _tampered(bench)
        return found

    bench.kernel.observe = once_read_back  # type: ignore[method-assign]
    bench.run(_hourly(bench), (lambda: "tamper.repaired" in bench.events, STOP))
    assert None is not bench.kernel.observe().ruleset


def test_a_repair_that_fails_is_tried_again(bench: Bench) -> None:
    """It is a trouble as long as it fails, and what is enforced afterwards is the whole."""
    told, told_to_fail = Told(), [CommitUnknown("no answer", reason="no_reply")] * 5
    commit = bench.kernel.commit

    def failing(plan: object, at: int) -> None:
        if told_to_fail:
            raise told_to_fail.pop()
        commit(plan, at)  # type: ignore[arg-type]

    def tamper() -> None:
        bench.kernel.commit = failing  # type: ignore[method-assign]
        _tampered(bench)
        told.next.append(Disturbance("nft", 42, "table deleted"))

    bench.clock = Skewed()
    bench.run(
        _hourly(bench, disturbances=told),
        (bench.diary.has("READY"), tamper),
        (lambda: "tamper.repair.failed.over" in bench.events, STOP),
    )
    assert bench.events.index("tamper.repair.failed") < bench.events.index("tamper.repaired")
    assert None is not bench.kernel.observe().ruleset


class Moving:
    """A Follower whose interface has another name each time it was moved."""

    def __init__(self) -> None:
        self.host = HOST
        self.lost = False

    async def follow(self, fleet: "Fleet") -> Host:
        if self.lost:
            raise HostUnknown("the interface is gone", reason="interface_missing")
        return self.host


def test_interfaces_are_followed_between_polls(bench: Bench) -> None:
    """Another name is another ruleset at once; one that is lost changes nothing, and is told."""
    finder, moved = Moving(), asyncio.Event()
    held: list[object] = []

    async def links() -> "AsyncIterator[None]":
        while True:
            await moved.wait()
            moved.clear()
            yield

    def move(name: str = "", *, lost: bool = False) -> "Callable[[], None]":
        def act() -> None:
            held.append(bench.kernel.observe().ruleset)
            finder.host, finder.lost = Host(1, name or finder.host.private, "eth0"), lost
            moved.set()

        return act

    parts = _hourly(bench, links=links)
    parts.cycle.follower = finder
    bench.run(
        parts,
        (bench.diary.has("READY"), move("ens7")),
        (lambda: "host.changed" in bench.events, move(lost=True)),
        (lambda: "host.unknown" in bench.events, move("ens8")),
        (lambda: bench.events.count("host.changed") == 2, STOP),
    )
    assert bench.events.index("host.unknown") < bench.events.index("host.unknown.over")
    inbound = [str(ruleset.chains["inbound"].rules) for ruleset in held if ruleset]  # type: ignore[attr-defined]
    assert ["eth1" in inbound[0], "ens7" in inbound[1], inbound[2] == inbound[1]] == [True] * 3


TASKS = ("events", "links", "changes")


@pytest.mark.fault("G12")
@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_dies_is_started_again(bench: Bench, name: str) -> None:
    """Each of the daemon's watches: its death is told by name, and it hears what comes after."""
    told = Told(RuntimeError("dead"), RuntimeError("again"))
    field = {"events": "disturbances"}.get(name, name)
    bench.clock = Skewed()
    bench.run(_hourly(bench, **{field: told}), (lambda: told.begun == 3, STOP))
    failed = [entry["name"] for entry in bench.log.entries if entry["event"] == "task.failed"]
    assert [name, name] == failed


@pytest.mark.fault("G12")
@pytest.mark.parametrize("name", TASKS)
def test_a_task_beyond_help_ends_the_daemon(bench: Bench, name: str) -> None:
    """What dies each time it is started takes the process with it, and the rules stay."""
    told = Told(*[RuntimeError("dead")] * (RESTARTS + 1))
    field = {"events": "disturbances"}.get(name, name)
    bench.clock = Skewed()
    with pytest.raises(RuntimeError, match="dead"):
        bench.run(_hourly(bench, **{field: told}))
    assert RESTARTS + 1 == bench.events.count("task.failed")
    assert ("STOPPING", 1) == (bench.diary.entries[-1][1], bench.closed)


@pytest.mark.fault("G12")
def test_the_task_that_repairs_is_a_task_like_others(bench: Bench) -> None:
    """A defect outside of the part that is guarded: it is started again, and repairs."""
    told, broken = Told(), [True]
    bench.clock = Skewed()

    def disturb() -> None:
        _tampered(bench)
        told.next.append(Disturbance("nft", 42, "table deleted"))

    class Fragile(Skewed):
        """A Clock that fails once in the hands of the task that repairs."""

        def monotonic(self) -> float:
            task = asyncio.current_task()
            if broken and task and task.get_name() == "repairs" and bench.diary.of("READY"):
                broken.pop()
                raise RuntimeError("a defect")
            return super().monotonic()

    bench.clock = Fragile()
    bench.run(
        _hourly(bench, disturbances=told),
        (bench.diary.has("READY"), disturb),
        (lambda: "tamper.repaired" in bench.events, STOP),
    )
    assert ["repairs"] == [e["name"] for e in bench.log.entries if e["event"] == "task.failed"]


@pytest.mark.fault("G12")
def test_a_task_that_somebody_cancelled_has_died(bench: Bench) -> None:
    """Half alive is the worst way to be."""

    def cancel() -> None:
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "events")
        task.cancel()

    with pytest.raises(Exception, match="the task events was cancelled"):
        bench.run(_hourly(bench, disturbances=Told()), (bench.diary.has("READY"), cancel))
    assert "task.failed" in bench.events


def test_what_cannot_be_watched_is_done_without(bench: Bench) -> None:
    """A kernel that tells nothing is told once; polls and the audit go on."""
    told = Told(KernelUnsupported("no events here", feature="nfnetlink"))
    bench.audit = 0.05
    bench.run(
        _hourly(bench, disturbances=told),
        (bench.diary.has("READY"), lambda: _tampered(bench)),
        (lambda: "tamper.repaired" in bench.events, STOP),
    )
    assert (1, 1) == (told.begun, bench.events.count("events.unavailable"))


@pytest.mark.fault("F3")
def test_a_pause_is_one_poll(bench: Bench) -> None:
    """Ten minutes in which the machine stood still: told once, and made up for by one poll, not by twenty."""
    clock, source = Skewed(), Answers([TWO])
    bench.clock = clock
    parts = replace(bench.parts(source), interval=3600.0)

    def pause() -> None:
        clock.boot += 600.0
        clock.wall += 600.0

    bench.run(
        parts,
        (bench.diary.has("READY"), pause),
        (lambda: source.asked == 2, _nothing),
        (_after(0.3), STOP),
    )
    gaps = [entry["s"] for entry in bench.log.entries if entry["event"] == "loop.gap"]
    assert (2, 1) == (source.asked, len(gaps))
    assert 560 <= gaps[0] <= 600 + LONG


def test_a_pause_in_a_cycle_is_no_hang(bench: Bench) -> None:
    """Time in which nothing could run does not count against the cycle, nor starve the watchdog after it."""
    clock, diary = Skewed(), bench.diary
    bench.clock = clock
    paused: list[int] = []

    def busy() -> bool:
        if not paused:
            paused.append(1)
            clock.boot += 600.0
        return len(diary.of("WATCHDOG")) < 8

    bench.kernel.busy = busy
    bench.run(_hourly(bench), (diary.has("READY"), STOP), watchdog=0.1)
    story = diary.of("committing", "WATCHDOG", "commit")
    assert story.index("commit") - story.index("committing") > 3


@pytest.mark.fault("F2")
def test_a_clock_that_is_not_set_is_told_until_it_is(bench: Bench) -> None:
    """A boot in 1970: what there is to enforce is enforced, and the trouble ends when the clock is set."""
    clock = Skewed()
    clock.wall = -SystemClock().now()
    bench.clock = clock

    def set_it() -> None:
        clock.wall = 0.0

    bench.run(
        _hourly(bench),
        (bench.diary.has("READY"), set_it),
        (lambda: "clock.suspect.over" in bench.events, STOP),
    )
    assert "clock.suspect" == bench.events[1]
    assert WRITTEN < SystemClock().now()


@pytest.mark.fault("F2")
@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_makes_nothing_older(bench: Bench, jump: float) -> None:
    """A day forth or back: told, and the age of the last good poll is still what it was."""
    clock = Skewed()
    bench.clock = clock

    def move() -> None:
        clock.wall += jump

    def told() -> bool:
        return "clock.suspect" in bench.events

    bench.run(_hourly(bench), (bench.diary.has("READY"), move), (told, STOP))
    status = bench.store.read_status()
    assert abs(float(status["verified_at"]) - clock.now()) < LONG * 6
    assert jump == next(e["jump_s"] for e in bench.log.entries if e["event"] == "clock.suspect")


@pytest.mark.fault("D20")
def test_a_kernel_that_does_not_come_to_an_end_is_told(bench: Bench) -> None:
    """A commit of a minute: the loop lives, and the daemon is not ready, and says so, until it is over."""
    clock, diary = Skewed(), bench.diary
    bench.clock = clock
    told = Told()
    statuses: list[dict[str, object]] = []

    def busy() -> bool:
        """Once it hangs, half a minute passes; it ends when that was told."""
        if len(diary.of("commit")) and not clock.boot:
            clock.boot = 40.0
        return bool(clock.boot) and "commit.slow" not in bench.events

    def tamper() -> None:
        _tampered(bench)
        told.next.append(Disturbance("nft", 42, "table deleted"))

    bench.kernel.busy = busy
    parts = _hourly(bench, disturbances=told)
    parts.cycle.clock = clock
    bench.run(
        parts,
        (diary.has("READY"), tamper),
        (lambda: "commit.slow" in bench.events, lambda: statuses.append(bench.store.read_status())),
        (lambda: "commit.slow.over" in bench.events, lambda: statuses.append(bench.store.read_status())),
        (_after(0.05), STOP),
        watchdog=0.1,
    )
    assert [False, True] == [status["ready"] for status in statuses]
    assert "degraded: the kernel has not come to an end" in str(statuses[0]["headline"])


def test_a_repair_without_end_shows_no_sign_of_life(bench: Bench) -> None:
    """A loop that goes round a kernel that never answers is as good as hung: the watchdog is to end it."""
    clock, diary = Skewed(), bench.diary
    bench.clock = clock
    told, over = Told(), [False]
    fed: list[int] = []

    def busy() -> bool:
        if diary.of("commit"):
            clock.boot = CYCLE_LIMIT + 1
        return bool(diary.of("commit")) and not over[0]

    def tamper() -> None:
        _tampered(bench)
        told.next.append(Disturbance("nft", 42, "table deleted"))

    def starved() -> None:
        fed.append(len(diary.of("WATCHDOG")))

    def stop() -> None:
        fed.append(len(diary.of("WATCHDOG")))
        over[0] = True
        STOP()

    bench.kernel.busy = busy
    parts = _hourly(bench, disturbances=told)
    parts.cycle.clock = clock
    bench.run(
        parts,
        (diary.has("READY"), tamper),
        (lambda: bool(clock.boot), _nothing),
        (_after(0.2), starved),
        (_after(0.5), stop),
        watchdog=0.1,
    )
    assert fed[0] == fed[1]


def test_interfaces_that_could_not_be_followed_are_looked_at_again(bench: Bench) -> None:
    """What failed once is tried again, though no interface changes any more and no poll is due."""
    finder, told = Moving(), Told()
    finder.lost = True
    parts = _hourly(bench, links=told)
    parts.cycle.follower = finder
    bench.clock = Skewed()

    def back() -> None:
        finder.host, finder.lost = Host(1, "ens7", "eth0"), False

    bench.run(
        parts,
        (bench.diary.has("READY"), lambda: told.next.append(Disturbance())),
        (lambda: "host.unknown" in bench.events, back),
        (lambda: "host.changed" in bench.events, STOP),
    )
    assert "host.unknown.over" in bench.events


def test_what_ends_by_itself_is_nobody_who_fights(bench: Bench) -> None:
    """Pause after pause runs out and is cleaned up: a change by somebody else is still the first."""
    told = Told()

    def pause() -> None:
        holding.hold(bench.kernel, lambda base: audited(base) if base else Ruleset(), PAUSE, 0.05)
        told.next.append(Disturbance("droplan", 42, "rule added"))

    def tamper() -> None:
        _tampered(bench)
        told.next.append(Disturbance("nft", 42, "table deleted"))

    parts = _hourly(bench, disturbances=told)
    parts.cycle.stance = Stance
    over = [(lambda n=n: bench.events.count("pause.ended") == n, pause) for n in range(1, FREE + 1)]
    bench.run(
        parts,
        (bench.diary.has("READY"), pause),
        *over,
        (lambda: bench.events.count("pause.ended") == FREE + 1, tamper),
        (lambda: "tamper.repaired" in bench.events, STOP),
    )
    assert "tamper.contested" not in bench.events


def test_looks_that_find_nothing_leave_time_for_others(bench: Bench) -> None:
    """Somebody touches our table all the time, and it stays as it should be: that is no busy loop."""
    look, observe = 0.02, bench.kernel.observe

    def slowly() -> "Observation":
        time.sleep(look)
        return observe()

    class Restless(Told):
        async def __call__(self) -> "AsyncIterator[Disturbance]":
            while True:
                bench.kernel._generation += bool(bench.diary.of("READY"))
                yield Disturbance("nft", 42, "element added, element deleted")
                await asyncio.sleep(0.005)

    bench.kernel.observe = slowly  # type: ignore[method-assign]
    bench.run(
        _hourly(bench, disturbances=Restless()), (bench.diary.has("READY"), _nothing), (_after(2.0), STOP)
    )
    looks = [at for at, what in bench.diary.entries if what == "observe"]
    assert len(looks) >= 4, "it looks"
    assert len(looks) <= 4 + (looks[-1] - looks[0]) * SHARE / look


def test_a_stop_during_a_commit_lets_nobody_else_at_the_kernel(bench: Bench) -> None:
    """A repair waits for a commit of a cycle: told to stop, neither asks the kernel anything more."""
    told, generation = Told(), bench.kernel.generation
    parts = replace(bench.parts(Answers([TWO, THREE])), disturbances=told)
    over: list[bool] = []

    def stop() -> None:
        bench.diary.write("stop")
        STOP()

    def asked() -> int:
        bench.diary.write("asked")
        return generation()

    bench.kernel.busy = lambda: len(bench.diary.of("committing")) > 1 and not over
    bench.kernel.generation = asked  # type: ignore[method-assign]
    bench.run(
        parts,
        (bench.diary.has("committing", 2), lambda: told.next.append(Disturbance("nft", 42, "rule added"))),
        (lambda: not told.next, _nothing),
        (_after(0.1), stop),
    )
    over.append(True)
    after = [what for _, what in bench.diary.entries]
    assert not {"asked", "observe"} & {*after[after.index("stop") :]}
