"""The old droplan's way: its chain emptied, then one `iptables -A` for each peer.

Law: what its loop did is done here by the same program and the same arguments, one process after
the other, beside droplan with the same peers in a namespace of the same kind.
"""

import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.diff import diff
from droplan_daemon.lab.netns import Namespace
from droplan_daemon.model.addresses import format_address

from .fleets import address, ruleset
from .processes import inside
from .rounds import timed
from .table import Row, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rounds import Effort

PEERS = 1_000


def rows(effort: "Effort") -> "Iterator[Row]":
    """A reference: nobody promised how slow it is."""
    peers = 200 if effort.quick else PEERS
    with Namespace("old") as old, Namespace("new") as new:
        inside(old, "iptables", "-N", "droplan-peers")
        theirs = old.call(one_by_one, peers)
        ours = new.call(lambda: [_droplan(peers) for _ in range(5)])
    found = median(ours)
    note = "Meanwhile the old droplan lets nobody new in; droplan goes from one ruleset to the next at once."
    yield Row(
        f"{peers:,} peers, the old droplan's way",
        seconds(found),
        f"iptables -A {seconds(theirs)}",
        found / theirs,
        note=note,
    )


def one_by_one(peers: int) -> float:
    """Seconds for so many peers."""
    begun = time.perf_counter()
    subprocess.run(["iptables", "-F", "droplan-peers"], check=True)
    for number in range(peers):
        rule = ["-s", f"{format_address(address(number))}/32", "-j", "ACCEPT"]
        subprocess.run(["iptables", "-A", "droplan-peers", *rule], check=True)
    return time.perf_counter() - begun


def _droplan(peers: int) -> float:
    kernel = NftBackend()
    try:
        before = kernel.observe()
        kernel.commit(diff(before.ruleset, None), before.generation)
        at = kernel.observe().generation
        return timed(lambda: kernel.commit(diff(None, ruleset(range(peers))), at))
    finally:
        kernel.close()
