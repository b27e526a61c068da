"""A Matrix as people read it: a table that fits the terminal, and what differs from what was expected.

Laws:
1. Who sends is a row, who is reached a column; where that does not fit, each target is told in lines.
2. A network has one table; where IPv4 and IPv6 differ, a cell says which.
"""

from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Mode
from droplan_daemon.plaintext import cut, escape
from droplan_daemon.policy.crowd import crowd, members
from droplan_daemon.policy.matrix import Guard
from droplan_daemon.policy.openings import CLOSED, EVERYTHING, labels, without
from droplan_daemon.policy.outside import ANYONE
from droplan_daemon.policy.space import intersection
from droplan_daemon.policy.survey import lanes

from .output import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from droplan_daemon.policy.crowd import Crowd
    from droplan_daemon.policy.expectation import Comparison
    from droplan_daemon.policy.matrix import Matrix
    from droplan_daemon.policy.openings import Openings
    from droplan_daemon.policy.survey import Lane

    Cell = tuple[str, ...]

_CLOSED: "Cell" = ("-",)
_OPEN: "Cell" = ("open",)
_ALL = "all"
_LONGEST_NAME = 24
_MOST_PARTIES = 24
_MOST_LINES = 200
_MOST_NAMES = 6


def table(found: "Matrix", width: int) -> "Iterator[str]":
    """Every network on which anybody judges anything, then who is in the groups."""
    for kind in InterfaceKind:
        network = _Network(found, kind)
        if network.judged:
            yield f"{kind} network"
            yield from network.lines(width)
        elif network.lanes:
            yield f"{kind} network: managed on no Droplet, so droplan has no say there"
        if network.lanes:
            yield ""
    yield from _legend(found)


class _Network:
    """The lanes of one kind of interface, seen together."""

    def __init__(self, found: "Matrix", kind: InterfaceKind) -> None:
        self._found, self._kind = found, kind
        self._groups = len(found.groups)
        self.lanes = [lane for lane in lanes(kind) if lane in found.rows]
        self._has = [self._present(lane) for lane in self.lanes]

    @property
    def judged(self) -> bool:
        """Whether any Droplet judges anything here."""
        guards = {group.guard(self._kind) for group in self._found.groups}
        return bool(guards & {Guard.INBOUND, Guard.BOTH})

    def lines(self, width: int) -> "Iterator[str]":
        """A table, or where it would be too wide, lines."""
        targets = [n for n in range(len(self._found.parties)) if self._is_target(n)]
        seen = {target: self._seen(target) for target in targets}
        everybody = 0
        for cells in seen.values():
            everybody |= crowd(n for who in cells.values() for n in members(who))
        groups = (n for n in targets if n < self._groups)
        senders = sorted(
            {*members(everybody), *groups, self._groups}
        )  # strangers too, if only to see that they get nowhere
        if len(senders) <= _MOST_PARTIES:
            crossed = self._crossed(senders, seen)
            if max(map(len, crossed)) <= width:
                yield from crossed
                return
        told = [line for target, cells in seen.items() for line in self._told(target, cells)]
        yield from (cut(line, max(width, 60)) for line in told[:_MOST_LINES])
        if len(told) > _MOST_LINES:
            yield f"… and {len(told) - _MOST_LINES:,} more lines (--json and --html have all)"

    def _present(self, lane: "Lane") -> "Crowd":
        """The parties that have an address there."""
        width, outside = lane.family.width, enumerate(self._found.outside, self._groups)
        groups = (
            n
            for n, group in enumerate(self._found.groups)
            if any(len(a) == width for one in group.droplets for a in one.addresses(lane.kind))
        )
        six = lane.family is Family.IPV6
        return crowd(groups) | crowd(n for n, name in outside if name == ANYONE or (":" in name) == six)

    def _is_target(self, party: int) -> bool:
        """Those outside are targets where somebody limits what goes out."""
        if party < self._groups:
            return self._found.groups[party].guard(self._kind) is not Guard.ABSENT
        limited = any(group.guard(self._kind) is Guard.BOTH for group in self._found.groups)
        return limited and any(self._found.rows[lane][party] for lane in self.lanes)

    def _seen(self, target: int) -> "dict[Cell, Crowd]":
        """Who sees what of a target, over all lanes."""
        pieces: dict[tuple[Openings | None, ...], Crowd] = {(): -1}
        for lane, has in zip(self.lanes, self._has, strict=True):
            row = self._found.rows[lane][target]
            here = has if has >> target & 1 else 0
            parts = [(openings, who & here) for openings, who in row.items()]
            closed = here & ~crowd(n for _, who in parts for n in members(who))
            options = [*parts, (CLOSED, closed), (None, ~here)]
            pieces = {
                (*had, openings): parties & who
                for had, parties in pieces.items()
                for openings, who in options
                if parties & who
            }
        unjudged = target < self._groups and self._found.groups[target].guard(self._kind) is Guard.OPEN
        cells: dict[Cell, Crowd] = {}
        for found, who in pieces.items():
            cell = self._cell(found, unjudged=unjudged)
            if cell != _CLOSED:
                cells[cell] = cells.get(cell, 0) | who
        return cells

    def _cell(self, found: "Sequence[Openings | None]", *, unjudged: bool) -> "Cell":
        by_lane = [(lane, one) for lane, one in zip(self.lanes, found, strict=True) if one is not None]
        opened = [one for _, one in by_lane]
        if unjudged and opened and all(one == EVERYTHING for one in opened):
            return _OPEN
        shared = intersection(opened[0], opened[-1]) if opened else CLOSED
        lines = list(_labels(shared))
        for lane, one in by_lane:
            lines += [f"{label} (IPv{lane.family.value})" for label in _labels(without(one, shared))]
        return tuple(lines) or _CLOSED

    def _crossed(self, senders: "Sequence[int]", seen: "dict[int, dict[Cell, Crowd]]") -> list[str]:
        names = [cut(escape(name), _LONGEST_NAME) for name in self._found.parties]
        rows = [["from \\ to", *(names[target] for target in seen)]]
        for sender in senders:
            cells = [self._of(cells, sender, target) for target, cells in seen.items()]
            for line in range(max(map(len, cells), default=1)):
                first = names[sender] if line == 0 else ""
                rows.append([first, *(cell[line] if line < len(cell) else "" for cell in cells)])
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]

    def _of(self, cells: "dict[Cell, Crowd]", sender: int, target: int) -> "Cell":
        alone = sender >= self._groups or len(self._found.groups[sender].droplets) == 1
        if (sender == target and alone) or (sender >= self._groups and target >= self._groups):
            return ("",)
        return next((cell for cell, who in cells.items() if who >> sender & 1), _CLOSED)

    def _told(self, target: int, cells: "dict[Cell, Crowd]") -> "Iterator[str]":
        for cell, who in sorted(cells.items()):
            if cell != _OPEN:
                senders = listed([self._found.parties[n] for n in members(who)])
                yield f"{escape(self._found.parties[target])}: {', '.join(cell)} from {escape(senders)}"


def _labels(openings: "Openings") -> "Cell":
    if openings == CLOSED:
        return ()
    return (_ALL,) if openings == EVERYTHING else labels(openings)


def _legend(found: "Matrix") -> "Iterator[str]":
    for group in found.groups:
        if len(group.droplets) > 1:
            names = listed([droplet.name for droplet in group.droplets])
            yield f"{escape(group.name)}: {count(len(group.droplets), 'Droplet')}: {escape(names)}"
    audited = [group.name for group in found.groups if group.mode is Mode.AUDIT]
    if audited:
        yield f"mode audit, so nothing is dropped on: {escape(listed(audited))}"
    yield "any: whoever is not in the fleet; all: every port; open: the target's interface is not managed"


def listed(names: "Sequence[str]", most: int = _MOST_NAMES) -> str:
    """Names in a row, at most so many."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def differences(found: "Comparison") -> "Iterator[str]":
    """What is otherwise than expected, a line each."""
    if found.come:
        yield f"+ {escape(listed(found.come))}: not expected"
    if found.gone:
        yield f"- {escape(listed(found.gone))}: expected, but not there"
    for mode, names in found.modes.items():
        yield f"! {escape(listed(names))}: mode {escape(mode)} was not expected"
    for one in found.differences:
        where = f"{escape(listed(one.senders))} to {escape(listed(one.targets))} on {one.lane}"
        if one.gained != CLOSED:
            yield f"+ {where}: {', '.join(labels(one.gained))}"
        if one.lost != CLOSED:
            yield f"- {where}: {', '.join(labels(one.lost))}"
