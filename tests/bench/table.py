"""The figures as a table. PURE.

Laws: at most 100 columns; every figure that has a bar says pass or MISS, and a reference, which
has none, can do neither.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WIDTH = 100
_WHAT, _GOT, _BESIDE, _RATIO, _BAR = 39, 12, 22, 8, 11

_SMALL = 0.05

MILLI = 1e-3


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what it is, what was measured, what was measured beside it, their ratio.

    `met` None: a reference without a bar. `note` is said below it.
    """

    what: str
    got: str
    beside: str = ""
    ratio: float | None = None
    bar: str = ""
    met: bool | None = None
    note: str = ""


def at_most(row: Row, value: float, bar: float, shown: str) -> Row:
    """The row with an upper bar; `shown` is the bar as people read it."""
    return replace(row, bar=f"≤ {shown}", met=value <= bar)


def at_least(row: Row, value: float, bar: float, shown: str) -> Row:
    """The row with a lower bar."""
    return replace(row, bar=f"≥ {shown}", met=value >= bar)


def seconds(value: float) -> str:
    """A duration as a person reads it."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value / MILLI:.1f} ms" if value >= 10 * MILLI else f"{value / MILLI:.2f} ms"


def render(rows: "Iterable[Row]") -> str:
    """The whole table."""
    return "\n".join((head(), *(line for row in rows for line in lines(row))))


def head() -> str:
    """Its first line."""
    return _line(("figure", "droplan", "beside it", "ratio", "bar", ""))


def lines(row: Row) -> "Iterator[str]":
    """One figure's line, and its notes."""
    yield _line((row.what, row.got, row.beside, _ratio(row.ratio), row.bar, _verdict(row.met)))
    words, line = row.note.split(), "   "
    for word in words:
        if len(line) + 1 + len(word) > WIDTH:
            yield line
            line = "   "
        line += f" {word}"
    if words:
        yield line


def _ratio(value: float | None) -> str:
    """Far below one, the other way round: 0.004 says nothing to anybody."""
    if value is None:
        return ""
    return f"{value:.2f}" if value >= _SMALL else f"1 : {1 / value:.0f}"


def _verdict(met: bool | None) -> str:
    return "" if met is None else "pass" if met else "MISS"


def _line(cells: "Sequence[str]") -> str:
    what, got, beside, ratio, bar, verdict = cells
    return (
        f"{what[:_WHAT]:<{_WHAT}}{got:>{_GOT}}  {beside:<{_BESIDE}}{ratio:>{_RATIO}}  {bar:<{_BAR}}{verdict}"
    ).rstrip()
