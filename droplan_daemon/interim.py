"""What is told of what holds for a while: a trial, a pause, a panic. PURE.

Law: who reads it knows for how long it still holds, and what ends it.
"""

from typing import TYPE_CHECKING, Any

from .outcomes import Committed
from .policy.lease import PAUSE, TRIAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .outcomes import World
    from .report import Event, Good

_RUNNING = {
    TRIAL: ("try.running", "a configuration is on trial for {left:.0f} s more, unless it is confirmed"),
    PAUSE: ("pause.running", "nothing is dropped for {left:.0f} s more: droplan is paused"),
}
_OVER = {
    TRIAL: ("warning", "try.expired", "nobody confirmed what was on trial; the rules of before hold"),
    PAUSE: ("info", "pause.ended", "the pause is over; the rules hold again"),
}


def lasting(world: "World", elapsed: float) -> "Iterator[Event]":
    """What holds for now, `elapsed` seconds after the World was looked at."""
    if world.panic is not None:
        message = "panic: everything but management and replies is closed, until droplan panic --end"
        yield "warning", "panic.on", {"since": round(world.panic), "message": message}
    if left := remaining(world, elapsed):
        event, message = _RUNNING[world.lease[0]] if world.lease else ("", "")
        yield "warning", event, {"left_s": round(left), "message": message.format(left=left)}


def remaining(world: "World", elapsed: float) -> float:
    """Seconds for which a lease still runs; 0.0: none does."""
    return max(0.0, world.lease[1] - elapsed) if world.lease else 0.0


def over(outcome: "Good") -> "Iterator[Event]":
    """What has come to its end by itself, and was cleaned up."""
    ended = outcome.world.ended
    if isinstance(outcome, Committed) and ended in _OVER:
        level, event, message = _OVER[ended]
        yield level, event, {"message": message}


def changed(before: "World | None", after: "World") -> bool:
    """Whether something began to hold for a while, or ceased to."""
    return _about(before) != _about(after)


def _about(world: "World | None") -> tuple[str, float | None]:
    return (world.lease[0] if world.lease else "", world.panic) if world else ("", None)


def plain(world: "World | None", elapsed: float) -> dict[str, Any]:
    """For programs."""
    left = remaining(world, elapsed) if world else 0.0
    lease = {"kind": world.lease[0], "left_s": round(left, 1)} if world and world.lease and left else None
    return {"lease": lease, "panic": world.panic if world else None}
