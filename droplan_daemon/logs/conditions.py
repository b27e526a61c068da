"""A lasting condition is told when it begins, when it ends, and now and then between. Pure.

Law: for each condition, one Spell on entering it, one on leaving it, and at most one
reminder in `reminder` seconds between, however often it is reported.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

REMINDER = 60.0


class Phase(StrEnum):
    """Why a Spell is told now."""

    ENTERED = "entered"
    LASTS = "lasts"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Spell:
    """One stretch of a condition: for how many seconds it has held, reported how often."""

    phase: Phase
    seconds: float = 0.0
    times: int = 1


@dataclass(frozen=True, slots=True)
class _Held:
    since: float
    told: float
    times: int


class Conditions:
    """The conditions that hold now, by name. `monotonic` gives seconds that never run backwards."""

    def __init__(self, monotonic: "Callable[[], float]", reminder: float = REMINDER) -> None:
        self._monotonic = monotonic
        self._reminder = reminder
        self._held: dict[str, _Held] = {}

    def enter(self, name: str) -> Spell | None:
        """It holds (again). The Spell to tell, or None when it was told lately."""
        now = self._monotonic()
        held = self._held.get(name)
        if held is None:
            self._held[name] = _Held(now, now, 1)
            return Spell(Phase.ENTERED)
        due = now - held.told >= self._reminder
        self._held[name] = _Held(held.since, now if due else held.told, held.times + 1)
        return Spell(Phase.LASTS, now - held.since, held.times + 1) if due else None

    def leave(self, name: str) -> Spell | None:
        """It does not hold. The Spell to tell, or None when it did not hold before."""
        held = self._held.pop(name, None)
        return None if held is None else Spell(Phase.LEFT, self._monotonic() - held.since, held.times)

    def holding(self) -> tuple[str, ...]:
        """The conditions that hold, by name."""
        return tuple(sorted(self._held))
