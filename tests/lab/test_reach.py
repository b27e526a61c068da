"""The table of the demonstration: what it says, and what it complains about."""

import asyncio
import io
import subprocess
from typing import TYPE_CHECKING, cast

import pytest

from droplan_daemon.lab.console import Console, Ink, wants_colour
from droplan_daemon.lab.probe import Verdict
from droplan_daemon.lab.promise import promised
from droplan_daemon.lab.reach import NETWORKS, Finding, Station, Way, complaint, everybody, survey
from droplan_daemon.lab.table import table
from droplan_daemon.lab.talk import Service
from droplan_daemon.lab.topology import Machine, Nic, Topology

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.lab.netns import Namespace

NOWHERE = cast("Namespace", None)
OPEN, DROPPED = frozenset({Verdict.OPEN}), frozenset({Verdict.DROPPED})


def station(label: str, role: str = "") -> Station:
    return Station(label, NOWHERE, role, {})


WEB, DB = station("wordpress-1", "wordpress"), station("mysql-1", "mysql")
PROXY, TUNNEL = station("haproxy-www", "haproxy"), station("tunnel-1", "tunnel")
STRANGER = station("stranger in the VPC")
SERVERS = PROXY, TUNNEL, WEB, DB


def found(origin: Station, target: Station, network: str, **ports: "frozenset[Verdict]") -> list[Finding]:
    """What was met on each of the ports, named `p22` and so on."""
    return [Finding(Way(origin, target, network, int(port[1:])), v) for port, v in ports.items()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain() -> Console:
    return Console(io.StringIO())


def test_the_table_has_a_part_for_each_network() -> None:
    """A cell has what is open, or one word for all that is not; nobody is asked about himself."""
    findings = [
        *found(WEB, DB, "eth1", p22=DROPPED, p80=OPEN, p3306=OPEN),
        *found(WEB, DB, "eth0", p22=OPEN, p80=OPEN | DROPPED, p3306=DROPPED),
        *found(DB, WEB, "eth1", p22=frozenset({Verdict.REFUSED}), p80=frozenset({Verdict.REFUSED})),
        *found(DB, WEB, "eth0", p22=frozenset({Verdict.UNREACHABLE}), p80=DROPPED),
        *found(STRANGER, WEB, "eth1", p22=DROPPED, p80=DROPPED),
        *found(STRANGER, WEB, "eth0", p22=frozenset(), p80=frozenset()),
        *found(STRANGER, DB, "eth1", p22=DROPPED, p80=DROPPED),
        *found(STRANGER, DB, "eth0", p22=frozenset(), p80=frozenset()),
    ]
    expected = """\
private, from \\ to   wordpress-1 mysql-1
wordpress-1                      80 3306
mysql-1              shut
stranger in the VPC  drop        drop

public, from \\ to    wordpress-1 mysql-1
wordpress-1                      22 both
mysql-1              drop lost"""
    assert expected == table(findings, plain())


@pytest.mark.parametrize(
    ("odd", "labels"),
    [
        ((), ["everybody (4)"]),
        ((TUNNEL,), ["tunnel-1", "everybody else (3)"]),
        ((TUNNEL, DB), ["haproxy-www", "tunnel-1", "wordpress-1", "mysql-1"]),
    ],
)
def test_rows_that_agree_are_one(odd: tuple[Station, ...], labels: list[str]) -> None:
    """All of them, or all but one; two that differ leave every row as it is."""
    findings = [
        finding
        for origin in SERVERS
        for target in SERVERS
        if origin is not target
        for finding in found(origin, target, "eth0", p22=DROPPED if origin in odd else OPEN)
    ]
    shown = table(findings, plain()).splitlines()[3:]
    assert labels == [line[:21].rstrip() for line in shown]
    merged = [line[21:].split() for line in shown if line.startswith("everybody")]
    assert [["22"] * len(SERVERS)] * len(merged) == merged


def test_the_table_of_six_droplets_fits_into_100_columns() -> None:
    """Indented by three, with the longest names that the demonstration has, and longer ones cut."""
    names = [station(f"a-rather-long-name-{n}") for n in range(6)]
    findings = [
        finding
        for origin in names
        for target in names
        if origin is not target
        for network in NETWORKS
        for finding in found(origin, target, network, p22=OPEN, p80=OPEN, p3306=OPEN, p443=DROPPED)
    ]
    assert 97 >= max(map(len, table(findings, plain()).splitlines()))


def test_colour_changes_nothing_but_the_colour() -> None:
    """Without its escape sequences the coloured table is the plain one."""
    findings = [
        *found(WEB, DB, "eth1", p22=OPEN),
        *found(WEB, DB, "eth0", p22=DROPPED),
        *found(DB, WEB, "eth1", p22=OPEN),
    ]
    coloured = table(findings, Console(io.StringIO(), colour=True))
    assert table(findings, plain()) != coloured
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
    """On every family: before droplan all get in, with it as promised; a refusal is no drop."""
    findings = [*found(WEB, DB, "eth0", p22=frozenset()), *found(origin, DB, "eth1", p3306=verdicts)]
    for promise, wrong in ((everybody, wrong_before), (promised, wrong_after)):
        sentence = complaint(findings, promise)
        assert wrong is (sentence is not None)
        if sentence:
            word = findings[1].word
            assert sentence.startswith(f"From {origin.label} to port 3306 of mysql-1 over eth1 is '{word}'")


@pytest.mark.parametrize(
    ("network", "origin", "target", "ports"),
    [
        ("eth1", PROXY, WEB, {80}),
        ("eth1", PROXY, DB, set()),
        ("eth1", PROXY, TUNNEL, set()),
        ("eth1", TUNNEL, PROXY, {22}),
        ("eth1", TUNNEL, DB, {22}),
        ("eth1", WEB, DB, {22, 80, 3306}),
        ("eth1", DB, WEB, {22, 80, 3306}),
        ("eth1", WEB, PROXY, set()),
        ("eth1", DB, TUNNEL, set()),
        ("eth1", STRANGER, DB, set()),
        ("eth0", STRANGER, PROXY, {80}),
        ("eth0", STRANGER, TUNNEL, {22}),
        ("eth0", STRANGER, DB, set()),
        ("eth0", WEB, DB, set()),
        ("eth0", WEB, PROXY, {80}),
        ("eth0", PROXY, TUNNEL, set()),
    ],
)
def test_the_promise_is_the_tutorials(
    network: str, origin: Station, target: Station, ports: set[int]
) -> None:
    """Two doors to the Internet, SSH through the tunnel, the site's servers among themselves."""
    ways = {port: Way(origin, target, network, port) for port in (22, 80, 3306)}
    assert ports == {port for port, way in ways.items() if promised(way) is Verdict.OPEN}


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
        target = Station("target", two, "mysql", {"eth1": ("10.0.0.3",), "eth0": ("203.0.113.3",)})
        origins = [
            Station("peer", peer, "mysql", {"eth1": ("10.0.0.1",)}),
            Station("stranger", stranger, "", {"eth1": ("10.0.0.2",)}),
        ]
        nft(
            two,
            "table inet t { chain c { type filter hook prerouting priority 0; meta l4proto tcp drop; }; }",
        )
        async with Service(two, 22):
            asyncio.get_running_loop().call_later(1.5, nft, two, "delete table inet t")
            findings = await survey(origins, [target], [22], promised)
            return [(f.way.origin.label, f.way.network, f.word) for f in findings]

    with Topology() as topology:
        met = asyncio.run(scene(topology))
    expected = [("peer", "open"), ("stranger", "drop")]
    assert expected == [(origin, word) for origin, network, word in met if network == "eth1"]
    assert {"-"} == {word for _, network, word in met if network == "eth0"}
