"""`droplan try`: a configuration for a while, ended by the kernel unless somebody confirms it.

Laws:
1. It is written down as on trial before it holds, so that no restart and no boot ever takes it for good.
2. The same transaction that makes it hold sets its end.
3. A terminal that goes away, a killed process, a cut connection: all of them end as the clock does.
"""

import asyncio
import select
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from droplan_daemon.diff import diff
from droplan_daemon.errors import HostUnknown, KernelUnsupported, Refusal, StoreFailed
from droplan_daemon.gate import Gate
from droplan_daemon.leasing import fingerprint
from droplan_daemon.policy.lease import PAUSE, TRIAL, split
from droplan_daemon.workers import Workers

from . import here, holding, management_view, output, plan_view, reach_view, wiring
from .confirming import keep, told
from .kernels import Kernels
from .nudge import nudge

if TYPE_CHECKING:
    import argparse

    from droplan_daemon.checkpoint import StateFiles
    from droplan_daemon.daemon import Parts
    from droplan_daemon.effects import Backend
    from droplan_daemon.model.checkpoint import Checkpoint
    from droplan_daemon.outcomes import Prospect
    from droplan_daemon.settings import Settings

TRY = """\
Shows what would change, and makes it hold for a while. Unless it is confirmed in time
the kernel goes back to the rules of before by itself, even if this command, the daemon
and your connection are gone by then. In a terminal it waits: Enter keeps the new
configuration, Ctrl-C ends it at once. Elsewhere, or with --no-wait, it returns.

What was tried and not confirmed is never enforced by a restart, a reload or a boot,
until somebody confirms it or changes the file.

examples:
  sudo droplan try
  sudo droplan try --for 5m --config /root/new.toml
  sudo droplan try --no-wait && ssh -o ConnectTimeout=5 me@here true && sudo droplan confirm

json: ok, until, seconds, changes, warnings
"""

DEFAULT = "60s"
_LOOK = 0.2


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `try` takes."""
    parser.add_argument(
        "--for",
        dest="seconds",
        type=holding.seconds,
        default=DEFAULT,
        metavar="TIME",
        help="how long, 1s to 1h; default: %(default)s",
    )
    parser.add_argument("--no-wait", action="store_true", help="return at once, in a terminal too")
    parser.add_argument("--verbose", action="store_true", help="every change, to the rules too")
    parser.add_argument(
        "--yes-lock-me-out", action="store_true", help="even if nobody could log in meanwhile"
    )


def run(args: "argparse.Namespace") -> int:
    """Show, hold, wait. Raises DroplanError."""
    settings = wiring.settings_of(args)
    files, kernels = wiring.store(settings), Kernels()
    kernel = wiring.permitted_backend(settings.policy.firewall, kernels)
    stance = files.stance()
    if stance.panic:
        raise Refusal("there is a panic; end it first: droplan panic --end", reason="panic")
    checkpoint, _ = wiring.kept(files)
    parts = wiring.parts(settings, kernel, checkpoint.fleet if checkpoint else None, kernels)
    parts.cycle.gate = Gate(args.yes_lock_me_out)
    prospect = asyncio.run(_prospect(parts, checkpoint))
    holding.require_leases(parts.cycle.backend)
    if kernels.elsewhere():
        message = "this configuration changes the backend, which cannot be tried; see: droplan plan"
        raise KernelUnsupported(message, feature="leases")
    if PAUSE in prospect.observation.leases:
        raise Refusal("there is a pause; end it first: droplan pause --end", reason="paused")
    if not args.json:
        _show(prospect, args)
    if not prospect.plan or settings.digest == _enforced(files):
        if stance.bars(settings.digest):
            files.take_stance(stance.keeping())  # it holds, so nothing about it waits for a word any more
            nudge(files)
        return _nothing_new(prospect, args)
    until = _held(files, parts.cycle.backend, settings, prospect, args.seconds)
    nudge(files)
    if args.json:
        output.document(_document(prospect, until, args.seconds))
        return 0
    print(f"on trial until {holding.clock_time(until)}; keep it with: droplan confirm")
    waiting = sys.stdin.isatty() and sys.stdout.isatty() and not args.no_wait
    return _awaited(files, until) if waiting else 0


async def _prospect(parts: "Parts", checkpoint: "Checkpoint | None") -> "Prospect":
    """From what stands without a trial to what would. Raises Retry, Refusal or Fatal."""
    asyncio.get_running_loop().set_default_executor(Workers())
    try:
        if checkpoint:
            with suppress(HostUnknown):  # then nothing of it is used
                await parts.cycle.take(checkpoint)
        found = await parts.cycle.prospect()
        base = split(found.observation.ruleset).base
        found = replace(
            found,
            observation=replace(found.observation, ruleset=base),
            plan=diff(base, found.world.desired),
        )
        parts.cycle.admit(found)
        return found
    finally:
        await parts.close()


def _show(prospect: "Prospect", args: "argparse.Namespace") -> None:
    """The plan as `droplan plan` shows it."""
    sessions = here.sessions()
    meant = reach_view.meaning(prospect, wiring.connections(), None)
    access = management_view.access(
        prospect.world, prospect.observation.ruleset, sessions, here.caller(sessions)
    )
    shown = plan_view.Shown(prospect, meant, access)
    plan_view.plan(shown, offline=False, verbose=args.verbose, as_json=False)


def _enforced(files: "StateFiles") -> str:
    """The digest of the configuration that a running daemon enforces; empty: none does, or nobody knows."""
    from .reloading import daemon

    try:
        daemon(files)
        return str((files.read_status().get("world") or {}).get("config_sha256") or "")
    except StoreFailed:
        return ""


def _nothing_new(prospect: "Prospect", args: "argparse.Namespace") -> int:
    if args.json:
        output.document({**_document(prospect, None, 0.0), "changes": 0})
    else:
        print("nothing to try: this configuration is what holds already")
    return 0


def _held(
    files: "StateFiles", backend: "Backend", settings: "Settings", prospect: "Prospect", seconds: float
) -> float:
    """Make it hold; until when (seconds since the epoch). What fails leaves nothing on trial."""
    stance, desired = files.stance(), prospect.world.desired
    rules = fingerprint(desired, backend.script)
    until = wiring.CLOCK.now() + seconds
    files.take_stance(stance.trying(str(settings.path.absolute()), settings.digest, rules, until))
    try:
        holding.hold(backend, lambda _: desired, TRIAL, seconds)
    except BaseException:
        files.take_stance(stance)
        raise
    return until


def _document(prospect: "Prospect", until: float | None, seconds: float) -> dict[str, Any]:
    return {
        "ok": True,
        "until": until,
        "seconds": seconds,
        "changes": len(prospect.plan.changes),
        "warnings": list(prospect.world.warnings),
    }


def _awaited(files: "StateFiles", until: float) -> int:
    """Until somebody confirms it, ends it, or the time is over."""
    try:
        answer = _answer(files, until)
    except KeyboardInterrupt:
        holding.release(TRIAL)
        print("\nended: the rules of before hold")
        return 1
    if answer:
        print(told(keep(files)))  # who interrupts this takes nothing back any more
        return 0
    if answer is not None:  # Ctrl-D, or the terminal is gone; the kernel ends it
        with suppress(OSError):
            print(f"\nstill on trial until {holding.clock_time(until)}; keep it with: droplan confirm")
        return 1
    if not files.stance().tried:
        print("\nkept: somebody confirmed it")
        return 0
    if not nudge(files):  # a daemon clears up, and tells the journal of it
        holding.release(TRIAL, running=False)
    print("\nover: nobody confirmed it, and the rules of before hold")
    return 1


def _answer(files: "StateFiles", until: float) -> str | None:
    """What is typed in time, empty at the end of it; None: nobody says anything any more."""
    while (left := until - wiring.CLOCK.now()) > 0 and files.stance().tried:
        print(f"\r{left:3.0f} s left; Enter keeps it, Ctrl-C ends it ", end="", flush=True)
        if select.select([sys.stdin], [], [], _LOOK)[0]:
            return sys.stdin.readline()
    return None
