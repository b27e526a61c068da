"""A22: a fleet that starts in step, at the API's own limits."""

import heapq
import random
from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import RateLimited
from droplan_daemon.lab.limits import Allowance, Limiter
from droplan_daemon.pacing import SHARE, next_poll, retry_wait
from droplan_daemon.sources.http import asked_wait, heard_budget

if TYPE_CHECKING:
    from collections.abc import Callable

FLEET, REQUESTS = 200, 4
"""Clients, and what a poll of so many Droplets costs: two lists of them, VPCs, peerings."""


class Herd:
    """Clients of one token, from one moment on; `now` is seconds since the epoch."""

    def __init__(self) -> None:
        self.now = self.begun = 1_800_000_000.0
        self.limiter = Limiter(clock=lambda: self.now)
        self.granted: list[float] = []
        self.refused: list[float] = []
        self.answered: dict[int, float] = {}
        self._dice = random.Random(7)
        self._failures = dict.fromkeys(range(FLEET), 0)

    def run(self, seconds: float) -> None:
        due = [(self.now, client) for client in range(FLEET)]
        while due[0][0] < self.begun + seconds:
            self.now, client = heapq.heappop(due)
            heapq.heappush(due, (self.now + self._poll(client), client))

    def _poll(self, client: int) -> float:
        """One poll; the wait after it."""
        last = self._asked()
        if not last.granted:
            self._failures[client] += 1
            error = RateLimited("", wait=asked_wait(last.headers(), self.now))
            return retry_wait(error, self._failures[client], self._dice.random())
        self._failures[client] = 0
        self.answered.setdefault(client, self.now - self.begun)
        budget = heard_budget(last.headers())
        assert budget
        spent = replace(budget, spent=REQUESTS)
        return next_poll(30.0, spent, FLEET, self._dice.random(), now=self.now)

    def _asked(self) -> Allowance:
        """The requests of one poll, up to the first that is refused."""
        for _ in range(REQUESTS - 1):
            if not (last := self._one()).granted:
                return last
        return self._one()

    def _one(self) -> Allowance:
        allowed = self.limiter.spend("token")
        (self.granted if allowed.granted else self.refused).append(self.now)
        return allowed


@pytest.mark.fault("A22")
def test_a_fleet_that_starts_in_step_comes_apart(figure: "Callable[[str], None]") -> None:
    """200 Droplets boot at once: all have an answer within ten minutes, then nobody is refused any more."""
    herd = Herd()
    herd.run(6 * 3600.0)
    settled = max(herd.answered.values())
    assert FLEET == len(herd.answered)
    assert settled < 600
    assert [] == [at for at in herd.refused if at > herd.begun + settled]
    later = [at for at in herd.granted if at > herd.begun + settled]
    busiest = max(bisect_left(later, at + 60) - index for index, at in enumerate(later))
    assert busiest <= SHARE * 250  # as they were let in, minute by minute, it would be all of them
    figure(
        f"A22: {FLEET} clients in step: all answered after {settled:.0f} s, then {busiest} requests a minute"
    )
