"""The rate limits of a token: two windows that slide.

Laws:
1. Each request counts for an hour (5,000) and a minute (250) from its own moment.
2. A request that is refused does not count: a client that keeps asking still recovers.
3. `reset` is when the oldest request expires, not when all is well again; `retry_after` is
   there only when the minute is full; `remaining` is 0 when either is full.

Source: https://docs.digitalocean.com/reference/api/ (rate limits).
"""

import math
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests per hour and per minute, at least 1; the windows are in seconds."""

    hourly: int = 5_000
    burst: int = 250
    hour: float = 3_600.0
    minute: float = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one request was told. Times in seconds; `reset` since the epoch."""

    granted: bool
    limit: int
    remaining: int
    reset: int
    retry_after: int | None = None

    def headers(self) -> dict[str, str]:
        """As the API says it."""
        shown = {
            "ratelimit-limit": str(self.limit),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(self.reset),
        }
        return shown if self.retry_after is None else {**shown, "retry-after": str(self.retry_after)}


class Limiter:
    """Counts the requests of each token. `clock` gives seconds since the epoch."""

    def __init__(self, limits: Limits | None = None, clock: "Callable[[], float]" = time.time) -> None:
        self.limits = limits or Limits()
        self._clock = clock
        self._spent: dict[str, deque[float]] = defaultdict(deque)

    def spend(self, token: str) -> Allowance:
        """Ask for one request."""
        now, spent = self._clock(), self._spent[token]
        while spent and spent[0] <= now - self.limits.hour:
            spent.popleft()
        retry_after = self._burst_wait(spent, now)
        granted = retry_after is None and len(spent) < self.limits.hourly
        if granted:
            spent.append(now)
        reset = math.ceil((spent[0] if spent else now) + self.limits.hour)
        remaining = self.limits.hourly - len(spent) if granted else 0
        return Allowance(granted, self.limits.hourly, remaining, reset, retry_after)

    def _burst_wait(self, spent: "deque[float]", now: float) -> int | None:
        """Seconds until the minute has room, at least 1; None: it has some."""
        if len(spent) < self.limits.burst:
            return None
        oldest = spent[-self.limits.burst]
        if oldest <= now - self.limits.minute:
            return None
        return max(1, math.ceil(oldest + self.limits.minute - now))
