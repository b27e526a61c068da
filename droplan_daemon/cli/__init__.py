"""The command line: the composition root.

Laws:
1. Only here are adapters picked, and only here do errors become exit codes: 0 done, 1 failed
   with nothing half-done, 2 wrong usage, 77 not permitted, 78 invalid configuration.
2. Results go to standard output, everything else to standard error; `--json` makes the
   output one JSON document.
3. What a command does not need is not imported: a daemon carries no lab.
"""

import sys
from typing import TYPE_CHECKING

from droplan_daemon.errors import ConfigInvalid, DroplanError, Fatal

from .parser import parse

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command; its exit code."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        return int(args.command(args))
    except ConfigInvalid as error:
        from droplan_daemon.settings import describe

        print(describe(error.path, error.problems), file=sys.stderr)
        return error.exit_code
    except Fatal as error:
        print(f"droplan: {error}", file=sys.stderr)
        return error.exit_code
    except DroplanError as error:
        print(f"droplan: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away; nobody is left to tell
        return 1
    except KeyboardInterrupt:
        return 130
