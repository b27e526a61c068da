"""`python -m tests.soak --minutes 10` (`make soak`): what a daemon holds while it is given no rest.

A fleet of 1,000 that changes, faults of the API, tampering, reloads; in a network namespace. Polls are once
a second instead of every half minute (less after faults), and something happens each second, so that ten
minutes are as many polls as hours are otherwise. Exit code 1: it holds more and more.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import Namespace
from tests.daemon.machine import Machine

from .droplet import Soaking
from .watching import MIB, slope

_BAR = 1.0
_STRETCH = 15.0
"""Seconds between two looks at rest."""


def tell(words: str) -> None:
    """To whoever waits for it."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> int:
    """Soak, and tell what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--droplets", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    namespace, seconds = Namespace(), args.minutes * 60
    with (
        tempfile.TemporaryDirectory(prefix="droplan-soak-") as folder,
        Machine(namespace, Path(folder)) as machine,
    ):
        soaking = Soaking(machine, size=args.droplets, seed=args.seed)
        soaking.soak(seconds * 0.2, 1.0)
        first, kept = soaking.rest(), len(soaking.samples)
        begun, polls = time.monotonic(), machine.api.paths.count("/v2/vpcs")
        rests = [first]
        while time.monotonic() < begun + seconds * 0.8:
            soaking.soak(_STRETCH, 1.0)
            rests.append(soaking.rest())
        lasted, polls = time.monotonic() - begun, machine.api.paths.count("/v2/vpcs") - polls
        last = rests[-1]
    namespace.close()
    # At rest alone: what a fault or another configuration needs for the moment is no leak.
    found, samples = slope(rests, len(rests)), soaking.samples[kept:]
    per_poll = found.per_hour * MIB / 1024 * lasted / 3600 / max(1, polls) * 1_000
    done = ", ".join(f"{count} {name}" for name, count in sorted(soaking.done.items()))
    tell(
        f"{lasted / 60:.1f} minutes after {seconds * 0.2 / 60:.1f} of warming up,"
        f" {polls} polls of {args.droplets} Droplets\n"
        f"disturbances: {done}\n"
        f"descriptors at rest: {first.descriptors} before, {last.descriptors} after; at most"
        f" {max(one.descriptors for one in samples)}\n"
        f"threads at rest: {first.threads} before, {last.threads} after; at most"
        f" {max(one.threads for one in samples)}\n"
        f"memory (PSS) at rest: {first.memory / MIB:.1f} MiB before, {last.memory / MIB:.1f} after; at most"
        f" {max(one.memory for one in samples) / MIB:.1f}\n"
        f"slope of memory at rest: {found} (95 %), which is {per_poll:+.0f} KiB for 1,000 polls"
    )
    grows = found.per_hour - found.within > _BAR
    leaks = last.descriptors > first.descriptors + 8 or last.threads > first.threads + 1
    if grows or leaks:
        tell("it holds more and more")
    elif found.per_hour + found.within > _BAR:
        tell(f"no slope above {_BAR:g} MiB an hour is seen, but so short a time does not rule one out")
    return int(grows or leaks)


if __name__ == "__main__":
    sys.exit(main())
