"""`droplan reload`: have the daemon read its configuration anew, and wait for what comes of it.

Laws:
1. A signal is sent only to what systemd names (MAINPID), or to what the status file names and is a
   droplan that runs.
2. The answer is about this request: the status tells a reload that began to read after the signal was
   sent, by the one clock that all processes of a machine share.
3. It ends: what is not told in time is an error that says where to look.

A file is how the daemon tells: it needs no socket, no right but to read it, and outlives both.
"""

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.errors import ConfigInvalid, DroplanError, NotPermitted, StoreFailed
from droplan_daemon.plaintext import escape
from droplan_daemon.report import ReloadState
from droplan_daemon.settings import environment, folders

from . import output, status_view

if TYPE_CHECKING:
    import argparse

RELOAD = """\
Returns when the new configuration is enforced: written to the kernel, and read back.
One with a mistake is refused, and the old one goes on. While the API does not answer,
a new configuration is enforced for the Droplets that were known, and that is said.
It is what `systemctl reload droplan` runs.

examples:
  sudo droplan check && sudo systemctl reload droplan
  sudo droplan reload

exit codes: 0 enforced, 78 refused, 1 not enforced (yet) or no daemon, 77 not permitted
json: ok, state (enforced, refused, waiting), message, warnings
"""

TIMEOUT = 110.0
"""Seconds: less than systemd gives a reload (TimeoutStartSec), more than a slow API takes."""

_LOOK = 0.05


class NotReloaded(DroplanError):
    """Nobody said in time that the new configuration is enforced."""

    reason = "not_enforced"


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `reload` takes."""
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help="how long to wait; default: 110"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing when all is well")


def run(args: "argparse.Namespace") -> int:
    """Signal, wait, tell. Raises DroplanError."""
    environ = environment()
    found = folders(environ)
    files = StateFiles(found.state, found.runtime)
    told = ask(files, args.timeout, environ.get("MAINPID", ""))
    state, message = told["state"], str(told.get("message") or "")
    refused = state == ReloadState.REFUSED
    warnings = [] if refused else [str(text) for text in told["warnings"]]
    if args.json:
        report = {"ok": not refused, "state": state, "message": message or None, "warnings": warnings}
        output.document(report)
    elif refused:
        output.note(f"the new configuration is refused, and the old one goes on: {escape(message)}")
    elif message:
        output.note(f"the new configuration is enforced; {escape(message)}")
    elif not args.quiet:
        print("the new configuration is enforced")
    for text in () if args.quiet or args.json else warnings:
        output.note(f"warning: {escape(text)}")
    return ConfigInvalid.exit_code if refused else 0


def ask(files: StateFiles, timeout: float, named: str = "") -> dict[str, Any]:
    """What comes of a reload: `state`, `message`, `warnings`. Raises DroplanError."""
    pid = daemon(files, named)
    sent = time.monotonic()
    _hang_up(pid)
    return _awaited(files, pid, sent, timeout)


def daemon(files: StateFiles, named: str = "") -> int:
    """The process to ask, for whom systemd may have a number. Raises StoreFailed."""
    if named.isascii() and named.isdigit() and int(named) > 1:
        return int(named)
    pid = status_view.read(files).get("pid")
    if not isinstance(pid, int) or pid <= 1 or not _is_ours(pid):
        raise StoreFailed("no daemon runs; start it with: systemctl start droplan", reason="not_running")
    return pid


def _is_ours(pid: int) -> bool:
    """Whether this process is a `droplan run`: numbers are used again, and SIGHUP ends a stranger."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").split("\0")
    except OSError:
        return False
    return "run" in words and any(Path(word).name.startswith("droplan") for word in words)


def _hang_up(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        raise StoreFailed("the daemon is gone; see: journalctl -u droplan", reason="not_running") from None
    except PermissionError:
        raise NotPermitted("the daemon may not be signalled by this user; try: sudo droplan reload") from None


def _awaited(files: StateFiles, pid: int, sent: float, seconds: float) -> dict[str, Any]:
    """What the daemon told of a reload that began after `sent`. Raises DroplanError."""
    last: dict[str, Any] = {}
    while time.monotonic() < sent + seconds:
        last = _told(files, pid, sent) or last
        if last.get("state") in {ReloadState.ENFORCED, ReloadState.REFUSED}:
            return last
        if last.get("state") == ReloadState.FAILED:
            break
        if not status_view.is_alive(pid):
            raise NotReloaded("the daemon ended while it reloaded; see: journalctl -u droplan")
        time.sleep(_LOOK)
    if last:
        why = f": {last['message']}" if last.get("message") else ""
        raise NotReloaded(f"the new configuration is in order, but not enforced yet{why}")
    raise NotReloaded(f"the daemon said nothing of a reload for {seconds:g} s; see: journalctl -u droplan")


def _told(files: StateFiles, pid: int, sent: float) -> dict[str, Any] | None:
    """The reload that the status tells of, if it is this one."""
    try:
        status = files.read_status()
    except StoreFailed:
        return None
    found = status.get("reload")
    if status.get("pid") != pid or not isinstance(found, dict):
        return None
    begun = found.get("begun")
    if not isinstance(begun, float) or begun < sent:
        return None
    return {**found, "warnings": status.get("warnings") or []}
