"""The table of the demonstration: what it says, and what it complains about."""

import io
from typing import TYPE_CHECKING, cast

import pytest

from droplan_daemon.lab.console import Console, Ink, wants_colour
from droplan_daemon.lab.probe import Verdict
from droplan_daemon.lab.reach import NETWORKS, Finding, Station, complaint, everybody, peers_only
from droplan_daemon.lab.table import table

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
