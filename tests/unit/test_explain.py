"""What `explain` says, case by case, as a person reads it."""

from typing import TYPE_CHECKING

import pytest

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    InterfacePolicy,
    Lifeline,
    Mode,
    Outbound,
    Peers,
    Policy,
    PortProtocol,
    Ports,
)
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.policy.explain import About, Explanation, Packet, Ruling, explain
from droplan_daemon.policy.selector import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

IN, OUT = Direction.INBOUND, Direction.OUTBOUND
PRIVATE, PUBLIC = InterfaceKind.PRIVATE, InterfaceKind.PUBLIC
CLOSED, BOTH = InterfacePolicy(managed=True, allow_peers=False), InterfacePolicy(True, False, Outbound.DROP)
HOST = Host(2, private="eth1", public="eth0")


def _droplet(number: int, name: str, *tags: str, vpc: str = "ours") -> Droplet:
    public = (parse_address(f"203.0.113.{number}"), parse_address(f"2001:db8::{number}"))
    return Droplet(number, name, tags, "nyc3", vpc, (parse_address(f"10.0.0.{number}"),), public)


OWN = _droplet(2, "mysql-1", "db")
FLEET = Fleet(
    (
        _droplet(1, "web-1", "web"),
        OWN,
        _droplet(3, "wordpress-3", "canary"),
        _droplet(9, "other", vpc="theirs"),
    ),
    (Vpc("ours", "ours", "nyc3", "10.0.0.0/24"),),
)


def _tcp(port: int) -> Ports:
    return Ports(PortProtocol.TCP, port, port)


def _packet(
    address: str, port: int | None = 3306, *, kind: InterfaceKind = PRIVATE, direction: Direction = IN
) -> Packet:
    protocol = Protocol.TCP if port else Protocol.ICMP
    return Packet(direction, kind, parse_address(address), protocol, port, 40000 if port else None, 8)


def _told(packet: Packet, *allows: Allow, policy: Policy | None = None) -> Explanation:
    base = policy or Policy(private=CLOSED, public=CLOSED)
    whole = Policy(base.mode, base.peers, base.private, base.public, allows=allows, lifelines=base.lifelines)
    return explain(whole, FLEET, HOST, OWN, packet)


def _texts(found: Explanation, about: About) -> list[str]:
    return [reason.text for reason in found.reasons if reason.about is about]


MYSQL = Allow("mysql", parse("tag:db"), parse("tag:web"), ports=(_tcp(3306),))


def test_an_allowed_packet_has_the_whole_chain() -> None:
    """Rule, ports, selector, Droplet, address, set and interface, in this order."""
    found = _told(_packet("10.0.0.1"), MYSQL)
    assert (Ruling.ALLOW, "mysql", ()) == (found.ruling, found.rule, found.also)
    assert [
        (About.PORTS, "it opens 3306/tcp; asked for is 3306/tcp"),
        (About.SELECTOR, "tag:web"),
        (About.DROPLET, "web-1 (id 1)"),
        (About.ADDRESS, "10.0.0.1"),
        (About.SET, "private-tag-web-4 holds the address"),
        (About.INTERFACE, "eth1 (private) judges inbound traffic"),
    ] == [(reason.about, reason.text) for reason in found.reasons]


def test_other_rules_that_would_do_are_named() -> None:
    """Taking the first one out of the file would change nothing."""
    everyone = Allow("trust", parse("all"), parse("all"))
    assert ("trust", ("mysql",)) == _rule(_told(_packet("10.0.0.1"), MYSQL, everyone))


def _rule(found: Explanation) -> tuple[str, tuple[str, ...]]:
    return found.rule, found.also


def test_a_peer_is_let_in_by_the_rule_peers() -> None:
    """Every port, ICMP too."""
    for port in (1, 65535, None):
        found = _told(_packet("10.0.0.3", port), policy=Policy())
        assert (Ruling.ALLOW, "peers") == (found.ruling, found.rule)


NEAREST = {
    "wrong tag": (
        (MYSQL,),
        _packet("10.0.0.3"),
        "rule 'mysql': tag:web would be allowed; wordpress-3 has tags: canary",
    ),
    "stranger": (
        (MYSQL,),
        _packet("10.0.0.77"),
        "rule 'mysql': tag:web would be allowed; 10.0.0.77 belongs to no Droplet on the private network",
    ),
    "wrong port": (
        (MYSQL,),
        _packet("10.0.0.1", 3307),
        "rule 'mysql': tag:web is allowed 3306/tcp, not 3307/tcp",
    ),
    "wrong interface": (
        (MYSQL,),
        _packet("203.0.113.1", kind=PUBLIC),
        "rule 'mysql' is about the private interface",
    ),
    "wrong direction": (
        (MYSQL,),
        _packet("10.0.0.1", direction=OUT),
        "no rule allows 3306/tcp to anybody on the private interface",
    ),
    "other Droplets' rule": (
        (Allow("cache", parse("tag:web"), parse("any"), ports=(_tcp(3306),)),),
        _packet("10.0.0.77"),
        "rule 'cache' would allow it on tag:web; mysql-1 has tags: db",
    ),
    "no tags": (
        (MYSQL,),
        _packet("10.0.0.2"),
        "rule 'mysql': tag:web would be allowed; mysql-1 has tags: db",
    ),
    "by region": (
        (Allow("near", parse("all"), parse("region:ams3"), ports=(_tcp(3306),)),),
        _packet("10.0.0.1"),
        "rule 'near': region:ams3 would be allowed; web-1 is in region nyc3",
    ),
    "by address": (
        (Allow("office", parse("all"), parse("198.51.100.0/24"), ports=(_tcp(3306),)),),
        _packet("10.0.0.1"),
        "rule 'office': 198.51.100.0/24 would be allowed; web-1 has the address 10.0.0.1",
    ),
    "another VPC": (
        (MYSQL,),
        _packet("10.0.0.9"),
        "other has this address, but in a VPC that is not connected with this Droplet's",
    ),
}


@pytest.mark.parametrize(("allows", "packet", "expected"), NEAREST.values(), ids=NEAREST)
def test_what_came_nearest_is_told_first(allows: "Sequence[Allow]", packet: Packet, expected: str) -> None:
    """The one thing that stands between a rule and the packet."""
    found = _told(packet, *allows, policy=Policy(private=BOTH, public=CLOSED))
    assert (Ruling.DENY, "denied") == (found.ruling, found.rule)
    assert expected == _texts(found, About.NEAREST)[0]


def test_a_peer_is_told_why_being_one_is_not_enough() -> None:
    """allow_peers is off; or the sender is no peer, and why."""
    off = _told(_packet("10.0.0.1"))
    assert ["web-1 is a peer, but [private] has allow_peers = false"] == _texts(off, About.NEAREST)
    tagged = _told(_packet("10.0.0.3"), policy=Policy(peers=Peers(tag="web")))
    expected = "peers would be allowed; wordpress-3 is none: same VPC, but without tag web"
    assert [expected] == _texts(tagged, About.NEAREST)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (_packet("203.0.113.1", kind=PUBLIC), "eth0 (public) is not managed: nothing is judged there"),
        (
            _packet("10.0.0.1", direction=OUT),
            'eth1 (private) has outbound = "accept": it does not judge outbound traffic',
        ),
    ],
)
def test_what_is_not_judged_passes_without_a_rule(packet: Packet, reason: str) -> None:
    """And the reason is the interface."""
    found = _told(packet, policy=Policy())
    assert (Ruling.UNJUDGED, "", True) == (found.ruling, found.rule, found.passes)
    assert [reason] == _texts(found, About.INTERFACE)


def test_an_interface_that_is_not_there_judges_nothing() -> None:
    """A Host without a private interface has nothing to say on it."""
    found = explain(Policy(), FLEET, Host(2, public="eth0"), OWN, _packet("10.0.0.1"))
    assert ["there is no private interface"] == _texts(found, About.INTERFACE)


def test_mode_audit_denies_in_word_only() -> None:
    """The answer says both: what would be, and that it passes."""
    found = _told(_packet("10.0.0.3"), MYSQL, policy=Policy(Mode.AUDIT, private=CLOSED))
    assert (Ruling.AUDIT, "denied", True) == (found.ruling, found.rule, found.passes)
    assert ['mode "audit": it is counted and logged, and passes'] == _texts(found, About.MODE)


def _lifeline(protocol: Protocol, address: str, *numbers: int | None) -> Packet:
    destination, source, icmp = numbers
    return Packet(OUT, PUBLIC, parse_address(address), protocol, destination, source, icmp)


LIFELINES = {
    Lifeline.DNS: _lifeline(Protocol.UDP, "8.8.8.8", 53, 4000, None),
    Lifeline.NTP: _lifeline(Protocol.UDP, "2001:db8::9", 123, 4000, None),
    Lifeline.API: _lifeline(Protocol.TCP, "8.8.8.8", 443, 4000, None),
    Lifeline.METADATA: _lifeline(Protocol.TCP, "169.254.169.254", 80, 4000, None),
    Lifeline.DHCP: _lifeline(Protocol.UDP, "203.0.113.254", 67, 68, None),
    Lifeline.ICMP_ERRORS: _lifeline(Protocol.ICMP, "8.8.8.8", None, None, 3),
    Lifeline.NEIGHBOUR_DISCOVERY: _lifeline(Protocol.ICMPV6, "fe80::1", None, None, 135),
}


@pytest.mark.parametrize("lifeline", Lifeline)
def test_lifelines_are_named_and_can_be_switched_off(lifeline: Lifeline) -> None:
    """On: it is the rule. Off: denied, and what is switched off is told."""
    packet = LIFELINES[lifeline]
    assert lifeline.value == _told(packet, policy=Policy(public=BOTH)).rule
    without = Policy(public=BOTH, lifelines=frozenset(Lifeline) - {lifeline})
    found = _told(packet, policy=without)
    assert Ruling.DENY is found.ruling
    expected = f"lifeline '{lifeline.value}' would keep it alive, but is switched off"
    assert [expected] == _texts(found, About.NEAREST)


def test_port_80_of_others_is_not_the_metadata_service() -> None:
    """The lifeline is for one address."""
    packet = _lifeline(Protocol.TCP, "169.254.169.253", 80, 4000, None)
    assert Ruling.DENY is _told(packet, policy=Policy(public=BOTH)).ruling


def test_icmp_errors_are_those_of_the_address_family() -> None:
    """Type 3 of ICMP says nothing to IPv6, nor type 1 of ICMPv6 to IPv4."""
    for protocol, address, kind in ((Protocol.ICMP, "2001:db8::9", 3), (Protocol.ICMPV6, "8.8.8.8", 1)):
        found = _told(_lifeline(protocol, address, None, None, kind), policy=Policy(public=BOTH))
        assert Ruling.DENY is found.ruling


def test_at_most_three_come_near() -> None:
    """Forty rules that do not fit are no explanation."""
    rules = [Allow(f"r{n}", parse("all"), parse(f"tag:t{n}"), ports=(_tcp(3306),)) for n in range(40)]
    assert 3 == len(_texts(_told(_packet("10.0.0.3"), *rules), About.NEAREST))
