"""The laws of segments, overrides and compiled policies."""

import re
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from droplan_daemon.backends.nft_text import render
from droplan_daemon.diff import diff
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host
from droplan_daemon.model.plan import AddElements, RemoveElements
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    InterfaceOverride,
    Mode,
    Outbound,
    Override,
    Policy,
    PortProtocol,
    Ports,
    Unset,
)
from droplan_daemon.model.ruleset import Dispatch, From, Interface, Ruleset, To, Verdict
from droplan_daemon.model.selector import And, Kind, Or, Selector, Term, joined, negated
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.effective import concerns, effective
from droplan_daemon.policy.members import set_name
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.pick import ANY, Union, bounded, elements, families, names_droplets_only
from droplan_daemon.policy.ports import Segment, merged, segments
from droplan_daemon.policy.scene import scene
from droplan_daemon.policy.space import space
from tests.worlds import EDGES, OWN_VPC, VPCS, allows, fleets, hosts, overrides, own, policies, selectors

if TYPE_CHECKING:
    from droplan_daemon.policy.scene import Scene
    from droplan_daemon.policy.space import Space

T = TypeVar("T")
NFT_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9/\\_.-]{0,30}", re.ASCII)
"""What nft(8) takes as an identifier, at the length that every kernel and tool takes."""

some_allows = st.lists(st.integers(0, 99), unique=True, max_size=6).flatmap(
    lambda numbers: st.tuples(*map(allows, numbers))
)
ported = st.sampled_from([PortProtocol.TCP, PortProtocol.UDP])
PORTS = sorted({near for edge in EDGES for near in (edge - 1, edge, edge + 1) if 1 <= near <= 65535})


def _seen(policy: Policy, fleet: Fleet) -> "Scene":
    return scene(fleet, own(fleet), peer_droplets(policy.peers, fleet, own(fleet)))


def _compiled(policy: Policy, fleet: Fleet, host: Host) -> Ruleset:
    return compile_ruleset(policy, fleet, host, own(fleet))


def _shuffled(values: tuple[T, ...], random: Random) -> tuple[T, ...]:
    found = list(values)
    random.shuffle(found)
    return tuple(found)


def _naive(found: tuple[Allow, ...], protocol: PortProtocol, port: int) -> list[Allow]:
    return [
        allow
        for allow in found
        if any(p.protocol is protocol and p.first <= port <= p.last for p in allow.ports)
    ]


def _together(rules: list[Allow]) -> "Selector | Union":
    """One selector for rules of one sort; where Droplets and addresses meet, each stays itself."""
    texts = {str(allow.who): allow.who for allow in rules}
    parts = tuple(texts[text] for text in sorted(texts))
    if ANY in parts:
        return ANY
    sorts = {names_droplets_only(part) for part in parts}
    return joined(Or, parts) if len(sorts) == 1 else Union(parts)


def _at(found: list[Segment], port: int) -> list[Segment]:
    return [segment for segment in found if segment.first <= port <= segment.last]


@given(some_allows, ported)
def test_a_segment_says_for_its_ports_what_the_rules_say(
    some: tuple[Allow, ...], protocol: PortProtocol
) -> None:
    """Port by port: the union of the selectors, and the names, of the rules that open it; else none."""
    found = segments(some, protocol)
    for port in PORTS:
        rules = _naive(some, protocol, port)
        here = _at(found, port)
        assert bool(rules) == bool(here)
        if rules:
            (segment,) = here
            assert {allow.name for allow in rules} == set(segment.names)
            assert _together(rules) == segment.who


@given(some_allows, ported, st.randoms(use_true_random=False))
def test_segments_are_canonical(some: tuple[Allow, ...], protocol: PortProtocol, random: Random) -> None:
    """Ascending and disjoint; neighbours differ; any order of the rules gives the same."""
    found = segments(some, protocol)
    assert all(1 <= segment.first <= segment.last <= 65535 for segment in found)
    for left, right in pairwise(found):
        assert left.last < right.first
        assert left.last + 1 < right.first or (left.who, left.names) != (right.who, right.names)
    assert found == segments(_shuffled(some, random), protocol)


@given(some_allows, fleets(), st.sampled_from(InterfaceKind), st.sampled_from(Family))
def test_joining_rules_opens_no_more_than_they_do(
    some: tuple[Allow, ...], fleet: Fleet, kind: InterfaceKind, family: Family
) -> None:
    """The set of the union of rules holds exactly the addresses of the sets of each."""
    both = merged(some)
    if both is None or both[0] == ANY:
        return
    seen = _seen(Policy(), fleet)
    apart = [elements(a.who, seen, kind, family) for a in some if family in families(a.who, kind)]
    together = elements(both[0], seen, kind, family) if family in families(both[0], kind) else frozenset()
    assert _numbers(apart, family) == _numbers([together], family)


def _numbers(found: list[frozenset[bytes]], family: Family) -> "Space":
    """Hosts and ranges alike as one Space."""
    width = family.width
    ends = (((e, e) if len(e) == width else (e[:width], e[width:])) for one in found for e in one)
    return space((int.from_bytes(first, "big"), int.from_bytes(last, "big")) for first, last in ends)


def test_a_rule_for_droplets_stays_one_beside_a_rule_for_addresses() -> None:
    """`not tag:web` and `vpc` on one port let in no stranger, though `not tag:web or vpc` would."""
    port = (Ports(PortProtocol.TCP, 80, 80),)
    rules = (
        Allow("those without the tag", Term(Kind.SELF), negated(Term(Kind.TAG, "web")), ports=port),
        Allow("our VPC", Term(Kind.SELF), Term(Kind.VPC_RANGE), ports=port),
    )
    fleet = Fleet((Droplet(1, "own", vpc=OWN_VPC),), VPCS)
    made = _compiled(Policy(allows=rules), fleet, Host(1, private="eth1"))
    (ours,) = (one for one in made.sets.values() if one.name != "private-peers-4")
    assert frozenset({bytes((10, 10, 0, 0, 10, 10, 0, 255))}) == ours.elements


@given(policies(), fleets())
def test_an_effective_policy_is_a_fixed_point(policy: Policy, fleet: Fleet) -> None:
    """It has no overrides and only rules of ours, and its own effective policy is itself."""
    seen = _seen(policy, fleet)
    once = effective(policy, seen)
    assert () == once.overrides
    assert [allow for allow in policy.allows if concerns(allow.on, seen)] == list(once.allows)
    assert once == effective(once, seen)


@given(policies(), fleets(), overrides)
def test_the_last_override_wins_key_by_key(policy: Policy, fleet: Fleet, last: Override) -> None:
    """What the last one of ours sets, holds; what it leaves out, is as it was before it."""
    last = replace(last, on=Term(Kind.SELF))
    seen = _seen(policy, fleet)
    before = effective(policy, seen)
    after = effective(replace(policy, overrides=(*policy.overrides, last)), seen)
    assert (last.mode or before.mode) == after.mode
    expected_log = before.denied_log if last.denied_log is Unset.UNSET else last.denied_log
    assert expected_log == after.denied_log
    for kind, override in ((InterfaceKind.PRIVATE, last.private), (InterfaceKind.PUBLIC, last.public)):
        for key in ("managed", "allow_peers", "outbound"):
            given_value = getattr(override, key)
            expected = getattr(before.on(kind), key) if given_value is None else given_value
            assert expected == getattr(after.on(kind), key)


@given(policies(), fleets(), overrides)
def test_an_override_of_others_changes_nothing(policy: Policy, fleet: Fleet, last: Override) -> None:
    """An override whose `on` does not pick us leaves our policy as it was."""
    last = replace(last, on=negated(Term(Kind.SELF)))
    seen = _seen(policy, fleet)
    with_it = replace(policy, overrides=(*policy.overrides, last))
    assert effective(policy, seen) == effective(with_it, seen)


@given(policies(), fleets(), hosts, st.randoms(use_true_random=False))
def test_neither_rules_nor_fleet_have_an_order(
    policy: Policy, fleet: Fleet, host: Host, random: Random
) -> None:
    """Rules, ports, Droplets and VPCs in any order compile to the same bytes."""
    turned = replace(
        policy,
        allows=_shuffled(
            tuple(replace(allow, ports=_shuffled(allow.ports, random)) for allow in policy.allows), random
        ),
    )
    other = replace(fleet, droplets=_shuffled(fleet.droplets, random), vpcs=_shuffled(fleet.vpcs, random))
    one, two = _compiled(policy, fleet, host), _compiled(turned, other, host)
    assert one == two
    assert render(one, "droplan") == render(two, "droplan")


@settings(max_examples=200)
@given(policies(), fleets(), fleets(), hosts)
def test_a_change_of_the_fleet_changes_elements_only(
    policy: Policy, before: Fleet, after: Fleet, host: Host
) -> None:
    """With our own Droplet as it was, two Fleets compile to Rulesets that differ in elements alone."""
    droplets = (own(before), *(droplet for droplet in after.droplets if droplet.id != 1))
    later = replace(after, droplets=droplets)
    one, two = _compiled(policy, before, host), _compiled(policy, later, host)
    kinds = {type(change) for change in diff(one, two).changes}
    assert {AddElements, RemoveElements} >= kinds


@settings(max_examples=200)
@given(policies(), fleets(), hosts)
def test_names_are_valid_for_nft(policy: Policy, fleet: Fleet, host: Host) -> None:
    """Every set, map and chain has a name of at most 31 characters that nft(8) takes; no two share one."""
    found = _compiled(policy, fleet, host)
    names = [*found.sets, *found.maps, *found.chains]
    assert [] == [name for name in names if not NFT_NAME.fullmatch(name)]
    assert len(names) == len(set(names))


@given(selectors, st.sampled_from(InterfaceKind))
def test_a_set_is_named_after_all_that_decides_it(selector: Selector, kind: InterfaceKind) -> None:
    """Another selector, family or kind of interface is another name, and each is valid."""
    names = {set_name(selector, k, family) for k in InterfaceKind for family in Family}
    assert 4 == len(names)
    assert all(NFT_NAME.fullmatch(name) for name in names)
    assert set_name(selector, kind, Family.IPV4) != set_name(negated(selector), kind, Family.IPV4)


@pytest.mark.parametrize("length", [1, 8, 12, 13, 14, 15, 16, 17, 32])
@pytest.mark.parametrize("kind", [Kind.REGION, Kind.TAG, Kind.NAME, Kind.ID])
def test_a_long_value_still_has_a_short_name(kind: Kind, length: int) -> None:
    """A term of any length names its set in at most 31 characters, in each family."""
    for interface in InterfaceKind:
        for family in Family:
            name = set_name(Term(kind, "1" * length), interface, family)
            assert NFT_NAME.fullmatch(name), name


@given(policies(), fleets(), hosts)
def test_all_that_a_ruleset_names_is_there_and_used(policy: Policy, fleet: Fleet, host: Host) -> None:
    """Rules enter chains and look up sets and maps that exist; nothing exists that no rule uses."""
    found = _compiled(policy, fleet, host)
    rules = [rule for chain in found.chains.values() for rule in chain.rules]
    sets = {match.set for rule in rules for match in rule.matches if isinstance(match, From | To)}
    maps = {rule.verdict.map for rule in rules if isinstance(rule.verdict, Dispatch)}
    chains = {
        rule.verdict.chain for rule in rules if isinstance(rule.verdict, Verdict) and rule.verdict.chain
    }
    chains |= {chain for port_map in found.maps.values() for _, _, chain in port_map.entries}
    assert set(found.sets) == sets
    assert set(found.maps) == maps
    assert {name for name, chain in found.chains.items() if chain.hook is None} == chains


@given(policies(), fleets(), hosts)
def test_rules_of_other_droplets_are_left_out(policy: Policy, fleet: Fleet, host: Host) -> None:
    """Rules and overrides of other Droplets change nothing here, and their names appear nowhere."""
    other = negated(Term(Kind.SELF))
    elsewhere = tuple(
        replace(allow, name=f"elsewhere {allow.name}", on=joined(And, (allow.on, other)))
        for allow in policy.allows
    )
    nothing = Override(
        other, Mode.AUDIT, InterfaceOverride(managed=False), InterfaceOverride(outbound=Outbound.DROP)
    )
    more = replace(policy, allows=(*policy.allows, *elsewhere), overrides=(*policy.overrides, nothing))
    assert _compiled(policy, fleet, host) == _compiled(more, fleet, host)


@given(policies(), fleets(), hosts)
def test_what_is_not_managed_is_not_judged(policy: Policy, fleet: Fleet, host: Host) -> None:
    """Base chains name the managed interfaces, each once, and outbound those with default-deny alone."""
    mine = effective(policy, _seen(policy, fleet))
    found = _compiled(policy, fleet, host)
    for chain, direction in (("inbound", Direction.INBOUND), ("outbound", Direction.OUTBOUND)):
        expected = {
            host.interface(kind)
            for kind in InterfaceKind
            if host.interface(kind)
            and mine.on(kind).managed
            and (direction is Direction.INBOUND or mine.on(kind).outbound is Outbound.DROP)
        }
        rules = found.chains[chain].rules if chain in found.chains else ()
        seen = [m.name for rule in rules for m in rule.matches if isinstance(m, Interface)]
        assert sorted(map(str, expected)) == sorted(seen)


@given(fleets(), hosts, selectors.filter(bounded))
def test_one_selector_is_one_set(fleet: Fleet, host: Host, who: Selector) -> None:
    """A selector that two rules use has one set for each family, not two."""
    assume(who != ANY)
    rule = Allow("one", Term(Kind.SELF), who)
    twice = replace(Policy(), allows=(rule, replace(rule, name="two", ports=())))
    assert (
        _compiled(replace(Policy(), allows=(rule,)), fleet, host).sets == _compiled(twice, fleet, host).sets
    )


def _crowd(count: int) -> Fleet:
    crowd = (
        Droplet(n, "web", ("web",), private=((10 << 24 | n).to_bytes(4, "big"),)) for n in range(2, count + 2)
    )
    return Fleet((Droplet(1, "own"), *crowd))


@pytest.mark.parametrize(("count", "room"), [(0, 1024), (819, 1024), (820, 2048), (10_000, 16_384)])
def test_a_set_has_room_to_grow(count: int, room: int) -> None:
    """Capacity is a power of two from 1,024 on with a quarter to spare, so that a new set is rare."""
    policy = Policy(allows=(Allow("web", Term(Kind.SELF), Term(Kind.TAG, "web")),))
    made = _compiled(policy, _crowd(count), Host(1, private="eth1")).sets["private-tag-web-4"]
    assert (count, room) == (len(made.elements), made.capacity)
