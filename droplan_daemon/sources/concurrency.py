"""Several questions at once, and an end to all of them.

Laws:
1. `together` fails with the first failure itself, never with a group of them, and leaves no task
   behind.
2. `within` ends in time whatever the coroutine does, and a cancellation from outside always gets
   through.

Not `asyncio.timeout` and `TaskGroup`: in Python 3.11 a group whose task failed leaves the
caller's count of cancellations raised, and every later timeout in that task then surfaces as a
cancellation, which would end the daemon (https://github.com/python/cpython/issues/116720).
"""

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from typing import Any

T = TypeVar("T")

_GRACE = 1.0
"""Seconds for a cancelled task to clean up; closing a socket takes none."""


async def together(coroutines: "Iterable[Coroutine[Any, Any, T]]") -> list[T]:
    """All results in order, or the first failure; the others are cancelled then."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task in done:
                task.result()
        return [task.result() for task in tasks]
    finally:
        await _ended(tasks)


async def within(seconds: float, coroutine: "Coroutine[Any, Any, T]") -> T:
    """The result, if it comes within so many seconds; else TimeoutError."""
    task = asyncio.create_task(coroutine)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        await _ended([task])


async def _ended(tasks: "list[asyncio.Task[T]]") -> None:
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=_GRACE)
    for task in tasks:
        # Looked at, so that asyncio does not report a failure that came second.
        if task.done() and not task.cancelled():
            task.exception()
