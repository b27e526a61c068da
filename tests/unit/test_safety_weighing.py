"""How much may go at once, and what it takes for the rest."""

import pytest

from droplan_daemon.doubts import sentence
from droplan_daemon.model.doubt import FLEET, SELF, Absences, Cause, Doubt
from droplan_daemon.safety.weighing import Group, remembered, weigh


def _some(count: int, first: int = 0) -> frozenset[bytes]:
    return frozenset((10 << 24 | n).to_bytes(4, "big") for n in range(first, first + count))


def _group(gone: int, size: int, name: str = "s") -> Group:
    return Group(name, _some(gone), size, left=gone < size)


@pytest.mark.parametrize(
    ("gone", "size", "held"),
    [
        (0, 0, False),
        (0, 9, False),
        (1, 2, False),
        (5, 6, False),
        (6, 20, False),
        (7, 20, True),
        (6, 19, True),
        (3000, 10_000, False),
        (3001, 10_000, True),
        (1, 1, True),
        (5, 5, True),
    ],
)
def test_how_much_may_go_at_once(gone: int, size: int, held: bool) -> None:
    """Up to five, or up to 30 %, as long as somebody stays; beyond that all that is missing is held."""
    weighed = weigh([_group(gone, size)], Absences())
    assert (_some(gone) if held else frozenset()) == weighed.held("s")
    assert [Doubt(Cause.SHRINK, "s", gone, size, 1)] * held == list(weighed.doubts)


def test_three_answers_in_a_row_are_believed() -> None:
    """The first two hold it, the third lets it go, whatever else came meanwhile."""
    known, polls = Absences(), list[int]()
    for size in (20, 30, 400):
        weighed = weigh([_group(12, size)], known)
        known, polls = weighed.absences, [*polls, *(doubt.polls for doubt in weighed.doubts)]
    assert ([1, 2], Absences()) == (polls, known)


def test_one_answer_that_has_it_begins_anew() -> None:
    """What is there again was never gone; the others go on being counted."""
    known = weigh([_group(12, 20)], Absences()).absences
    known = weigh([Group("s", _some(11), 20)], known).absences
    assert _some(11) == frozenset(known.groups["s"])
    known = weigh([_group(12, 20)], known).absences
    assert {"s": dict.fromkeys(_some(12) - _some(11), 1)} == known.groups


def test_what_is_missing_later_is_counted_from_then_on() -> None:
    """Each element needs three answers of its own."""
    known = weigh([_group(12, 20)], Absences()).absences
    known = weigh([_group(14, 20)], known).absences
    weighed = weigh([_group(14, 20)], known)
    assert _some(2, 12) == weighed.held("s")


def test_a_few_that_leave_while_many_are_missing_are_held_with_them() -> None:
    """An answer that is doubted is doubted as a whole, for a set."""
    known = weigh([_group(12, 20)], Absences()).absences
    assert {1, 2} == set(weigh([_group(13, 20)], known).absences.groups["s"].values())


@pytest.mark.parametrize("name", [FLEET, SELF])
def test_a_fleet_that_shrinks_or_another_identity_holds_every_set(name: str) -> None:
    """A set that lost one of many is held as well, and so is what else left."""
    groups = [Group("s", _some(1), 50), Group(name, _some(9), 10), Group("t", frozenset(), 5)]
    weighed = weigh(groups, Absences())
    assert ([name, "s"], _some(1)) == ([doubt.group for doubt in weighed.doubts], weighed.held("s"))


def test_this_droplet_is_never_another_at_once() -> None:
    """One word of it is enough, and its cause is told for all that is held with it."""
    weighed = weigh([Group("s", _some(1), 50), Group(SELF, frozenset({b"vpc home"}), 5)], Absences())
    assert [Cause.IDENTITY, Cause.IDENTITY] == [doubt.cause for doubt in weighed.doubts]


def test_an_answer_that_is_not_whole_takes_nobody_and_counts_for_nothing() -> None:
    """Everything that is missing stays, however often; the next whole answer is judged by itself."""
    weighed = weigh([_group(1, 50)], Absences(), whole=False)
    for _ in range(4):
        weighed = weigh([_group(1, 50)], weighed.absences, whole=False)
    known = weighed.absences
    assert ((Doubt(Cause.UNREADABLE, "s", 1, 50, 0),), {"s": dict.fromkeys(_some(1), 0)}) == (
        weighed.doubts,
        known.groups,
    )
    assert Absences() == weigh([_group(1, 50)], known).absences


def test_an_answer_that_is_not_whole_forgets_no_count() -> None:
    """Two answers before it and one after it are three."""
    known = weigh([_group(12, 20)], weigh([_group(12, 20)], Absences()).absences).absences
    known = weigh([_group(12, 20)], known, whole=False).absences
    assert {2} == set(known.groups["s"].values())
    assert Absences() == weigh([_group(12, 20)], known).absences


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_accepted_goes_at_once_and_nothing_else(whole: bool) -> None:
    """Of twelve that were held none stays; of seven more that are missing by now all do."""
    known = weigh([_group(12, 20)], Absences(), whole=whole).absences
    assert Absences() == weigh([_group(12, 20)], known, accepted=True).absences
    assert _some(7, 12) == weigh([Group("s", _some(19), 20)], known, accepted=True).held("s")


def test_what_an_answer_says_nothing_about_is_held_and_counts_for_nothing() -> None:
    """However often that is, until an answer says that it is gone, or the operator does."""
    group = Group("s", frozenset(), 10, unsaid=frozenset({b"a"}))
    first = weigh([group], Absences({"s": {b"a": 2}}))
    assert ({"s": {b"a": 2}}, Cause.UNREADABLE) == (first.absences.groups, first.doubts[0].cause)
    assert first.absences == weigh([group], first.absences).absences
    assert not weigh([group], first.absences, accepted=True).absences


def test_what_is_remembered_is_told_of_and_not_counted() -> None:
    """While nobody answers it is as it was; a group that is gone is as large as what is held of it."""
    known = Absences({"s": dict.fromkeys(_some(3), 2), "gone": dict.fromkeys(_some(2), 1)})
    weighed = remembered(known, {"s": 9})
    assert known == weighed.absences
    assert (Doubt(Cause.SHRINK, "s", 3, 9, 2), Doubt(Cause.SHRINK, "gone", 2, 2, 1)) == weighed.doubts


def test_a_digest_stands_for_what_is_held_and_not_for_how_often() -> None:
    """Somebody who accepts means these elements of these groups."""
    one, again = (Absences({"s": dict.fromkeys(_some(3), n)}) for n in (1, 2))
    others = (
        Absences({"s": dict.fromkeys(_some(4), 1)}),
        Absences({"t": dict.fromkeys(_some(3), 1)}),
        Absences(),
    )
    assert one.digest == again.digest
    assert 4 == len({one.digest, *(other.digest for other in others)})
    assert "" == Absences().digest


@pytest.mark.parametrize(
    ("doubt", "words"),
    [
        (
            Doubt(Cause.SHRINK, "private-peers-4", 9, 15, 1),
            ("9 of 15 addresses of private-peers-4", "1 of 3"),
        ),
        (Doubt(Cause.SHRINK, FLEET, 4000, 9000, 2), ("4,000 of 9,000 Droplets", "2 of 3")),
        (Doubt(Cause.UNREADABLE, "s", 1, 2, 0), ("1 of 2", "until every entry of it can be read")),
        (Doubt(Cause.IDENTITY, SELF, 1, 4, 1), ("not what it was", "1 of 3")),
    ],
)
def test_a_doubt_is_a_sentence_that_says_what_to_do(doubt: Doubt, words: tuple[str, ...]) -> None:
    """What is held, of how much, until when, and how to let it go at once."""
    assert [] == [word for word in (*words, "droplan accept") if word not in sentence(doubt)]
