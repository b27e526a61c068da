"""The status file as people read it, and whether what it tells is good.

Laws: a file that another version wrote, or somebody else, is an error of one sentence; a
daemon that is gone, that is in trouble, or that has told nothing for too long, is not well.
"""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droplan_daemon import report
from droplan_daemon.errors import StoreFailed
from droplan_daemon.plaintext import escape

from .output import document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.checkpoint import StateFiles

LATE = 180.0
"""Seconds after the announced poll at which silence is trouble: more than a cycle may take."""


def read(files: "StateFiles") -> dict[str, Any]:
    """What the daemon told last. Raises StoreFailed, which says what to do."""
    try:
        return files.read_status()
    except StoreFailed as error:
        if error.errno == errno.ENOENT:
            message = "no daemon has told its status since boot; start it with: systemctl start droplan"
        elif error.errno in {errno.EACCES, errno.EPERM}:
            message = "the status may not be read by this user; try: sudo droplan status"
        else:
            message = f"{error}; restart the daemon with: systemctl restart droplan"
        raise StoreFailed(message, errno=error.errno) from error


def is_well(told: dict[str, Any], now: float) -> bool:
    """Whether a living daemon enforces what it should. Raises StoreFailed for an unknown shape."""
    return bool(
        is_alive(told.get("pid")) and told.get("ready") and not told.get("error") and not _silence(told, now)
    )


def status(told: dict[str, Any], *, now: float, as_json: bool) -> None:
    """The status file, with its ages as of now. Raises StoreFailed for an unknown shape."""
    if as_json:
        document({**told, "alive": is_alive(told.get("pid")), "overdue": bool(_silence(told, now))})
        return
    for name, text in _rows(told, now):
        print(f"{name + ':':<12} {escape(text)}")


def _rows(told: dict[str, Any], now: float) -> "list[tuple[str, str]]":
    try:
        return list(_status_rows(told, now))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _unknown_shape() from None


def _unknown_shape() -> StoreFailed:
    message = "another version of droplan wrote the status; restart the daemon: systemctl restart droplan"
    return StoreFailed(message)


def is_alive(pid: object) -> bool:
    """Whether the process that wrote the status is still there."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether it is dead, and only its parent has not noticed. Source: proc_pid_stat(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]


def _silence(told: dict[str, Any], now: float) -> float:
    """Seconds for which a poll that was announced is overdue, 0.0 while it may still come."""
    try:
        late = now - float(told.get("next_poll_at") or now)
    except (TypeError, ValueError):
        raise _unknown_shape() from None
    return late if late > LATE else 0.0


def _status_rows(told: dict[str, Any], now: float) -> "Iterator[tuple[str, str]]":
    yield "daemon", f"{_life(told, now)} (pid {told['pid']}, version {told['version']})"
    world = told.get("world")
    if world:
        yield (
            "droplet",
            f"{world['droplet']['name']} (id {world['droplet']['id']}, {world['droplet']['region']})",
        )
        kinds = (f"{kind} {name or 'none'}" for kind, name in world["interfaces"].items())
        yield "interfaces", f"{', '.join(kinds)} (known by {world['host_known_by']})"
        yield "peers", f"{world['peers']:,} of {world['droplets']:,} Droplets, mode {told['mode']}"
        if world.get("backend"):
            yield "backend", world["backend"]
    yield "rules", _rules(told, now)
    if told.get("error"):
        yield "trouble", told["error"]["message"]
    for one in told.get("unsaved") or ():
        yield "not saved", one["message"]
    for one in told.get("untold") or ():
        yield "metrics", one["message"]
    if told.get("stale"):
        yield "stale", f"no complete answer for more than {told['stale']}"
    for one in told.get("remarks") or ():
        yield "remark", one["message"]
    if told.get("kernel_busy_s"):
        yield (
            "degraded",
            f"the kernel has not come to an end with a change for {report.span(told['kernel_busy_s'])}",
        )
    if found := told.get("tampering"):
        yield "tampering", _tampering(found, now)
    if told.get("config_error"):
        yield "refused", f"the new configuration: {told['config_error']}"
    for name, packets in (told.get("denied") or {}).items():
        yield "denied", f"{packets:,} packets on {name} when last looked"
    yield from _budget_rows(told, now)
    for text in told.get("warnings") or ():
        yield "warning", text


def _tampering(found: dict[str, Any], now: float) -> str:
    who = f"{found['by']} (pid {found['pid']})" if found["pid"] else found["by"]
    times = "once" if found["repairs"] == 1 else f"{found['repairs']} times"
    fight = "; it goes on, so that repairs are delayed" if found["contested"] else ""
    return f"put right {times}, the last time {report.span(now - found['at'])} ago, after {who}{fight}"


def _life(told: dict[str, Any], now: float) -> str:
    if not is_alive(told["pid"]):
        return "NOT running; the rules stand as it left them"
    silence = _silence(told, now)
    return f"running, but SILENT: a poll is overdue by {report.span(silence)}" if silence else "running"


def _rules(told: dict[str, Any], now: float) -> str:
    if not told.get("verified_at"):
        return "not written yet"
    restored = (told.get("world") or {}).get("restored")
    if restored:
        age = "an unknown time" if restored["age_s"] is None else report.span(restored["age_s"])
        return f"restored, {age} old when the daemon started; nobody has said yet who is there now"
    ready = "as desired" if told.get("ready") else "of the configuration before"
    return f"{ready}, read back {report.span(now - told['verified_at'])} ago"


def _budget_rows(told: dict[str, Any], now: float) -> "Iterator[tuple[str, str]]":
    budget = told.get("budget")
    if budget:
        left = f"{budget['remaining']:,} of {budget['limit']:,} requests left this hour"
        yield "budget", f"{left}, {budget['spent_by_last_poll']} spent by the last poll"
    if told.get("next_poll_at") and is_alive(told["pid"]):
        wait = told["next_poll_at"] - now
        yield "next poll", f"in {report.span(wait)}" if wait > 0 else "now"
