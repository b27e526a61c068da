"""Parts of Droplets that no connection tells apart, though rules name them differently. PURE.

Law: twins reach, and are reached by, everybody else alike, and one another as each its own; being
twins is an equivalence, so that whole classes of them can be one party.
"""

from typing import TYPE_CHECKING

from .crowd import Row, cell, kept, members, turned

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from .openings import Openings

MOST = 300
"""So many parts are compared in well under a second; beyond, nobody reads them one by one."""


def classes(
    rows: "Sequence[tuple[Row, ...]]", sizes: "Sequence[int]", nature: "Sequence[Hashable]"
) -> list[list[int]]:
    """The indices of parts in classes of twins; `rows` one for each lane, `nature` what must be equal too."""
    count = len(sizes)
    if count > MOST:
        return [[index] for index in range(count)]
    columns = [turned(dict(enumerate(lane)), len(lane)) for lane in rows]
    found: list[list[int]] = []
    for index in range(count):
        for known in found:
            first = known[0]
            if nature[first] == nature[index] and _twins(rows, columns, sizes, first, index):
                known.append(index)
                break
        else:
            found.append([index])
    return found


def _twins(
    rows: "Sequence[tuple[Row, ...]]",
    columns: "Sequence[list[Row]]",
    sizes: "Sequence[int]",
    one: int,
    other: int,
) -> bool:
    others = ~(1 << one | 1 << other)
    return all(
        kept(lane[one], others) == kept(lane[other], others)
        and kept(column[one], others) == kept(column[other], others)
        and len(_among(lane, sizes, one, other)) == 1
        for lane, column in zip(rows, columns, strict=True)
    )


def _among(rows: tuple[Row, ...], sizes: "Sequence[int]", one: int, other: int) -> "set[Openings]":
    """All that the two reach of one another, and each of its own kind."""
    own = {cell(rows[index], index) for index in (one, other) if sizes[index] > 1}
    return own | {cell(rows[one], other), cell(rows[other], one)}


def joined(rows: tuple[Row, ...], found: "Sequence[Sequence[int]]", parts: int) -> tuple[Row, ...]:
    """The Rows of the classes; parties after the parts stay, one class each."""
    if len(found) == parts:
        return rows
    parties = [*found, *([index] for index in range(parts, len(rows)))]
    place = {twins[0]: index for index, twins in enumerate(parties)}
    return tuple(_row(rows[twins[0]], twins, place) for twins in parties)


def _row(row: Row, twins: "Sequence[int]", place: "Mapping[int, int]") -> Row:
    """A class's Row: its own bit is that of its second part, where it has one."""
    out: Row = {}
    own = place[twins[0]]
    for openings, who in row.items():
        bits = sum(1 << place[index] for index in members(who) if index in place and place[index] != own)
        among = who >> (twins[1] if len(twins) > 1 else twins[0]) & 1
        if bits | among << own:
            out[openings] = bits | among << own
    return out
