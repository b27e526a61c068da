"""The loop: when to run a cycle.

Laws:
1. Level-triggered: a timer, a signal, a changed file set a flag that says "look again".
2. The watchdog is fed by this loop, and during a cycle only as long as a cycle may take.
3. An invalid configuration on reload changes nothing but what is told. A valid one is enforced by the
   next cycle; where that fails, for those that were known, if what was known is enough.
4. When the loop ends the rules stay.
5. What was kept is enforced before anybody is asked; then the first cycle begins at once.
6. A task that dies takes the process with it: half alive is the worst way to be.

It knows no firewall words, no sources and no files: `Parts` are made for it, anew on reload.
"""

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ConfigInvalid, Fatal, Retry
from .lean import give_back, one_heap
from .outcomes import Failed, Outcome, Refused
from .pacing import backoff, next_poll, retry_wait
from .reconcile import Cycle
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from .effects import Clock
    from .errors import Problem
    from .herald import Herald
    from .metrics.meter import Meter
    from .model.checkpoint import Checkpoint
    from .model.fleet import Fleet

CYCLE_LIMIT = 120.0
"""Seconds after which a cycle counts as hung: its own deadlines add up to less."""

TICK = 10.0
"""Seconds between two signs of life while nothing happens, at most."""


class Crashed(Retry):
    """A cycle ended in an exception that nobody foresaw."""

    reason = "crashed"


class Hindered(Retry):
    """What would end a start keeps a daemon that has enforced something from going on for now."""

    def __init__(self, error: Fatal) -> None:
        super().__init__(str(error))
        self.reason = error.reason


@dataclass(frozen=True, slots=True)
class Parts:
    """What one reading of the configuration gives: a Cycle, its pace, and how to let go of it.

    `interval` is in seconds; `changes` yields whenever the Source changed (None: it cannot tell);
    `cautions` are mistakes of the configuration that one can run with; `meter` tells metrics.
    """

    cycle: Cycle
    interval: float
    changes: "Callable[[], AsyncIterator[None]] | None"
    close: "Callable[[], Awaitable[None]]"
    cautions: "tuple[Problem, ...]" = ()
    meter: "Meter | None" = None


class Daemon:
    """Runs cycles until told to stop.

    `build` reads the configuration, and is told the last Fleet that was acted on; it may raise
    ConfigInvalid. `checkpoint` is what to begin with.
    """

    def __init__(
        self,
        build: "Callable[[Fleet | None], Parts]",
        parts: Parts,
        *,
        herald: "Herald",
        clock: "Clock",
        watchdog: float | None = None,
        checkpoint: "Checkpoint | None" = None,
    ) -> None:
        self._build = build
        self._parts = parts
        self._herald = herald
        self._clock = clock
        self._tick = min(TICK, watchdog / 2) if watchdog else TICK
        self._checkpoint = checkpoint
        self._failures = 0
        self._reload = False
        self._unproven = False
        self._enforcing = False
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises Fatal."""
        loop = asyncio.get_running_loop()
        one_heap()
        loop.set_default_executor(Workers())
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        loop.add_signal_handler(signal.SIGUSR1, self._wake.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        self._herald.metered(self._parts.meter)
        self._herald.started()
        watching = self._watch()
        try:
            await self._resume()
            while not self._stop.is_set():
                while self._reload:
                    watching = await self._reloaded(watching)
                await self._turn(watching)
        finally:
            await _ended(watching)
            await self._parts.close()
            self._herald.stopped()

    def _on_reload(self) -> None:
        self._reload = True
        self._wake.set()

    def _on_stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def _watch(self) -> "asyncio.Task[None]":
        return asyncio.create_task(self._watched(self._parts.changes), name="watch")

    async def _watched(self, changes: "Callable[[], AsyncIterator[None]] | None") -> None:
        if changes is None:
            return
        async for _ in changes():
            self._wake.set()

    async def _reloaded(self, watching: "asyncio.Task[None]") -> "asyncio.Task[None]":
        """Take the new configuration, or keep the old one and say why."""
        self._reload = False
        self._herald.reloading()
        try:
            parts = self._build(self._parts.cycle.previous)
        except ConfigInvalid as error:
            self._herald.rejected(error, self._parts.cycle.source.budget)
            return watching
        await _ended(watching)
        await self._parts.close()
        parts.cycle.inherit(self._parts.cycle)
        self._parts, self._failures, self._unproven = parts, 0, True
        self._herald.metered(parts.meter)
        self._herald.reloaded(parts.cycle.policy)
        self._herald.cautions(parts.cautions)
        return self._watch()

    async def _resume(self) -> None:
        """Enforce what was kept; where it is not taken, that is told, and the first cycle decides."""
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is None:
            return
        outcome = await self._cycle(self._parts.cycle.resume(checkpoint))
        if isinstance(outcome, Failed | Refused):
            self._herald.rejected_state((outcome.error,), "none")
        elif outcome is not None:
            self._herald.outcome(outcome, 0.0, self._parts.cycle.source.budget)
        give_back()

    async def _recall(self) -> None:
        """Enforce a new configuration for those that were known, since nobody says who is there now."""
        outcome = await self._cycle(self._parts.cycle.recall())
        if not isinstance(outcome, Failed | Refused | None):
            self._herald.outcome(outcome, 0.0, self._parts.cycle.source.budget)

    async def _turn(self, watching: "asyncio.Task[None]") -> None:
        """One cycle and the wait after it."""
        self._wake.clear()
        outcome = await self._cycle(self._parts.cycle.run())
        if outcome is None:
            return
        unproven, self._unproven = self._unproven, False
        if unproven and isinstance(outcome, Failed):
            await self._recall()
        wait = self._wait_after(outcome)
        self._herald.outcome(outcome, wait, self._parts.cycle.source.budget)
        give_back()
        await self._idle(wait, watching)

    async def _cycle(self, work: "Coroutine[Any, Any, Outcome]") -> Outcome | None:
        """A cycle, with signs of life while it may be alive. None: told to stop meanwhile."""
        task = asyncio.create_task(self._guarded(work), name="cycle")
        hung = self._clock.monotonic() + CYCLE_LIMIT
        while not task.done():
            if self._stop.is_set():
                await _ended(task)
                return None
            if self._clock.monotonic() < hung:
                self._herald.alive(self._parts.cycle.source.budget)
            await self._until(self._stop, self._tick, task)
        return task.result()

    async def _guarded(self, work: "Coroutine[Any, Any, Outcome]") -> Outcome:
        """The one place that survives what nobody foresaw: told in full, then tried again later.

        A Fatal ends the process only as long as nothing is enforced: later, a daemon that goes on with
        what stands, and says so, is worth more than none.
        """
        try:
            outcome = await work
        except Fatal as error:
            if not self._enforcing:
                raise
            return Failed(Hindered(error))
        except Exception as error:  # noqa: BLE001 - the top of the loop
            self._herald.crashed()
            return Failed(Crashed(f"an error in droplan itself: {type(error).__name__}"))
        self._enforcing = self._enforcing or not isinstance(outcome, Failed | Refused)
        return outcome

    def _wait_after(self, outcome: Outcome) -> float:
        """Seconds until the next cycle."""
        source, interval, jitter = self._parts.cycle.source, self._parts.interval, self._clock.random()
        if isinstance(outcome, Failed | Refused):
            self._failures += 1
            if isinstance(outcome, Failed):
                return retry_wait(outcome.error, self._failures, jitter)
            return max(interval, backoff(self._failures, jitter))
        self._failures = 0
        fleet_size = len(outcome.world.fleet.droplets)
        return next_poll(interval, source.budget, fleet_size, jitter, now=self._clock.now())

    async def _idle(self, seconds: float, watching: "asyncio.Task[None]") -> None:
        """Wait until something happens or the time is up, with signs of life."""
        until = self._clock.monotonic() + seconds
        while not self._wake.is_set() and (left := until - self._clock.monotonic()) > 0:
            self._herald.alive(self._parts.cycle.source.budget)
            if watching.done():
                watching.result()
            await self._until(self._wake, min(left, self._tick))

    async def _until(self, event: asyncio.Event, seconds: float, *tasks: "asyncio.Task[Any]") -> None:
        """Until the event is set, one of the tasks is done, or the seconds are over."""
        own = asyncio.create_task(event.wait()), asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({*own, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(*own)


async def _ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel, and wait for the end."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
