"""The command line: the composition root.

Laws:
1. Only here are adapters picked, and only here do errors become exit codes: 0 done, 1 failed
   with nothing half-done, 2 wrong usage, 77 not permitted, 78 invalid configuration.
2. Results go to standard output, everything else to standard error; `--json` makes the
   output one JSON document.
3. What a command does not need is not imported: a daemon carries no lab.
"""

import os
import sys
from typing import TYPE_CHECKING

from droplan_daemon.errors import ConfigInvalid, DroplanError, Fatal

from .unit import told_to_run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_INTERRUPTED = 130  # what a shell says of a program that SIGINT ended


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command; its exit code."""
    words = sys.argv[1:] if argv is None else argv
    args = told_to_run(words) or _parsed(words)
    try:
        code = int(args.command(args))
        sys.stdout.flush()
    except DroplanError as error:
        return _failed(error, as_json=getattr(args, "json", False))
    except BrokenPipeError:
        # The reader went away; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _parsed(words: "Sequence[str]") -> "argparse.Namespace":
    from .parser import parse

    return parse(words)


def _failed(error: DroplanError, *, as_json: bool) -> int:
    """Tell the error; its exit code."""
    from . import output

    if isinstance(error, ConfigInvalid):
        output.invalid(error, as_json=as_json)
    else:
        output.failed(error, as_json=as_json)
    return error.exit_code if isinstance(error, Fatal) else 1
