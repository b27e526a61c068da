"""One target, so many inputs, in a process of its own.

    python -m tests.fuzz api-page --inputs 10000 --seed 1
    python -m tests.fuzz api-page --input FILE      what one input comes to

Prints one line of JSON. Exit code 1: a finding; its input is `finding` in the working folder.
"""

import argparse
import json
import os
import sys
import tempfile
import traceback
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .catalogue import INPUTS, target
from .engines import Run, blind, bounded, can_be_guided, guided

if TYPE_CHECKING:
    from .target import Target


def main() -> NoReturn:
    """Run, and leave at once: libFuzzer has its own ways to end."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=INPUTS)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true", help="without atheris")
    parser.add_argument("--input", type=Path, help="this input alone")
    parser.add_argument("--folder", type=Path, help="where to work; an empty one")
    args = parser.parse_args()
    alone = args.input.read_bytes() if args.input else None
    with_guide = can_be_guided() and not args.blind and alone is None
    with chdir(args.folder or tempfile.mkdtemp(prefix="droplan-fuzz-")):
        run = Run(_instrumented(args.target) if with_guide else target(args.target))
        wanted = args.inputs if alone is None else 1

        def step(data: bytes) -> None:
            _step(run, data, wanted, guide=with_guide)

        bounded()
        if alone is not None:
            step(alone)
        if with_guide:
            guided(run, args.seed, step)
        blind(run, args.seed, step)


def _instrumented(name: str) -> "Target":
    """The target, with a note in droplan's own code wherever a branch is taken."""
    import atheris  # noqa: PLC0415 - not on every platform

    with atheris.instrument_imports(include=["droplan_daemon"]):
        return target(name)


def _step(run: Run, data: bytes, wanted: int, *, guide: bool) -> None:
    try:
        run.one(data)
    except BaseException:  # noqa: BLE001 - whatever it is, it is a finding
        Path("finding").write_bytes(data)
        _leave(f"{traceback.format_exc()}\ninput ({len(data)} bytes): {data[:2_000]!r}", 1)
    if run.inputs >= wanted:
        told = {"inputs": run.inputs, "accepted": run.accepted, "slowest": run.slowest, "guided": guide}
        _leave(json.dumps(told), 0)


def _leave(words: str, code: int) -> NoReturn:
    print(words)  # noqa: T201 - a program's output
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
