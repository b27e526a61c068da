"""Tasks that wait for something outside: kept alive, or not at all.

Laws:
1. A task that dies is started again, RESTARTS times, each time after a longer wait; then its error ends the
   process: half alive is the worst way to be.
2. What this machine cannot watch is told and done without: the audit and the polls see it too, later.
3. A task that was cancelled by anybody but us has died.
"""

import asyncio
from typing import TYPE_CHECKING

from .errors import HostUnknown, KernelUnsupported
from .pacing import backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .effects import Clock
    from .vigil import Vigil

RESTARTS = 3
"""How often a task is started again."""

LONGEST = 10.0
"""Seconds before a task is started again, at most."""

SOUND = 300.0
"""Seconds after which a task that was started again counts as well."""


class TaskDiedError(Exception):
    """A task ended that must not."""


async def supervised(
    name: str, work: "Callable[[], Awaitable[None]]", vigil: "Vigil", clock: "Clock"
) -> None:
    """Run it until it returns by itself. Raises what it raised last."""
    failures = 0
    while True:
        begun = clock.monotonic()
        try:
            await work()
        except (KernelUnsupported, HostUnknown) as error:
            vigil.unwatched(name, error)
        except Exception:
            failures = failures + 1 if clock.monotonic() - begun < SOUND else 1
            vigil.task_failed(name, failures, last=failures > RESTARTS)
            if failures > RESTARTS:
                raise
            await clock.sleep(backoff(failures, clock.random(), base=LONGEST / 100, cap=LONGEST))
            continue
        return


class Watched:
    """The tasks of a Daemon; `fallen` is told when one of them is beyond help."""

    def __init__(self, vigil: "Vigil", clock: "Clock", fallen: "Callable[[BaseException], None]") -> None:
        self._vigil = vigil
        self._clock = clock
        self._fallen = fallen
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: "Callable[[], Awaitable[None]]") -> None:
        """Keep this alive from now on."""
        task = asyncio.create_task(supervised(name, work, self._vigil, self._clock), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    async def end(self) -> None:
        """Cancel all of them, and wait for their ends."""
        ending, self._tasks = self._tasks, set()
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    def _over(self, task: "asyncio.Task[None]") -> None:
        if task not in self._tasks:
            if not task.cancelled():
                task.exception()  # it fell while it was ended: nobody waits for it any more
            return
        self._tasks.discard(task)
        if task.cancelled():
            self._vigil.task_failed(task.get_name(), 1, last=True)
            self._fallen(TaskDiedError(f"the task {task.get_name()} was cancelled"))
        elif error := task.exception():
            self._fallen(error)
