"""What the clocks say about a wait."""

import pytest

from droplan_daemon.lapse import GAP, WRITTEN, Lapse, Moment, is_set

BEGUN = Moment(boot=1000.0, wall=WRITTEN + 5000.0)

CASES = {
    # seconds that passed since boot, by the wall clock, that were planned -> gap, jump
    "in time": (10.0, 10.0, 10.0, Lapse()),
    "woken early": (0.1, 0.1, 10.0, Lapse()),
    "late on a busy machine": (10.0 + GAP - 0.1, 10.0 + GAP - 0.1, 10.0, Lapse()),
    "stopped for ten minutes": (610.0, 610.0, 10.0, Lapse(gap=600.0)),
    "clock set forward": (10.0, 3610.0, 10.0, Lapse(jump=3600.0)),
    "clock set back": (10.0, -3590.0, 10.0, Lapse(jump=-3600.0)),
    "clock set a little": (10.0, 10.0 + GAP - 0.1, 10.0, Lapse()),
    "stopped, and the clock set": (70.0, 1000.0, 10.0, Lapse(gap=60.0, jump=930.0)),
}


@pytest.mark.parametrize(("passed", "wall", "planned", "expected"), CASES.values(), ids=CASES)
def test_a_wait_is_late_or_the_wall_clock_jumped(
    passed: float, wall: float, planned: float, expected: Lapse
) -> None:
    """A gap is what the clock since boot has beyond the plan; a jump is what the two disagree about."""
    later = Moment(BEGUN.boot + passed, BEGUN.wall + wall)
    found = BEGUN.until(later, planned)
    assert (expected.gap, expected.jump) == pytest.approx((found.gap, found.jump))


@pytest.mark.parametrize(("wall", "expected"), [(0.0, False), (WRITTEN - 1, False), (WRITTEN, True)])
def test_a_clock_from_before_this_version_has_not_been_set(wall: float, expected: bool) -> None:
    """1970, and any moment at which this program did not exist."""
    assert expected == is_set(wall)
