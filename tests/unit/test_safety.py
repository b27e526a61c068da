"""Which answers are evidence, for what."""

from dataclasses import replace

import pytest

from droplan_daemon.errors import Refusal
from droplan_daemon.model.fleet import Droplet, Fleet, Peering, Skipped
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import InterfacePolicy, Peers, Policy, Scope
from droplan_daemon.safety import examine
from tests.unit.cycles import HOST, droplet, fleet

TAGGED = Policy(peers=Peers(tag="web"))
CLOSED = Policy(private=InterfacePolicy(managed=True, allow_peers=False))
BOTH = Policy(public=InterfacePolicy(managed=True, allow_peers=True))

OWN = droplet(1)
PEER = droplet(2)


def _without_private(own: Droplet) -> Droplet:
    return replace(own, private=())


@pytest.mark.parametrize(
    ("policy", "found", "reason"),
    [
        (Policy(), fleet(PEER), "self_missing"),
        (Policy(), fleet(), "self_missing"),
        (TAGGED, fleet(OWN, PEER), "tags_hidden"),
        (Policy(), fleet(droplet(1, vpc=None), droplet(2, vpc=None)), "vpcs_hidden"),
        (Policy(), fleet(droplet(1, vpc=None), PEER), "no_vpc"),
        (Policy(), fleet(_without_private(OWN), PEER), "addresses_hidden"),
        (BOTH, fleet(replace(OWN, public=()), PEER), "addresses_hidden"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_hides_something_is_refused(policy: Policy, found: Fleet, reason: str) -> None:
    """Each kind of hidden field has a reason of its own, and a sentence that says what to do."""
    with pytest.raises(Refusal) as caught:
        examine(policy, found, HOST, None)
    assert reason == caught.value.reason
    assert len(str(caught.value)) > 40


@pytest.mark.parametrize(
    ("policy", "found", "host"),
    [
        (TAGGED, fleet(OWN, droplet(2, tags=("db",))), HOST),
        (Policy(peers=Peers(Scope.REGION)), fleet(droplet(1, vpc=None), droplet(2, vpc=None)), HOST),
        (Policy(peers=Peers(Scope.ACCOUNT)), fleet(droplet(1, vpc=None), droplet(2)), HOST),
        (CLOSED, fleet(droplet(1, vpc=None)), HOST),
        (Policy(), fleet(_without_private(replace(OWN, vpc=None))), Host(1, None, "eth0")),
        (Policy(), fleet(replace(OWN, public=())), HOST),
    ],
    ids=["some tag", "scope region", "scope account", "peers do not matter", "no interface", "unmanaged one"],
)
def test_what_nobody_asks_about_may_be_hidden(policy: Policy, found: Fleet, host: Host) -> None:
    """A field that no managed interface depends on is missed by nobody."""
    assert found.droplet(1) == examine(policy, found, host, None).own


@pytest.mark.parametrize(
    ("skipped", "previous", "kept", "hold"),
    [
        ((), None, {1, 2}, False),
        ((Skipped(3, "odd"),), fleet(OWN, PEER, droplet(3)), {1, 2, 3}, False),
        ((Skipped(3, "odd"),), fleet(OWN, PEER), {1, 2}, True),
        ((Skipped(3, "odd"),), None, {1, 2}, True),
        ((Skipped(None, "odd"),), fleet(OWN, PEER, droplet(3)), {1, 2}, True),
        ((Skipped(3, "odd"), Skipped(4, "odd")), fleet(OWN, PEER, droplet(3)), {1, 2, 3}, True),
        ((Skipped(2, "listed twice"),), fleet(OWN, PEER), {1, 2}, False),
    ],
)
def test_who_cannot_be_read_is_not_gone(
    skipped: tuple[Skipped, ...], previous: Fleet | None, kept: set[int], hold: bool
) -> None:
    """What is known of a skipped Droplet stays; a skipped one that is unknown holds all removals."""
    evidence = examine(Policy(), fleet(OWN, PEER, skipped=skipped), HOST, previous)
    assert (kept, hold) == ({d.id for d in evidence.fleet.droplets}, not evidence.whole)
    assert sorted(kept) == [d.id for d in evidence.fleet.droplets]


def test_our_own_unreadable_entry_is_carried_over() -> None:
    """Then we are who we were."""
    found = fleet(PEER, skipped=(Skipped(1, "odd"),))
    assert OWN == examine(Policy(), found, HOST, fleet(OWN, PEER)).own
    with pytest.raises(Refusal):
        examine(Policy(), found, HOST, None)


def test_a_peering_is_as_good_as_a_vpc() -> None:
    """Evidence does not depend on who is a peer."""
    found = fleet(OWN, droplet(2, vpc="away"), peerings=(Peering(frozenset({"home", "away"})),))
    assert found == examine(Policy(), found, HOST, None).fleet


@pytest.mark.parametrize("listing", ["vpcs", "vpc_peerings"])
def test_a_network_that_cannot_be_read_is_as_it_was(listing: str) -> None:
    """Peerings stay as they were last, and nobody is held; when nothing is known, everybody is."""
    before = fleet(OWN, droplet(2), peerings=(Peering(frozenset({"home", "other"})),))
    found = replace(fleet(OWN), skipped=(Skipped(None, "odd", listing),))
    evidence = examine(Policy(), found, HOST, before)
    assert (before.peerings, False) == (evidence.fleet.peerings, not evidence.whole)
    assert (OWN,) == evidence.fleet.droplets
    assert not examine(Policy(), found, HOST, None).whole
