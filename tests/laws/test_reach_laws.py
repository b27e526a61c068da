"""Laws of `reach`, and of what `explain` names: the Policy and its Ruleset are the same."""

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Direction, Mode, Policy
from droplan_daemon.model.ruleset import Protocol, Ruleset
from droplan_daemon.policy.compile import chain_name, compile_ruleset
from droplan_daemon.policy.explain import About, Explanation, Packet, Ruling, explain, grants
from droplan_daemon.policy.openings import CLOSED, of_port_range
from droplan_daemon.policy.reach import Spot, passes, reach, shifts
from droplan_daemon.policy.space import contains, intersection, union
from tests.worlds import EDGES, SEATS, STRANGERS, fleets, hosts, own, policies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.ruleset import Rule

_SEATS = (*SEATS, *STRANGERS)
_worlds = st.tuples(policies(), fleets())
_EXTRA = ("169.254.169.254", "8.8.8.8", "2001:4860::8888")


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    kind = draw(st.sampled_from(InterfaceKind))
    seats = [address for seat in _SEATS for address in seat.addresses(kind)]
    address = draw(st.sampled_from([*seats, *map(parse_address, _EXTRA)]))
    protocol = draw(st.sampled_from([Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.ICMPV6, 47]))
    ported = protocol in {Protocol.TCP, Protocol.UDP}
    port = draw(st.sampled_from([*EDGES, 67, 68, 123, 546])) if ported else None
    source = draw(st.sampled_from([40000, 67, 68, 547])) if ported else None
    icmp = draw(st.sampled_from([0, 3, 8, 11, 128, 135, 143])) if protocol in {1, 58} else None
    return Packet(draw(st.sampled_from(Direction)), kind, address, protocol, port, source, icmp)


def _asked(packet: Packet) -> tuple[tuple[int, int], ...]:
    number = packet.destination or packet.icmp_type or 0
    return of_port_range(packet.protocol, number, number)


def _explained(policy: Policy, fleet: "Fleet", host: Host, packet: Packet) -> Explanation:
    return explain(policy, fleet, host, own(fleet), packet)


def _spot(host: Host, packet: Packet) -> Spot:
    return Spot(host.interface(packet.kind) or "none", packet.direction is Direction.OUTBOUND)


def _dhcp(packet: Packet) -> bool:
    """Let through by its source port, which `reach` does not know."""
    return packet.source in {67, 68, 547} and packet.destination in {67, 68, 546}


@settings(max_examples=100)
@given(policies(), fleets(), hosts, st.lists(packets(), min_size=25, max_size=25))
def test_explain_and_the_ruleset_agree(
    policy: Policy, fleet: "Fleet", host: Host, several: list[Packet]
) -> None:
    """What is decided from the Policy's meaning is what the compiled rules let through."""
    found = reach(compile_ruleset(policy, fleet, host, own(fleet)))
    for packet in several:
        if not _dhcp(packet):
            told = _explained(policy, fleet, host, packet)
            assert told.passes == passes(found, _spot(host, packet), packet.address, _asked(packet))


def _rules(ruleset: Ruleset, chain: str) -> "Iterator[Rule]":
    """The rules of a chain and of those that its maps lead to."""
    for name, one in ruleset.chains.items():
        if name == chain or name.startswith(f"{chain}-"):
            yield from one.rules


@settings(max_examples=100)
@given(policies(), fleets(), hosts, packets())
def test_the_rule_and_the_set_that_are_named_exist(
    policy: Policy, fleet: "Fleet", host: Host, packet: Packet
) -> None:
    """The rule is a comment in the chain that judges there, and the set holds the address."""
    told = _explained(policy, fleet, host, packet)
    ruleset = compile_ruleset(policy, fleet, host, own(fleet))
    if told.ruling is Ruling.UNJUDGED:
        assert "" == told.rule
        return
    comments = {
        name
        for rule in _rules(ruleset, chain_name(packet.kind, packet.direction))
        for name in rule.name.split(", ")
    }
    assert comments >= {told.rule, *told.also}
    for reason in told.reasons:
        if reason.about is About.SET:
            held = ruleset.sets[reason.text.split()[0]]
            width, address = held.family.width, packet.address
            assert any(element[:width] <= address <= element[-width:] for element in held.elements)


@settings(max_examples=60)
@given(policies(), fleets(), hosts, packets())
def test_every_answer_has_its_reasons(policy: Policy, fleet: "Fleet", host: Host, packet: Packet) -> None:
    """The interface always; the selector of a rule; what came nearest when it is denied."""
    told = _explained(policy, fleet, host, packet)
    about = [reason.about for reason in told.reasons]
    assert 1 == about.count(About.INTERFACE)
    if told.ruling in {Ruling.DENY, Ruling.AUDIT}:
        assert 1 <= about.count(About.NEAREST) <= 3
        assert (About.MODE in about) == (told.ruling is Ruling.AUDIT)
    assert told.passes or policy.mode is Mode.ENFORCE or policy.overrides


@settings(max_examples=60)
@given(policies(), fleets(), hosts, packets())
def test_grants_are_what_rules_give_apart_from_lifelines(
    policy: Policy, fleet: "Fleet", host: Host, packet: Packet
) -> None:
    """A packet that a rule of the Policy lets through is within its grant, and only such a one."""
    told = _explained(policy, fleet, host, packet)
    given_ = grants(policy, fleet, own(fleet), packet)
    everything = union(*(grant.openings for grant in given_)) if given_ else CLOSED
    if told.ruling is not Ruling.UNJUDGED:
        ruled = {told.rule, *told.also} & {"peers", *(allow.name for allow in policy.allows)}
        assert bool(ruled) == bool(intersection(everything, _asked(packet)))


@settings(max_examples=30)
@given(_worlds, hosts)
def test_a_set_that_is_not_there_lets_nobody_in(world: tuple[Policy, "Fleet"], host: Host) -> None:
    """As a kernel may hold it: what names it grants nothing, and the rest stays as it is."""
    policy, fleet = world
    ruleset = compile_ruleset(policy, fleet, host, own(fleet))
    empty = {name: replace(each, elements=frozenset()) for name, each in ruleset.sets.items()}
    assert reach(replace(ruleset, sets=empty)) == reach(replace(ruleset, sets={}))


@settings(max_examples=100)
@given(_worlds, _worlds, hosts, packets())
def test_shifts_are_what_differs_between_two_rulesets(
    old: "tuple[Policy, Fleet]", new: "tuple[Policy, Fleet]", host: Host, packet: Packet
) -> None:
    """A packet gains or loses exactly where its address is in a Shift that holds what it asks for."""
    was, now = (reach(compile_ruleset(policy, fleet, host, own(fleet))) for policy, fleet in (old, new))
    spot, asked = _spot(host, packet), _asked(packet)
    gained = lost = False
    for shift in shifts(was, now):
        if shift.spot == spot and shift.family.width == len(packet.address):
            here = contains(shift.where, packet.address)
            gained |= here and bool(intersection(shift.gained, asked))
            lost |= here and bool(intersection(shift.lost, asked))
    passed, will = (passes(found, spot, packet.address, asked) for found in (was, now))
    if spot in was and spot in now:
        assert (will and not passed, passed and not will) == (gained, lost)
