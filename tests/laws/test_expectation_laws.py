"""Laws of documents of a matrix, and of what differs between two."""

import json
from itertools import product

from hypothesis import given, settings

from droplan_daemon.model.fleet import Fleet
from droplan_daemon.model.policy import Policy
from droplan_daemon.policy.expectation import Told, compared, document, told
from droplan_daemon.policy.matrix import Matrix, matrix
from droplan_daemon.policy.naming import droplet_names
from droplan_daemon.policy.openings import CLOSED, Openings, without
from droplan_daemon.policy.survey import Lane
from tests.worlds import fleets, policies


def _told(found: Matrix) -> Told:
    return told(json.loads(json.dumps(document(found))))


@settings(max_examples=60)
@given(policies(), fleets())
def test_nothing_differs_from_itself(policy: Policy, fleet: Fleet) -> None:
    """What was written, read back, is as expected."""
    found = matrix(policy, fleet)
    assert not compared(_told(found), _told(found))


def _cells(found: Matrix, fleet: Fleet) -> dict[tuple[Lane, str, str], Openings]:
    """What each Droplet reaches of each other, by their names."""
    names = droplet_names(fleet.droplets)
    place = {names[d.id]: index for index, group in enumerate(found.groups) for d in group.droplets}
    return {
        (lane, sender, target): found.cell(lane, place[sender], place[target])
        for lane in found.rows
        for sender, target in product(place, place)
        if sender != target
    }


@settings(max_examples=100)
@given(policies(), policies(), fleets())
def test_a_comparison_is_what_differs_from_pair_to_pair(old: Policy, new: Policy, fleet: Fleet) -> None:
    """However the Droplets are grouped, each pair gains and loses exactly what its two cells say."""
    before, after = matrix(old, fleet), matrix(new, fleet)
    found = compared(_told(before), _told(after))
    assert () == found.come
    assert () == found.gone
    changes = {
        (one.lane, sender, target): (one.gained, one.lost)
        for one in found.differences
        for sender in one.senders
        for target in one.targets
        if sender != target
    }
    was, now = _cells(before, fleet), _cells(after, fleet)
    for pair, openings in was.items():
        expected = without(now[pair], openings), without(openings, now[pair])
        assert expected == changes.get(pair, (CLOSED, CLOSED))


@settings(max_examples=60)
@given(policies(), fleets())
def test_who_comes_or_goes_is_named(policy: Policy, fleet: Fleet) -> None:
    """A Droplet that only one of the documents has is told as such, and not cell by cell."""
    fewer = Fleet(fleet.droplets[:-1], fleet.vpcs, fleet.peerings)
    whole, part = _told(matrix(policy, fleet)), _told(matrix(policy, fewer))
    come, gone = compared(part, whole).come, compared(whole, part).gone
    assert come == gone
    here, there = (set(droplet_names(one.droplets).values()) for one in (fleet, fewer))
    assert set(come) == here - there
