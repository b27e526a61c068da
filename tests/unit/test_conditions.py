"""A lasting condition: one word on entering, one on leaving, a reminder a minute."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.logs import Conditions, Phase, Spell


class _Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_condition_is_told_on_entering_now_and_then_and_on_leaving() -> None:
    """The first report is told, one a minute while it lasts, and its end with duration and count."""
    time = _Time()
    conditions = Conditions(time)
    told = []
    for _ in range(13):
        told.append(conditions.enter("api"))
        time.now += 10
    told.append(conditions.leave("api"))
    assert [
        Spell(Phase.ENTERED),
        Spell(Phase.LASTS, 60.0, 7),
        Spell(Phase.LASTS, 120.0, 13),
        Spell(Phase.LEFT, 130.0, 13),
    ] == [spell for spell in told if spell]


def test_what_did_not_hold_does_not_end() -> None:
    """Leaving a condition twice, or one that never was, is not told."""
    conditions = Conditions(_Time())
    conditions.enter("api")
    conditions.leave("api")
    assert (None, None) == (conditions.leave("api"), conditions.leave("disk"))


def test_conditions_are_apart() -> None:
    """Each name is told by itself, and `holding` names those that hold."""
    conditions = Conditions(_Time())
    assert Spell(Phase.ENTERED) == conditions.enter("b") == conditions.enter("a")
    assert ("a", "b") == conditions.holding()
    conditions.leave("b")
    assert ("a",) == conditions.holding()


@given(st.lists(st.tuples(st.floats(0, 50), st.booleans()), max_size=60))
def test_never_more_than_one_reminder_a_minute(steps: list[tuple[float, bool]]) -> None:
    """Between entering and leaving, two Spells are at least a minute apart; each entering has its leaving."""
    time = _Time()
    conditions = Conditions(time)
    told: list[tuple[float, Phase]] = []
    for wait, holds in steps:
        time.now += wait
        spell = conditions.enter("x") if holds else conditions.leave("x")
        if spell:
            told.append((time.now, spell.phase))
    for (earlier, phase), (later, following) in itertools.pairwise(told):
        assert (phase is Phase.LEFT) == (following is Phase.ENTERED)
        assert following is not Phase.LASTS or later - earlier >= 60
