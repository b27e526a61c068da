"""`python -m tests.bench`: every figure beside its bar; exits with 1 when one is missed."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from droplan_daemon.errors import Fatal
from droplan_daemon.lab.netns import gain_rights

from . import daemon, fetching, kernel, old, packets
from .rounds import Effort
from .table import head, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .table import Row

GROUPS: "dict[str, Callable[[Effort], Iterator[Row]]]" = {
    "kernel": kernel.rows,
    "fetching": fetching.rows,
    "packets": packets.rate_rows,
    "loss": packets.loss_rows,
    "memory": daemon.memory_rows,
    "ready": daemon.ready_rows,
    "old": old.rows,
}


def main() -> int:
    """Measure, print as it comes; the exit code."""
    args = _parsed()
    effort, begun = Effort(args.quick), time.monotonic()
    try:
        gain_rights()
    except Fatal as error:
        sys.stderr.write(f"bench: {error}\n")
        return error.exit_code
    if args.quick:
        _say("quick: a few rounds of each; these figures are for looking at, not for believing")
    _say(head())
    missed = [
        row.what for name in args.only or GROUPS for row in _shown(GROUPS[name](effort)) if row.met is False
    ]
    _say(f"\n{_verdict(missed)} ({time.monotonic() - begun:.0f} s)")
    return 1 if missed else 0


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


def _verdict(missed: list[str]) -> str:
    return f"missed: {', '.join(missed)}" if missed else "every bar is met"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
