"""The table of `make bench`."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.bench.table import WIDTH, Row, at_least, at_most, head, lines, render, seconds

texts = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=60)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (at_most(Row("a", "1"), 1.0, 1.0, "1 s"), "pass"),
        (at_most(Row("a", "1"), 1.01, 1.0, "1 s"), "MISS"),
        (at_least(Row("a", "1"), 0.95, 0.95, "0.95 x"), "pass"),
        (at_least(Row("a", "1"), 0.94, 0.95, "0.95 x"), "MISS"),
    ],
)
def test_a_bar_is_met_or_missed(row: Row, expected: str) -> None:
    """Met exactly counts."""
    (line,) = lines(row)
    assert expected == line.split()[-1]
    assert (expected == "pass") is row.met


def test_a_reference_is_neither_met_nor_missed() -> None:
    """It has no bar."""
    (line,) = lines(Row("the old way", "1.0 s", "beside", 2.0))
    assert ["the", "old", "way", "1.0", "s", "beside", "2.00"] == line.split()


@example("a figure with a name that is longer than its column is wide", "1.0 ms", "word " * 60, 1.0)
@given(texts, texts, texts, st.none() | st.floats(0.001, 999))
def test_lines_fit_100_columns(what: str, got: str, note: str, ratio: float | None) -> None:
    """Whatever the figure is called and whatever is to be said of it."""
    row = at_most(Row(what, got[:12], "nft -f 123.4 ms", ratio, note=note), 1, 2, "0 writes")
    assert all(len(line) <= WIDTH for line in render([row]).splitlines())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0000712, "0.07 ms"),
        (0.00999, "9.99 ms"),
        (0.01, "10.0 ms"),
        (0.7531, "753.1 ms"),
        (1.934, "1.93 s"),
    ],
)
def test_durations_are_read_at_a_glance(value: float, expected: str) -> None:
    """Two or three digits that count, and a unit."""
    assert expected == seconds(value)


def test_a_tiny_ratio_is_told_the_other_way_round() -> None:
    """1 : 250, not 0.00."""
    assert "1 : 250" in next(lines(Row("a", "b", "c", 0.004)))


def test_the_columns_stand_below_their_heads() -> None:
    """The bar's column, for instance."""
    (line,) = lines(at_most(Row("a", "1", "x", 0.5), 1, 2, "2 s"))
    assert head().index("bar") == line.index("≤ 2 s")
