"""What is added up."""

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.metrics.tally import BUCKETS, MOST_RULES, OTHERS, Tally, counted, reloaded
from droplan_daemon.model.policy import InterfacePolicy, Outbound, Policy
from tests.metrics.outcomes import DOWN, REFUSED, committed, counting

if TYPE_CHECKING:
    from droplan_daemon.outcomes import Outcome

CHAIN = "private-in"
FIRST = committed()


def _after(*outcomes: "Outcome", now: float = 5.0) -> Tally:
    tally = Tally()
    for outcome in outcomes:
        tally = counted(tally, outcome, None, now)
    return tally


def test_polls_are_counted_by_what_they_came_to() -> None:
    """Each outcome has its own sum, and the last good poll its own time."""
    tally = _after(FIRST, counting({}), counting({}), DOWN)
    tally = counted(tally, REFUSED, None, 9.0)
    assert {"committed": 1, "unchanged": 2, "failed": 1, "refused": 1} == tally.polls
    assert (9.0, 5.0) == (tally.polled_at, tally.good_at)


def test_what_was_kept_is_no_poll() -> None:
    """A commit of a Checkpoint counts as commit, and nobody was asked."""
    tally = _after(committed(restored=True, seconds=0.2))
    assert ({}, 0.0, 0.0, 1) == (tally.polls, tally.polled_at, tally.good_at, tally.commits)


def test_commits_go_into_the_bucket_of_their_time() -> None:
    """A bound belongs to its bucket; what is longer than all bounds has one, too."""
    tally = _after(*(committed(seconds=seconds) for seconds in (0.0, 0.005, 0.006, 99.0)))
    expected = [2, 1, *[0] * (len(BUCKETS) - 2), 1]
    assert (expected, 4) == ([*tally.buckets], tally.commits)
    assert abs(tally.commit_seconds - 99.011) < 1e-9


def test_a_repair_is_the_same_ruleset_written_again() -> None:
    """A first commit is none, nor is one of another fleet, nor a move to another backend."""
    assert 0 == counted(Tally(), FIRST, None, 1.0).repairs
    assert 1 == counted(Tally(), FIRST, FIRST.world, 1.0).repairs
    assert 0 == counted(Tally(), FIRST, committed(policy=Policy(denied_log=None)).world, 1.0).repairs
    assert 0 == counted(Tally(), replace(FIRST, moved=True), FIRST.world, 1.0).repairs


def test_reloads_are_counted_by_result() -> None:
    """Accepted and refused apart."""
    tally = reloaded(reloaded(reloaded(Tally(), "refused"), "accepted"), "refused")
    assert {"refused": 2, "accepted": 1} == tally.reloads


def test_packets_are_those_of_a_rule_wherever_it_stands() -> None:
    """Chains of ports belong to the chain that leads to them; two directions are two counters."""
    both = Policy(private=InterfacePolicy(managed=True, allow_peers=True, outbound=Outbound.DROP))
    outcome = committed(policy=both)
    packets = {
        (CHAIN, "peers"): 2,
        (f"{CHAIN}-0a1b", "peers"): 3,
        ("private-out", "denied"): 4,
        ("elsewhere", "x"): 9,
    }
    assert {
        ("peers", "eth1", "inbound"): 5,
        ("denied", "eth1", "inbound"): 0,
        ("denied", "eth1", "outbound"): 4,
    } == _after(counting(packets, outcome)).packets


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_a_sum_never_goes_down(readings: list[int]) -> None:
    """Whatever the kernel's counter does: what grew is added, what fell was begun anew."""
    tally, sums = Tally(), []
    for reading in readings:
        tally = counted(tally, counting({(CHAIN, "denied"): reading}, FIRST), None, 1.0)
        sums.append(tally.packets["denied", "eth1", "inbound"])
    begun = [b if b < a else b - a for a, b in zip([0, *readings], readings, strict=False)]
    assert sorted(sums) == sums
    assert sum(begun) == sums[-1]


def test_a_rule_that_went_and_came_back_goes_on() -> None:
    """A policy that is changed and changed back loses no packets."""
    there = counting({(CHAIN, "ssh"): 10}, FIRST)
    tally = _after(there, counting({}, FIRST), counting({(CHAIN, "ssh"): 3}, FIRST))
    assert 13 == tally.packets["ssh", "eth1", "inbound"]


def test_series_are_bounded() -> None:
    """More rules than there is room for are counted together, and no packet is lost."""
    packets = {(CHAIN, f"rule {number}"): 1 for number in range(MOST_RULES + 50)}
    tally = _after(counting(packets, FIRST))
    assert MOST_RULES + 1 == len(tally.packets)
    assert 51 == tally.packets[OTHERS, "eth1", "inbound"]
    assert MOST_RULES + 50 == sum(tally.packets.values())
