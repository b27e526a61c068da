"""Threads for what blocks, that keep nobody from ending.

Laws:
1. Each call has a thread of its own: a name lookup that hangs for minutes takes no thread from a
   commit. Polls and cycles are paced, so there are never many.
2. The process does not wait for a thread that hangs: `shutdown` waits a moment for what is nearly
   done (a file being written), and neither the loop's end nor the interpreter's waits for more.

asyncio's own pool waits without end for its threads when the loop ends, and the interpreter does so
once more (`concurrent.futures.thread._python_exit`); its type is asked for by
`loop.set_default_executor`, hence the base class.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

GRACE = 0.8
"""Seconds for what is nearly done. systemd, and a person, expect an end within two."""


class Workers(ThreadPoolExecutor):
    """An executor of daemon threads, one for each call."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self._running: set[threading.Thread] = set()

    def submit(self, fn: "Callable[P, T]", /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run the call in a thread of its own."""
        future: Future[T] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - whoever waits for the future gets it
                    future.set_exception(error)
            self._running.discard(threading.current_thread())

        thread = threading.Thread(target=work, name="droplan-worker", daemon=True)
        self._running.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait a moment for what is running; the rest is left to itself."""
        super().shutdown(wait=wait, cancel_futures=cancel_futures)
        end = time.monotonic() + (GRACE if wait else 0.0)
        for thread in tuple(self._running):
            thread.join(max(0.0, end - time.monotonic()))
