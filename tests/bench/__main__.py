"""`python -m tests.bench`: every figure beside its bar; exits with 1 when one is missed."""

import argparse
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from droplan_daemon.errors import Fatal
from droplan_daemon.lab.netns import gain_rights

from . import boot, daemon, fetching, iptables, kernel, old, packets, policy, tampering
from .rounds import Effort
from .table import head, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .table import Row

_INTERRUPTED = 130

GROUPS: "dict[str, Callable[[Effort], Iterator[Row]]]" = {
    "kernel": kernel.rows,
    "fetching": fetching.rows,
    "packets": packets.rate_rows,
    "loss": packets.loss_rows,
    "memory": daemon.memory_rows,
    "ready": daemon.ready_rows,
    "policy": policy.rows,
    "boot": boot.rows,
    "old": old.rows,
    "iptables": iptables.rows,
    "tampering": tampering.rows,
}


def main() -> int:
    """Measure, print as it comes; the exit code."""
    args = _parsed()
    try:
        gain_rights()
        missed = _measured(args.only or list(GROUPS), Effort(args.quick))
    except Fatal as error:
        sys.stderr.write(f"bench: {error}\n")
        return error.exit_code
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"bench: this figure cannot be measured here: {error}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 1 if missed else 0


def _measured(names: list[str], effort: Effort) -> list[str]:
    """Print these groups; the figures that missed their bars."""
    begun = time.monotonic()
    if effort.quick:
        _say("quick: a few rounds of each; these figures are for looking at, not for believing")
    _say(head())
    missed = [row.what for name in names for row in _shown(GROUPS[name](effort)) if row.met is False]
    verdict = f"missed: {', '.join(missed)}" if missed else "every bar is met"
    _say(f"\n{verdict} ({time.monotonic() - begun:.0f} s)")
    return missed


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="The figures of docs/benchmarks.md, measured on this machine.",
    )
    parser.add_argument("--only", action="append", choices=GROUPS, help="this group alone (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, less exact")
    return parser.parse_args()


def _shown(rows: "Iterator[Row]") -> "Iterator[Row]":
    for row in rows:
        for line in lines(row):
            _say(line)
        yield row


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
