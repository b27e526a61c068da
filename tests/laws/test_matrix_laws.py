"""Laws of the matrix: it agrees with `explain`, asked of each Droplet alone."""

from itertools import permutations
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.model.addresses import family_of
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Direction, Policy
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.policy.explain import Explanation, Packet, Ruling, explain
from droplan_daemon.policy.matrix import Matrix, matrix
from droplan_daemon.policy.openings import Openings
from droplan_daemon.policy.outside import Outside, outsiders
from droplan_daemon.policy.space import intersection
from droplan_daemon.policy.survey import Lane, Survey
from tests.worlds import fleets, policies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

# Protocol, destination port, ICMP type: none that a lifeline lets in.
Probe = tuple[int, int | None, int | None]
PROBES: tuple[Probe, ...] = (
    (Protocol.TCP, 22, None),
    (Protocol.TCP, 443, None),
    (Protocol.TCP, 65535, None),
    (Protocol.UDP, 53, None),
    (Protocol.UDP, 8050, None),
    (Protocol.ICMP, None, 8),
    (Protocol.ICMPV6, None, 128),
    (47, None, None),
)


def _asked(probe: Probe) -> Openings:
    protocol, port, kind = probe
    number = protocol * 65536 + (port or kind or 0)
    return ((number, number),)


def _host(droplet: Droplet) -> Host:
    return Host(droplet.id, "eth1" if droplet.private else None, "eth0" if droplet.public else None)


def _address(droplet: Droplet, lane: Lane) -> bytes | None:
    found = droplet.addresses(lane.kind)
    return next((address for address in found if family_of(address) is lane.family), None)


def _judged(
    policy: Policy, fleet: Fleet, own: Droplet, towards: tuple[Direction, Lane, bytes], probe: Probe
) -> Explanation:
    direction, lane, address = towards
    protocol, port, kind = probe
    packet = Packet(direction, lane.kind, address, protocol, port, None, kind)
    return explain(policy, fleet, _host(own), own, packet)


def _open(found: Explanation) -> bool:
    """Whether the Policy wants it; mode audit lets more through."""
    return found.ruling in {Ruling.ALLOW, Ruling.UNJUDGED}


def _place(found: Matrix) -> dict[int, int]:
    return {droplet.id: index for index, group in enumerate(found.groups) for droplet in group.droplets}


def _pairs(fleet: Fleet, lane: Lane) -> "Iterator[tuple[Droplet, bytes, Droplet, bytes]]":
    """Pairs of Droplets with a way between them, whose addresses are nobody else's there."""
    every = [address for droplet in fleet.droplets for address in droplet.addresses(lane.kind)]
    for sender, target in permutations(fleet.droplets, 2):
        ours, theirs = _address(sender, lane), _address(target, lane)
        joined = sender.vpc is not None and target.vpc in fleet.peered_with(sender.vpc)
        near = lane.kind is InterfaceKind.PUBLIC or joined
        if near and ours and theirs and every.count(ours) == every.count(theirs) == 1:
            yield sender, ours, target, theirs


@settings(max_examples=150, deadline=None)
@given(policies(), fleets(), st.sampled_from(Lane), st.sampled_from(PROBES))
def test_a_cell_is_what_explain_says_on_both_sides(
    policy: Policy, fleet: Fleet, lane: Lane, probe: Probe
) -> None:
    """A reaches B exactly where A's Policy lets it out and B's lets it in, for each pair of each group."""
    found = matrix(policy, fleet)
    place = _place(found)
    for sender, ours, target, theirs in _pairs(fleet, lane):
        out = _judged(policy, fleet, sender, (Direction.OUTBOUND, lane, theirs), probe)
        into = _judged(policy, fleet, target, (Direction.INBOUND, lane, ours), probe)
        cell = found.cell(lane, place[sender.id], place[target.id])
        assert (_open(out) and _open(into)) == bool(intersection(cell, _asked(probe)))


@settings(max_examples=150, deadline=None)
@given(policies(), fleets(), st.sampled_from(Lane), st.sampled_from(PROBES))
def test_a_row_of_outsiders_is_what_explain_says_of_their_address(
    policy: Policy, fleet: Fleet, lane: Lane, probe: Probe
) -> None:
    """Whoever is outside reaches, and is reached by, a Droplet exactly as `explain` says of the address."""
    found = matrix(policy, fleet)
    survey, place = Survey(policy, fleet), _place(found)
    for outsider in outsiders(policy):
        telling = lane in found.rows and outsider.name in found.outside
        index = len(found.groups) + found.outside.index(outsider.name) if telling else -1
        for own in fleet.droplets if telling else ():
            address = Outside(survey).address(survey.standpoint(own), lane, outsider)
            if address is None or _address(own, lane) is None or not _shown(found, lane, index):
                continue
            for direction in Direction:
                ends = (index, place[own.id])
                sender, target = ends if direction is Direction.INBOUND else reversed(ends)
                told = _judged(policy, fleet, own, (direction, lane, address), probe)
                assert _open(told) == bool(intersection(found.cell(lane, sender, target), _asked(probe)))


def _shown(found: Matrix, lane: Lane, outsider: int) -> bool:
    """Whether somebody outside has cells of their own on this lane."""
    rows = found.rows[lane]
    return bool(rows[outsider]) or any(who >> outsider & 1 for row in rows for who in row.values())


@settings(max_examples=80, deadline=None)
@given(policies(), fleets(), st.randoms(use_true_random=False))
def test_the_order_of_the_fleet_does_not_matter(policy: Policy, fleet: Fleet, random: "Random") -> None:
    """The same Policy and Fleet give the same Matrix."""
    shuffled = list(fleet.droplets)
    random.shuffle(shuffled)
    again = Fleet(tuple(shuffled), fleet.vpcs, fleet.peerings)
    assert matrix(policy, fleet) == matrix(policy, again)


@settings(max_examples=80, deadline=None)
@given(policies(), fleets())
def test_groups_are_the_fleet_once(policy: Policy, fleet: Fleet) -> None:
    """Every Droplet is in exactly one group, and no two groups have the same name."""
    found = matrix(policy, fleet)
    ids = sorted(droplet.id for group in found.groups for droplet in group.droplets)
    assert [droplet.id for droplet in fleet.droplets] == ids
    assert len(found.parties) == len(set(found.parties))
