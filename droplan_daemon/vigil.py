"""What the daemon tells of what happens between two polls: tampering, interfaces, tasks, clocks.

Laws:
1. How the last poll ended is not touched by it: an API that does not answer stays a trouble.
2. What lasts is told as the Herald tells every trouble: when it begins, when it ends, once a minute between.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from . import interim, report, tampering
from .outcomes import Committed, Failed, Refused, Unchanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from .effects import Clock, Disturbance
    from .errors import DroplanError
    from .herald import Herald
    from .model.budget import Budget
    from .outcomes import Outcome
    from .pacing import Contest

SLOW = 30.0
"""Seconds after which a kernel that does not come to an end with our change is a trouble."""

_SLOW = "commit.slow"
_CLOCK = "clock.suspect"


class Vigil:
    """Tells by way of a Herald; `budget` gives the rate limit as last seen."""

    def __init__(self, herald: "Herald", clock: "Clock", budget: "Callable[[], Budget | None]") -> None:
        self._herald = herald
        self._clock = clock
        self._budget = budget
        self._displaced: frozenset[str] = frozenset()

    def alive(self, busy: float) -> None:
        """The loop goes round; for so many seconds it has been waiting for the kernel."""
        slow = busy >= SLOW
        if slow:
            message = (
                "the kernel does not come to an end with a change; what stood before stands until it does"
            )
            self._herald.enter("warning", _SLOW, {"s": round(busy), "message": message})
        if slow != bool(self._herald.standing.busy):
            self._herald.amend(self._budget(), busy=busy if slow else 0.0)
            if not slow:
                self._herald.relieve({_SLOW})
        elif slow:
            self._herald.standing = replace(self._herald.standing, busy=busy)
        self._herald.alive(self._budget())

    def disturbed(self, by: "Disturbance") -> None:
        """Somebody changed something; whether it matters is not known yet."""
        if by.overrun:
            message = "the kernel had more to tell than could be kept, so everything is looked at"
            self._herald.enter("warning", tampering.OVERRUN, {"resync": 1, "message": message})
        else:
            self._herald.hear(by)

    def repaired(self, outcome: "Outcome", heard: "Disturbance | None", seconds: float) -> None:
        """What a repair came to, `seconds` after what gave cause for it."""
        if isinstance(outcome, Failed | Refused):
            level, _, fields = report.trouble(outcome.error, None)
            self._herald.enter(level, tampering.REPAIR_FAILED, fields)
            return
        self._herald.relieve({tampering.REPAIR_FAILED, tampering.OVERRUN})
        before = self._herald.standing.world
        if interim.changed(before, outcome.world) or outcome.world.ended:
            self._herald.meanwhile(outcome, self._budget())
        if isinstance(outcome, Committed) and outcome.repairs(before):
            self._herald.tampered(outcome, heard, seconds)
            self._herald.amend(self._budget(), denied=report.denied_counts(outcome))

    def contested(self, contest: "Contest") -> None:
        """Whoever it is goes on."""
        if found := self._herald.standing.tampering:
            self._herald.enter(*tampering.fighting(found, contest))
            self._herald.amend(self._budget(), tampering=replace(found, contested=True))

    def calm(self) -> None:
        """Nobody has changed anything for a while."""
        self._herald.relieve({tampering.CONTESTED})
        if found := self._herald.standing.tampering:
            self._herald.amend(self._budget(), tampering=replace(found, contested=False))

    def relocated(self, outcome: "Outcome") -> None:
        """What came of following the interfaces."""
        if isinstance(outcome, Failed | Refused):
            self._displace(outcome.error)
            return
        self._herald.relieve(set(self._displaced))
        self._displaced = frozenset()
        before = self._herald.standing.world
        if before is None or (isinstance(outcome, Unchanged) and outcome.world is before):
            return
        self._herald.say(*tampering.moved(before.host, outcome.world.host))
        self._herald.amend(self._budget(), world=outcome.world, denied=report.denied_counts(outcome))

    def _displace(self, error: "DroplanError") -> None:
        level, event, fields = report.trouble(error, None)
        self._displaced |= {event}
        self._herald.enter(level, event, fields)

    def task_failed(self, name: str, failures: int, *, last: bool) -> None:
        """A task died; `last`: for good, and the daemon with it."""
        message = "the daemon ends" if last else "it is started again"
        self._herald.failed("task.failed", name=name, failures=failures, message=message)

    def unwatched(self, name: str, error: "DroplanError") -> None:
        """Something cannot be watched on this machine."""
        fields = {"name": name, "reason": error.reason, "message": str(error)}
        self._herald.say(("warning", "events.unavailable", fields))

    def gap(self, seconds: float) -> None:
        """The process or the machine was away for so long."""
        message = "the process or the machine stood still; one poll makes up for all that were missed"
        self._herald.say(("warning", "loop.gap", {"s": round(seconds), "message": message}))

    def clock_moved(self, seconds: float) -> None:
        """Somebody set the wall clock; ages go by the other one."""
        message = "the wall clock was set; ages are counted by the clock that runs since boot"
        self._herald.say(("warning", _CLOCK, {"jump_s": round(seconds), "message": message}))
        standing = self._herald.standing
        shifted = {
            name: value + seconds for name in ("verified_at", "next_at") if (value := getattr(standing, name))
        }
        self._herald.amend(self._budget(), **shifted)

    def clock_is(self, *, is_set: bool) -> None:
        """Whether the wall clock can be right."""
        if is_set:
            self._herald.relieve({_CLOCK})
            return
        message = (
            "the wall clock is from before droplan was written: set it, or TLS cannot be trusted to work"
        )
        self._herald.enter("warning", _CLOCK, {"now": round(self._clock.now()), "message": message})
