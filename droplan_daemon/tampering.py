"""What others did to our rules between two polls, and interfaces that moved, as log events. PURE.

Law: who did it is told as the kernel names him; where nobody saw it, that is told too.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .model.fleet import InterfaceKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .effects import Disturbance
    from .model.host import Host
    from .outcomes import Committed
    from .pacing import Contest

Event = tuple[str, str, dict[str, Any]]
"""(level, event, fields), as structlog takes them."""

CONTESTED = "tamper.contested"
OVERRUN = "events.overrun"
REPAIR_FAILED = "tamper.repair.failed"

UNSEEN = "somebody"


@dataclass(frozen=True, slots=True)
class Tampering:
    """What was put right since the start: how often, when last (seconds since the epoch), who did what.

    `contested`: whoever it is goes on, so that he is met with delays.
    """

    repairs: int
    at: float
    by: str
    pid: int
    change: str
    contested: bool = False

    def __str__(self) -> str:
        """Who it was, for people."""
        return f"{self.by} (pid {self.pid})" if self.pid else self.by


def tampered(before: Tampering | None, heard: "Disturbance | None", at: float) -> Tampering:
    """One more."""
    count = before.repairs + 1 if before else 1
    contested = bool(before and before.contested)
    if heard is None:
        return Tampering(count, at, UNSEEN, 0, "", contested)
    return Tampering(count, at, heard.by or UNSEEN, heard.pid, heard.change, contested)


def told(found: Tampering, outcome: "Committed", seconds: float | None) -> "Iterator[Event]":
    """That somebody changed what is ours, and that it is put right, after so many seconds."""
    fields = {"by": found.by, "pid": found.pid or None, "change": found.change or None}
    yield "warning", "tamper.detected", {**fields, "message": f"{found} changed droplan's rules"}
    took = None if seconds is None else round(seconds * 1000, 1)
    count, message = len(outcome.plan.changes), "droplan's rules are as they should be again"
    yield "info", "tamper.repaired", {"ms": took, "changes": count, "message": message}


def fighting(found: Tampering, contest: "Contest") -> Event:
    """That somebody goes on, and what that means."""
    message = (
        f"{found} changes droplan's rules again and again: find out what it is, and stop it;"
        f" until then they are put right after a delay"
    )
    fields = {"by": found.by, "pid": found.pid or None, "repairs": contest.repairs, "delay_s": contest.delay}
    return "error", CONTESTED, {**fields, "message": message}


def moved(before: "Host", after: "Host") -> "Iterator[Event]":
    """Which interface is another one now."""
    pairs = ((kind, before.interface(kind), after.interface(kind)) for kind in InterfaceKind)
    changed = {f"{kind}": f"{old or 'none'} -> {new or 'none'}" for kind, old, new in pairs if old != new}
    if changed:
        yield "warning", "host.changed", {**changed, "message": "the rules follow the interfaces"}
