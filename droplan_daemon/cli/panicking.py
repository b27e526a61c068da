"""`droplan panic`: everything but management and replies closed, now, until somebody ends it.

Laws:
1. It waits for nobody: what was kept says enough, and the API is asked only where nothing was kept.
2. It is written down first: a restart, a reload and a boot find it on.
3. Nobody gets a way in by it, and every way in to a management port that there was stays.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.errors import ConfigInvalid, HostUnknown, StoreFailed
from droplan_daemon.gate import Gate
from droplan_daemon.model.stance import Stance
from droplan_daemon.outcomes import Failed, Refused
from droplan_daemon.settings import environment, folders, load
from droplan_daemon.workers import Workers

from . import here, output, reloading, wiring
from .kernels import Kernels
from .nudge import nudge

if TYPE_CHECKING:
    import argparse

    from droplan_daemon.daemon import Parts
    from droplan_daemon.outcomes import Outcome
    from droplan_daemon.settings import Settings

PANIC = """\
Closes everything but the management ports ([management] in the configuration, 22/tcp)
and replies, on every interface, whatever the policy says; who could log in before still
can. It needs no API, survives restarts and boots, and lasts until --end. A trial or a
pause is over with it.

examples:
  sudo droplan panic
  sudo droplan panic --end

json: ok, panic, note
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `panic` takes."""
    parser.add_argument("--end", action="store_true", help="back to what the configuration says")
    parser.add_argument(
        "--yes-lock-me-out", action="store_true", help="even if it cuts the connection that you came by"
    )


def run(args: "argparse.Namespace") -> int:
    """Begin or end it. Raises DroplanError."""
    try:
        settings = _settings(args)
    except ConfigInvalid as error:
        return _left_to_the_daemon(args, error)
    files, kernels = wiring.store(settings), Kernels()
    kernel = wiring.permitted_backend(settings.policy.firewall, kernels)
    before = _stance(files)
    _say(files, args)
    checkpoint, _ = wiring.kept(files)
    parts = wiring.parts(settings, kernel, checkpoint.fleet if checkpoint else None, kernels)
    parts.cycle.gate = Gate(args.yes_lock_me_out, here.caller())
    outcome = asyncio.run(_enforced(parts, files))
    if isinstance(outcome, Refused) and not args.end:
        files.take_stance(before)
        raise outcome.error
    told = nudge(files)
    if isinstance(outcome, Failed | Refused) and not told:
        what = "the end of the panic" if args.end else "the panic"
        output.note(
            f"{what} is written down, and holds as soon as the daemon or `droplan once` can act on it"
        )
        raise outcome.error
    return _tell(args, _note(outcome), was=before.panic)


def _say(files: "StateFiles", args: "argparse.Namespace") -> None:
    before = _stance(files)
    try:
        files.take_stance(before.calm() if args.end else before.panicking(wiring.CLOCK.now()))
    except StoreFailed as error:
        raise StoreFailed(f"nothing is changed: {error}", errno=error.errno, reason=error.reason) from error


def _left_to_the_daemon(args: "argparse.Namespace", error: ConfigInvalid) -> int:
    """With a file that has mistakes: a daemon that runs has one without. Raises the error where none does."""
    found = folders(environment())
    files = StateFiles(found.state, found.runtime)
    try:
        reloading.daemon(files)
    except StoreFailed:
        raise error from None
    was = _stance(files).panic
    _say(files, args)
    nudge(files)
    note = f"{error}, so the daemon does it, by the configuration that it enforces: droplan status"
    return _tell(args, note, was=was)


def _settings(args: "argparse.Namespace") -> "Settings":
    """The configuration of the daemon that runs, or the one that is named. Raises ConfigInvalid."""
    settings = _read(args.config)
    if args.config is None:
        with suppress(StoreFailed):
            named = wiring.store(settings).read_status().get("config")
            if isinstance(named, str) and Path(named) != settings.path:
                return _read(Path(named))
    return settings


def _read(path: Path | None) -> "Settings":
    """With the token if there is one: who was kept is known without asking anybody."""
    try:
        return load(path)
    except ConfigInvalid:
        return load(path, need_token=False)


def _stance(files: "StateFiles") -> Stance:
    """What holds by now; what cannot be read is said anew."""
    try:
        return files.stance()
    except StoreFailed:
        return Stance()


async def _enforced(parts: "Parts", files: "StateFiles") -> "Outcome":
    """For those who were known, at once; where nobody was, for those who are there."""
    asyncio.get_running_loop().set_default_executor(Workers())
    checkpoint, _ = wiring.kept(files)
    try:
        if checkpoint:
            with suppress(HostUnknown):
                outcome = await parts.cycle.resume(checkpoint)
                if not isinstance(outcome, Failed):
                    return outcome
        return await parts.cycle.run()
    finally:
        await parts.close()


def _note(outcome: "Outcome") -> str:
    if isinstance(outcome, Failed | Refused):
        return f"the daemon does it as soon as it can: {outcome.error}"
    if outcome.unsaved:
        return f"{outcome.unsaved[0].error}: the next boot restores the rules of before until the daemon runs"
    return ""


def _tell(args: "argparse.Namespace", note: str, *, was: bool) -> int:
    if args.json:
        output.document({"ok": True, "panic": not args.end, "note": note or None})
        return 0
    if args.end:
        over, none = "the panic is over: the configuration holds again", "there is no panic"
        print(over if was else f"{none}: the configuration holds")
    else:
        print("panic: everything but management and replies is closed; end it with: droplan panic --end")
    if note:
        output.note(note)
    return 0
