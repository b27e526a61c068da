"""What the clocks say about a wait: was the machine away, was its wall clock moved? PURE.

Laws:
1. A wait that ends GAP later than it should was a pause: of the process (SIGSTOP), of the machine
   (suspend, migration), or of the loop. However long, it is one pause.
2. The wall clock jumps when it and the clock that counts since boot disagree about how long a wait was.
3. A wall clock from before this version was written has not been set.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .effects import Clock

GAP = 30.0
"""Seconds by which a wait is late before that is worth a word: a busy machine is late by less."""

WRITTEN = 1_767_225_600.0
"""2026-01-01, in seconds since the epoch: no clock that is right is behind it."""


@dataclass(frozen=True, slots=True)
class Lapse:
    """What a wait came to: seconds by which it was late, and by which the wall clock was moved."""

    gap: float = 0.0
    jump: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by both clocks: seconds since boot, sleep included, and since the epoch."""

    boot: float
    wall: float

    @classmethod
    def of(cls, clock: "Clock") -> "Moment":
        """Now."""
        return cls(clock.boottime(), clock.now())

    def until(self, later: "Moment", planned: float) -> Lapse:
        """What became of a wait of so many seconds, at most."""
        passed = later.boot - self.boot
        late, jump = passed - planned, later.wall - self.wall - passed
        return Lapse(late if late >= GAP else 0.0, jump if abs(jump) >= GAP else 0.0)


def is_set(wall: float) -> bool:
    """Whether the wall clock can be right."""
    return wall >= WRITTEN
