"""The real Clock: the operating system's time, randomness and the event loop's sleep."""

import asyncio
import random
import time


class SystemClock:
    """A Clock over `time`, `random` and `asyncio`."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    def boottime(self) -> float:
        """The same, and those in which the machine slept as well."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def random(self) -> float:
        """Uniform in [0, 1)."""
        return random.random()  # noqa: S311 - jitter is no secret

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds, or earlier when cancelled."""
        await asyncio.sleep(seconds)
