"""The real daemon: how soon it is ready, and how much memory it keeps.

Laws:
1. It is the program that a Droplet runs, with its core dependencies alone, over TLS, finding
   itself through the metadata service; each cycle parses, compiles and reads the kernel.
2. Memory is what /proc says after an hour's worth of cycles, in which peers came and went, while
   the daemon waits for an answer.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from droplan_daemon.lab.netns import Namespace

from .api import HOLD
from .processes import Api, Daemon, wake, wire_up
from .table import Row, at_most, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rounds import Effort

CYCLES = 120
"""An hour at the default interval of 30 s."""

API_LATENCY = 0.12
"""Seconds that each answer takes, as DigitalOcean's do."""


def ready_rows(effort: "Effort") -> "Iterator[Row]":
    """Start to READY."""
    with tempfile.TemporaryDirectory() as name, Namespace("bench") as machine:
        folder = Path(name)
        wake(machine)
        with Api(machine, folder, "1001", name, "--latency", str(API_LATENCY)) as api:
            wire_up(machine, api.site)
            daemon, taken = Daemon(machine, folder), []
            for _ in range(effort.rounds(7) + 1):
                taken.append(daemon.start(api.site, interval="1h"))
                daemon.stop()
    found = median(taken[1:])
    note = "From the process's start to READY=1 over its socket; the API takes 120 ms for each answer."
    yield at_most(Row("start to READY with 1,000 peers", seconds(found), note=note), found, 1.0, "1 s")


def memory_rows(effort: "Effort") -> "Iterator[Row]":
    """Resident memory, small fleet and large."""
    cycles = 20 if effort.quick else CYCLES
    for peers, bar in ((1_000, 50.0), (10_000, 62.0)):
        settled, peak = _memory(peers, cycles)
        row = Row(
            f"resident memory, {peers:,} peers",
            f"{settled:.1f} MB",
            note=f"After {cycles} cycles; at most {peak:.1f} MB.",
        )
        yield at_most(row, settled, bar, f"{bar:g} MB")


def _memory(peers: int, cycles: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name, Namespace("bench") as machine:
        wake(machine)
        with Api(machine, Path(name), str(peers + 1), name, "--changing", "--hold", str(cycles + 1)) as api:
            wire_up(machine, api.site)
            daemon = Daemon(machine, Path(name))
            daemon.start(api.site, interval="100ms")
            api.await_poll(cycles + 1)
            time.sleep(HOLD / 2)
            found = daemon.resident(), daemon.resident("VmHWM")
            daemon.stop()
            return found
