"""The bytes of a commit, so that no upgrade of a library changes them unseen.

Renewed like the other golden files: `DROPLAN_RENEW_GOLDEN=1`. The kernel tests say whether the new
bytes mean the same; this test says that they are new.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends import nft_wire as wire
from droplan_daemon.backends.nft_batch import Batch
from droplan_daemon.backends.nft_codec import Place
from droplan_daemon.model.addresses import Family, parse_address
from droplan_daemon.model.plan import (
    AddElements,
    Arm,
    CreateChain,
    CreateLease,
    CreateSet,
    CreateTable,
    DeleteChain,
    DeleteLease,
    DeleteRule,
    DeleteSet,
    DeleteTable,
    Disarm,
    InsertRule,
    Plan,
    RemoveElements,
)
from droplan_daemon.model.policy import Rate, Unit
from droplan_daemon.model.ruleset import (
    Action,
    AddressSet,
    Armed,
    CtState,
    From,
    Hook,
    HookPoint,
    Icmp,
    Interface,
    Log,
    Protocol,
    Reply,
    Rule,
    SetKind,
    State,
    To,
    Transport,
    Verdict,
)

if TYPE_CHECKING:
    from droplan_daemon.model.plan import Change

FILE = Path(__file__).parent / "netlink.txt"
_V4, _V6 = Family.IPV4, Family.IPV6
_ONE = frozenset({parse_address("10.110.0.3")})
_SIX = frozenset({parse_address("2001:db8::12")})
_RANGES = frozenset(
    {
        parse_address("10.0.0.0") + parse_address("10.0.0.9"),
        parse_address("255.255.255.0") + parse_address("255.255.255.255"),
    }
)
_EVERYTHING = Rule(
    "everything",
    (
        Interface("eth1"),
        State(frozenset({CtState.ESTABLISHED, CtState.RELATED})),
        Reply(),
        From("four", _V4),
        To("four", _V4),
        Transport(Protocol.TCP, None, (8000, 8100)),
    ),
    counter=True,
    log=Log("droplan DROP: ", Rate(60, Unit.MINUTE)),
    verdict=Verdict(Action.DROP),
)
_CASES: "dict[str, tuple[Change, ...]]" = {
    "create table": (CreateTable("written by a test"),),
    "create table without comment": (CreateTable(),),
    "delete table": (DeleteTable(),),
    "create set of hosts": (CreateSet(AddressSet("four", _V4, SetKind.HOSTS, 16_384)),),
    "create set of ranges": (CreateSet(AddressSet("nets6", _V6, SetKind.RANGES)),),
    "delete set": (DeleteSet("four"),),
    "add an address": (AddElements("four", _V4, _ONE),),
    "add an IPv6 address": (AddElements("six", _V6, _SIX),),
    "remove an address": (RemoveElements("four", _V4, _ONE),),
    "add ranges": (AddElements("nets", _V4, _RANGES),),
    "create base chain": (CreateChain("inbound", Hook(HookPoint.PREROUTING, -110)),),
    "create chain": (CreateChain("judge"),),
    "delete chain": (DeleteChain("judge"),),
    "append rule": (InsertRule("judge", 2, _EVERYTHING),),
    "insert rule before another": (
        InsertRule("judge", 0, Rule("nd", (Icmp(_V6, 130, 136),), verdict=Verdict(Action.GOTO, "x"))),
    ),
    "insert rule before a new one": (
        InsertRule("judge", 2, Rule("a", counter=True)),
        InsertRule("judge", 2, Rule("b", counter=True)),
    ),
    "delete rule": (DeleteRule("judge", 1, Rule("gone")),),
    "delete new rule": (InsertRule("judge", 2, Rule("a", counter=True)), DeleteRule("judge", 2, Rule("a"))),
    "create lease": (CreateLease("trial"),),
    "delete lease": (DeleteLease("trial"),),
    "arm lease": (Arm("trial", 60.0),),
    "end lease": (Disarm("trial"),),
    "rule of a lease": (
        InsertRule("judge", 2, Rule("trial", (Armed("trial"),), verdict=Verdict(Action.GOTO, "try-judge"))),
    ),
}


def _bytes(changes: "tuple[Change, ...]") -> str:
    """One line a message, batch headers included, as the kernel gets them at generation 7."""
    places = {"judge": [Place(5, committed=True), Place(9, committed=True)]}
    batch = Batch("droplan", places)
    for index, change in enumerate(Plan(changes).changes):
        batch.add(index, change)
    messages = [
        wire.envelope(request.kind, request.flags, number, request.payload)
        for number, request in enumerate(batch.requests, start=2)
    ]
    parts = [wire.batch_begin(1, 7), *messages, wire.batch_end(len(messages) + 2)]
    return "\n".join(f"  {part.hex(' ', 4)}" for part in parts)


def _written() -> dict[str, str]:
    blocks = FILE.read_text().split("\n\n") if FILE.exists() else []
    pairs = (block.strip("\n").split("\n", 1) for block in blocks)
    return {name.removesuffix(":"): lines for name, lines in pairs}


def test_all_cases_are_written() -> None:
    """The file has every case, and no other."""
    if os.environ.get("DROPLAN_RENEW_GOLDEN"):
        blocks = (f"{name}:\n{_bytes(changes)}" for name, changes in _CASES.items())
        FILE.write_text("\n\n".join(blocks) + "\n")
    assert list(_written()) == list(_CASES)


@pytest.mark.skipif("sys.byteorder != 'little'", reason="netlink headers are in the machine's own order")
@pytest.mark.parametrize("name", _CASES)
def test_a_change_is_these_bytes(name: str) -> None:
    """Each kind of Change becomes exactly the bytes on file."""
    assert _written()[name] == _bytes(_CASES[name])
