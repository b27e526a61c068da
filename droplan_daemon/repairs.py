"""What is done between two polls: what others changed is put right, and interfaces are followed.

Laws:
1. A change is put right at once, without asking anybody; whoever changes it again and again is met with
   growing delays (`pacing.Contest`) and one alarm.
2. Once in AUDIT seconds the kernel is looked at in any case: events can be lost, and not everything has any.
3. Nothing is repaired before something was enforced.
4. What fails is tried again, backed off. This task is never ended in the middle of a commit but by the end
   of the process.
5. Looks that find nothing, however often somebody gives cause for them, take a tenth of the time at most.
"""

import asyncio
from typing import TYPE_CHECKING

from .effects import Disturbance
from .lean import give_back
from .outcomes import Committed, Failed, Refused, Unchanged
from .pacing import Contest, backoff
from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from .effects import Clock
    from .outcomes import Outcome
    from .reconcile import Cycle
    from .vigil import Vigil

    Guard = Callable[[Coroutine[Any, Any, Outcome]], Coroutine[Any, Any, Outcome]]

AUDIT = 60.0
"""Seconds between two looks at the kernel that nothing gave cause for."""

_AFTER = 0.1  # seconds: a lease is over then, and not about to be

SHARE, LONGEST = 0.1, 0.2
"""Of the time: what looks take that find nothing; and the seconds from one to the next, at most."""

SOON = 1.0
"""The same until something is enforced: what is heard before is not kept."""


class Repairs:
    """`cycle` gives the Cycle of the configuration that counts now; `guard` survives what nobody foresaw."""

    def __init__(
        self,
        cycle: "Callable[[], Cycle]",
        *,
        guard: "Guard",
        vigil: "Vigil",
        clock: "Clock",
        audit: float = AUDIT,
    ) -> None:
        self._cycle = cycle
        self._guard = guard
        self._vigil = vigil
        self._clock = clock
        self._audit = audit
        self._changed = asyncio.Event()
        self._heard: Disturbance | None = None
        self._heard_at = 0.0
        self._moved = False
        self._astray = 0
        self._follow_at = 0.0
        self._contest = Contest()
        self._failures = 0
        self._not_before = 0.0
        self._audit_at = 0.0

    def disturbed(self, by: Disturbance) -> None:
        """Somebody changed what is ours. Who did it first is who is named."""
        if self._cycle().last is None:
            return  # the first cycle looks, and the first audit soon after it
        self._hear(by, self._clock.monotonic())
        self._vigil.disturbed(by)
        self._changed.set()

    def _hear(self, by: Disturbance, at: float) -> None:
        if self._heard is None:
            self._heard_at = at
        if self._heard is None or not self._heard.by:
            self._heard = by

    def look(self) -> None:
        """Something may have been missed."""
        self._audit_at = 0.0
        self._changed.set()

    def moved(self) -> None:
        """An interface changed."""
        self._moved, self._follow_at = True, 0.0
        self._changed.set()

    async def run(self) -> None:
        """For ever."""
        self._audit_at = self._clock.monotonic() + self._quiet()
        while True:
            await self._due()
            self._audit_at = self._clock.monotonic() + self._audit
            self._calm()
            if self._cycle().last is None:
                self._moved = False
            elif self._moved and self._follow_at <= self._clock.monotonic():
                self._moved = False
                await self._relocate()
            else:
                await self._repair()
            if self._audit_at:  # else somebody wants a look since this one began
                self._audit_at = self._clock.monotonic() + self._quiet()

    def _quiet(self) -> float:
        """Seconds until the next look in any case: what a lease leaves behind is cleaned up when it ends."""
        last = self._cycle().last
        if last is None:
            return min(self._audit, SOON)
        return min(self._audit, last.lease[1] + _AFTER) if last.lease else self._audit

    async def _due(self) -> None:
        """Until there is something to do, and it may be done."""
        while (left := self._at() - self._clock.monotonic()) > 0:
            self._changed.clear()
            await until(self._clock, self._changed, left)

    def _at(self) -> float:
        """The moment (monotonic) of what is to be done next."""
        repair = self._not_before if self._heard else self._audit_at
        return min(repair, self._follow_at) if self._moved else repair

    def _calm(self) -> None:
        """Forget a contest that is over."""
        before, self._contest = self._contest, self._contest.at(self._clock.monotonic())
        if before.contested and not self._contest.contested:
            self._vigil.calm()

    async def _repair(self) -> None:
        heard, since = self._heard, self._heard_at if self._heard else self._clock.monotonic()
        self._heard, begun, cycle = None, self._clock.monotonic(), self._cycle()
        before = cycle.last
        outcome = await self._guard(cycle.repair())
        now = self._clock.monotonic()
        if isinstance(outcome, Failed | Refused):
            self._hear(heard or Disturbance(), since)
            if cycle is not self._cycle():
                return  # it was reloaded meanwhile, and is looked at by the new one
            self._failures += 1
            self._not_before = now + backoff(self._failures, self._clock.random())
        else:
            self._failures = 0
        if isinstance(outcome, Unchanged) and heard:
            self._not_before = max(self._not_before, now + min(LONGEST, (now - begun) / SHARE))
        put_right = isinstance(outcome, Committed) and outcome.repairs(before)
        if put_right:
            self._contest = self._contest.repaired(now)
            self._not_before = now + self._contest.delay
        self._vigil.repaired(outcome, heard, now - since)
        if self._contest.contested and put_right:
            self._vigil.contested(self._contest)
        give_back()

    async def _relocate(self) -> None:
        cycle = self._cycle()
        outcome = await self._guard(cycle.relocate())
        if isinstance(outcome, Failed):
            self._moved = True
            if cycle is not self._cycle():
                return
            self._astray += 1
            self._follow_at = self._clock.monotonic() + backoff(self._astray, self._clock.random())
        else:
            self._astray = 0
        self._vigil.relocated(outcome)
        give_back()
