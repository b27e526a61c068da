"""What it costs to write to the kernel and to read it back, beside `nft`.

Law: both sides do the same work on the same set in the same namespace, in turns; nft's time
includes its process, for that is how one uses it, and droplan's does not, for it is running.
"""

import asyncio
import subprocess
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from droplan_daemon.backends.nft import TABLE, NftBackend
from droplan_daemon.backends.nft_text import render
from droplan_daemon.diff import diff
from droplan_daemon.lab.netns import Namespace
from droplan_daemon.model.policy import Policy
from droplan_daemon.outcomes import Committed, Unchanged
from droplan_daemon.reconcile import Cycle

from .fleets import HOST, fleet, ruleset
from .rounds import ratio, side_by_side, timed
from .table import MILLI, Row, at_most, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.host import Host

    from .rounds import Effort

PEERS = 10_000


def rows(effort: "Effort") -> "Iterator[Row]":
    """Commit, change, do nothing, read back."""
    with Namespace("bench") as machine:
        yield from machine.call(lambda: list(_rows(effort)))


def _rows(effort: "Effort") -> "Iterator[Row]":
    kernel = NftBackend()
    try:
        yield _whole_commit(kernel, effort.rounds(15))
        yield from _one_change(kernel, effort.rounds(100))
        yield _nothing_changed(kernel)
        yield _read_back(kernel, effort.rounds(25))
    finally:
        kernel.close()


def _whole_commit(kernel: NftBackend, rounds: int) -> Row:
    wanted = ruleset(range(PEERS))
    # Without the two lines that replace an older table: there is none, for either.
    script = render(wanted, TABLE).split("\n", 2)[2].encode()

    def droplan() -> float:
        _emptied(kernel)
        observation = kernel.observe()
        return timed(lambda: kernel.commit(diff(None, wanted), observation.generation))

    def nft() -> float:
        _emptied(kernel)
        return timed(lambda: subprocess.run(["nft", "-f", "-"], input=script, check=True))

    ours, theirs = side_by_side(rounds, droplan, nft)
    found = ratio(ours, theirs)
    row = Row(
        "commit of 10,000 peers, from nothing",
        seconds(median(ours)),
        f"nft -f {seconds(median(theirs))}",
        found,
    )
    return at_most(row, found, 0.7, "0.7 x")


def _emptied(kernel: NftBackend) -> None:
    observation = kernel.observe()
    kernel.commit(diff(observation.ruleset, None), observation.generation)


def _one_change(kernel: NftBackend, rounds: int) -> "Iterator[Row]":
    """One peer is replaced by another: one address goes, one comes."""
    ways = ruleset(range(PEERS)), ruleset(range(1, PEERS + 1))
    _reach(kernel, ways[0])
    alone, together = [], []
    for number in range(2 * rounds + 1):
        wanted, observation = ways[(number + 1) % 2], kernel.observe()
        taken: list[float] = []

        def whole() -> None:
            plan = diff(observation.ruleset, wanted)  # noqa: B023 - called in this turn
            taken.append(timed(lambda: kernel.commit(plan, observation.generation)))  # noqa: B023

        together.append(timed(whole))
        alone += taken
    commit, both = median(alone[1:]), median(together[1:])
    yield at_most(Row("one changed peer of 10,000: commit", seconds(commit)), commit, 0.5 * MILLI, "0.5 ms")
    yield at_most(Row("one changed peer: diff and commit", seconds(both)), both, 5 * MILLI, "5 ms")


def _reach(kernel: NftBackend, wanted: "object") -> None:
    observation = kernel.observe()
    kernel.commit(diff(observation.ruleset, wanted), observation.generation)  # type: ignore[arg-type]


@dataclass(slots=True)
class _Always:
    """A Source and HostFinder that give the same Fleet and the same Host each time."""

    fleet: "Fleet"
    budget: None = None

    async def gather(self) -> "Fleet":
        return self.fleet

    async def locate(self, _: "Fleet") -> "Host":
        return HOST


def _nothing_changed(kernel: NftBackend) -> Row:
    """The kernel counts its commits: its generation before and after the second cycle."""
    _emptied(kernel)
    world = _Always(fleet(range(PEERS)))
    cycle = Cycle(Policy(), world, world, kernel)
    first = asyncio.run(cycle.run())
    before = kernel.generation()
    second = asyncio.run(cycle.run())
    writes = kernel.generation() - before
    if not isinstance(first, Committed) or not isinstance(second, Unchanged):
        raise TypeError(f"not the cycles that were to be measured: {first!r}, {second!r}"[:200])
    return at_most(Row("second cycle, nothing changed", f"{writes} writes"), writes, 0, "0 writes")


def _read_back(kernel: NftBackend, rounds: int) -> Row:
    wanted = ruleset(range(PEERS))
    _reach(kernel, wanted)
    (name,) = (item.name for item in wanted.sets.values())

    def droplan() -> float:
        same: list[bool] = []
        taken = timed(lambda: same.append(kernel.observe().ruleset == wanted))
        if same != [True]:
            raise ValueError("the kernel does not hold what was committed")
        return taken

    def nft() -> float:
        command = ["nft", "-j", "list", "set", "inet", TABLE, name]
        return timed(lambda: subprocess.run(command, check=True, capture_output=True))

    ours, theirs = side_by_side(rounds, droplan, nft)
    found = ratio(ours, theirs)
    row = Row(
        "read back and compare 10,000 peers",
        seconds(median(ours)),
        f"nft -j {seconds(median(theirs))}",
        found,
    )
    return at_most(row, found, 0.4, "0.4 x")
