"""Laws of openings and of rows: an algebra, and labels that can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.model.policy import PortProtocol, Ports
from droplan_daemon.policy.crowd import Row, cell, crowd, granted, joined, kept, members, narrowed, turned
from droplan_daemon.policy.openings import CLOSED, EVERYTHING, Openings, labels, of_ports, parse, without
from droplan_daemon.policy.space import intersection, union

_PORT = st.integers(1, 65535)
_ported = st.builds(
    lambda protocol, one, other: Ports(protocol, min(one, other), max(one, other)),
    st.sampled_from([PortProtocol.TCP, PortProtocol.UDP]),
    _PORT,
    _PORT,
)
_entries = st.one_of(_ported, st.sampled_from([Ports(PortProtocol.ICMP), Ports(PortProtocol.ICMPV6)]))
openings = st.lists(_entries, max_size=5).map(of_ports) | st.just(CLOSED)


@given(openings)
def test_labels_can_be_read_back(one: Openings) -> None:
    """What is written into a document means the same when it is read, what is nearly all included."""
    assert one == parse(labels(one))
    rest = without(EVERYTHING, one)
    assert rest == parse(labels(rest))


@given(openings, openings)
def test_without_is_the_rest(one: Openings, other: Openings) -> None:
    """Nothing of the other is left, and with what both have it is the whole again."""
    rest = without(one, other)
    assert CLOSED == intersection(rest, other)
    assert one == union(rest, intersection(one, other))


@pytest.mark.parametrize(
    ("said", "entries"),
    [
        (("everything",), ()),
        (("22/tcp",), (Ports(PortProtocol.TCP, 22, 22),)),
        (("80-90/tcp", "53/udp"), (Ports(PortProtocol.UDP, 53, 53), Ports(PortProtocol.TCP, 80, 90))),
        (("80-81/tcp",), (Ports(PortProtocol.TCP, 80, 80), Ports(PortProtocol.TCP, 81, 81))),
        (("22/tcp", "icmp"), (Ports(PortProtocol.ICMP), Ports(PortProtocol.TCP, 22, 22))),
    ],
)
def test_labels_are_as_a_policy_writes_them(said: tuple[str, ...], entries: tuple[Ports, ...]) -> None:
    """Ports first, protocols that have none after them; neighbours are one range."""
    assert said == labels(of_ports(entries))


def test_nearly_everything_is_told_by_what_is_missing() -> None:
    """Nobody reads a list of two hundred protocols."""
    ssh = of_ports((Ports(PortProtocol.TCP, 22, 22),))
    assert ("everything except 22/tcp",) == labels(without(EVERYTHING, ssh))


@pytest.mark.parametrize(
    "text", ["", "80", "80/ftp", "90-80/tcp", "70000/tcp", "x/tcp", "everything except x"]
)
def test_what_is_no_label_is_refused(text: str) -> None:
    """A document that somebody broke is no expectation."""
    with pytest.raises(ValueError, match=r".+"):
        parse([text])


_crowds = st.integers(0, 255)
_grants = st.lists(st.tuples(openings, _crowds), max_size=5)


@given(_crowds, _grants)
def test_a_row_gives_each_party_the_union_of_its_grants(
    around: int, grants: list[tuple[Openings, int]]
) -> None:
    """Asked party by party, and nobody is in two crowds."""
    row = granted(around, grants)
    for party in range(8):
        mine = [one for one, who in grants if who >> party & 1] if around >> party & 1 else []
        assert (union(*mine) if mine else CLOSED) == cell(row, party)
    assert (
        sum(who.bit_count() for who in row.values())
        == crowd(n for who in row.values() for n in members(who)).bit_count()
    )


@given(_grants, _grants)
def test_rows_are_narrowed_and_joined_party_by_party(
    one: list[tuple[Openings, int]], other: list[tuple[Openings, int]]
) -> None:
    """What is open by both; and, of parties apart, both rows together."""
    left, right = granted(255, one), granted(255, other)
    both, beside = narrowed(left, right), joined(kept(left, 15), kept(right, 240))
    for party in range(8):
        assert intersection(cell(left, party), cell(right, party)) == cell(both, party)
        assert cell(left if party < 4 else right, party) == cell(beside, party)


@given(st.lists(_grants.map(lambda grants: granted(255, grants)), min_size=8, max_size=8))
def test_turning_rows_twice_gives_them_back(rows: list[Row]) -> None:
    """By target or by sender, the same is told."""
    once = turned(dict(enumerate(rows)), 8)
    assert rows == turned(dict(enumerate(once)), 8)
    assert all(cell(rows[t], s) == cell(once[s], t) for s in range(8) for t in range(8))
