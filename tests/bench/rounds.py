"""Measuring side by side.

Laws:
1. What is compared runs in turns within the same seconds, so that a busy machine slows both.
2. A ratio is the median of the ratios of the rounds, never the ratio of two lucky numbers.
3. A first round warms up and is thrown away.
"""

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. `quick` gives figures to look at, not to believe."""

    quick: bool = False

    def rounds(self, whole: int) -> int:
        """Rounds to measure, of so many in a whole run."""
        return max(3, whole // 5) if self.quick else whole


def side_by_side(rounds: int, *ways: "Callable[[], float]") -> list[list[float]]:
    """What each way said in each round; who goes first changes from round to round."""
    said: list[list[float]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for step in range(len(ways)):
            index = (number + step) % len(ways)
            value = ways[index]()
            if number:
                said[index].append(value)
    return said


def ratio(one: list[float], other: list[float]) -> float:
    """The median over the rounds of one way's value over the other's."""
    return median(a / b for a, b in zip(one, other, strict=True))


def timed(function: "Callable[[], object]") -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun
