"""Several at once, an end to all of them, and nothing left behind."""

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from droplan_daemon.sources.concurrency import together, within

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def _after(seconds: float, result: int) -> int:
    await asyncio.sleep(seconds)
    return result


async def _fails(seconds: float, error: Exception) -> int:
    await asyncio.sleep(seconds)
    raise error


def _run(main: "Coroutine[Any, Any, None]") -> None:
    async def run() -> None:
        await main
        assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(run())


def test_results_come_in_order() -> None:
    """Whoever is ready first."""

    async def main() -> None:
        assert [1, 2, 3] == await together(_after((3 - n) / 100, n) for n in (1, 2, 3))
        assert [] == await together([])

    _run(main())


def test_the_first_failure_ends_all() -> None:
    """It is raised itself; the slow ones are cancelled and none is left."""

    async def main() -> None:
        with pytest.raises(KeyError):
            await together([_after(60, 1), _fails(0.01, KeyError()), _fails(0.3, ValueError())])

    _run(main())


def test_a_second_failure_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    """One failure is raised; asyncio reports no other as forgotten."""

    async def main() -> None:
        with pytest.raises(KeyError):
            await together([_fails(0, KeyError()), _fails(0, ValueError()), _fails(0, ValueError())])
        gc.collect()

    _run(main())
    assert [] == caplog.messages


def test_what_comes_too_late_is_a_timeout_every_time() -> None:
    """Also after failures in the same task, where `asyncio.timeout` would raise CancelledError."""

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(KeyError):
                await within(1, together([_after(60, 1), _fails(0, KeyError())]))
            with pytest.raises(TimeoutError):
                await within(0.01, together([_after(60, 1)]))
            assert [7] == await within(1, together([_after(0, 7)]))

    _run(main())


def test_a_cancellation_gets_through() -> None:
    """Whoever waits for a poll can be stopped at once."""

    async def main() -> None:
        waiting = asyncio.create_task(within(60, together([_after(60, 1)])))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    _run(main())


def test_a_stubborn_coroutine_does_not_hold_the_deadline() -> None:
    """One that ignores its cancellation is left to itself after a grace of a second."""
    stop = asyncio.Event()

    async def stubborn() -> None:
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await within(0.01, stubborn())
        assert asyncio.get_running_loop().time() - began < 30
        stop.set()
        await asyncio.sleep(0.01)

    _run(main())
