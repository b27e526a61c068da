"""The sliding rate limits, by a clock of our own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.messages import Request
from droplan_daemon.lab.scopes import FULL, Tokens
from droplan_daemon.lab.world import World


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@given(
    gaps=st.lists(st.floats(0, 40), max_size=60),
    hourly=st.integers(1, 12),
    burst=st.integers(1, 6),
)
def test_no_window_ever_holds_more_than_its_limit(gaps: list[float], hourly: int, burst: int) -> None:
    """No hour and no minute ever has more granted requests than allowed, and none is refused in vain."""
    hands, limits = Hands(), Limits(hourly=hourly, burst=burst, hour=200.0, minute=60.0)
    limiter, granted = Limiter(limits, hands), list[float]()
    for gap in gaps:
        hands.now += gap
        in_hour = sum(at > hands.now - limits.hour for at in granted)
        in_minute = sum(at > hands.now - limits.minute for at in granted)
        told = limiter.spend("t")
        assert told.granted == (in_hour < hourly and in_minute < burst)
        assert (told.retry_after is not None) == (in_minute >= burst)
        assert told.remaining == (hourly - in_hour - 1 if told.granted else 0)
        granted += [hands.now] if told.granted else []


def test_reset_is_when_the_oldest_expires() -> None:
    """`reset` follows the oldest request of the hour, not the newest."""
    hands = Hands()
    limiter = Limiter(clock=hands)
    assert 1_003_600 == limiter.spend("t").reset
    hands.now += 600
    assert 1_003_600 == limiter.spend("t").reset
    hands.now += 3_000
    assert 1_004_200 == limiter.spend("t").reset


def test_the_hour_slides() -> None:
    """A full hour lets one request in for each that expires, and says no retry-after."""
    hands = Hands()
    limiter = Limiter(Limits(hourly=2, burst=99), hands)
    limiter.spend("t")
    hands.now += 1_000
    limiter.spend("t")
    refused = limiter.spend("t")
    assert (False, 0, None) == (refused.granted, refused.remaining, refused.retry_after)
    hands.now = 1_003_600.0
    assert [True, False] == [limiter.spend("t").granted for _ in range(2)]


def test_a_full_minute_says_when_to_come_back() -> None:
    """Over the burst limit the wait is told, and after it the request is granted."""
    hands = Hands()
    limiter = Limiter(Limits(burst=2), hands)
    limiter.spend("t")
    hands.now += 20.5
    limiter.spend("t")
    refused = limiter.spend("t")
    assert (False, 40) == (refused.granted, refused.retry_after)
    hands.now += 40
    assert limiter.spend("t").granted


def test_tokens_have_budgets_of_their_own() -> None:
    """What one token spends another still has."""
    limiter = Limiter(Limits(hourly=1))
    assert [True, True, False] == [limiter.spend(token).granted for token in ("a", "b", "a")]


@pytest.mark.parametrize(
    ("limits", "headers"),
    [
        (Limits(), {"ratelimit-limit": "5000", "ratelimit-remaining": "4998", "ratelimit-reset": "1003600"}),
        (
            Limits(hourly=1),
            {"ratelimit-limit": "1", "ratelimit-remaining": "0", "ratelimit-reset": "1003600"},
        ),
        (
            Limits(burst=1),
            {
                "ratelimit-limit": "5000",
                "ratelimit-remaining": "0",
                "ratelimit-reset": "1003600",
                "retry-after": "60",
            },
        ),
    ],
)
def test_what_the_second_request_is_told(limits: Limits, headers: dict[str, str]) -> None:
    """The headers of an answer, and of the two kinds of 429."""
    cloud = DigitalOcean(World(), limiter=Limiter(limits, Hands()))
    asked = Request("GET", "/v2/account", headers={"authorization": f"Bearer {cloud.token}"})
    cloud.answer(asked)
    answer = cloud.answer(asked)
    assert headers == answer.headers
    if answer.status != 200:
        assert (429, "too_many_requests") == (answer.status, json.loads(answer.content())["id"])


def test_strangers_share_one_budget() -> None:
    """However many tokens are guessed, they spend one budget, and the known ones' is not touched."""
    cloud = DigitalOcean(World(), tokens=Tokens({"known": FULL}), limiter=Limiter(Limits(hourly=3)))
    answers = [
        cloud.answer(Request("GET", "/v2/account", headers={"authorization": f"Bearer {token}"}))
        for token in ("guess-1", "guess-2", "known")
    ]
    assert [(401, "2"), (401, "1"), (200, "2")] == [
        (told.status, told.headers["ratelimit-remaining"]) for told in answers
    ]
