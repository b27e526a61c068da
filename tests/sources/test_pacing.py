"""When to look again: bounds, fairness, spread."""

import heapq
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.errors import RateLimited, SourceDenied, SourceDoubtful, SourceUnavailable
from droplan_daemon.model.budget import Budget
from droplan_daemon.pacing import (
    BASE,
    CAP,
    HOUR,
    LONGEST_RESET,
    SCARCE,
    SHARE,
    STRETCH,
    backoff,
    fair_period,
    next_poll,
    retry_wait,
)

JITTER = st.floats(0, 1, exclude_max=True)
SIZES = st.integers(0, 20_000)
INTERVALS = st.floats(1, 86_400)
BUDGETS = st.builds(
    Budget,
    limit=st.integers(0, 10**6),
    remaining=st.integers(0, 10**6),
    reset=st.floats(0, 10**12),
    spent=st.integers(0, 2_000),
)
NOW = 1_800_000_000.0


@given(INTERVALS, JITTER, SIZES)
def test_without_a_budget_the_interval_alone_counts(interval: float, jitter: float, size: int) -> None:
    """A file may be read as often as the operator says, a fifth more or less."""
    wait = next_poll(interval, None, size, jitter)
    assert 0.8 * interval <= wait <= 1.2 * interval


@given(INTERVALS, BUDGETS, SIZES, JITTER)
def test_a_poll_is_never_early_and_never_lost(
    interval: float, budget: Budget, size: int, jitter: float
) -> None:
    """From 0.8 x interval up to the stretched share, or the reset as far as it is believed."""
    wait = next_poll(interval, budget, size, jitter, now=NOW)
    longest = max(STRETCH * max(interval, fair_period(budget, size) / 0.8), LONGEST_RESET)
    assert 0.8 * interval <= wait <= 1.2 * longest


@given(INTERVALS, BUDGETS, SIZES, SIZES, JITTER)
def test_a_larger_fleet_polls_no_more_often(
    interval: float, budget: Budget, size: int, more: int, jitter: float
) -> None:
    """Monotone in the size of the fleet."""
    small, large = (next_poll(interval, budget, n, jitter, now=NOW) for n in (size, size + more))
    assert small <= large


@pytest.mark.fault("A22")
@given(
    st.integers(1, 400),
    st.integers(1, 12),
    st.integers(100, 10_000),
    st.floats(1, 600),
    st.lists(JITTER, min_size=1, max_size=30),
)
def test_the_fleet_never_spends_more_than_its_share_in_any_hour(
    size: int, spent: int, limit: int, interval: float, dice: list[float]
) -> None:
    """Whatever the dice and however the members are aligned, as long as one poll each fits."""
    if size * spent > SHARE * limit:
        return
    budget = Budget(limit=limit, remaining=limit, reset=NOW, spent=spent)
    polls, at = [0.0], 0.0
    while len(polls) < 2_000 and at < 2 * HOUR:
        at += next_poll(interval, budget, size, dice[len(polls) % len(dice)], now=NOW)
        polls.append(at)
    # A thousandth of a second for the rounding of a sum.
    busiest = max(sum(1 for p in polls if start <= p < start + HOUR - 0.001) for start in polls[:50])
    assert busiest * size * spent <= SHARE * limit


@given(st.integers(1, 20_000), st.integers(1, 200), st.integers(1, 10_000))
def test_even_a_fleet_too_large_spends_its_share_on_average(size: int, spent: int, limit: int) -> None:
    """Beyond one poll an hour each, the mean rate is what can be kept."""
    period = fair_period(Budget(limit=limit, remaining=limit, reset=NOW, spent=spent), size)
    assert HOUR / period * size * spent <= SHARE * limit * (1 + 1e-9)


@pytest.mark.fault("A22")
@given(INTERVALS, st.integers(0, 500), SIZES, JITTER)
def test_a_scarce_budget_makes_us_give_way(interval: float, remaining: int, size: int, jitter: float) -> None:
    """With less than a tenth remaining the wait grows, up to fourfold, and reaches the reset."""
    rich, poor = (Budget(limit=5_000, remaining=r, reset=NOW + 400, spent=4) for r in (5_000, remaining))
    usual, wait = (next_poll(interval, b, size, jitter, now=NOW) for b in (rich, poor))
    if remaining < SCARCE * 5_000:
        assert wait >= max(usual, 0.8 * 400)
    else:
        assert usual == wait
    if remaining == 0:
        assert wait >= STRETCH * usual * (1 - 1e-9)


@pytest.mark.fault("A22")
def test_a_fleet_of_200_stays_within_the_minute() -> None:
    """200 clients that start at once: after start-up no minute has more than 250 requests (A22)."""
    dice, spent, clients = random.Random(7), 4, 200
    budget = Budget(limit=5_000, remaining=5_000, reset=NOW, spent=spent)
    due = [(0.0, client) for client in range(clients)]
    requests: list[float] = []
    while due[0][0] < 3 * HOUR:
        at, client = heapq.heappop(due)
        requests.append(at)
        heapq.heappush(due, (at + next_poll(30, budget, clients, dice.random(), now=NOW), client))
    settled = [at for at in requests if at > 0]
    assert len(settled) > clients * 6
    busiest = max(sum(spent for other in settled if at <= other < at + 60) for at in settled)
    assert busiest <= 250


@pytest.mark.fault("A1")
@given(st.integers(-5, 10**9), JITTER)
def test_backoff_stays_within_a_second_and_five_minutes(attempt: int, jitter: float) -> None:
    """Whatever the count of failures."""
    assert BASE <= backoff(attempt, jitter) <= CAP


@given(JITTER)
def test_backoff_doubles_what_it_can_reach(jitter: float) -> None:
    """The longest wait of each attempt is twice that of the one before, until the cap."""
    longest = [backoff(attempt, 1.0) for attempt in range(1, 12)]
    assert [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] == longest
    waits = [backoff(attempt, jitter) for attempt in range(1, 12)]
    assert all(one <= other for one, other in pairwise(waits))


@pytest.mark.fault("A1", "A22")
def test_backoff_spreads_over_its_whole_range() -> None:
    """Full jitter: a fleet that failed together does not come back together."""
    assert [1.0, 128.5, 256.0] == [backoff(8, jitter) for jitter in (0.0, 0.5, 1.0)]


@pytest.mark.fault("A9", "A11")
@pytest.mark.parametrize(
    ("error", "shortest", "longest"),
    [
        (RateLimited("", wait=90.0), 91, 92),
        (RateLimited("", wait=900.0), 901, 902),
        (SourceDenied("", status=401), 240, 300),
        (SourceDenied("", status=403, scope="droplet:read"), 240, 300),
        (SourceUnavailable("", reason="deadline"), 1, 2),
        (SourceDoubtful("", reason="unstable"), 1, 2),
    ],
)
def test_what_failed_decides_the_wait(error: SourceUnavailable, shortest: float, longest: float) -> None:
    """What the API asked for is added to; a refused token is tried slowly."""
    waits = [retry_wait(error, 1, jitter) for jitter in (0.0, 0.5, 1.0)]
    assert (shortest, longest) == (min(waits), max(waits))
    assert 3 == len(set(waits))
