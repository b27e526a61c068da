"""Laws of ways in, of the gate before what locks out, and of what a panic leaves open."""

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.errors import Refusal
from droplan_daemon.gate import Gate, Standing
from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import Droplet, InterfaceKind
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Direction,
    InterfacePolicy,
    Lifeline,
    Management,
    Mode,
    Policy,
    PortProtocol,
    Ports,
)
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.outcomes import World
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.doors import shut
from droplan_daemon.policy.effective import effective
from droplan_daemon.policy.explain import Packet, explain
from droplan_daemon.policy.locked import as_host, locked
from droplan_daemon.policy.management import leads_in, ways_in
from droplan_daemon.policy.openings import CLOSED, of_port_range, of_ports, without
from droplan_daemon.policy.panic import in_panic
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.reach import Spot, passes, reach
from droplan_daemon.policy.scene import scene
from droplan_daemon.policy.space import contains
from tests.worlds import EDGES, SEATS, STRANGERS, fleets, hosts, own, policies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.policy.reach import Reach

EVERYBODY = (*SEATS, *STRANGERS)
_single = st.sampled_from([*EDGES, 22]).map(lambda port: Ports(PortProtocol.TCP, port, port))
_range = st.sampled_from([Ports(PortProtocol.UDP, 8000, 8100), Ports(PortProtocol.TCP, 1, 1024)])
_ports = st.lists(_single | _range, min_size=1, max_size=3, unique=True).map(tuple)
managed = st.builds(lambda policy, ports: replace(policy, management=Management(ports)), policies(), _ports)


def _effective(policy: Policy, fleet: "Fleet") -> Policy:
    seen = scene(fleet, own(fleet), peer_droplets(policy.peers, fleet, own(fleet)))
    return effective(policy, seen)


def _reach(policy: Policy, fleet: "Fleet", host: Host) -> "Reach":
    return reach(compile_ruleset(policy, fleet, host, own(fleet)))


def _senders(kind: InterfaceKind, fleet: "Fleet") -> "Iterator[bytes]":
    """Who may be there, in a family that the Droplet has there."""
    ours = own(fleet).addresses(kind)
    here = {family_of(address) for address in ours}
    for seat in EVERYBODY:
        yield from (one for one in seat.addresses(kind) if not here or family_of(one) in here)


@settings(max_examples=100)
@given(managed, fleets(), hosts)
def test_a_way_in_is_what_explain_lets_in(policy: Policy, fleet: "Fleet", host: Host) -> None:
    """For every sender, interface and port: what the Policy means is what the Way says."""
    for way in ways_in(policy.management.ports, host, own(fleet), _reach(policy, fleet, host)):
        sources = dict(way.sources)
        for sender in _senders(way.kind, fleet):
            packet = Packet(
                Direction.INBOUND, way.kind, sender, Protocol[way.port.protocol.name], way.port.last, 40_000
            )
            if way.port.first == way.port.last:
                told = explain(policy, fleet, host, own(fleet), packet)
                assert told.passes == contains(sources[family_of(sender)], sender)


@settings(max_examples=100)
@given(managed, fleets(), hosts)
def test_nobody_is_their_own_way_in(policy: Policy, fleet: "Fleet", host: Host) -> None:
    """Whoever is let in, this Droplet's own addresses are not among them; nor is IPv6 on a VPC."""
    for way in ways_in(policy.management.ports, host, own(fleet), _reach(policy, fleet, host)):
        assert way.kind is InterfaceKind.PUBLIC or {Family.IPV4} == {family for family, _ in way.sources}
        for family, where in way.sources:
            for address in (*own(fleet).private, *own(fleet).public):
                assert family is not family_of(address) or not contains(where, address)


def _world(policy: Policy, fleet: "Fleet", host: Host) -> World:
    desired = compile_ruleset(policy, fleet, host, own(fleet))
    return World(fleet, host, own(fleet), (), desired, _effective(policy, fleet))


def _refused(policy: Policy, before: World | None, after: World, *, insist: bool = False) -> bool:
    standing = Standing(before.desired, before.host, before.fleet) if before else Standing()
    try:
        Gate(insist).review(policy, after, standing)
    except Refusal:
        return True
    return False


def _has_way_in(world: World) -> bool:
    ports = world.policy.management.ports
    return leads_in(ways_in(ports, world.host, world.own, reach(world.desired)))


@settings(max_examples=100)
@given(managed, fleets(), hosts)
def test_the_first_enforcement_needs_a_way_in(policy: Policy, fleet: "Fleet", host: Host) -> None:
    """Where nothing was enforced before, what is refused is what leaves none; unless one insists."""
    world = _world(policy, fleet, host)
    assert _refused(policy, None, world) == (not _has_way_in(world))
    assert not _refused(policy, None, world, insist=True)
    meant = replace(policy, management=replace(policy.management, required=False))
    assert not _refused(meant, None, _world(meant, fleet, host))


@settings(max_examples=100)
@given(managed, fleets(), fleets(), hosts)
def test_a_fleet_that_changed_is_no_reason(
    policy: Policy, before: "Fleet", after: "Fleet", host: Host
) -> None:
    """The same Policy over any other Fleet is not refused, whoever is gone."""
    if _refused(policy, None, _world(policy, before, host)):
        return
    assert not _refused(policy, _world(policy, before, host), _world(policy, after, host))


@settings(max_examples=100)
@given(managed, managed, fleets(), hosts)
def test_a_change_of_the_policy_keeps_a_way_in(old: Policy, new: Policy, fleet: "Fleet", host: Host) -> None:
    """Over one Fleet, a new Policy is refused exactly where it takes the last way in away."""
    old = replace(old, management=new.management)
    before, after = _world(old, fleet, host), _world(new, fleet, host)
    assert _refused(new, before, after) == (_has_way_in(before) and not _has_way_in(after))


def _panicking(policy: Policy, fleet: "Fleet", host: Host) -> Policy:
    return in_panic(_effective(policy, fleet), host)


@settings(max_examples=100)
@given(managed, fleets(), hosts)
def test_a_panic_lets_in_management_alone(policy: Policy, fleet: "Fleet", host: Host) -> None:
    """On every interface that there is; beside it only what keeps the network alive."""
    after = _reach(_panicking(policy, fleet, host), fleet, host)
    open_to_people = of_ports(policy.management.ports)
    for kind in InterfaceKind:
        name = host.interface(kind)
        for grant in after[Spot(name, outbound=False)] if name else ():
            assert grant.name in set(Lifeline) or CLOSED == without(grant.openings, open_to_people)


@settings(max_examples=100)
@given(managed, fleets(), hosts)
def test_every_way_in_outlives_a_panic_and_none_is_made(policy: Policy, fleet: "Fleet", host: Host) -> None:
    """At the management ports the same senders get in as before, in audit and by unmanaged interfaces too."""
    before, after = (_reach(one, fleet, host) for one in (policy, _panicking(policy, fleet, host)))
    for kind in InterfaceKind:
        name = host.interface(kind)
        for port in policy.management.ports if name else ():
            for number in {port.first, port.last}:
                asked = of_port_range(Protocol[port.protocol.name], number, number)
                for sender in _senders(kind, fleet):
                    spot = Spot(name or "", outbound=False)
                    assert passes(before, spot, sender, asked) == passes(after, spot, sender, asked)


@settings(max_examples=100)
@given(managed, fleets(), hosts, st.sampled_from(InterfaceKind), st.sampled_from(EDGES))
def test_a_panic_lets_out_what_was_let_out(
    policy: Policy, fleet: "Fleet", host: Host, kind: InterfaceKind, port: int
) -> None:
    """Towards anybody, at any port."""
    before, after = (_reach(one, fleet, host) for one in (policy, _panicking(policy, fleet, host)))
    spot = Spot(host.interface(kind) or "none", outbound=True)
    for protocol in (Protocol.TCP, Protocol.UDP, Protocol.ICMP):
        asked = of_port_range(protocol, port, port)
        for seat in EVERYBODY:
            for address in seat.addresses(kind):
                assert passes(before, spot, address, asked) == passes(after, spot, address, asked)


@settings(max_examples=100)
@given(managed, fleets(), hosts)
def test_a_panic_in_a_panic_changes_nothing(policy: Policy, fleet: "Fleet", host: Host) -> None:
    """It enforces, has no peers, and is what it is made of."""
    once = _panicking(policy, fleet, host)
    assert Mode.ENFORCE is once.mode
    twice = in_panic(once, host)
    assert _compared(once, fleet, host) == _compared(twice, fleet, host)


def _compared(policy: Policy, fleet: "Fleet", host: Host) -> "list[tuple[object, ...]]":
    ways = ways_in(policy.management.ports, host, own(fleet), _reach(policy, fleet, host))
    return [(way.kind, way.port, way.sources, way.judged) for way in ways]


def _alone(policy: Policy, fleet: "Fleet", droplet: Droplet) -> bool:
    """Whether nobody gets at a Droplet, asked for itself."""
    host = as_host(droplet)
    found = reach(compile_ruleset(policy, fleet, host, droplet))
    return not leads_in(ways_in(policy.management.ports, host, droplet, found))


_closing = st.builds(
    lambda policy, private, public: replace(policy, private=private, public=public),
    managed,
    st.just(InterfacePolicy(managed=True, allow_peers=False)) | st.just(InterfacePolicy(True, True)),
    st.just(InterfacePolicy(managed=True, allow_peers=False)),
)


@settings(max_examples=150)
@given(managed | _closing, fleets())
def test_who_is_locked_is_asked_of_a_few(policy: Policy, fleet: "Fleet") -> None:
    """Compiled for some Droplets of each kind, the answer is that of asking each of them alone."""
    expected = [droplet.id for droplet in fleet.droplets if _alone(policy, fleet, droplet)]
    assert expected == [droplet.id for droplet in locked(policy, fleet)]


@settings(max_examples=150)
@given(managed | _closing, fleets())
def test_what_is_shut_by_its_words_is_shut(policy: Policy, fleet: "Fleet") -> None:
    """A Policy that opens no door locks every Droplet of every Fleet."""
    if shut(policy):
        assert fleet.droplets == locked(policy, fleet)
