"""A Plan as a person reads it."""

import pytest

from droplan_daemon.model.addresses import Family, parse_address
from droplan_daemon.model.plan import (
    AddElements,
    AddEntries,
    Arm,
    Change,
    CreateChain,
    CreateLease,
    CreateMap,
    CreateSet,
    CreateTable,
    DeleteChain,
    DeleteLease,
    DeleteMap,
    DeleteRule,
    DeleteSet,
    DeleteTable,
    Disarm,
    InsertRule,
    Plan,
    RemoveElements,
    RemoveEntries,
)
from droplan_daemon.model.ruleset import AddressSet, Rule, SetKind

_PEERS = frozenset(map(parse_address, ("10.0.0.10", "10.0.0.9")))
_MANY = frozenset(parse_address(f"10.0.1.{n}") for n in range(20))

LINES: list[tuple[Change, str]] = [
    (CreateTable("x"), "create table"),
    (DeleteTable(), "delete table"),
    (CreateMap("ports"), "create map ports"),
    (DeleteMap("ports"), "delete map ports"),
    (AddEntries("ports", frozenset({(80, 90, "b"), (22, 22, "a")})), "add to ports: 22-22 to a, 80-90 to b"),
    (RemoveEntries("ports", frozenset({(22, 22, "a")})), "remove from ports: 22-22 to a"),
    (CreateSet(AddressSet("peers", Family.IPV4, SetKind.HOSTS)), "create set peers"),
    (DeleteSet("peers"), "delete set peers"),
    (AddElements("peers", Family.IPV4, _PEERS), "add to peers: 10.0.0.9, 10.0.0.10"),
    (RemoveElements("peers", Family.IPV4, _PEERS), "remove from peers: 10.0.0.9, 10.0.0.10"),
    (
        AddElements("peers", Family.IPV4, _MANY),
        f"add to peers: {', '.join(f'10.0.1.{n}' for n in range(8))} and 12 more",
    ),
    (CreateChain("judge"), "create chain judge"),
    (DeleteChain("judge"), "delete chain judge"),
    (InsertRule("judge", 2, Rule("peers")), "insert rule 'peers' in judge at 2"),
    (DeleteRule("judge", 0, Rule("peers")), "delete rule 'peers' of judge at 0"),
    (CreateLease("trial"), "create lease trial"),
    (DeleteLease("trial"), "delete lease trial"),
    (Arm("trial", 60.0), "arm lease trial for 60 s"),
    (Disarm("trial"), "end lease trial"),
]


@pytest.mark.parametrize(("change", "expected"), LINES, ids=[type(change).__name__ for change, _ in LINES])
def test_a_change_is_one_line(change: Change, expected: str) -> None:
    """Each kind of Change says in one line what it does, and to what."""
    assert expected == str(change)


def test_every_kind_of_change_has_its_line() -> None:
    """The table above misses no kind of Change."""
    assert set(Change.__args__) == {type(change) for change, _ in LINES}


def test_a_plan_is_its_changes_line_by_line() -> None:
    """A Plan reads as its Changes do, in their order; an empty one is false and says nothing."""
    assert "delete table\ncreate table" == str(Plan((DeleteTable(), CreateTable())))
    assert Plan((DeleteTable(),))
    assert not Plan()
    assert "" == str(Plan())
