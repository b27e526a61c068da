"""Which answers hide what a Policy with rules asks about, and what the program asks for because of it."""

from dataclasses import replace

import pytest

from droplan_daemon.errors import Refusal
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind, Skipped, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    InterfaceOverride,
    InterfacePolicy,
    Mode,
    Outbound,
    Override,
    Peers,
    Policy,
    Scope,
)
from droplan_daemon.policy.selector import parse
from droplan_daemon.policy.uses import may_be_managed, needs_networks
from droplan_daemon.safety import examine

HOST = Host(1, "eth1", "eth0")
RULES = InterfacePolicy(managed=True, allow_peers=False)
UNMANAGED = InterfacePolicy(managed=False, allow_peers=False)
PRIVATE, PUBLIC = InterfaceKind.PRIVATE, InterfaceKind.PUBLIC


def _droplet(number: int, *tags: str, vpc: str | None = "home") -> Droplet:
    private, public = (parse_address(f"{net}.{number}") for net in ("10.10.0", "203.0.113"))
    return Droplet(number, f"d-{number}", tags, "nyc3", vpc, (private,), (public,))


BARE = Fleet((_droplet(1), _droplet(2)), (Vpc("home", "home", "nyc3", "10.10.0.0/20"),))
TAGGED = replace(BARE, droplets=(_droplet(1, "web"), _droplet(2)))
NO_VPC = Fleet((_droplet(1, vpc=None), _droplet(2, vpc=None)))
OWN_WITHOUT = replace(BARE, droplets=(_droplet(1, vpc=None), _droplet(2)))
NO_RANGES = replace(BARE, vpcs=())
NO_ADDRESS = replace(BARE, droplets=(replace(_droplet(1), private=()), _droplet(2)))


def _policy(
    who: str,
    on: str = "all",
    *,
    kind: InterfaceKind = PRIVATE,
    direction: Direction = Direction.INBOUND,
    private: InterfacePolicy = RULES,
) -> Policy:
    return Policy(private=private, allows=(Allow("r", parse(on), parse(who), direction, (), kind),))


OVERRIDE = Policy(private=RULES, overrides=(Override(parse("tag:x"), Mode.AUDIT),))

HIDDEN = [
    (_policy("tag:web"), BARE, "tags_hidden", "allow 'r', from `tag:web` asks for a tag"),
    (_policy("any", "not tag:web"), BARE, "tags_hidden", "allow 'r', on `not tag:web` asks for a tag"),
    (OVERRIDE, BARE, "tags_hidden", "override 1, on `tag:x` asks for a tag"),
    (_policy("vpc:ab"), NO_VPC, "vpcs_hidden", "from `vpc:ab` asks for a VPC"),
    (_policy("any", "vpc:ab"), NO_VPC, "vpcs_hidden", "on `vpc:ab` asks for a VPC"),
    (_policy("vpc"), NO_VPC, "vpcs_hidden", "the address range of this Droplet's VPC"),
    (_policy("vpc"), OWN_WITHOUT, "no_vpc", "write the range itself"),
    (_policy("vpc"), NO_RANGES, "vpc_range_unknown", "put `vpcs` beside `droplets`"),
    (_policy("peers"), NO_VPC, "vpcs_hidden", "peers.scope is 'vpc'"),
    (_policy("peers"), OWN_WITHOUT, "no_vpc", "peers.scope is 'vpc'"),
    (_policy("all"), NO_ADDRESS, "addresses_hidden", "has no private address of this Droplet"),
]


@pytest.mark.parametrize(("policy", "fleet", "reason", "text"), HIDDEN)
def test_what_a_selector_asks_about_must_not_be_hidden(
    policy: Policy, fleet: Fleet, reason: str, text: str
) -> None:
    """A rule over an answer that hides its subject changes nothing, and says what to do."""
    with pytest.raises(Refusal) as caught:
        examine(policy, fleet, HOST, None)
    assert reason == caught.value.reason
    assert text in str(caught.value)


DROPPING = replace(RULES, outbound=Outbound.DROP)

SEEN = [
    (_policy("tag:web"), TAGGED, HOST),
    (_policy("vpc"), BARE, HOST),
    (_policy("10.0.0.0/8"), NO_ADDRESS, HOST),
    (_policy("any"), NO_VPC, HOST),
    (_policy("tag:web", kind=PUBLIC), BARE, HOST),
    (_policy("tag:web", direction=Direction.OUTBOUND), BARE, HOST),
    (_policy("tag:web", "id:2"), BARE, HOST),
    (_policy("tag:web", private=UNMANAGED), BARE, HOST),
    (_policy("tag:web", "tag:db"), BARE, Host(1, None, "eth0")),
    (replace(_policy("tag:web", "id:2"), peers=Peers(Scope.ACCOUNT, "x")), NO_VPC, HOST),
]


@pytest.mark.parametrize(("policy", "fleet", "host"), SEEN)
def test_what_does_not_concern_this_host_may_be_hidden(policy: Policy, fleet: Fleet, host: Host) -> None:
    """Rules of others, of interfaces that nobody manages, and of directions that nobody drops do not ask."""
    assert fleet.droplets[0] == examine(policy, fleet, host, None).own


def test_an_outbound_rule_asks_where_outbound_is_dropped() -> None:
    """The same rule that asks nothing while everything may leave."""
    policy = _policy("tag:web", direction=Direction.OUTBOUND, private=DROPPING)
    with pytest.raises(Refusal) as caught:
        examine(policy, BARE, HOST, None)
    assert "tags_hidden" == caught.value.reason


def test_an_override_decides_what_is_asked() -> None:
    """Peers matter on an interface that only an override opens to them."""
    closed = Policy(Mode.ENFORCE, Peers(tag="web"), private=RULES)
    assert BARE == examine(closed, BARE, HOST, None).fleet
    opened = Override(parse("id:1"), private=InterfaceOverride(allow_peers=True))
    with pytest.raises(Refusal) as caught:
        examine(replace(closed, overrides=(opened,)), BARE, HOST, None)
    assert "tags_hidden" == caught.value.reason


NETWORKS = [
    (Policy(), True),
    (Policy(peers=Peers(Scope.ACCOUNT)), True),
    (Policy(peers=Peers(Scope.ACCOUNT), private=UNMANAGED), False),
    (Policy(peers=Peers(Scope.VPC), private=UNMANAGED), True),
    (replace(_policy("vpc", private=UNMANAGED), peers=Peers(Scope.ACCOUNT)), True),
    (replace(_policy("any", "vpc:ab", private=UNMANAGED), peers=Peers(Scope.ACCOUNT)), True),
    (replace(_policy("tag:a", private=UNMANAGED), peers=Peers(Scope.ACCOUNT)), False),
    (
        Policy(
            peers=Peers(Scope.ACCOUNT),
            private=UNMANAGED,
            overrides=(Override(parse("all"), private=InterfaceOverride(managed=True)),),
        ),
        True,
    ),
]


@pytest.mark.parametrize(("policy", "expected"), NETWORKS)
def test_vpcs_are_asked_for_exactly_when_they_matter(policy: Policy, expected: bool) -> None:
    """Scope vpc, a `vpc` in a selector, or a private interface that anybody manages."""
    assert expected is needs_networks(policy)


def test_an_interface_that_an_override_manages_may_be_managed() -> None:
    """Before the Fleet is known nobody knows whom an override concerns."""
    policy = Policy(overrides=(Override(parse("tag:x"), public=InterfaceOverride(managed=True)),))
    assert [True, True] == [may_be_managed(policy, kind) for kind in InterfaceKind]
    assert [True, False] == [may_be_managed(Policy(), kind) for kind in InterfaceKind]


def test_a_droplet_that_could_not_be_read_is_still_seen() -> None:
    """What a selector sees is the Fleet with the entries that were carried over."""
    before = replace(TAGGED, droplets=(*TAGGED.droplets, _droplet(3, "db")))
    evidence = examine(_policy("tag:db"), replace(TAGGED, skipped=(Skipped(3, "odd"),)), HOST, before)
    assert frozenset({3}) == evidence.scene.tags["db"]
