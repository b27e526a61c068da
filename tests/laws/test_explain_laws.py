"""Explain, the compiled Ruleset and the meaning of a policy agree; without a kernel."""

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import Fleet, InterfaceKind
from droplan_daemon.model.policy import Direction, Policy
from droplan_daemon.model.ruleset import Protocol, SetKind
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.explain import About, Explanation, Ruling, explain
from droplan_daemon.policy.packet import Packet
from tests.meaning import METADATA, passes
from tests.worlds import EDGES, OWN_SEAT, SEATS, STRANGERS, fleets, hosts, own, policies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.host import Host
    from droplan_daemon.model.ruleset import AddressSet

_PORTS = sorted({near for edge in EDGES for near in (edge - 1, edge, edge + 1) if 1 <= near <= 65535} | {123})


def _asked(family: Family) -> "Iterator[tuple[int, int | None, int | None, int | None]]":
    for protocol, port in product((Protocol.TCP, Protocol.UDP), _PORTS):
        yield protocol, port, 40_000, None
    for ports in ((68, 67), (67, 68), (546, 547), (547, 546)):
        yield Protocol.UDP, *ports, None
    ours = Protocol.ICMP if family is Family.IPV4 else Protocol.ICMPV6
    for kind in (1, 3, 8, 11, 128, 133, 136, 143):
        yield ours, None, None, kind
    yield 47, None, None, None


_SEATS = (*SEATS, *STRANGERS, OWN_SEAT)
_PLACES = [
    *((kind, address) for kind in InterfaceKind for seat in _SEATS for address in seat.addresses(kind)),
    (InterfaceKind.PUBLIC, METADATA),
]
PACKETS = [
    Packet(direction, kind, address, *about)
    for direction in Direction
    for kind, address in _PLACES
    for about in _asked(family_of(address))
]
packets = st.lists(st.sampled_from(PACKETS), min_size=30, max_size=30)


@settings(max_examples=200)
@given(policies(), fleets(), hosts, packets)
def test_explain_says_what_the_policy_means(
    policy: Policy, fleet: Fleet, host: "Host", asked: list[Packet]
) -> None:
    """Whether a packet passes, by explain, is what the plain reading of the policy says."""
    for packet in asked:
        found = explain(policy, fleet, host, own(fleet), packet)
        assert passes(policy, fleet, host, own(fleet), packet) == found.passes, packet


@settings(max_examples=200)
@given(policies(), fleets(), hosts, packets)
def test_each_rule_that_explain_names_is_enough(
    policy: Policy, fleet: Fleet, host: "Host", asked: list[Packet]
) -> None:
    """The rule that allows a packet, and each that also would, allows it all alone."""
    for packet in asked:
        found = explain(policy, fleet, host, own(fleet), packet)
        named = {found.rule, *found.also} if found.ruling is Ruling.ALLOW else set()
        for allow in policy.allows:
            if allow.name in named:
                assert passes(_alone(policy, allow.name), fleet, host, own(fleet), packet)


def _alone(policy: Policy, name: str) -> Policy:
    """Nothing opens anything but this rule."""
    return replace(
        policy,
        private=replace(policy.private, allow_peers=False),
        public=replace(policy.public, allow_peers=False),
        allows=tuple(allow for allow in policy.allows if allow.name == name),
        overrides=tuple(
            replace(
                override,
                mode=None,
                private=replace(override.private, allow_peers=None),
                public=replace(override.public, allow_peers=None),
            )
            for override in policy.overrides
        ),
        lifelines=frozenset(),
    )


@settings(max_examples=200)
@given(policies(), fleets(), hosts, packets)
def test_the_set_that_explain_names_is_in_the_kernel_and_holds_the_address(
    policy: Policy, fleet: Fleet, host: "Host", asked: list[Packet]
) -> None:
    """A reason about a set names one of the compiled Ruleset, in which the address is found."""
    compiled = compile_ruleset(policy, fleet, host, own(fleet))
    for packet in asked:
        for name in _sets_named(explain(policy, fleet, host, own(fleet), packet)):
            assert _holds(compiled.sets[name], packet.address)


def _sets_named(found: Explanation) -> list[str]:
    return [reason.text.split()[0] for reason in found.reasons if reason.about is About.SET]


def _holds(found: "AddressSet", address: bytes) -> bool:
    if found.kind is SetKind.HOSTS:
        return address in found.elements
    width = family_of(address).width
    return any(e[:width] <= address <= e[width:] for e in found.elements if len(e) == 2 * width)
