"""`droplan confirm`: what is on trial, kept.

Laws:
1. Only what runs can be kept. Too late is an error, and then the rules of before hold.
2. From the confirmation on there is no moment at which the rules of before hold again: the lease runs on
   until the configuration is enforced without it.
3. What takes the configured file's place is what was tried, byte by byte; what stood there stays beside it.
"""

import asyncio
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.checkpoint.atomic import LONGEST as LONGEST_FILE
from droplan_daemon.checkpoint.atomic import write_atomic
from droplan_daemon.committing import put
from droplan_daemon.errors import ConfigInvalid, DroplanError, HostUnknown, Refusal, StoreFailed
from droplan_daemon.outcomes import Failed, Refused
from droplan_daemon.plaintext import escape
from droplan_daemon.policy.lease import LONGEST, TRIAL
from droplan_daemon.report import ReloadState
from droplan_daemon.settings import DEFAULT_PATH, environment, folders, load
from droplan_daemon.workers import Workers

from . import holding, output, reloading, wiring
from .kernels import Kernels

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from droplan_daemon.daemon import Parts
    from droplan_daemon.model.stance import Stance
    from droplan_daemon.outcomes import Outcome

CONFIRM = """\
What `droplan try` put on trial stays. A file other than the service's takes the place
of /etc/droplan/droplan.toml (or of the daemon's --config FILE); what stood there is kept
beside it as droplan.toml.before-try. The daemon reloads; where none runs, this command
enforces it. After the end of the trial it is too late: try again.

examples:
  sudo droplan confirm

exit codes: 0 kept, 1 nothing is on trial, or it was too late
json: ok, config, replaced (where the file of before is), note
"""

BEFORE = ".before-try"
_AT_LEAST = 0.1


@dataclass(frozen=True, slots=True)
class Kept:
    """The configuration that holds now; `replaced` is where the one of before is; `note`: what is odd."""

    config: str
    replaced: str = ""
    note: str = ""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `confirm` takes: nothing more."""


def run(args: "argparse.Namespace") -> int:
    """Keep, tell. Raises DroplanError."""
    found = folders(environment())
    kept = keep(StateFiles(found.state, found.runtime), args.config)
    if args.json:
        output.document(
            {"ok": True, "config": kept.config, "replaced": kept.replaced or None, "note": kept.note or None}
        )
    else:
        print(told(kept))
    return 0


def told(kept: Kept) -> str:
    """What holds now, in a sentence or two."""
    lines = [f"kept: {escape(kept.config)} is enforced, and no trial ends it any more"]
    if kept.replaced:
        lines.append(f"the file of before is {escape(kept.replaced)}")
    if kept.note:
        lines.append(escape(kept.note))
    return "\n".join(lines)


def keep(files: "StateFiles", service: Path | None = None) -> Kept:
    """Keep what is on trial. `service` is the service's file where no daemon runs. Raises DroplanError."""
    stance = files.stance()
    if not stance.tried:
        raise Refusal("nothing is on trial; begin with: droplan try", reason="no_trial")
    running = _daemon_config(files)
    now = holding.standing()
    if TRIAL not in now.running or now.composed.trial is None:
        raise _too_late(stance)
    data, target = _tried(stance), Path(running) if running else service or DEFAULT_PATH
    _look_at(target, stance)
    end = wiring.CLOCK.monotonic() + now.running[TRIAL]
    if not holding.extend(now.backend, TRIAL, LONGEST):
        raise _too_late(stance)
    try:
        replaced = "" if _same(target, Path(stance.path)) else _install(data, target)
        files.take_stance(stance.keeping())
    except BaseException:
        holding.extend(now.backend, TRIAL, max(_AT_LEAST, end - wiring.CLOCK.monotonic()))
        raise
    if running:
        return Kept(str(target), replaced, _reloaded(files))
    put(now.backend, now.composed.trial)
    return Kept(str(target), replaced, _saved(target))


def _daemon_config(files: "StateFiles") -> str:
    """The file of the daemon that runs; empty: none does."""
    try:
        reloading.daemon(files)
        return str(files.read_status().get("config") or DEFAULT_PATH)
    except StoreFailed:
        return ""


def _too_late(stance: "Stance") -> Refusal:
    over = stance.tried_until <= wiring.CLOCK.now()
    ended = (
        f"it ended at {holding.clock_time(stance.tried_until)}" if over else "it was ended before its time"
    )
    return Refusal(f"{ended}; the old rules hold, so try again: droplan try", reason="too_late")


def _look_at(target: Path, stance: "Stance") -> None:
    """Look that no other file than a configuration is replaced: the service names it. Raises Refusal."""
    if target == DEFAULT_PATH or _same(target, Path(stance.path)):
        return
    try:
        load(target, need_token=False)
    except ConfigInvalid as error:
        message = f"{target} is to be replaced, and is no configuration in order ({error}): droplan check"
        raise Refusal(message, reason="no_configuration") from error


def _tried(stance: "Stance") -> bytes:
    """The bytes that were tried. Raises Refusal when the file has others by now."""
    path = Path(stance.path)
    data = _content(path)
    if sha256(data).hexdigest() != stance.tried:
        message = (
            f"{path} was changed since it was tried, so it is not kept; try it as it is now: droplan try"
        )
        raise Refusal(message, reason="changed")
    return data


def _content(path: Path) -> bytes:
    """What a configuration has in it, by a link too and whoever it belongs to; nothing if it is absent."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_FILE + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise StoreFailed(f"{path} could not be read: {reason}", errno=error.errno) from error


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()


def _install(data: bytes, target: Path) -> str:
    """Put it in place, with the old file's owner and rights; where the old one is now. Raises StoreFailed.

    What is in place already (somebody was interrupted) takes the place of no file of before.
    """
    mode, replaced = 0o644, ""
    before = _content(target)
    if before == data and target.exists():
        return ""
    owner: tuple[int, int] | None = None
    with suppress(FileNotFoundError):
        status = target.stat()
        mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        replaced = str(target.with_name(target.name + BEFORE))
        write_atomic(Path(replaced), before, mode, dress=_dress(owner))
    write_atomic(target.resolve(), data, mode, dress=_dress(owner))
    return replaced


def _dress(owner: tuple[int, int] | None) -> "Callable[[int], None] | None":
    if owner is None:
        return None

    def dress(number: int) -> None:
        with suppress(OSError):  # as for state files: not every file system has owners
            os.fchown(number, *owner)

    return dress


def _reloaded(files: "StateFiles") -> str:
    """Have the daemon enforce it; what is odd about that. Until it does, the lease runs on."""
    try:
        told = reloading.ask(files, reloading.TIMEOUT)
    except DroplanError as error:
        return f"{error}; until then it holds as on trial, for an hour at most"
    if told["state"] == ReloadState.REFUSED:
        return f"the daemon refuses it ({told.get('message')}): droplan check"
    return str(told.get("message") or "")


def _saved(target: Path) -> str:
    """What no daemon does: keep it for the next boot; what is odd about that."""
    try:
        settings = load(target)
        kernels = Kernels()
        kernel = wiring.permitted_backend(settings.policy.firewall, kernels)
        parts = wiring.parts(settings, kernel, None, kernels)
        outcome = asyncio.run(_cycle(parts, wiring.store(settings)))
    except DroplanError as error:
        return _unsaved(error)
    if isinstance(outcome, Failed | Refused):
        return _unsaved(outcome.error)
    return _unsaved(outcome.unsaved[0].error) if outcome.unsaved else ""


def _unsaved(error: DroplanError) -> str:
    return f"it is enforced, and not kept for the next boot yet ({error}); later: droplan once"


async def _cycle(parts: "Parts", files: "StateFiles") -> "Outcome":
    asyncio.get_running_loop().set_default_executor(Workers())
    checkpoint, _ = wiring.kept(files)
    try:
        if checkpoint:
            with suppress(HostUnknown):  # then nothing of it is used
                await parts.cycle.take(checkpoint)
        return await parts.cycle.run()
    finally:
        await parts.close()
