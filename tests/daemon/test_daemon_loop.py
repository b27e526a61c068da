"""The loop by itself: when it looks, when it shows signs of life, how it ends."""

import asyncio
import os
import signal
import socket
import time
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import LogCapture

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.clock import SystemClock
from droplan_daemon.daemon import CYCLE_LIMIT, Daemon, Parts
from droplan_daemon.errors import ConfigInvalid, NotPermitted, Problem, SourceUnavailable
from droplan_daemon.herald import Herald
from droplan_daemon.logs.conditions import Conditions
from droplan_daemon.model.fleet import Skipped
from droplan_daemon.model.policy import Policy
from droplan_daemon.notify import ServiceManager
from droplan_daemon.reconcile import Cycle
from tests.unit.cycles import Answers, Known, droplet, fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from droplan_daemon.effects import Observation, Source
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.plan import Plan

TWO = fleet(droplet(1), droplet(2))
THREE = fleet(droplet(1), droplet(2), droplet(3))
INTERVAL = 0.05


class Diary:
    """What happened to kernel and systemd, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, str]] = []

    def write(self, what: str) -> None:
        self.entries.append((time.monotonic(), what))

    def of(self, *words: str) -> list[str]:
        return [what for _, what in self.entries if what in words]


class Kernel(FakeBackend):
    """A fake that writes down what is done to it; a commit takes its time."""

    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self._diary = diary

    def observe(self) -> "Observation":
        self._diary.write("observe")
        return super().observe()

    def commit(self, plan: "Plan", at: int) -> None:
        time.sleep(0.2)
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
        self.builds: list[Parts | ConfigInvalid] = []

    def parts(self, source: "Source", changes: "Callable[[], AsyncIterator[None]] | None" = None) -> Parts:
        async def close() -> None:
            self.closed += 1

        return Parts(Cycle(Policy(), source, Known(), self.kernel), INTERVAL, changes, close)

    def build(self) -> Parts:
        found = self.builds.pop(0)
        if isinstance(found, ConfigInvalid):
            raise found
        return found

    def run(
        self, parts: Parts, *during: "tuple[float, Callable[[], object]]", watchdog: float | None = None
    ) -> None:
        """Until SIGTERM; `during` are (seconds after the start, what to do then)."""
        herald = Herald(
            Policy(),
            notifier=self.manager,
            store=self.store,
            clock=self.clock,
            conditions=Conditions(self.clock.monotonic),
            about={},
        )

        async def life() -> None:
            loop = asyncio.get_running_loop()
            for delay, action in during:
                loop.call_later(delay, action)
            daemon = Daemon(self.build, parts, herald=herald, clock=self.clock, watchdog=watchdog)
            await asyncio.wait_for(daemon.run(), 30)

        asyncio.run(life())

    @property
    def events(self) -> list[str]:
        return [entry["event"] for entry in self.log.entries if entry["log_level"] != "debug"]


def _send(number: int) -> "Callable[[], None]":
    return lambda: os.kill(os.getpid(), number)


STOP = _send(signal.SIGTERM)


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
    bench.run(bench.parts(Answers([TWO])), (0.6, STOP))
    assert ["commit", "READY"] == bench.diary.of("commit", "READY")
    story = [what for _, what in bench.diary.entries]
    assert "observe" in story[story.index("commit") : story.index("READY")]


def test_a_slow_kernel_starves_no_watchdog(bench: Bench) -> None:
    """A commit of 0.2 s happens beside the loop, which goes on showing signs of life."""
    bench.run(bench.parts(Answers([TWO])), (0.6, STOP), watchdog=0.1)
    commit = next(at for at, what in bench.diary.entries if what == "commit")
    during = [at for at, what in bench.diary.entries if what == "WATCHDOG" and commit - 0.2 < at < commit]
    assert len(during) >= 2


def test_signs_of_life_come_twice_in_each_period(bench: Bench) -> None:
    """While nothing happens the watchdog is fed, even if the next poll is far away."""
    parts = bench.parts(Answers([SourceUnavailable("down", reason="connect")]))
    bench.run(parts, (1.5, STOP), watchdog=0.6)
    pings = [at for at, what in bench.diary.entries if what == "WATCHDOG"]
    assert max(later - earlier for earlier, later in pairwise(pings)) < 0.6


def test_a_hung_loop_shows_no_sign_of_life(bench: Bench) -> None:
    """Whatever blocks the loop stops the watchdog: nobody feeds it from a thread."""
    bench.run(bench.parts(Hanging(block=1.0)), (0.8, STOP), watchdog=0.1)
    pings = [at for at, what in bench.diary.entries if what == "WATCHDOG"]
    assert max(later - earlier for earlier, later in pairwise([*pings, time.monotonic()])) > 0.9


def test_a_cycle_without_end_shows_no_sign_of_life(bench: Bench) -> None:
    """A loop that still turns around a cycle that never ends is as good as hung, after CYCLE_LIMIT."""

    class Racing(SystemClock):
        """An hour of every second, so that nobody waits."""

        def monotonic(self) -> float:
            return super().monotonic() * 3600

    bench.clock = Racing()
    begun = time.monotonic()
    bench.run(bench.parts(Hanging()), (1.0, STOP), watchdog=0.1)
    hung = next(at for at, what in bench.diary.entries if what == "READY") + CYCLE_LIMIT / 3600
    late = [at for at, what in bench.diary.entries if what == "WATCHDOG" and at > hung + 0.25]
    assert ([], True) == (late, time.monotonic() - begun > 0.9)


def test_sigterm_ends_a_cycle_that_hangs(bench: Bench) -> None:
    """Nobody waits for an answer that does not come; the rules stay."""
    begun = time.monotonic()
    bench.run(bench.parts(Hanging()), (0.6, STOP))
    assert time.monotonic() - begun < 1.5
    assert ("STOPPING", 1) == (bench.diary.entries[-1][1], bench.closed)
    assert None is not bench.kernel.observe().ruleset


def test_a_change_of_the_source_wakes_the_loop(bench: Bench) -> None:
    """Long before the next poll is due."""

    async def changes() -> "AsyncIterator[None]":
        await asyncio.sleep(0.4)
        yield
        await asyncio.Event().wait()

    source = Answers([SourceUnavailable("down", reason="connect"), TWO])
    bench.run(bench.parts(source, changes), (0.9, STOP))  # a failure waits a second at least
    assert 2 <= source.asked
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
    bench.run(bench.parts(source), (2.6, STOP))
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


def test_a_reload_takes_the_new_parts(bench: Bench) -> None:
    """The old ones are let go of, what was known before stays known, and READY is told again."""
    fresh = bench.parts(Answers([THREE]))
    bench.builds = [fresh]
    bench.run(bench.parts(Answers([TWO])), (0.5, _send(signal.SIGHUP)), (1.2, STOP))
    assert ["READY", "RELOADING", "READY"] == bench.diary.of("READY", "RELOADING")
    assert (2, THREE) == (bench.closed, fresh.cycle.previous)
    assert ["peers.known", "daemon.ready", "config.reloaded", "peer.joined", "daemon.ready"] == bench.events[
        1:-1
    ]


def test_a_reload_forgets_nobody(bench: Bench) -> None:
    """Who was known before it, and cannot be read right after it, is still a peer."""
    bench.builds = [bench.parts(Answers([fleet(droplet(1), skipped=(Skipped(2, "odd"),))]))]
    bench.run(bench.parts(Answers([TWO])), (0.5, _send(signal.SIGHUP)), (1.0, STOP))
    assert 2 == bench.events.count("daemon.ready")
    assert "peer.left" not in bench.events


def test_a_refused_reload_keeps_the_old_parts(bench: Bench) -> None:
    """They go on being run, and nothing of theirs is closed before the end."""
    source = Answers([TWO])
    bench.builds = [ConfigInvalid("droplan.toml", (Problem("no"),))]
    bench.run(bench.parts(source), (0.5, _send(signal.SIGHUP)), (1.0, STOP))
    assert ["READY", "RELOADING", "READY"] == bench.diary.of("READY", "RELOADING")
    assert (1, True) == (bench.closed, source.asked > 3)


def test_sigint_is_sigterm(bench: Bench) -> None:
    """Ctrl-C at a terminal ends it as gently."""
    bench.run(bench.parts(Answers([TWO])), (0.5, _send(signal.SIGINT)))
    assert "STOPPING" == bench.diary.entries[-1][1]
