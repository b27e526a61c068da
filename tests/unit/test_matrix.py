"""The matrix of small fleets, as a person would draw it."""

import pytest

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind, Vpc
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
    PortProtocol,
    Ports,
)
from droplan_daemon.policy.expectation import compared, document, told
from droplan_daemon.policy.matrix import Guard, Matrix, matrix
from droplan_daemon.policy.openings import labels
from droplan_daemon.policy.selector import parse
from droplan_daemon.policy.survey import Lane

CLOSED = InterfacePolicy(managed=True, allow_peers=False)
NONE: tuple[str, ...] = ()


def _droplet(number: int, name: str, *tags: str, vpc: str | None = "ours", six: bool = True) -> Droplet:
    public = [parse_address(f"203.0.113.{number}")]
    if six:
        public.append(parse_address(f"2001:db8::{number}"))
    private = (parse_address(f"10.0.0.{number}"),) if vpc else ()
    return Droplet(number, name, tags, "nyc3", vpc, private, tuple(public))


def _fleet(*droplets: Droplet) -> Fleet:
    return Fleet(droplets, (Vpc("ours", "ours", "nyc3", "10.0.0.0/24"),))


WEB = (_droplet(1, "web-1", "web"), _droplet(2, "web-2", "web"))
DATABASES = (_droplet(3, "db-1", "db"), _droplet(4, "db-2", "db"))
BASTION = _droplet(5, "bastion", "ssh")
FLEET = _fleet(*WEB, *DATABASES, BASTION)


def _tcp(port: int) -> tuple[Ports, ...]:
    return (Ports(PortProtocol.TCP, port, port),)


POLICY = Policy(
    private=CLOSED,
    public=CLOSED,
    allows=(
        Allow("site", parse("tag:web"), parse("any"), ports=_tcp(80), interface=InterfaceKind.PUBLIC),
        Allow("sql", parse("tag:db"), parse("tag:web"), ports=_tcp(5432)),
        Allow("ssh", parse("all"), parse("name:bastion"), ports=_tcp(22)),
        Allow(
            "office",
            parse("name:bastion"),
            parse("198.51.100.0/24"),
            ports=_tcp(22),
            interface=InterfaceKind.PUBLIC,
        ),
    ),
)


def _cell(found: Matrix, sender: str, target: str, lane: Lane = Lane.PRIVATE) -> tuple[str, ...]:
    parties = found.parties
    return labels(found.cell(lane, parties.index(sender), parties.index(target)))


def test_droplets_that_behave_alike_are_one_group() -> None:
    """Called by the tag that exactly they have; one Droplet by its name."""
    found = matrix(POLICY, FLEET)
    assert ["tag:web", "tag:db", "bastion"] == [group.name for group in found.groups]
    assert [(1, 2), (3, 4), (5,)] == [tuple(d.id for d in group.droplets) for group in found.groups]
    assert ("any", "198.51.100.0/24") == found.outside


@pytest.mark.parametrize(
    ("sender", "target", "lane", "ports"),
    [
        ("tag:web", "tag:db", Lane.PRIVATE, ("5432/tcp",)),
        ("tag:db", "tag:web", Lane.PRIVATE, NONE),
        ("tag:web", "tag:web", Lane.PRIVATE, NONE),
        ("bastion", "tag:db", Lane.PRIVATE, ("22/tcp",)),
        ("bastion", "bastion", Lane.PRIVATE, NONE),
        ("any", "tag:web", Lane.PRIVATE, NONE),
        ("any", "tag:web", Lane.PUBLIC_IPV4, ("80/tcp",)),
        ("any", "tag:web", Lane.PUBLIC_IPV6, ("80/tcp",)),
        ("tag:db", "tag:web", Lane.PUBLIC_IPV6, ("80/tcp",)),
        ("any", "bastion", Lane.PUBLIC_IPV4, NONE),
        ("198.51.100.0/24", "bastion", Lane.PUBLIC_IPV4, ("22/tcp",)),
        ("tag:web", "any", Lane.PUBLIC_IPV4, ("everything",)),
    ],
)
def test_cells(sender: str, target: str, lane: Lane, ports: tuple[str, ...]) -> None:
    """What the rules say, read from the sender to the target."""
    assert ports == _cell(matrix(POLICY, FLEET), sender, target, lane)


def test_rules_that_change_nothing_split_no_group() -> None:
    """Where peers may do everything already, a rule that names a few of them tells nobody apart."""
    whole = Policy(allows=(Allow("sql", parse("tag:db"), parse("name:web-1"), ports=_tcp(5432)),))
    found = matrix(whole, FLEET)
    assert ["all"] == [group.name for group in found.groups]
    assert ("everything",) == _cell(found, "all", "all")
    assert ("any",) == found.outside


def test_a_pair_that_only_trusts_one_another_is_one_group() -> None:
    """Each is named in the other's rule alone, and yet neither can be told from the other."""
    pair = _fleet(_droplet(1, "one"), _droplet(2, "two"), _droplet(3, "three"))
    allows = (
        Allow("a", parse("name:one"), parse("name:two"), ports=_tcp(7)),
        Allow("b", parse("name:two"), parse("name:one"), ports=_tcp(7)),
    )
    found = matrix(Policy(private=CLOSED, allows=allows), pair)
    assert [(1, 2), (3,)] == [tuple(d.id for d in group.droplets) for group in found.groups]
    assert ("7/tcp",) == _cell(found, "one +1", "one +1")


def test_outbound_and_inbound_must_agree() -> None:
    """With default-drop outbound, what the sender's rules let out of what the target's let in."""
    override = Override(parse("tag:web"), private=_drop())
    out = Allow(
        "out", parse("tag:web"), parse("tag:db"), Direction.OUTBOUND, (Ports(PortProtocol.TCP, 5000, 5433),)
    )
    policy = Policy(private=CLOSED, allows=(*POLICY.allows, out), overrides=(override,))
    found = matrix(policy, FLEET)
    assert ("5432/tcp",) == _cell(found, "tag:web", "tag:db")
    kept_alive = ("53/tcp", "443/tcp", "53/udp", "123/udp")
    assert kept_alive == _cell(found, "tag:web", "any")
    assert [Guard.BOTH, Guard.INBOUND, Guard.INBOUND] == [group.private for group in found.groups]


def _drop() -> InterfaceOverride:
    return InterfaceOverride(outbound=Outbound.DROP)


def test_no_way_between_vpcs_is_no_reach() -> None:
    """On the private network a Droplet of a VPC that is not connected reaches nobody."""
    strange = _droplet(9, "strange", vpc="theirs")
    found = matrix(Policy(private=InterfacePolicy(managed=False, allow_peers=False)), _fleet(*WEB, strange))
    assert NONE == _cell(found, "strange", "tag:web")
    assert ("everything",) == _cell(found, "tag:web", "tag:web")


def test_who_has_no_address_is_neither_row_nor_column_there() -> None:
    """No IPv6: nothing on that lane."""
    found = matrix(POLICY, _fleet(*WEB, _droplet(7, "four", "web", six=False)))
    assert NONE == _cell(found, "any", "four", Lane.PUBLIC_IPV6)
    assert ("80/tcp",) == _cell(found, "any", "four", Lane.PUBLIC_IPV4)


def test_namesakes_are_told_apart_by_id() -> None:
    """DigitalOcean does not make names unique."""
    found = matrix(POLICY, _fleet(_droplet(1, "same", "web"), _droplet(2, "same", "db")))
    assert ["same (id 1)", "same (id 2)"] == [group.name for group in found.groups]


def test_a_group_without_a_tag_is_named_by_what_its_names_share() -> None:
    """`name:app-*` picks exactly the group; otherwise the first of it, and how many more."""
    allows = (Allow("a", parse("name:app-*"), parse("any"), ports=_tcp(80)),)
    fleet = _fleet(_droplet(1, "app-1"), _droplet(2, "app-22"), _droplet(3, "other"), _droplet(4, "third"))
    found = matrix(Policy(private=CLOSED, allows=allows), fleet)
    assert ["name:app-*", "other +1"] == [group.name for group in found.groups]


def test_mode_audit_is_said_and_does_not_hide_what_the_policy_means() -> None:
    """The cells are what the Policy allows, though nothing is dropped yet."""
    override = Override(parse("tag:db"), mode=Mode.AUDIT)
    found = matrix(Policy(private=CLOSED, allows=POLICY.allows, overrides=(override,)), FLEET)
    assert [Mode.ENFORCE, Mode.AUDIT, Mode.ENFORCE] == [group.mode for group in found.groups]
    assert NONE == _cell(found, "any", "tag:db")


def test_peers_by_tag_are_no_group_with_those_that_are_none() -> None:
    """Nothing but [peers] tells them apart, and that is enough."""
    fleet = _fleet(
        _droplet(1, "one", "in"), _droplet(2, "two", "in"), _droplet(3, "three"), _droplet(4, "four")
    )
    found = matrix(Policy(peers=Peers(tag="in")), fleet)
    assert [(1, 2), (3, 4)] == [tuple(d.id for d in group.droplets) for group in found.groups]
    assert (("everything",), NONE) == (_cell(found, "tag:in", "three +1"), _cell(found, "three +1", "tag:in"))


def test_who_only_watches_is_no_group_with_those_who_drop() -> None:
    """The same cells, but not the same behaviour."""
    override = Override(parse("name:web-2"), mode=Mode.AUDIT)
    found = matrix(Policy(overrides=(override,)), _fleet(*WEB))
    assert [Mode.ENFORCE, Mode.AUDIT] == [group.mode for group in found.groups]


def test_a_prefix_that_is_treated_like_anybody_has_no_row() -> None:
    """It would say nothing."""
    rules = tuple(
        Allow(text, parse("tag:web"), parse(text), ports=_tcp(80), interface=InterfaceKind.PUBLIC)
        for text in ("any", "198.51.100.0/24", "2001:db8:51::/48")
    )
    assert ("any",) == matrix(Policy(public=CLOSED, allows=rules), FLEET).outside


def test_a_prefix_stands_for_what_no_narrower_one_covers() -> None:
    """The office is in the company's range, and has more; whoever is in the range has only that."""
    rules = [
        Allow(text, parse("all"), parse(text), ports=_tcp(port), interface=InterfaceKind.PUBLIC)
        for text, port in (("198.51.0.0/16", 1), ("198.51.0.0/24", 2), ("203.0.113.1", 3))
    ]
    found = matrix(Policy(public=CLOSED, allows=tuple(rules)), FLEET)
    assert ("any", "198.51.0.0/16", "198.51.0.0/24") == found.outside
    lane = Lane.PUBLIC_IPV4
    assert ("1/tcp",) == _cell(found, "198.51.0.0/16", found.groups[1].name, lane)
    assert ("1-2/tcp",) == _cell(found, "198.51.0.0/24", found.groups[1].name, lane)
    assert ("3/tcp",) == _cell(found, "web-1", found.groups[1].name, lane)


def test_a_tag_that_others_have_too_names_no_group() -> None:
    """`tag:x` would pick more than the group."""
    fleet = _fleet(_droplet(1, "one", "x"), _droplet(2, "two", "x"), _droplet(3, "three", "x"))
    allows = (Allow("a", parse("name:three"), parse("any"), ports=_tcp(80)),)
    found = matrix(Policy(private=CLOSED, allows=allows), fleet)
    assert ["one +1", "three"] == [group.name for group in found.groups]


def test_a_group_that_falls_apart_differs_for_others_alone() -> None:
    """Nobody gains or loses anything towards himself; everybody else is named."""
    trust = Policy(private=CLOSED, allows=(Allow("web", parse("tag:web"), parse("tag:web"), ports=_tcp(80)),))
    half = Policy(
        private=CLOSED, allows=(Allow("web", parse("name:web-1"), parse("tag:web"), ports=_tcp(80)),)
    )
    before, after = (told(document(matrix(policy, _fleet(*WEB)))) for policy in (trust, half))
    (difference,) = compared(before, after).differences
    assert (("web-1",), ("web-2",)) == (difference.senders, difference.targets)
    assert (NONE, ("80/tcp",)) == (labels(difference.gained), labels(difference.lost))


def test_an_empty_fleet_has_an_empty_matrix() -> None:
    """No Droplets, no groups, no lanes."""
    found = matrix(POLICY, Fleet(()))
    assert ((), {}) == (found.groups, found.rows)
