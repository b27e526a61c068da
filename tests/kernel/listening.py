"""A Watcher at work in a namespace: what it told, and when."""

import asyncio
import time
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol, Self

from droplan_daemon.backends.nft_events import NftEvents
from tests.kernel.ground import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from droplan_daemon.effects import Disturbance


class _Place(Protocol):
    """A network namespace, whoever made it."""

    def call(self, function: "Callable[[], None]", /) -> None:
        """Run it there."""


class Listening:
    """`told` and `times` (monotonic) grow while the context lasts; `own` is the port of commits of ours."""

    def __init__(self, namespace: "_Place", own: "Callable[[], int]") -> None:
        self.told: list[Disturbance] = []
        self.times: list[float] = []
        self._namespace = namespace
        self._events = NftEvents(own)
        self._begun = Event()
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        self._namespace.call(self._start)
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        loop = self._loop.result(10)
        loop.call_soon_threadsafe(self._task.cancel)
        assert self._thread
        self._thread.join(10)

    def heard(self, count: int = 1) -> "list[Disturbance]":
        """What was told, once it is so many."""
        assert until(lambda: len(self.told) >= count, 10), self.told
        return self.told

    @contextmanager
    def deaf(self) -> "Iterator[None]":
        """Meanwhile nothing is read, as by a daemon that has no turn on a busy machine."""
        again = Event()
        self._loop.result(10).call_soon_threadsafe(again.wait, 60)
        yield
        again.set()

    def _start(self) -> None:
        # A thread is born into the namespace of the one that starts it.
        self._thread = Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self._thread.start()

    async def _listen(self) -> None:
        self._task = asyncio.create_task(self._collect())
        await asyncio.sleep(0)
        self._loop.set_result(asyncio.get_running_loop())
        asyncio.get_running_loop().call_soon(self._begun.set)
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    async def _collect(self) -> None:
        async for told in self._events.disturbances():
            self.times.append(time.monotonic())
            self.told.append(told)
