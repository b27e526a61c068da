"""The loop: when to run a cycle.

Laws:
1. Level-triggered: a timer, a signal, a changed file set a flag that says "look again".
2. The watchdog is fed by this loop, and during a cycle only as long as a cycle may take.
3. An invalid configuration on reload changes nothing but what is told. A valid one is enforced by the
   next cycle; where that fails, for those that were known, if what was known is enough.
4. When the loop ends the rules stay.
5. What was kept is enforced before anybody is asked; then the first cycle begins at once.
6. A task that dies and cannot be started again takes the process with it: half alive is the worst way
   to be.
7. What others change in the kernel, and interfaces that come and go, wait for no poll (`repairs`).
8. However long the process or the machine was away, one poll makes up for all that were missed.

It knows no firewall words, no sources and no files: `Parts` are made for it, anew on reload.
"""

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ConfigInvalid, Fatal, Retry
from .gate import LOCK_OUT
from .lapse import Moment, is_set
from .lean import give_back, one_heap
from .outcomes import Failed, Outcome, Refused
from .pacing import backoff, next_poll, retry_wait
from .reconcile import Cycle
from .repairs import AUDIT, Repairs
from .vigil import Vigil
from .waiting import ended, until
from .watching import Watched
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from .effects import Clock, Disturbance
    from .errors import Problem
    from .herald import Herald
    from .metrics.meter import Meter
    from .model.checkpoint import Checkpoint
    from .model.fleet import Fleet

T = TypeVar("T")

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
    `disturbances` are what others do to the kernel, `links` yields when an interface changed.
    """

    cycle: Cycle
    interval: float
    changes: "Callable[[], AsyncIterator[None]] | None"
    close: "Callable[[], Awaitable[None]]"
    cautions: "tuple[Problem, ...]" = ()
    meter: "Meter | None" = None
    disturbances: "Callable[[], AsyncIterator[Disturbance]] | None" = None
    links: "Callable[[], AsyncIterator[None]] | None" = None


class Daemon:
    """Runs cycles until told to stop.

    `build` reads the configuration, and is told the last Fleet that was acted on; it may raise
    ConfigInvalid. `checkpoint` is what to begin with. `audit` is how often the kernel is looked at whatever
    happens, in seconds.
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
        audit: float = AUDIT,
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
        self._fallen: BaseException | None = None
        self._vigil = Vigil(herald, clock, lambda: self._parts.cycle.source.budget)
        self._watched = Watched(self._vigil, clock, self._on_fall)
        self._standby = Watched(self._vigil, clock, self._on_fall)
        self._repairs = Repairs(
            lambda: self._parts.cycle, guard=self._guarded, vigil=self._vigil, clock=clock, audit=audit
        )

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises Fatal."""
        loop = asyncio.get_running_loop()
        one_heap()
        loop.set_default_executor(Workers())
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        loop.add_signal_handler(signal.SIGUSR1, self._on_nudge)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        self._herald.metered(self._parts.meter)
        self._herald.started()
        self._vigil.clock_is(is_set=is_set(self._clock.now()))
        self._standby.start("repairs", self._repairs.run)
        self._watch()
        try:
            await self._resume()
            while not self._stop.is_set():
                while self._reload:
                    await self._reloaded()
                await self._turn()
            if self._fallen:
                raise self._fallen
        finally:
            await self._watched.end()
            await self._standby.end()
            await self._parts.close()
            self._herald.stopped()

    def _on_reload(self) -> None:
        self._reload = True
        self._wake.set()

    def _on_nudge(self) -> None:
        """Look at the kernel too: what the operator says to hold for a while waits for no API."""
        self._repairs.look()
        self._wake.set()

    def _on_stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def _on_fall(self, error: BaseException) -> None:
        self._fallen = error
        self._on_stop()

    def _watch(self) -> None:
        """Wait for all that the Parts can tell."""
        parts = self._parts
        if parts.changes:
            self._watched.start("changes", _each(parts.changes, lambda _: self._wake.set()))
        if parts.disturbances:
            self._watched.start(
                "events", _each(parts.disturbances, self._repairs.disturbed, self._repairs.look)
            )
        if parts.links:
            self._watched.start(
                "links", _each(parts.links, lambda _: self._repairs.moved(), self._repairs.moved)
            )

    async def _reloaded(self) -> None:
        """Take the new configuration, or keep the old one and say why."""
        self._reload = False
        self._herald.reloading()
        try:
            parts = self._build(self._parts.cycle.previous)
        except ConfigInvalid as error:
            self._herald.rejected(error, self._parts.cycle.source.budget)
            return
        if objection := await parts.cycle.objection(self._parts.cycle):
            await parts.close()
            self._herald.objected(objection, self._parts.cycle.source.budget)
            return
        await self._watched.end()
        await self._parts.close()
        parts.cycle.inherit(self._parts.cycle)
        self._parts, self._failures, self._unproven = parts, 0, True
        self._herald.metered(parts.meter)
        self._herald.reloaded(parts.cycle.policy)
        self._herald.cautions(parts.cautions)
        self._watch()

    async def _resume(self) -> None:
        """Enforce what was kept; where it is not taken, that is told, and the first cycle decides."""
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is None:
            return
        outcome = await self._cycle(self._parts.cycle.resume(checkpoint))
        if isinstance(outcome, Refused) and outcome.error.reason == LOCK_OUT:
            pass  # nothing is wrong with what was kept, and the first cycle says at once what is
        elif isinstance(outcome, Failed | Refused):
            self._herald.rejected_state((outcome.error,), "none")
        elif outcome is not None:
            self._herald.outcome(outcome, 0.0, self._parts.cycle.source.budget)
        give_back()

    async def _recall(self) -> None:
        """Enforce a new configuration for those that were known, since nobody says who is there now."""
        outcome = await self._cycle(self._parts.cycle.recall())
        if not isinstance(outcome, Failed | Refused | None):
            self._herald.outcome(outcome, 0.0, self._parts.cycle.source.budget)

    async def _expire(self) -> None:
        """Let those go whom the configuration lets stay only so long while nobody answers."""
        if not self._parts.cycle.overdue:
            return
        outcome = await self._cycle(self._parts.cycle.expire())
        if not isinstance(outcome, Failed | Refused | None):
            self._herald.expired(outcome, self._parts.cycle.source.budget)

    async def _turn(self) -> None:
        """One cycle and the wait after it."""
        self._wake.clear()
        outcome = await self._cycle(self._parts.cycle.run())
        if outcome is None:
            return
        unproven, self._unproven = self._unproven, False
        if unproven and isinstance(outcome, Failed):
            await self._recall()
        if isinstance(outcome, Failed | Refused):
            await self._expire()
        wait = self._wait_after(outcome)
        self._herald.outcome(outcome, wait, self._parts.cycle.source.budget)
        self._herald.silence(self._parts.cycle.silence, self._parts.cycle.source.budget)
        give_back()
        await self._idle(wait)

    async def _cycle(self, work: "Coroutine[Any, Any, Outcome]") -> Outcome | None:
        """A cycle, with signs of life while it may be alive. None: told to stop meanwhile."""
        task = asyncio.create_task(self._guarded(work), name="cycle")
        hung = self._clock.monotonic() + CYCLE_LIMIT
        while not task.done():
            if self._stop.is_set():
                # Together: what one has begun in the kernel goes on, and nothing may be begun beside it.
                await asyncio.gather(self._standby.end(), ended(task))
                return None
            if self._clock.monotonic() < hung:
                self._alive()
            hung += await self._until(self._stop, self._tick, task)
        return task.result()

    def _alive(self) -> None:
        """Show a sign of life, unless the kernel keeps a cycle or a repair for longer than any may take."""
        busy = self._parts.cycle.busy
        if busy < CYCLE_LIMIT:
            self._vigil.alive(busy)

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

    async def _idle(self, seconds: float) -> None:
        """Wait until something happens or the time is up, with signs of life."""
        end = self._clock.monotonic() + seconds
        while not self._wake.is_set() and (left := end - self._clock.monotonic()) > 0:
            self._alive()
            await self._until(self._wake, min(left, self._tick))

    async def _until(self, event: asyncio.Event, seconds: float, *tasks: "asyncio.Task[Any]") -> float:
        """Until the event is set, one of the tasks is done, or the seconds are over; seconds of a gap."""
        begun = Moment.of(self._clock)
        await until(self._clock, event, seconds, *tasks)
        now = Moment.of(self._clock)
        lapse = begun.until(now, seconds)
        if lapse.gap:
            self._vigil.gap(lapse.gap)
            self._wake.set()
        if lapse.jump:
            self._vigil.clock_moved(lapse.jump)
        self._vigil.clock_is(is_set=is_set(now.wall))
        return lapse.gap


def _nothing() -> None:
    """There is nothing to make up for."""


def _each(
    things: "Callable[[], AsyncIterator[T]]",
    act: "Callable[[T], None]",
    first: "Callable[[], None]" = _nothing,
) -> "Callable[[], Awaitable[None]]":
    """What acts on each thing as it comes, and `first` for those that came while nobody listened."""

    async def work() -> None:
        first()
        async for thing in things():
            act(thing)

    return work
