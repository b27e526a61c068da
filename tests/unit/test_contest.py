"""When what others change is put right: at once, and with growing delays for whoever goes on."""

from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.pacing import FREE, QUIET, Contest

_PAUSES = st.lists(st.floats(0, QUIET * 2), max_size=200)


def test_the_first_few_are_put_right_at_once_and_then_each_waits_longer() -> None:
    """A restart of another firewall's service is no fight; who goes on waits 1, 2, 4 … 60 seconds."""
    contest, delays = Contest(), []
    for second in range(12):
        contest = contest.repaired(float(second))
        delays.append(contest.delay)
    assert [0.0] * (FREE - 1) + [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0] == delays


def test_it_is_contested_from_the_first_that_was_delayed() -> None:
    """An alarm tells of somebody who fights back, not of a service that is restarted."""
    contest, told = Contest(), []
    for second in range(FREE + 1):
        contest = contest.repaired(float(second))
        told.append(contest.contested)
    assert [False] * FREE + [True] == told


def test_quiet_is_forgotten_and_less_is_not() -> None:
    """After QUIET seconds without a repair the next one is the first again."""
    contest = Contest()
    for _ in range(10):
        contest = contest.repaired(1000.0)
    assert contest == contest.at(1000.0 + QUIET - 0.001)
    assert Contest() == contest.at(1000.0 + QUIET)
    assert Contest(1, 1000.0 + QUIET) == contest.repaired(1000.0 + QUIET)


@given(_PAUSES)
def test_in_no_hour_are_there_many_repairs(pauses: list[float]) -> None:
    """However somebody times it, with pauses that are forgotten too: no more than a hundred."""
    contest, now, repairs = Contest(), 0.0, []
    for pause in pauses:
        now = max(now + pause, contest.last + contest.at(now + pause).delay if contest.repairs else 0.0)
        contest = contest.repaired(now)
        repairs.append(now)
    busiest = max((sum(begun <= at < begun + 3600 for at in repairs) for begun in repairs), default=0)
    # At worst nine, with 63 s of delays between them, and QUIET, over and over.
    assert busiest <= 100
