"""What it takes to believe that the kernel holds something else than it should."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.drift import look
from droplan_daemon.effects import Observation
from droplan_daemon.errors import CommitConflict
from droplan_daemon.model.policy import Policy
from droplan_daemon.policy.compile import compile_ruleset
from tests.unit.cycles import HOST, droplet, fleet

WANTED = compile_ruleset(Policy(), fleet(droplet(1), droplet(2)), HOST, droplet(1))
SHORT = replace(WANTED, sets={})
MIXED = replace(WANTED, chains={})

Read = tuple[object, int]
"""What is read, and at which generation."""


class Reads(FakeBackend):
    """A kernel whose reads are prepared, the last one for ever."""

    def __init__(self, *reads: Read) -> None:
        super().__init__()
        self.reads, self.count = list(reads), 0

    def generation(self) -> int:
        return self.reads[0][1]

    def observe(self) -> Observation:
        found, generation = self.reads[min(self.count, len(self.reads) - 1)]
        self.count += 1
        return Observation(found, generation, {})  # type: ignore[arg-type]


def test_nothing_is_read_at_the_generation_of_the_last_read_back() -> None:
    """Asking for the number is all that a look costs while nobody commits anything."""
    kernel, seen = Reads((SHORT, 7)), Observation(WANTED, 7, {})
    assert seen is look(kernel, WANTED, seen)
    assert 0 == kernel.count


def test_one_read_that_is_as_it_should_be_is_enough() -> None:
    """Others committed something that is not ours."""
    kernel = Reads((WANTED, 8))
    assert WANTED == look(kernel, WANTED, Observation(WANTED, 7, {})).ruleset
    assert 1 == kernel.count


@pytest.mark.parametrize(
    "reads",
    [
        ((SHORT, 8), (WANTED, 8)),
        ((SHORT, 8), (MIXED, 8), (WANTED, 8)),
        ((SHORT, 8), (SHORT, 9), (WANTED, 9)),
    ],
    ids=["short once", "short and mixed", "short twice, at two generations"],
)
def test_what_was_read_once_is_not_believed(reads: tuple[Read, ...]) -> None:
    """A short or mixed read while others commit is looked at again, and was none."""
    assert WANTED == look(Reads(*reads), WANTED, None).ruleset


def test_what_was_read_twice_at_one_generation_is_believed() -> None:
    """Also when it is that the table is gone."""
    for drifted in (SHORT, None):
        found = look(Reads((MIXED, 8), (drifted, 9)), WANTED, None)
        assert (drifted, 9) == (found.ruleset, found.generation)


def test_what_never_comes_to_rest_is_a_conflict() -> None:
    """It is tried again later, and nothing is written on the word of any of these reads."""
    reads = [(SHORT if number % 2 else MIXED, number) for number in range(100)]
    with pytest.raises(CommitConflict):
        look(Reads(*reads), WANTED, None)


@given(st.lists(st.tuples(st.sampled_from([WANTED, SHORT, MIXED, None]), st.integers(1, 3)), min_size=12))
def test_drift_is_believed_only_when_it_was_read_twice_in_a_row(reads: list[Read]) -> None:
    """Whatever is read in whatever order."""
    kernel = Reads(*reads)
    try:
        found = look(kernel, WANTED, None)
    except CommitConflict:
        return
    if found.ruleset != WANTED:
        last, before = reads[kernel.count - 1], reads[kernel.count - 2]
        assert kernel.count >= 2
        assert last == before
