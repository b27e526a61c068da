"""The iptables backend, beside iptables itself.

Law: the other side runs the same program, one process for each peer, as the old droplan did.
"""

from statistics import median
from typing import TYPE_CHECKING

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.diff import diff
from droplan_daemon.lab.netns import Namespace

from . import packets
from .fleets import ruleset
from .old import one_by_one
from .processes import inside
from .rounds import timed
from .table import MILLI, Row, at_most, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rounds import Effort

PEERS, MANY = 1_000, 10_000


def rows(effort: "Effort") -> "Iterator[Row]":
    """From nothing, one change, packets."""
    peers = 200 if effort.quick else PEERS
    with Namespace("old") as old, Namespace("new") as new:
        inside(old, "iptables", "-N", "droplan-peers")
        theirs = old.call(one_by_one, peers)
        ours = median(new.call(_from_nothing, peers))
        row = Row(
            f"iptables: {peers:,} peers from nothing",
            seconds(ours),
            f"iptables -A {seconds(theirs)}",
            ours / theirs,
        )
        yield at_most(row, ours / theirs, 0.05, "0.05 x")
        changed = median(new.call(_one_change, effort.rounds(100)))
    yield at_most(Row("iptables: one changed peer of 10,000", seconds(changed)), changed, 5 * MILLI, "5 ms")
    yield from packets.iptables_rows(effort)


def _from_nothing(peers: int) -> list[float]:
    kernel, taken = IptablesBackend(), []
    for _ in range(5):
        before = kernel.observe()
        kernel.commit(diff(before.ruleset, None), before.generation)
        at = kernel.observe().generation
        taken.append(timed(lambda: kernel.commit(diff(None, ruleset(range(peers))), at)))  # noqa: B023 - in this turn
    kernel.close()
    return taken


def _one_change(rounds: int) -> list[float]:
    """One peer is replaced by another: diff and commit."""
    kernel, taken = IptablesBackend(), []
    ways = ruleset(range(MANY)), ruleset(range(1, MANY + 1))
    before = kernel.observe()
    kernel.commit(diff(before.ruleset, ways[0]), before.generation)
    for number in range(1, 2 * rounds + 1):
        found, wanted = kernel.observe(), ways[number % 2]
        taken.append(timed(lambda: kernel.commit(diff(found.ruleset, wanted), found.generation)))  # noqa: B023
    kernel.close()
    return taken
