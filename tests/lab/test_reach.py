"""The table of the demonstration: what it says, and what it complains about."""

import asyncio
import io
import subprocess
from typing import TYPE_CHECKING, cast

import pytest

from droplan_daemon.lab.console import Console, Ink, wants_colour
from droplan_daemon.lab.probe import Verdict
from droplan_daemon.lab.reach import NETWORKS, Finding, Station, complaint, everybody, peers_only, survey
from droplan_daemon.lab.table import table
from droplan_daemon.lab.talk import Service
from droplan_daemon.lab.topology import Machine, Nic, Topology

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.lab.netns import Namespace

NOWHERE = cast("Namespace", None)
OPEN, DROPPED = frozenset({Verdict.OPEN}), frozenset({Verdict.DROPPED})


def station(label: str, peer: bool = True) -> Station:
    return Station(label, NOWHERE, peer, {})


WEB, DB, STRANGER = station("wordpress-1"), station("mysql-1"), station("stranger in the VPC", peer=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain() -> Console:
    return Console(io.StringIO())


def test_the_table_has_a_row_for_each_origin_and_a_column_for_each_target() -> None:
    """Cells are the words for eth1 and eth0; nobody is asked about himself; `-` is no way to ask."""
    findings = [
        Finding(WEB, DB, "eth1", OPEN),
        Finding(WEB, DB, "eth0", OPEN | DROPPED),
        Finding(DB, WEB, "eth1", frozenset({Verdict.REFUSED})),
        Finding(DB, WEB, "eth0", frozenset({Verdict.UNREACHABLE})),
        Finding(STRANGER, WEB, "eth1", DROPPED),
        Finding(STRANGER, WEB, "eth0", frozenset()),
        Finding(STRANGER, DB, "eth1", DROPPED),
        Finding(STRANGER, DB, "eth0", frozenset()),
    ]
    expected = """\
from \\ to            wordpress-1 mysql-1
                     eth1 eth0   eth1 eth0
wordpress-1                      open both
mysql-1              shut lost
stranger in the VPC  drop -      drop -"""
    assert expected == table(findings, plain())


def test_the_table_of_six_droplets_fits_into_100_columns() -> None:
    """Indented by three, with the longest names that the demonstration has, and longer ones cut."""
    names = [station(f"a-rather-long-name-{n}") for n in range(6)]
    findings = [Finding(o, t, n, OPEN) for o in names for t in names if o is not t for n in NETWORKS]
    assert 97 >= max(map(len, table(findings, plain()).splitlines()))


def test_colour_changes_nothing_but_the_colour() -> None:
    """Without its escape sequences the coloured table is the plain one."""
    findings = [
        Finding(WEB, DB, "eth1", OPEN),
        Finding(WEB, DB, "eth0", DROPPED),
        Finding(DB, WEB, "eth1", OPEN),
    ]
    coloured = table(findings, Console(io.StringIO(), colour=True))
    for ink in Ink:
        coloured = coloured.replace(f"\x1b[{ink}m", "")
    assert table(findings, plain()) == coloured.replace("\x1b[0m", "")


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_and_for_those_who_want_it(
    stream: io.StringIO, environ: "Mapping[str, str]", expected: bool
) -> None:
    """NO_COLOR, when it is not empty, and a dumb terminal turn it off."""
    assert expected is wants_colour(stream, environ)


@pytest.mark.parametrize(
    ("origin", "verdicts", "wrong_before", "wrong_after"),
    [
        (WEB, OPEN, False, False),
        (WEB, DROPPED, True, True),
        (WEB, OPEN | DROPPED, True, True),
        (STRANGER, OPEN, False, True),
        (STRANGER, DROPPED, True, False),
        (STRANGER, OPEN | DROPPED, True, True),
        (STRANGER, frozenset({Verdict.REFUSED}), True, True),
        (STRANGER, frozenset(), False, False),
    ],
)
def test_what_is_not_as_it_must_be_is_named(
    origin: Station, verdicts: frozenset[Verdict], wrong_before: bool, wrong_after: bool
) -> None:
    """Before droplan everybody must get in, with it peers only, on every family; a refusal is no drop."""
    findings = [Finding(WEB, DB, "eth1", frozenset()), Finding(origin, DB, "eth0", verdicts)]
    for rule, wrong in ((everybody, wrong_before), (peers_only, wrong_after)):
        sentence = complaint(findings, rule)
        assert wrong is (sentence is not None)
        if sentence:
            assert sentence.startswith(f"From {origin.label} to mysql-1 over eth0 is '{findings[1].word}'")


@pytest.mark.kernel
def test_who_must_get_in_has_a_second_chance_and_who_must_not_has_none() -> None:
    """A door that is shut for the first second and a half is open to a peer, and shut to a stranger."""

    def nft(machine: "Namespace", script: str) -> None:
        machine.call(subprocess.run, ["nft", "-f", "-"], input=script.encode(), check=True, timeout=10)

    async def scene(topology: Topology) -> list[tuple[str, str, str]]:
        topology.add_segment("wire")
        peer, stranger, two = (
            topology.add(Machine(str(n), (Nic("eth1", f"04:01:00:00:00:0{n}", "wire", (f"10.0.0.{n}/24",)),)))
            for n in (1, 2, 3)
        )
        target = Station("target", two, True, {"eth1": ("10.0.0.3",), "eth0": ("203.0.113.3",)})
        origins = [
            Station("peer", peer, True, {"eth1": ("10.0.0.1",)}),
            Station("stranger", stranger, False, {"eth1": ("10.0.0.2",)}),
        ]
        nft(
            two,
            "table inet t { chain c { type filter hook prerouting priority 0; meta l4proto tcp drop; }; }",
        )
        async with Service(two, 22):
            asyncio.get_running_loop().call_later(1.5, nft, two, "delete table inet t")
            return [(f.origin.label, f.network, f.word) for f in await survey(origins, [target], peers_only)]

    with Topology() as topology:
        found = asyncio.run(scene(topology))
    expected = [("peer", "open"), ("stranger", "drop")]
    assert expected == [(origin, word) for origin, network, word in found if network == "eth1"]
    assert {"-"} == {word for _, network, word in found if network == "eth0"}
