"""Who counts as a peer, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.model.fleet import Droplet, Fleet, Peering
from droplan_daemon.model.policy import Peers, Policy, Scope
from droplan_daemon.policy.peers import judge, peer_droplets
from tests.unit.cycles import Bench, droplet, fleet

OWN = droplet(1, tags=("web",))
FLEET = fleet(
    OWN,
    droplet(2, tags=("web",)),
    droplet(3, vpc="away", tags=("db",)),
    droplet(4, vpc="far", region="fra1", tags=("web", "db")),
    droplet(5, vpc=None, region="nyc3"),
    peerings=(Peering(frozenset({"home", "away"})), Peering(frozenset({"far", "elsewhere"}))),
)

VERDICTS = [
    (
        Peers(Scope.VPC),
        ["no: this Droplet itself", "yes: same VPC", "yes: peered VPC", "no: other VPC", "no: in no VPC"],
    ),
    (
        Peers(Scope.REGION),
        [
            "no: this Droplet itself",
            "yes: same region nyc3",
            "yes: same region nyc3",
            "no: other region fra1",
            "yes: same region nyc3",
        ],
    ),
    (Peers(Scope.ACCOUNT), ["no: this Droplet itself", *["yes: same account"] * 4]),
    (
        Peers(Scope.VPC, "web"),
        [
            "no: this Droplet itself",
            "yes: same VPC, tag web",
            "no: peered VPC, but without tag web",
            "no: other VPC",
            "no: in no VPC",
        ],
    ),
    (
        Peers(Scope.ACCOUNT, "db"),
        [
            "no: this Droplet itself",
            "no: same account, but without tag db",
            "yes: same account, tag db",
            "yes: same account, tag db",
            "no: same account, but without tag db",
        ],
    ),
]


@pytest.mark.parametrize(
    ("peers", "expected"), VERDICTS, ids=lambda value: str(value) if isinstance(value, Peers) else ""
)
def test_every_droplet_has_a_verdict_and_a_reason(peers: Peers, expected: list[str]) -> None:
    """Scope first, then the tag; we are no peer of ourselves."""
    found = judge(peers, FLEET, OWN)
    assert expected == [f"{'yes' if each.peer else 'no'}: {each.reason}" for each in found]
    assert list(FLEET.droplets) == [each.droplet for each in found]
    assert tuple(each.droplet for each in found if each.peer) == peer_droplets(peers, FLEET, OWN)


def test_who_has_no_vpc_has_no_peers_in_it() -> None:
    """Two Droplets without a VPC do not share one."""
    own = droplet(1, vpc=None)
    assert () == peer_droplets(Peers(), fleet(own, droplet(2, vpc=None), droplet(3)), own)


_droplets = st.builds(
    droplet,
    st.integers(2, 200),
    vpc=st.sampled_from(["home", "away", "far", None]),
    region=st.sampled_from(["nyc3", "fra1"]),
    tags=st.lists(st.sampled_from(["web", "db"]), unique=True).map(tuple),
)
_peers = st.builds(Peers, st.sampled_from(Scope), st.sampled_from([None, "web", "none"]))


@given(_peers, st.lists(_droplets, unique_by=lambda d: d.id), st.data())
def test_being_a_peer_depends_on_nobody_else(
    peers: Peers, others: list[Droplet], data: st.DataObject
) -> None:
    """Whoever is a peer stays one whoever else comes, goes, or is listed first."""
    whole = _fleet([OWN, *others])
    expected = {d.id for d in peer_droplets(peers, whole, OWN)}
    mixed = data.draw(st.permutations([OWN, *others]))
    part = data.draw(st.lists(st.sampled_from(others), unique_by=lambda d: d.id)) if others else []
    assert expected == {d.id for d in peer_droplets(peers, _fleet(list(mixed)), OWN)}
    assert expected & {d.id for d in part} == {d.id for d in peer_droplets(peers, _fleet([OWN, *part]), OWN)}


@given(st.lists(_droplets, unique_by=lambda d: d.id), st.sampled_from(Scope))
def test_a_tag_only_ever_narrows(others: list[Droplet], scope: Scope) -> None:
    """Peers with a tag are peers without it."""
    whole = _fleet([OWN, *others])
    assert set(peer_droplets(Peers(scope, "web"), whole, OWN)) <= set(peer_droplets(Peers(scope), whole, OWN))


def _fleet(droplets: list[Droplet]) -> Fleet:
    return fleet(*droplets, peerings=FLEET.peerings)


def test_who_is_in_no_vpc_has_no_private_address_towards_us() -> None:
    """Of the account, and so a peer; but at its private address somebody else may be."""
    bench = Bench(
        [fleet(droplet(1), droplet(2), droplet(3, vpc=None))], policy=Policy(peers=Peers(Scope.ACCOUNT))
    )
    bench.run()
    assert {2} == bench.held
