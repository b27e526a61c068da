"""How long boot takes until the ruleset of yesterday is enforced, beside `nft -f` of the same text.

Law: the script is run as its unit runs it, in a namespace of its own, with every check that it
makes; each time over an empty kernel, as at boot.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from droplan_daemon.backends.nft import TABLE
from droplan_daemon.backends.nft_text import render
from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.lab.netns import Namespace
from droplan_daemon.model.checkpoint import Checkpoint

from .fleets import HOST, fleet, ruleset
from .processes import ROOT, inside
from .rounds import ratio, side_by_side, timed
from .table import Row, at_most, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rounds import Effort

PEERS = 10_000
_BAR = 0.3


def rows(effort: "Effort") -> "Iterator[Row]":
    """From the unit's start to the ruleset in the kernel."""
    with tempfile.TemporaryDirectory() as folder, Namespace("boot") as machine:
        script = _saved(Path(folder))
        ours, theirs = side_by_side(
            effort.rounds(15),
            lambda: _restored(machine, Path(folder)),
            lambda: _loaded(machine, script),
        )
    found = median(ours)
    row = Row(
        "10,000 peers restored at boot",
        seconds(found),
        f"nft -f {seconds(median(theirs))}",
        ratio(ours, theirs),
        note="The whole of the unit: a shell reads, verifies, judges and loads the script on disk.",
    )
    yield at_most(row, found, _BAR, "300 ms")


def _saved(folder: Path) -> Path:
    """The state folder as the daemon leaves it."""
    files, wanted = StateFiles(folder, folder), ruleset(range(PEERS))
    links = (("eth1", "04:01:2a:0f:2a:02"),)
    checkpoint = Checkpoint(HOST, links, fleet(range(0)), wanted, "nftables", 1, 1_763_779_200.0, "")
    files.save(checkpoint, render(wanted, TABLE))
    return files.scripts("nftables")[0]


def _restored(machine: Namespace, folder: Path) -> float:
    _emptied(machine)
    environ = {
        "PATH": f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ.get('PATH', '')}",
        "STATE_DIRECTORY": str(folder),
        "CONFIG": "/nonexistent",
        "LIBRARY": str(ROOT / "systemd"),
        "SYSTEM": "/nonexistent",
    }
    command = ["/bin/sh", str(ROOT / "systemd" / "restore")]

    def run() -> float:
        return timed(lambda: subprocess.run(command, env=environ, check=True, capture_output=True))

    taken = machine.call(run)
    inside(machine, "nft", "list", "set", "inet", TABLE, "private-peers-4")  # or it measured nothing
    return taken


def _loaded(machine: Namespace, script: Path) -> float:
    _emptied(machine)
    return machine.call(lambda: timed(lambda: subprocess.run(["nft", "-f", str(script)], check=True)))


def _emptied(machine: Namespace) -> None:
    inside(machine, "nft", "flush", "ruleset")
