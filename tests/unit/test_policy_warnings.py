"""What is said of a Policy beside the Fleet that it is for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind, Peering, Vpc
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    InterfacePolicy,
    Mode,
    Override,
    Peers,
    Policy,
    Scope,
)
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.scene import Scene, scene
from droplan_daemon.policy.selector import parse
from droplan_daemon.policy.warnings import enforcers, everywhere, warnings

CLOSED = InterfacePolicy(managed=True, allow_peers=False)


def _droplet(number: int, name: str, *tags: str, vpc: str | None = "ab00", region: str = "nyc3") -> Droplet:
    private, public = (parse_address(f"{net}.{number}") for net in ("10.10.0", "203.0.113"))
    return Droplet(number, name, tags, region, vpc, (private,), (public,))


FLEET = Fleet(
    (
        _droplet(1, "web-1", "web"),
        _droplet(2, "web-2", "web"),
        _droplet(3, "db", "mysql"),
        _droplet(4, "db", "mysql", "canary"),
        _droplet(5, "far", "far-web", vpc="fa00", region="fra1"),
    ),
    (Vpc("ab00", "ab00", "nyc3", "10.10.0.0/20"),),
)


def _scene(policy: Policy, fleet: Fleet = FLEET, own: int = 1) -> Scene:
    me = next(droplet for droplet in fleet.droplets if droplet.id == own)
    return scene(fleet, me, peer_droplets(policy.peers, fleet, me))


def _rule(who: str, on: str = "all", *, outbound: bool = False, public: bool = False) -> Policy:
    direction = Direction.OUTBOUND if outbound else Direction.INBOUND
    kind = InterfaceKind.PUBLIC if public else InterfaceKind.PRIVATE
    return Policy(
        private=CLOSED, public=CLOSED, allows=(Allow("r", parse(on), parse(who), direction, (), kind),)
    )


NEAR = "; the nearest that exists is"
SAID = [
    (_rule("tag:wbe"), f"from `tag:wbe`: no Droplet has the tag 'wbe'{NEAR} 'web'; it matches nothing"),
    (
        _rule("tag:wbe", outbound=True),
        f"to `tag:wbe`: no Droplet has the tag 'wbe'{NEAR} 'web'; it matches nothing",
    ),
    (_rule("tag:web or tag:zzz"), "from `tag:web or tag:zzz`: no Droplet has the tag 'zzz'"),
    (_rule("tag:web and not tag:cannary"), f"no Droplet has the tag 'cannary'{NEAR} 'canary'"),
    (_rule("name:web-3"), f"no Droplet is called 'web-3'{NEAR} 'web-2'; it matches nothing"),
    (_rule("name:db"), "2 Droplets are called 'db' (ids 3, 4), and it means all of them"),
    (_rule("id:77"), "from `id:77`: no Droplet has the id 77; it matches nothing"),
    (_rule("region:nyc1"), f"no Droplet is in the region 'nyc1'{NEAR} 'nyc3'; it matches nothing"),
    (_rule("vpc:ab01"), f"no Droplet is in the VPC 'ab01'{NEAR} 'ab00'; it matches nothing"),
    (_rule("tag:web and tag:mysql"), "from `tag:web and tag:mysql`: it matches nothing"),
    (_rule("name:app-*"), "from `name:app-*`: it matches nothing"),
    (_rule("10.0.0.0/8 and 192.0.2.1"), "it matches nothing"),
    (_rule("2001:db8::/32 and 10.0.0.0/8"), "it matches nothing"),
    (_rule("tag:far-web"), "none of the Droplets that it matches has a private address towards this one"),
    (
        _rule("tag:web", "tag:msql"),
        f"on `tag:msql`: no Droplet has the tag 'msql'{NEAR} 'mysql'; no Droplet enforces this rule",
    ),
    (_rule("tag:web", "tag:web and tag:mysql"), "on `tag:web and tag:mysql`: no Droplet enforces this rule"),
    (_rule("tag:web", "peers"), "on `peers`: no Droplet enforces this rule"),
    (_rule("tag:web", "not self"), "on `not self`: no Droplet enforces this rule"),
]


@pytest.mark.parametrize(("policy", "text"), SAID, ids=[text for _, text in SAID])
def test_each_doubt_is_one_sentence_with_rule_and_selector(policy: Policy, text: str) -> None:
    """The rule, the selector, what is the matter, the nearest that exists, and what comes of it."""
    (found,) = warnings(policy, _scene(policy))
    assert found.startswith("allow 'r', ")
    assert found.endswith(text)


QUIET = [
    _rule("tag:web"),
    _rule("any"),
    _rule("vpc"),
    _rule("203.0.113.0/24", public=True),
    _rule("2001:db8::/32", public=True),
    _rule("tag:web and not name:canary-*"),
    _rule("name:web-* or name:app-*"),
    _rule("tag:far-web", public=True),
    _rule("tag:far-web", "tag:mysql"),
    _rule("peers"),
    _rule("self", "self"),
    _rule("tag:web", "not peers"),
]


@pytest.mark.parametrize("policy", QUIET, ids=[str(policy.allows[0].who) for policy in QUIET])
def test_what_matches_somebody_is_no_doubt(policy: Policy) -> None:
    """A selector that matches, a pattern that may match later, a rule that others enforce: silence."""
    assert () == warnings(policy, _scene(policy))


def test_the_range_of_a_vpc_that_nobody_knows_is_a_doubt() -> None:
    """`vpc` without a known range matches nothing, and that is said."""
    policy = _rule("vpc")
    (found,) = warnings(policy, _scene(policy, replace(FLEET, vpcs=())))
    assert "address range of this Droplet's VPC is not known; it matches nothing" in found


def test_an_override_for_nobody_is_a_doubt() -> None:
    """Overrides have no name, so they are counted."""
    policy = Policy(overrides=(Override(parse("all"), Mode.AUDIT), Override(parse("tag:x"), Mode.AUDIT)))
    assert ("override 2, on `tag:x`: no Droplet has the tag 'x'; it applies to no Droplet",) == warnings(
        policy, _scene(policy)
    )


PEERS = [
    (Peers(), FLEET, ()),
    (Peers(tag="web"), FLEET, ()),
    (Peers(tag="wbe"), FLEET, ("peers.tag: no Droplet has the tag 'wbe'; the nearest that exists is 'web'",)),
    (Peers(tag="production"), FLEET, ("peers.tag: no Droplet has the tag 'production'",)),
    (
        Peers(),
        replace(FLEET, droplets=FLEET.droplets[:1]),
        ("peers: no Droplet but this one is in scope 'vpc'",),
    ),
    (Peers(tag="far-web"), FLEET, ("peers: no Droplet but this one is in scope 'vpc'",)),
]


@pytest.mark.parametrize(("peers", "fleet", "expected"), PEERS)
def test_peers_that_nobody_is_are_said(peers: Peers, fleet: Fleet, expected: tuple[str, ...]) -> None:
    """A tag that nobody has, and a scope with nobody in it."""
    policy = Policy(peers=peers)
    assert expected == warnings(policy, _scene(policy, fleet))


def test_where_nobody_asks_who_is_a_peer_none_is_missed() -> None:
    """Without allow_peers, and with no rule about `peers`, an empty scope is nobody's business."""
    alone = replace(FLEET, droplets=FLEET.droplets[:1])
    policy = Policy(private=CLOSED)
    assert () == warnings(policy, _scene(policy, alone))
    policy = _rule("peers")
    assert "peers: no Droplet but this one is in scope 'vpc'" == warnings(policy, _scene(policy, alone))[0]


def test_enforcers_are_counted_from_where_each_stands() -> None:
    """Every Droplet is `self` to itself, and no Droplet its own peer."""
    view = _scene(Policy())
    expected = {"all": 5, "self": 5, "peers": 0, "not peers and tag:web": 2, "self and tag:mysql or id:1": 3}
    assert expected == {text: len(enforcers(parse(text), view)) for text in expected}


def test_everywhere_says_only_what_holds_from_every_vpc() -> None:
    """What one VPC cannot reach may be what another is for; a tag that nobody has is wrong for all."""
    far = _rule("tag:far-web")
    assert warnings(far, _scene(far))
    assert () == everywhere(far, FLEET)
    assert () == everywhere(_rule("tag:mysql"), FLEET)
    wrong = _rule("tag:nobody")
    assert warnings(wrong, _scene(wrong)) == everywhere(wrong, FLEET)
    assert ("the fleet has no Droplet at all",) == everywhere(wrong, Fleet(()))


_TERMS = st.sampled_from(
    [
        "tag:web",
        "tag:wbe",
        "name:db",
        "name:x-*",
        "id:9",
        "peers",
        "self",
        "any",
        "vpc",
        "10.10.0.3",
        "region:fra1",
    ]
)
_TEXTS = st.lists(_TERMS, min_size=1, max_size=3).map(" and ".join) | _TERMS.map("not {}".format)
_ON = _TEXTS.filter(lambda text: not any(word in text for word in ("any", "vpc", "10.")))


@given(st.lists(st.tuples(_TEXTS, _ON), max_size=4), st.permutations(FLEET.droplets), st.sampled_from(Scope))
def test_the_order_of_the_fleet_does_not_matter(
    rules: list[tuple[str, str]], droplets: list[Droplet], scope: Scope
) -> None:
    """The same warnings, each once and printable, however the Fleet is listed."""
    allows = tuple(Allow(f"r{i}", parse(on), parse(who)) for i, (who, on) in enumerate(rules))
    policy = Policy(peers=Peers(scope), allows=allows)
    peerings = (Peering(frozenset({"ab00", "fa00"})),)
    found = warnings(policy, _scene(policy, replace(FLEET, peerings=peerings)))
    assert found == warnings(
        policy, _scene(policy, replace(FLEET, peerings=peerings, droplets=tuple(droplets)))
    )
    assert len(set(found)) == len(found)
    assert all(text.isprintable() for text in found)


def test_a_nearest_name_is_found_in_a_large_fleet() -> None:
    """Among ten thousand names the one that begins alike is told, without looking at all of them."""
    fleet = Fleet(tuple(replace(FLEET.droplets[0], id=n, name=f"web-{n:05}") for n in range(10_000, 0, -1)))
    policy = _rule("name:web-0777x")
    (found,) = warnings(policy, _scene(policy, fleet))
    assert "the nearest that exists is 'web-077" in found
