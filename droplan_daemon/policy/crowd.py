"""Many parties as the bits of one number: bit n is the party with index n. PURE.

Laws:
1. A Row has disjoint Crowds; who is in none of them reaches nothing.
2. A thousand parties cost what one costs: the algebra is that of integers.
"""

from typing import TYPE_CHECKING

from .openings import CLOSED
from .space import intersection, union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .openings import Openings

Crowd = int

Row = dict["Openings", Crowd]
"""Who reaches one party, by what is open to them."""


def crowd(indices: "Iterable[int]") -> Crowd:
    """These parties."""
    found = 0
    for index in indices:
        found |= 1 << index
    return found


def members(one: Crowd) -> "Iterator[int]":
    """The indices of the parties, ascending."""
    bits = bin(one)[:1:-1]  # searched in C: a thousand parties cost little more than one
    index = bits.find("1")
    while index >= 0:
        yield index
        index = bits.find("1", index + 1)


def granted(around: Crowd, grants: "Iterable[tuple[Openings, Crowd]]") -> Row:
    """The Row of `around` when each grant opens something to its Crowd."""
    gathered: Row = {}
    for openings, who in grants:
        gathered[openings] = gathered.get(openings, 0) | who
    row = {CLOSED: around}
    for openings, who in gathered.items():
        row = _split(row, openings, who)
    row.pop(CLOSED, None)
    return row


def _split(row: Row, openings: "Openings", who: Crowd) -> Row:
    out: Row = {}
    for had, parties in row.items():
        if rest := parties & ~who:
            out[had] = out.get(had, 0) | rest
        if more := parties & who:
            wider = union(had, openings)
            out[wider] = out.get(wider, 0) | more
    return out


def kept(row: Row, parties: Crowd) -> Row:
    """The part of a Row that is about these parties."""
    return {openings: who & parties for openings, who in row.items() if who & parties}


def joined(one: Row, other: Row) -> Row:
    """Both Rows, of parties of which none is in both."""
    return {openings: one.get(openings, 0) | other.get(openings, 0) for openings in {**one, **other}}


def cell(row: Row, index: int) -> "Openings":
    """What is open to one party."""
    return next((openings for openings, who in row.items() if who >> index & 1), CLOSED)


def turned(rows: "Mapping[int, Row]", count: int) -> list[Row]:
    """Rows by sender for Rows by target, or the reverse."""
    out: list[Row] = [{} for _ in range(count)]
    for one, row in rows.items():
        for openings, who in row.items():
            for other in members(who):
                out[other][openings] = out[other].get(openings, 0) | 1 << one
    return out


def narrowed(row: Row, other: Row) -> Row:
    """What is open by both."""
    out: Row = {}
    for openings, who in row.items():
        for also, them in other.items():
            if parties := who & them:
                both = intersection(openings, also)
                out[both] = out.get(both, 0) | parties
    out.pop(CLOSED, None)
    return out
