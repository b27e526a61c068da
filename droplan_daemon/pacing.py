"""When to look again. PURE: values in, seconds out.

Laws:
1. However the dice fall, polls that keep `next_poll`'s distance spend at most SHARE of the
   token's hourly limit over the whole fleet, as long as one poll each fits into it at all.
2. A poll is never due before 0.8 x interval, and a larger fleet never polls more often.
3. A failure is followed by at least a second and at most five minutes, unless the API asked
   for more; the first retries spread out, because a fleet fails together.
4. What somebody changes is put right at once, FREE times. Whoever goes on is met with a delay that doubles
   up to a minute, and that is forgotten only when he was quiet for a while.

`jitter` is always uniform in [0, 1). Sources: 5,000 requests an hour and 250 a minute per token
(https://docs.digitalocean.com/reference/api/); full jitter as in
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.errors import RateLimited, Retry, SourceDenied

if TYPE_CHECKING:
    from droplan_daemon.model.budget import Budget

HOUR = 3600.0

SHARE = 0.8
"""Of the limit; the rest is for people and their other tools."""

SPREAD = 0.2
"""Jitter: a fifth more or less."""

SCARCE = 0.1
"""Of the limit: with less remaining somebody else spends too, and we give way."""

STRETCH = 4.0
"""How much longer we wait when nothing remains."""

LONGEST_RESET = 900.0
"""Seconds that a `ratelimit-reset` is believed."""

BASE, CAP = 1.0, 300.0
"""Shortest and longest back-off in seconds."""

FREE = 3
"""Repairs in a row without a delay: to restart another firewall's service is to change ours twice."""

LONGEST_DELAY = 60.0
"""Seconds between two repairs, at most."""

QUIET = 300.0
"""Seconds without a repair after which the next one is the first again."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Repairs in a row: how many, and when the last one ended (monotonic seconds)."""

    repairs: int = 0
    last: float = 0.0

    @property
    def contested(self) -> bool:
        """Whether somebody fights back."""
        return self.repairs > FREE

    def at(self, now: float) -> "Contest":
        """What of it is remembered now."""
        return Contest() if self.repairs and now - self.last >= QUIET else self

    def repaired(self, now: float) -> "Contest":
        """After one more repair."""
        return Contest(self.at(now).repairs + 1, now)

    @property
    def delay(self) -> float:
        """Seconds that have to pass between the last repair and the next."""
        over = self.repairs - FREE
        return min(LONGEST_DELAY, 2.0 ** min(over, 64)) if over >= 0 else 0.0


def next_poll(
    interval: float, budget: "Budget | None", fleet_size: int, jitter: float, *, now: float = 0.0
) -> float:
    """Seconds until the next poll after a good one.

    `interval` is the operator's floor in seconds, `now` seconds since the epoch (for
    `budget.reset`). Without a Budget it is the interval, jittered.
    """
    wait = interval
    if budget is not None:
        # Divided by the shortest jitter, so that law 1 holds in the worst case, not on average.
        wait = max(wait, fair_period(budget, fleet_size) / (1 - SPREAD))
        wait = _giving_way(wait, budget, now)
    return wait * (1 - SPREAD + 2 * SPREAD * jitter)


def fair_period(budget: "Budget", fleet_size: int) -> float:
    """Seconds between two polls of one Droplet when all of them keep to SHARE of the limit.

    Whole polls per hour are counted, for an hour can hold one more than its length suggests.
    """
    affordable = SHARE * max(budget.limit, 1)
    cost = max(budget.spent, 1) * max(fleet_size, 1)
    each = affordable / cost
    return HOUR / int(each) if each >= 1 else HOUR / each


def _giving_way(wait: float, budget: "Budget", now: float) -> float:
    scarce = SCARCE * max(budget.limit, 1)
    if budget.remaining >= scarce:
        return wait
    missing = 1 - budget.remaining / scarce
    until_reset = min(max(budget.reset - now, 0.0), LONGEST_RESET) if now else 0.0
    return max(wait * (1 + (STRETCH - 1) * missing), until_reset)


def backoff(attempt: int, jitter: float, *, base: float = BASE, cap: float = CAP) -> float:
    """Seconds after the `attempt`-th failure in a row (1 is the first): full jitter over [base, cap]."""
    # 2**64 seconds are past every cap; a larger exponent would only overflow.
    ceiling = min(cap, base * 2.0 ** min(max(attempt, 1), 64))
    return base + (ceiling - base) * jitter


def retry_wait(error: Retry, attempt: int, jitter: float) -> float:
    """Seconds before the next try after this error.

    What the API asked for is added to, never undercut; a denied token is tried slowly, for only
    an operator can change it.
    """
    if isinstance(error, RateLimited):
        return error.wait + backoff(attempt, jitter)
    if isinstance(error, SourceDenied):
        return CAP * (1 - SPREAD * jitter)
    return backoff(attempt, jitter)
