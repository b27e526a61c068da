"""The loop by itself: when it looks, when it shows signs of life, how it ends."""

import asyncio
import os
import signal
import socket
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import LogCapture

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.clock import SystemClock
from droplan_daemon.daemon import Daemon, Parts
from droplan_daemon.errors import ConfigInvalid, NotPermitted, Problem, SourceUnavailable
from droplan_daemon.herald import Herald
from droplan_daemon.logs.conditions import Conditions
from droplan_daemon.model.fleet import Skipped
from droplan_daemon.model.plan import DeleteTable, Plan
from droplan_daemon.model.policy import Policy
from droplan_daemon.model.stance import Stance
from droplan_daemon.notify import ServiceManager
from droplan_daemon.reconcile import Cycle
from droplan_daemon.repairs import SOON
from tests.unit.cycles import Answers, Known, droplet, fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from droplan_daemon.effects import Observation, Source
    from droplan_daemon.model.fleet import Fleet

    Step = tuple[Callable[[], bool], Callable[[], object]]

TWO = fleet(droplet(1), droplet(2))
THREE = fleet(droplet(1), droplet(2), droplet(3))
INTERVAL = 0.05
LONG = 10.0
"""Seconds that something may take on a busy machine."""


class Diary:
    """What happened to kernel and systemd, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, str]] = []

    def write(self, what: str) -> None:
        self.entries.append((time.monotonic(), what))

    def of(self, *words: str) -> list[str]:
        return [what for _, what in self.entries if what in words]

    def has(self, word: str, times: int = 1) -> "Callable[[], bool]":
        return lambda: len(self.of(word)) >= times


class Kernel(FakeBackend):
    """A fake that writes down what is done to it; a commit takes its time, and as long as `busy` says."""

    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self.busy: Callable[[], bool] = bool
        self._diary = diary

    def observe(self) -> "Observation":
        self._diary.write("observe")
        return super().observe()

    def commit(self, plan: "Plan", at: int) -> None:
        self._diary.write("committing")
        time.sleep(0.05)
        end = time.monotonic() + LONG
        while self.busy() and time.monotonic() < end:
            time.sleep(0.005)
        super().commit(plan, at)
        self._diary.write("commit")


class Manager(ServiceManager):
    """The real one over a real socket, which also writes down what it says."""

    def __init__(self, diary: Diary, address: str) -> None:
        super().__init__({"NOTIFY_SOCKET": address})
        self._diary = diary

    def _send(self, *lines: str) -> None:
        self._diary.write(lines[0].partition("=")[0])
        super()._send(*lines)


class Hanging:
    """A Source that answers at once, and then never again; `block` holds up the whole loop with it."""

    budget = None

    def __init__(self, block: float = 0.0) -> None:
        self._block = block
        self.asked = 0

    async def gather(self) -> "Fleet":
        self.asked += 1
        if self.asked > 1 and self._block:
            time.sleep(self._block)  # noqa: ASYNC251 - what a hung loop is
        elif self.asked > 1:
            await asyncio.Event().wait()
        return TWO


class Bench:
    """A Daemon of real parts but for its Source and its kernel."""

    def __init__(self, folder: "Path", address: str) -> None:
        self.diary, self.log = Diary(), LogCapture()
        structlog.configure(processors=[self.log], cache_logger_on_first_use=False)
        self.kernel, self.manager = Kernel(self.diary), Manager(self.diary, address)
        self.clock = SystemClock()
        self.store = StateFiles(folder / "state", folder / "run")
        self.closed = 0
        self.audit = 3600.0
        self.builds: list[Parts | ConfigInvalid] = []

    def parts(self, source: "Source", changes: "Callable[[], AsyncIterator[None]] | None" = None) -> Parts:
        async def close() -> None:
            self.closed += 1

        return Parts(Cycle(Policy(), source, Known(), self.kernel), INTERVAL, changes, close)

    def build(self, known: "Fleet | None") -> Parts:
        found = self.builds.pop(0)
        if isinstance(found, ConfigInvalid):
            raise found
        return found

    def run(self, parts: Parts, *during: "Step", watchdog: float | None = None) -> None:
        """Until SIGTERM; `during` are (what to wait for, what to do then), one after another."""
        herald = Herald(
            Policy(),
            notifier=self.manager,
            store=self.store,
            clock=self.clock,
            conditions=Conditions(self.clock.monotonic),
            about={},
        )

        async def life() -> None:
            steps = asyncio.create_task(_taken(during))
            daemon = Daemon(
                self.build, parts, herald=herald, clock=self.clock, watchdog=watchdog, audit=self.audit
            )
            await asyncio.wait_for(daemon.run(), 60)
            await steps

        asyncio.run(life())

    @property
    def events(self) -> list[str]:
        return [entry["event"] for entry in self.log.entries if entry["log_level"] != "debug"]


async def _taken(steps: "tuple[Step, ...]") -> None:
    """Each in its turn; what does not come true in time is a failure of the test, after its SIGTERM."""
    for when, act in steps:
        end = asyncio.get_running_loop().time() + LONG
        while not when() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - whatever a test waits for
            await asyncio.sleep(0.005)
        if not when():
            STOP()
            pytest.fail(f"waited in vain for {when}")
        act()


def _after(seconds: float) -> "Callable[[], bool]":
    """True so long after it was asked first."""
    ends: list[float] = []

    def over() -> bool:
        ends.append(time.monotonic() + seconds)
        return time.monotonic() >= ends[0]

    return over


def _send(number: int) -> "Callable[[], None]":
    return lambda: os.kill(os.getpid(), number)


STOP, RELOAD = _send(signal.SIGTERM), _send(signal.SIGHUP)


def _nothing() -> None:
    """Only wait."""


@contextmanager
def _listening(path: "Path") -> "Iterator[str]":
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(path))
        yield str(path)


@pytest.fixture
def bench(tmp_path: "Path") -> "Iterator[Bench]":
    with _listening(tmp_path / "notify") as address:
        made = Bench(tmp_path, address)
        yield made
        made.manager.close()
    structlog.reset_defaults()


def test_ready_comes_after_commit_and_read_back(bench: Bench) -> None:
    """In this order: commit, observe, READY; a slow kernel only makes all of it later."""
    bench.run(bench.parts(Answers([TWO])), (bench.diary.has("READY"), STOP))
    assert ["commit", "READY"] == bench.diary.of("commit", "READY")
    story = [what for _, what in bench.diary.entries]
    assert "observe" in story[story.index("commit") : story.index("READY")]


def test_a_slow_kernel_starves_no_watchdog(bench: Bench) -> None:
    """A commit that takes long happens beside the loop, which goes on showing signs of life."""
    diary = bench.diary

    def during() -> int:
        """Signs of life since the commit began."""
        return diary.of("committing", "WATCHDOG")[::-1].index("committing")

    bench.kernel.busy = lambda: during() < 3
    bench.run(bench.parts(Answers([TWO])), (diary.has("READY"), STOP), watchdog=0.1)
    story = diary.of("committing", "WATCHDOG", "commit")
    assert 3 <= story.index("commit") - story.index("committing") - 1


def test_signs_of_life_come_twice_in_each_period(bench: Bench) -> None:
    """While nothing happens the watchdog is fed, even if the next poll is far away."""
    parts = replace(bench.parts(Answers([TWO])), interval=3600.0)
    bench.run(parts, (bench.diary.has("WATCHDOG", 6), STOP), watchdog=0.6)
    pings = [at for at, what in bench.diary.entries if what == "WATCHDOG"]
    # The middle one, for a busy machine may be late once or twice.
    assert median(later - earlier for earlier, later in pairwise(pings)) < 0.6


def test_a_hung_loop_shows_no_sign_of_life(bench: Bench) -> None:
    """Whatever blocks the loop stops the watchdog: nobody feeds it from a thread."""
    source = Hanging(block=1.0)
    bench.run(bench.parts(source), (lambda: source.asked > 1, STOP), watchdog=0.1)
    pings = [at for at, what in bench.diary.entries if what == "WATCHDOG"]
    assert max(later - earlier for earlier, later in pairwise([*pings, time.monotonic()])) > 0.9


def test_a_cycle_without_end_shows_no_sign_of_life(bench: Bench) -> None:
    """A loop that still turns around a cycle that never ends is as good as hung, after CYCLE_LIMIT."""

    class Racing(SystemClock):
        """An hour of every second, so that nobody waits."""

        def monotonic(self) -> float:
            return super().monotonic() * 3600

    bench.clock = Racing()
    source = Hanging()
    told = bench.diary.has
    bench.run(
        bench.parts(source),
        (told("READY"), _nothing),
        (lambda: source.asked > 1, _nothing),
        (_after(1.0), STOP),
        watchdog=0.1,
    )
    pings = [at for at, what in bench.diary.entries if what == "WATCHDOG"]
    assert bench.diary.entries[-1][0] - pings[-1] > 0.5


def test_sigterm_ends_a_cycle_that_hangs(bench: Bench) -> None:
    """Nobody waits for an answer that does not come; the rules stay."""
    source = Hanging()
    bench.run(bench.parts(source), (lambda: source.asked > 1, STOP))
    assert ("STOPPING", 1) == (bench.diary.entries[-1][1], bench.closed)
    assert None is not bench.kernel.observe().ruleset


def test_a_change_of_the_source_wakes_the_loop(bench: Bench) -> None:
    """Long before the next poll is due."""

    async def changes() -> "AsyncIterator[None]":
        while not source.asked:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.005)
        yield
        await asyncio.Event().wait()

    source = Answers([TWO])
    parts = replace(bench.parts(source, changes), interval=3600.0)
    bench.run(parts, (lambda: source.asked > 1, STOP))
    assert ["READY"] == bench.diary.of("READY")


def test_a_watch_that_dies_ends_the_daemon(bench: Bench) -> None:
    """Half alive is the worst way to be."""

    async def changes() -> "AsyncIterator[None]":
        await asyncio.sleep(0.2)
        if not bench.closed:
            raise RuntimeError("the watch died")
        yield

    source = Answers([SourceUnavailable("down", reason="connect")])
    with pytest.raises(RuntimeError, match="the watch died"):
        bench.run(bench.parts(source, changes), watchdog=0.2)
    assert "STOPPING" == bench.diary.entries[-1][1]


def test_what_nobody_foresaw_is_survived(bench: Bench) -> None:
    """A defect of ours in one cycle is told in full, and the next cycle is run."""
    source = Answers([TypeError("a defect"), TWO])
    bench.run(bench.parts(source), (bench.diary.has("READY"), STOP))
    assert ["cycle.crashed", "cycle.failed"] == [
        e for e in bench.events if e in {"cycle.crashed", "cycle.failed"}
    ]
    assert ["READY"] == bench.diary.of("READY")


def test_missing_rights_end_the_daemon(bench: Bench) -> None:
    """A kernel that forbids is no trouble that passes."""

    class Forbidden(FakeBackend):
        def observe(self) -> "Observation":
            raise NotPermitted("no")

    bench.kernel = Forbidden()  # type: ignore[assignment]
    with pytest.raises(NotPermitted):
        bench.run(bench.parts(Answers([TWO])))
    assert ("STOPPING", 1) == (bench.diary.entries[-1][1], bench.closed)


def test_rights_that_are_lost_later_are_a_trouble_of_a_cycle(bench: Bench) -> None:
    """A daemon that has enforced something goes on, says so, and enforces again when it may."""

    class Fickle(FakeBackend):
        asked = 0

        def observe(self) -> "Observation":
            self.asked += 1
            if self.asked == 3:
                raise NotPermitted("not now")
            return super().observe()

    bench.kernel = Fickle()  # type: ignore[assignment]
    source = Answers([TWO, TWO, THREE])
    bench.run(bench.parts(source), (lambda: "peer.joined" in bench.events, STOP))
    assert {"cycle.failed", "cycle.failed.over"} <= set(bench.events)
    assert ["READY"] == bench.diary.of("READY")


def test_a_reload_takes_the_new_parts(bench: Bench) -> None:
    """The old ones are let go of, what was known before stays known, and READY is told again."""
    fresh = bench.parts(Answers([THREE]))
    bench.builds = [fresh]
    ready = bench.diary.has
    bench.run(bench.parts(Answers([TWO])), (ready("READY"), RELOAD), (ready("READY", 2), STOP))
    assert ["READY", "RELOADING", "READY"] == bench.diary.of("READY", "RELOADING")
    assert (2, THREE) == (bench.closed, fresh.cycle.previous)
    assert ["peers.known", "daemon.ready", "config.reloaded", "peer.joined", "daemon.ready"] == bench.events[
        1:-1
    ]


def test_a_reload_forgets_nobody(bench: Bench) -> None:
    """Who was known before it, and cannot be read right after it, is still a peer."""
    bench.builds = [bench.parts(Answers([fleet(droplet(1), skipped=(Skipped(2, "odd"),))]))]
    ready = bench.diary.has
    bench.run(bench.parts(Answers([TWO])), (ready("READY"), RELOAD), (ready("READY", 2), STOP))
    assert 2 == bench.events.count("daemon.ready")
    assert "peer.left" not in bench.events


def test_a_refused_reload_keeps_the_old_parts(bench: Bench) -> None:
    """They go on being run, and nothing of theirs is closed before the end."""
    source, ready = Answers([TWO]), bench.diary.has
    bench.builds = [ConfigInvalid("droplan.toml", (Problem("no"),))]
    seen: list[int] = []
    bench.run(
        bench.parts(source),
        (ready("READY"), RELOAD),
        (ready("READY", 2), lambda: seen.append(source.asked)),
        (lambda: source.asked > seen[0] + 3, STOP),
    )
    assert ["READY", "RELOADING", "READY"] == bench.diary.of("READY", "RELOADING")
    assert 1 == bench.closed


@pytest.mark.fault("H2", "H3")
def test_a_reload_of_what_nobody_confirmed_keeps_the_old_parts(bench: Bench) -> None:
    """The old configuration goes on following the fleet, and the reload is over and refused."""
    source, never, ready = Answers([TWO]), Answers([TWO]), bench.diary.has
    tried = bench.parts(never)
    tried.cycle.stance, tried.cycle.digest = lambda: Stance(panic=True, tried="new"), "new"
    bench.builds = [tried]
    seen: list[int] = []
    bench.run(
        bench.parts(source),
        (ready("READY"), RELOAD),
        (ready("READY", 2), lambda: seen.append(source.asked)),
        (lambda: source.asked > seen[0] + 3, STOP),
    )
    assert ["READY", "RELOADING", "READY"] == bench.diary.of("READY", "RELOADING")
    assert (0, 2) == (never.asked, bench.closed)
    assert "refused" == bench.store.read_status()["reload"]["state"]
    assert "not confirmed" in bench.store.read_status()["config_error"]


def test_a_nudge_is_a_look_at_once(bench: Bench) -> None:
    """SIGUSR1 wakes the loop, long before the next poll is due."""
    source = Answers([TWO])
    parts = replace(bench.parts(source), interval=3600.0)
    bench.run(parts, (bench.diary.has("READY"), _send(signal.SIGUSR1)), (lambda: source.asked > 1, STOP))
    assert ["READY"] == bench.diary.of("READY")


def test_a_nudge_waits_for_no_answer(bench: Bench) -> None:
    """While the API says nothing, the kernel is looked at all the same: a panic cannot wait."""
    source = Hanging()

    def nudged() -> None:
        bench.kernel.commit(Plan((DeleteTable(),)), bench.kernel.generation())
        _send(signal.SIGUSR1)()

    bench.run(
        bench.parts(source),
        (_after(2 * SOON), _nothing),  # and nobody else is about to look
        (lambda: source.asked > 1, nudged),
        (lambda: bench.kernel.observe().ruleset is not None, STOP),
    )


def test_sigint_is_sigterm(bench: Bench) -> None:
    """Ctrl-C at a terminal ends it as gently."""
    bench.run(bench.parts(Answers([TWO])), (bench.diary.has("READY"), _send(signal.SIGINT)))
    assert "STOPPING" == bench.diary.entries[-1][1]
