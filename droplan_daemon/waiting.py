"""Waiting for the first of several things, and for the end of tasks."""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .effects import Clock


async def until(clock: "Clock", event: asyncio.Event, seconds: float, *tasks: "asyncio.Task[Any]") -> None:
    """Until the event is set, one of the tasks is done, or the seconds are over."""
    own = asyncio.create_task(event.wait()), asyncio.create_task(clock.sleep(seconds))
    try:
        await asyncio.wait({*own, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(*own)


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel, and wait for the end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
