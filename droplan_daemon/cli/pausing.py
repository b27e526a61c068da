"""`droplan pause`: audit for a while, ended by the kernel.

Laws:
1. What would be dropped is counted, logged and let through while the pause lasts, and nothing else changes.
2. It ends by the kernel's clock, whatever lives; no file, and no boot, ever makes it longer.
"""

from typing import TYPE_CHECKING

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.errors import Refusal
from droplan_daemon.policy import lease
from droplan_daemon.policy.lease import TRIAL, audited
from droplan_daemon.settings import environment, folders

from . import holding, output, wiring
from .nudge import nudge

if TYPE_CHECKING:
    import argparse

    from droplan_daemon.model.ruleset import Ruleset

PAUSE = """\
Nothing is dropped for a while: what would be is counted and logged, as in audit mode.
The kernel ends it by itself, even if the daemon is gone by then; a boot ends it too.

examples:
  sudo droplan pause                  for ten minutes
  sudo droplan pause --for 1h
  sudo droplan pause --end

json: ok, until, seconds, ended
"""

DEFAULT = "10m"


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `pause` takes."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--for",
        dest="seconds",
        type=holding.seconds,
        default=DEFAULT,
        metavar="TIME",
        help="how long, 1s to 1h; default: %(default)s",
    )
    either.add_argument("--end", action="store_true", help="end it now")


def run(args: "argparse.Namespace") -> int:
    """Begin or end it. Raises DroplanError."""
    found = folders(environment())
    files = StateFiles(found.state, found.runtime)
    if args.end:
        ended = holding.release(lease.PAUSE)
        nudge(files)
        said = "ended: the rules hold again" if ended else "there is no pause"
        return _tell(said, args, until=None, ended=ended)
    until = _begun(files, args.seconds)
    nudge(files)
    if until is None:
        return _tell("nothing is dropped here anyway: the mode is audit", args, until=None, ended=False)
    said = f"paused until {holding.clock_time(until)}: nothing is dropped; end it with: droplan pause --end"
    return _tell(said, args, until=until, ended=False)


def _begun(files: StateFiles, seconds: float) -> float | None:
    """Until when it lasts; None: there is nothing to pause. Raises DroplanError."""
    if files.stance().panic:
        raise Refusal("there is a panic; end it first: droplan panic --end", reason="panic")
    now = holding.standing()
    holding.require_leases(now.backend)
    base = now.composed.base
    if TRIAL in now.running:
        raise Refusal("something is on trial; confirm it or wait for its end: droplan status", reason="trial")
    if base is None or audited(base) == base:
        return None
    until = wiring.CLOCK.now() + seconds
    holding.hold(now.backend, _audit, lease.PAUSE, seconds)
    return until


def _audit(base: "Ruleset | None") -> "Ruleset":
    if base is None:
        raise Refusal("nothing of droplan's is enforced any more", reason="not_enforced")
    return audited(base)


def _tell(said: str, args: "argparse.Namespace", *, until: float | None, ended: bool) -> int:
    if args.json:
        seconds = args.seconds if until else None
        output.document({"ok": True, "until": until, "seconds": seconds, "ended": ended})
    else:
        print(said)
    return 0
