"""`droplan restore`: the checkpoint into the kernel, with everything verified on the way."""

import asyncio
import errno
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from droplan_daemon import reconcile
from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.diff import diff
from droplan_daemon.errors import ConfigInvalid, HostUnknown, KernelUnsupported, NotPermitted, StoreFailed
from droplan_daemon.model.checkpoint import age, is_stale
from droplan_daemon.model.policy import BackendName, Firewall
from droplan_daemon.plaintext import escape
from droplan_daemon.report import span
from droplan_daemon.settings import environment, folders

from . import output, wiring
from .kernels import Kernels, all_backends

if TYPE_CHECKING:
    import argparse

    from droplan_daemon.checkpoint import Recovered
    from droplan_daemon.model.checkpoint import Checkpoint
    from droplan_daemon.model.plan import Plan
    from droplan_daemon.model.ruleset import Ruleset

RESTORE = """\
The ruleset that was enforced last, from the checkpoint in the state folder
into the kernel: one transaction, read back. The checkpoint is verified, the
generation before it is used where it is damaged, and one that was made on
another machine is refused. Neither the API nor the configuration is asked.

At boot droplan-restore.service does the same before Python is there, from the
script beside the checkpoint. This command is for a person: after `flush`, or
when the boot was not able to. The daemon does it by itself when it starts.

examples:
  sudo droplan restore
  sudo droplan restore --dry-run

Exits with 1 when nothing can be restored, and says what stands instead.
json: ok, restored, dry_run, droplet, number, saved_at, age, stale, backend,
  droplets, changes, rejected
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `restore` takes."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be restored; change nothing")


def run(args: "argparse.Namespace") -> int:
    """Restore; 1 when there is nothing to restore."""
    found = folders(environment())
    files = StateFiles(found.state, found.runtime)
    try:
        recovered = _recovered(files)
        asyncio.run(recognised(recovered.checkpoint, files))
    except (StoreFailed, HostUnknown) as error:
        message = f"{error}; {_standing()}; the daemon makes a new one: systemctl start droplan"
        raise type(error)(message, reason=error.reason) from error
    done = _restored(recovered, _firewall(recovered.checkpoint, args), dry_run=args.dry_run)
    if args.json:
        output.document(_plain(done))
    else:
        _tell(done)
    return 0


_CLOSED = "closed by droplan"
"""How the comment of the static scripts begins that boot loads for want of a ruleset."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What was restored; `plan` is what was (or would be) to do for it, `age` is in seconds."""

    recovered: "Recovered"
    plan: "Plan"
    age: float | None
    dry_run: bool


def _recovered(files: StateFiles) -> "Recovered":
    """The Checkpoint that counts. Raises StoreFailed or NotPermitted."""
    try:
        return files.recover()
    except StoreFailed as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise NotPermitted(f"{error}; run this as root") from error
        if error.reason == "missing":
            raise StoreFailed("there is no checkpoint in the state folder", reason="missing") from error
        raise


async def recognised(checkpoint: "Checkpoint", files: StateFiles) -> None:
    """Look that this machine is the one. Raises HostUnknown."""
    from droplan_daemon.sources import board
    from droplan_daemon.sources.host import DropletFinder
    from droplan_daemon.sources.links import read_links

    board.confirm(checkpoint.host.droplet_id)
    await DropletFinder(metadata=None, links=read_links, remembered=files.recall()).recognise(checkpoint)


def _firewall(checkpoint: "Checkpoint", args: "argparse.Namespace") -> Firewall:
    """The Checkpoint's backend; whether iptables has sets, the configuration says, if it can be read."""
    name = BackendName(checkpoint.backend)
    if name is BackendName.IPTABLES:
        with suppress(ConfigInvalid):
            return replace(wiring.settings_of(args, need_token=False).policy.firewall, backend=name)
    return Firewall(name)


def _restored(recovered: "Recovered", firewall: Firewall, *, dry_run: bool) -> _Done:
    checkpoint, kernels = recovered.checkpoint, Kernels()
    kernel = wiring.permitted_backend(firewall, kernels)
    if dry_run:
        plan = diff(kernel.observe().ruleset, kernel.fit(checkpoint.ruleset))
    else:
        plan = reconcile.put(kernel, checkpoint.ruleset)
        kernels.leave_others()
    clock = wiring.CLOCK
    seconds = age(checkpoint, boot=wiring.boot_id(), uptime=clock.monotonic(), now=clock.now())
    return _Done(recovered, plan, seconds, dry_run)


def _standing() -> str:
    """What the kernel holds of ours, as the end of a sentence. Raises NotPermitted."""
    with suppress(KernelUnsupported):
        for backend in all_backends():
            if found := backend.observe().ruleset:
                return _held(found)
    return _held(None)


def _held(ruleset: "Ruleset | None") -> str:
    if ruleset is None:
        return "nothing of droplan's is enforced"
    if ruleset.comment.startswith(_CLOSED):
        return "the private interface is closed meanwhile"
    return "droplan's rules in the kernel stand as they are"


def _tell(done: _Done) -> None:
    checkpoint = done.recovered.checkpoint
    for error in done.recovered.rejected:
        output.note(f"{escape(str(error))}; the generation before it is used")
    when = "of unknown age" if done.age is None else f"of {span(done.age)} ago"
    size = len(checkpoint.fleet.droplets)
    what = (
        f"the ruleset {when} (number {checkpoint.number}) of Droplet {checkpoint.host.droplet_id},"
        f" for a fleet of {size:,} Droplet{'s' if size != 1 else ''}"
    )
    if not done.plan:
        print(f"nothing to restore: the kernel holds {what}")
    elif done.dry_run:
        print(f"would restore {what}")
    else:
        print(f"restored and read back: {what}")
    if is_stale(done.age):
        output.note("it may be out of date; the daemon brings it up to date: systemctl start droplan")


def _plain(done: _Done) -> dict[str, Any]:
    checkpoint = done.recovered.checkpoint
    return {
        "ok": True,
        "restored": bool(done.plan) and not done.dry_run,
        "dry_run": done.dry_run,
        "droplet": checkpoint.host.droplet_id,
        "number": checkpoint.number,
        "saved_at": checkpoint.saved_at,
        "age": done.age,
        "stale": is_stale(done.age),
        "backend": checkpoint.backend,
        "droplets": len(checkpoint.fleet.droplets),
        "changes": len(done.plan.changes),
        "rejected": [str(error) for error in done.recovered.rejected],
    }
