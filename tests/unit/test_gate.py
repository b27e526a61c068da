"""The gate before what locks people out: whom it lets through, in a cycle and by itself."""

import asyncio
from dataclasses import replace

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.errors import Refusal
from droplan_daemon.gate import Gate, Standing
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.connection import Connection, Session
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host, Lost
from droplan_daemon.model.policy import (
    Allow,
    InterfaceOverride,
    InterfacePolicy,
    Management,
    Mode,
    Override,
    Policy,
    PortProtocol,
    Ports,
)
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.outcomes import Committed, Outcome, Refused, Unchanged, World
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.effective import effective
from droplan_daemon.policy.locked import locked
from droplan_daemon.policy.management import ways_in
from droplan_daemon.policy.panic import in_panic
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.reach import reach
from droplan_daemon.policy.scene import scene
from droplan_daemon.policy.selector import parse
from droplan_daemon.reconcile import Cycle
from tests.unit.cycles import HOST, Answers, Known, droplet, fleet

SSH = (Ports(PortProtocol.TCP, 22, 22),)
CLOSED = InterfacePolicy(managed=True, allow_peers=False)
PEERS = InterfacePolicy(managed=True, allow_peers=True)
PUBLIC = InterfaceKind.PUBLIC
SHUT = Policy(private=CLOSED, public=CLOSED)
ONE, TWO = fleet(droplet(1)), fleet(droplet(1), droplet(2, tags=("bastion",)))


def _allowing(
    who: str, *ports: Ports, kind: InterfaceKind = InterfaceKind.PRIVATE, on: str = "all"
) -> Policy:
    return replace(SHUT, allows=(Allow("in", parse(on), parse(who), ports=ports or SSH, interface=kind),))


def _world(policy: Policy, among: Fleet, host: Host = HOST) -> World:
    own = among.droplet(1)
    assert own
    seen = scene(among, own, peer_droplets(policy.peers, among, own))
    desired = compile_ruleset(policy, among, host, own)
    return World(among, host, own, (), desired, effective(policy, seen))


def _refusal(gate: Gate, policy: Policy, world: World, standing: Standing) -> str:
    """What it says; empty: it lets through."""
    try:
        gate.review(policy, world, standing)
    except Refusal as error:
        return f"{error.reason}: {error}"
    return ""


LOST = Host(1, "eth1", lost=(Lost(PUBLIC, "link", "eth0 is not there"),))
MOSH = Management((Ports(PortProtocol.UDP, 60_000, 61_000),))

FIRST = [
    # policy, fleet, host, and whether the first enforcement ever may go on
    ("nothing configured, alone", Policy(), ONE, HOST, True),
    ("nothing configured, alone, no public interface", Policy(), ONE, Host(1, "eth1"), False),
    ("nothing configured, no public interface, a peer", Policy(), TWO, Host(1, "eth1"), True),
    ("all closed", SHUT, TWO, HOST, False),
    ("all closed, in audit", replace(SHUT, mode=Mode.AUDIT), TWO, HOST, True),
    ("all closed, and that is meant", replace(SHUT, management=Management(required=False)), TWO, HOST, True),
    ("public closed, peers by private, none there", replace(SHUT, private=PEERS), ONE, HOST, False),
    ("public closed, peers by private", replace(SHUT, private=PEERS), TWO, HOST, True),
    ("an open public interface that is not found", replace(SHUT, public=Policy().public), ONE, LOST, True),
    ("the bastion by private", _allowing("tag:bastion"), TWO, HOST, True),
    ("a bastion that is not there", _allowing("tag:bastoin"), TWO, HOST, False),
    ("only this Droplet itself", _allowing("self"), TWO, HOST, False),
    ("everybody, but nobody else is there", _allowing("all"), ONE, HOST, False),
    ("the office by public", _allowing("198.51.100.0/24", kind=PUBLIC), ONE, HOST, True),
    ("an IPv6 office, and no IPv6 here", _allowing("2001:db8::/32", kind=PUBLIC), ONE, HOST, False),
    ("IPv6 on the VPC, where there is none", _allowing("2001:db8::/32"), TWO, HOST, False),
    ("another port", _allowing("any", Ports(PortProtocol.TCP, 80, 80)), TWO, HOST, False),
    ("another protocol", _allowing("any", Ports(PortProtocol.UDP, 22, 22)), TWO, HOST, False),
    ("a range that holds it", _allowing("any", Ports(PortProtocol.TCP, 1, 1024)), TWO, HOST, True),
    ("no way in but mosh's", replace(_allowing("any", MOSH.ports[0]), management=MOSH), TWO, HOST, True),
    ("a rule for others", _allowing("any", on="name:d-2"), TWO, HOST, False),
    (
        "an override closes what was open",
        Policy(
            private=CLOSED, overrides=(Override(parse("name:d-1"), public=InterfaceOverride(managed=True)),)
        ),
        TWO,
        HOST,
        False,
    ),
]


@pytest.mark.parametrize(
    ("policy", "among", "host", "expected"), [f[1:] for f in FIRST], ids=[f[0] for f in FIRST]
)
def test_the_first_enforcement_goes_through_the_gate(
    policy: Policy, among: Fleet, host: Host, *, expected: bool
) -> None:
    """A way in is somebody else who reaches a management port, or an interface that nobody judges."""
    told = _refusal(Gate(), policy, _world(policy, among, host), Standing())
    assert ("" if expected else "lock_out") == told.partition(":")[0]


def test_the_refusal_says_who_is_locked_out_and_what_to_do() -> None:
    """One sentence: the port, the Droplet, the rule that is missing and the two ways to insist."""
    both = (*SSH, Ports(PortProtocol.TCP, 2222, 2222))
    policy = replace(SHUT, management=Management(both))
    assert (
        "lock_out: "
        "nobody could reach 22/tcp or 2222/tcp of this Droplet (d-1) any more, so nothing is changed: "
        "add an [[allow]] for somebody; if nobody is meant to get in, use `droplan once --yes-lock-me-out` "
        "or put `required = false` into [management]"
    ) == _refusal(Gate(), policy, _world(policy, TWO), Standing())


def test_a_renamed_interface_is_no_change_of_the_policy() -> None:
    """Where nobody got in before, nobody need get in by the new name."""
    standing = Standing(_world(SHUT, TWO).desired, HOST, TWO)
    renamed = _world(SHUT, TWO, Host(1, "ens4", "ens3"))
    assert "" == _refusal(Gate(), SHUT, renamed, standing)


def test_an_interface_that_was_not_found_and_is_left_alone_leads_in() -> None:
    """Nothing judges there: a way in for anybody, without a name for the interface."""
    policy = replace(SHUT, public=Policy().public)
    world = _world(policy, ONE, LOST)
    private, public = ways_in(SSH, LOST, world.own, reach(world.desired))
    assert ("eth1", True, False) == (private.interface, private.judged, private.leads_in)
    assert ("", False, True) == (public.interface, public.judged, public.leads_in)


def _session(source: str, interface: str = "eth1", port: int = 22) -> Session:
    ends = parse_address(source), parse_address("10.10.0.1")
    return Session(Connection(*ends, Protocol.TCP, 40_000, port), interface)


@pytest.mark.parametrize(
    ("source", "interface", "port", "expected"),
    [
        ("10.10.0.2", "eth1", 22, True),  # the bastion, which the rule lets in
        ("10.10.0.3", "eth1", 22, False),  # a Droplet that it does not
        ("10.10.0.3", "wg0", 22, True),  # by an interface that droplan does not judge
        ("10.10.0.2", "eth1", 2022, False),  # a port that the rule does not open
    ],
)
def test_whoever_would_cut_themselves_off_is_asked_first(
    source: str, interface: str, port: int, *, expected: bool
) -> None:
    """The connection that the command is typed in: refused where it is let through now and would not be."""
    policy = _allowing("tag:bastion")
    gate = Gate(session=_session(source, interface, port))
    world = _world(policy, fleet(*TWO.droplets, droplet(3)))
    told = _refusal(gate, policy, world, Standing())
    assert expected == (not told)
    if told:
        assert told.startswith(f"lock_out: this would cut your own SSH connection from {source}, so nothing")
        assert "droplan try" in told
        assert "--yes-lock-me-out" in told
    assert "" == _refusal(Gate(insist=True, session=gate.session), policy, world, Standing())
    already = Standing(world.desired, HOST, world.fleet)
    assert "" == _refusal(gate, policy, world, already)


# In a cycle.


def _cycle(
    policy: Policy, *answers: Fleet, backend: FakeBackend | None = None, insist: bool = False
) -> Cycle:
    return Cycle(policy, Answers(list(answers)), Known(), backend or FakeBackend(), gate=Gate(insist))


def _ran(cycle: Cycle) -> Outcome:
    return asyncio.run(cycle.run())


def _reloaded(cycle: Cycle, policy: Policy, *answers: Fleet) -> Cycle:
    found = _cycle(policy, *answers)
    found.backend = cycle.backend
    found.inherit(cycle)
    return found


BASTION = _allowing("tag:bastion")


def test_what_is_refused_never_reaches_the_kernel() -> None:
    """The first cycle of all, over an empty kernel: Refused, and the kernel as it was."""
    backend = FakeBackend()
    outcome = _ran(_cycle(SHUT, TWO, backend=backend))
    assert isinstance(outcome, Refused)
    assert ("lock_out", None) == (outcome.error.reason, backend.observe().ruleset)
    assert isinstance(_ran(_cycle(SHUT, TWO, backend=backend, insist=True)), Committed)


def test_a_fleet_that_shrank_takes_the_last_way_in_along() -> None:
    """The bastion is destroyed: who is not there gets in no longer, whatever that means for people."""
    outcome = _ran(cycle := _cycle(_allowing("name:d-2"), TWO, TWO, fleet(droplet(1), droplet(3))))
    assert isinstance(outcome, Committed)
    assert isinstance(_ran(cycle), Unchanged)
    later = [_ran(cycle) for _ in range(5)]  # a doubt may hold it for a while
    assert not any(isinstance(one, Refused) for one in later)
    assert isinstance(later[-1], Unchanged)
    assert not any(one.elements for one in later[-1].world.desired.sets.values())


def test_a_reload_that_leaves_no_way_in_is_refused_until_it_leaves_one() -> None:
    """A slip in the bastion's tag: the old rules stay; the corrected file is enforced."""
    first = _cycle(BASTION, TWO)
    assert isinstance(_ran(first), Committed)
    standing = first.backend.observe().ruleset
    slip = _reloaded(first, _allowing("tag:bastoin"), TWO)
    assert isinstance(_ran(slip), Refused)
    assert standing == first.backend.observe().ruleset
    assert isinstance(_ran(_reloaded(slip, _allowing("name:d-2"), TWO)), Committed)


def test_who_insisted_once_is_not_asked_again() -> None:
    """Somebody wiped the rules by which nobody gets in: the daemon puts them back without a question."""
    first = _cycle(SHUT, TWO, insist=True)
    assert isinstance(_ran(first), Committed)
    wiped = FakeBackend()
    daemon = _reloaded(first, SHUT, TWO)
    daemon.backend = wiped
    assert isinstance(_ran(daemon), Committed)
    assert wiped.observe().ruleset is not None


def test_the_end_of_audit_is_a_change_of_the_policy() -> None:
    """In audit everybody gets in; the same rules enforced let nobody in, and are refused."""
    first = _cycle(replace(SHUT, mode=Mode.AUDIT), TWO)
    assert isinstance(_ran(first), Committed)
    assert isinstance(_ran(_reloaded(first, SHUT, TWO)), Refused)


# For a whole fleet.


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_bastion_that_only_lets_in_itself_is_locked(first: int) -> None:
    """Wherever it stands in the fleet, and although the rest of its kind has a way in: the bastion."""
    others = tuple(droplet(number) for number in (1, 2, 3) if number != first)
    among = fleet(*sorted((droplet(first, tags=("bastion",)), *others), key=lambda one: one.id))
    assert (first,) == _locked(_allowing("tag:bastion"), among)


def _locked(policy: Policy, among: Fleet) -> tuple[int, ...]:
    return tuple(one.id for one in locked(policy, among))


def test_two_bastions_let_in_each_other() -> None:
    """Then nobody is locked."""
    among = fleet(droplet(1, tags=("bastion",)), droplet(2, tags=("bastion",)), droplet(3))
    assert () == _locked(_allowing("tag:bastion"), among)


def test_a_droplet_without_the_open_interface_is_locked() -> None:
    """Of two that enforce the same, the one that has no public address."""
    second = replace(droplet(2), public=())
    policy = replace(SHUT, public=Policy().public)
    assert (2,) == _locked(policy, fleet(droplet(1), second))


def test_audit_locks_nobody() -> None:
    """What is only counted keeps nobody out; an override that enforces does."""
    override = Override(parse("name:d-2"), mode=Mode.ENFORCE)
    assert (2,) == _locked(replace(SHUT, mode=Mode.AUDIT, overrides=(override,)), TWO)


def test_ten_thousand_are_looked_at_by_a_few() -> None:
    """Each kind of Droplet is compiled for two at most."""
    many = tuple(
        Droplet(n, f"d-{n}", (), "nyc3", "home", (bytes([10, 10, n >> 8, n & 255]),))
        for n in range(1, 10_001)
    )
    policy = replace(SHUT, private=PEERS)
    assert () == _locked(policy, fleet(*many))
    assert 10_000 == len(_locked(SHUT, fleet(*many)))


# A panic.

MANY = Management((*SSH, Ports(PortProtocol.TCP, 2200, 2299), *MOSH.ports))


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        ((), MANY.ports),  # a rule without ports opens every port
        ((Ports(PortProtocol.TCP, 1, 1024), Ports(PortProtocol.ICMP)), SSH),
        ((Ports(PortProtocol.TCP, 2250, 3000),), (Ports(PortProtocol.TCP, 2250, 2299),)),
        ((Ports(PortProtocol.TCP, 60_500, 60_500), Ports(PortProtocol.TCP, 80, 80)), None),
        ((Ports(PortProtocol.UDP, 60_500, 60_500),), (Ports(PortProtocol.UDP, 60_500, 60_500),)),
    ],
)
def test_a_panic_leaves_of_each_rule_what_is_managements(
    opened: tuple[Ports, ...], expected: tuple[Ports, ...] | None
) -> None:
    """The ports of a rule that are management ports, of the same protocol; a rule with none is gone."""
    rule = Allow("in", parse("all"), parse("tag:bastion"), ports=opened)
    found = in_panic(replace(SHUT, allows=(rule,), management=MANY), HOST)
    assert (() if expected is None else (replace(rule, ports=expected),)) == found.allows


def test_a_panic_keeps_peers_as_managers_alone() -> None:
    """Nothing configured: peers log in by private, anybody by public, and nothing else is let in."""
    found = in_panic(Policy(), HOST)
    assert (CLOSED, CLOSED) == (found.private, found.public)
    assert [("peers", SSH, InterfaceKind.PRIVATE), ("any", SSH, PUBLIC)] == [
        (str(allow.who), allow.ports, allow.interface) for allow in found.allows
    ]
    assert [("peers", InterfaceKind.PRIVATE)] == [
        (str(allow.who), allow.interface) for allow in in_panic(Policy(), Host(1, "eth1")).allows
    ]
