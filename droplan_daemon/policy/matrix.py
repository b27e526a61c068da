"""Who reaches whom on which ports, for the whole Fleet. PURE.

Laws:
1. A cell is what a connection may ask for: what the sender's Policy lets out and the target's lets
   in. It agrees with `explain` asked on both sides, for any two Droplets of the groups.
2. Droplets that behave alike, towards everybody and among themselves, are one Group.
3. The same Policy and Fleet give the same Matrix, whatever the order of rules and Droplets.

What keeps a network alive inbound (`lifelines`) is not shown: no service is reached by it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Outbound

from . import twins
from .crowd import Row, cell, crowd, members
from .flows import Flows
from .grouping import alike, profiles
from .naming import group_names
from .outside import Outside, outsiders
from .survey import Lane, Survey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.policy import Mode, Policy

    from .crowd import Crowd
    from .grouping import Profile
    from .openings import Openings


class Guard(StrEnum):
    """What a Group's Droplets judge on one kind of interface."""

    ABSENT = "no interface"
    OPEN = "not managed"
    INBOUND = "inbound"
    BOTH = "inbound and outbound"


@dataclass(frozen=True, slots=True)
class Group:
    """Droplets that behave alike (by ascending id), and what they judge."""

    name: str
    droplets: "tuple[Droplet, ...]"
    mode: "Mode"
    private: Guard
    public: Guard

    def guard(self, kind: InterfaceKind) -> Guard:
        """What they judge on one kind of interface."""
        return self.private if kind is InterfaceKind.PRIVATE else self.public


@dataclass(frozen=True, slots=True)
class Matrix:
    """Parties are the groups, then those outside; `rows` has a Row for each party, as the target.

    Lanes on which nobody has an address are left out. Somebody outside who is treated there like
    "any" is left out of a lane's Rows.
    """

    groups: tuple[Group, ...]
    outside: tuple[str, ...]
    rows: "Mapping[Lane, tuple[Row, ...]]"

    @property
    def parties(self) -> tuple[str, ...]:
        """The names, by index."""
        return (*(group.name for group in self.groups), *self.outside)

    def cell(self, lane: Lane, sender: int, target: int) -> "Openings":
        """What the sender reaches of the target, both by index."""
        return cell(self.rows[lane][target], sender)


def matrix(policy: "Policy", fleet: "Fleet") -> Matrix:
    """The whole Fleet under this Policy."""
    survey = Survey(policy, fleet)
    found = profiles(survey)
    parts = alike(survey, found)
    beyond = outsiders(policy)
    flows = Flows(survey, found, parts, (beyond, Outside(survey)))
    rows = {lane: flows.rows(lane) for lane in Lane if survey.present(lane)}
    natures = [_nature(survey, part[0], found[part[0]]) for part in parts]
    classes = twins.classes(tuple(rows.values()), [len(part) for part in parts], natures)
    groups = _groups(fleet, [[i for index in one for i in parts[index]] for one in classes])
    joined = {lane: twins.joined(one, classes, len(parts)) for lane, one in rows.items()}
    made = tuple(
        Group(name, group, *natures[one[0]]) for (name, group), one in zip(groups, classes, strict=True)
    )
    present = {lane: flows.present(lane) >> len(parts) << len(made) for lane in rows}
    return _informative(Matrix(made, tuple(outsider.name for outsider in beyond), joined), present)


def _nature(survey: Survey, droplet_id: int, profile: "Profile") -> "tuple[Mode, Guard, Guard]":
    private, public = (_guard(survey, droplet_id, profile, kind) for kind in InterfaceKind)
    return profile.mine.mode, private, public


def _guard(survey: Survey, droplet_id: int, profile: "Profile", kind: InterfaceKind) -> Guard:
    if not any(droplet_id in survey.present(lane) for lane in Lane if lane.kind is kind):
        return Guard.ABSENT
    on = profile.mine.on(kind)
    if not on.managed:
        return Guard.OPEN
    return Guard.BOTH if on.outbound is Outbound.DROP else Guard.INBOUND


def _groups(fleet: "Fleet", ids: "Sequence[Sequence[int]]") -> "list[tuple[str, tuple[Droplet, ...]]]":
    known = {droplet.id: droplet for droplet in fleet.droplets}
    groups = [tuple(known[one] for one in sorted(group)) for group in ids]
    return list(zip(group_names(fleet, groups), groups, strict=True))


def _informative(whole: Matrix, present: "Mapping[Lane, Crowd]") -> Matrix:
    """Without those outside who are treated like "any", the first of them, or are not there."""
    first = len(whole.groups)
    telling = {
        lane: [n for n in members(present[lane]) if n > first and not _same(rows, first, n)]
        for lane, rows in whole.rows.items()
    }
    stay = [first, *sorted({n for found in telling.values() for n in found})]
    rows = {
        lane: _chosen(rows, first, [n if n == first or n in telling[lane] else None for n in stay])
        for lane, rows in whole.rows.items()
    }
    return Matrix(whole.groups, tuple(whole.outside[n - first] for n in stay), rows)


def _same(rows: tuple[Row, ...], one: int, other: int) -> bool:
    """Whether two of those outside reach, and are reached by, everybody alike."""
    pair = 1 << one | 1 << other
    return rows[one] == rows[other] and all(who & pair in {0, pair} for row in rows for who in row.values())


def _chosen(rows: tuple[Row, ...], groups: int, outside: "Sequence[int | None]") -> tuple[Row, ...]:
    """The Rows of the groups and of these outside; None: one who has no cells here."""
    inside = (1 << groups) - 1
    moves = [(old, groups + new) for new, old in enumerate(outside) if old is not None]
    chosen = (*rows[:groups], *({} if old is None else rows[old] for old in outside))
    turned = (
        {
            found: who & inside | crowd(new for old, new in moves if who >> old & 1)
            for found, who in row.items()
        }
        for row in chosen
    )
    return tuple({o: who for o, who in row.items() if who} for row in turned)
