"""The status file as people read it. Prints, and decides nothing but whether the daemon lives."""

import os
from typing import TYPE_CHECKING, Any

from droplan_daemon import report
from droplan_daemon.plaintext import escape

from .output import document

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_alive(pid: object) -> bool:
    """Whether the process that wrote the status is still there."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def status(told: dict[str, Any], *, alive: bool, now: float, as_json: bool) -> None:
    """The status file, with its ages as of now."""
    if as_json:
        document({**told, "alive": alive})
        return
    for name, text in _status_rows(told, alive=alive, now=now):
        print(f"{name + ':':<12} {escape(text)}")


def _status_rows(told: dict[str, Any], *, alive: bool, now: float) -> "Iterator[tuple[str, str]]":
    pid, version = told.get("pid"), told.get("version")
    yield "daemon", f"{'running' if alive else 'NOT running'} (pid {pid}, version {version})"
    world = told.get("world")
    if world:
        yield (
            "droplet",
            f"{world['droplet']['name']} (id {world['droplet']['id']}, {world['droplet']['region']})",
        )
        kinds = (f"{kind} {name or 'none'}" for kind, name in world["interfaces"].items())
        yield "interfaces", f"{', '.join(kinds)} (known by {world['host_known_by']})"
        yield "peers", f"{world['peers']:,} of {world['droplets']:,} Droplets, mode {told['mode']}"
    yield "rules", _rules(told, now)
    if told.get("error"):
        yield "trouble", told["error"]["message"]
    if told.get("config_error"):
        yield "refused", f"the new configuration: {told['config_error']}"
    for name, packets in (told.get("denied") or {}).items():
        yield "denied", f"{packets:,} packets on {name} when last looked"
    yield from _budget_rows(told, now)
    for text in told.get("warnings") or ():
        yield "warning", text


def _rules(told: dict[str, Any], now: float) -> str:
    if not told.get("verified_at"):
        return "not written yet"
    ready = "as desired" if told.get("ready") else "of the configuration before"
    return f"{ready}, read back {report.span(now - told['verified_at'])} ago"


def _budget_rows(told: dict[str, Any], now: float) -> "Iterator[tuple[str, str]]":
    budget = told.get("budget")
    if budget:
        left = f"{budget['remaining']:,} of {budget['limit']:,} requests left this hour"
        yield "budget", f"{left}, {budget['spent_by_last_poll']} spent by the last poll"
    if told.get("next_poll_at"):
        wait = told["next_poll_at"] - now
        yield "next poll", f"in {report.span(wait)}" if wait > 0 else "now"
