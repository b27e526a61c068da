"""A Matrix as a document, and what differs between two of them. PURE.

Laws:
1. `told(document(m)) == told(document(n))` exactly when m and n give every Droplet the same reach,
   however the Droplets are grouped.
2. A difference speaks of those whom both documents know; who is only in one is named as such. Where
   one document has nobody outside of that name, "any" stands for it.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .crowd import Row, crowd, members
from .naming import droplet_names
from .openings import CLOSED, labels, parse, without
from .outside import ANYONE
from .survey import Lane

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .crowd import Crowd
    from .matrix import Matrix
    from .openings import Openings


@dataclass(frozen=True, slots=True)
class Told:
    """What a document says: who is in which party (by index), and a Row for each party as the target.

    `modes` are those of the Droplets, by name.
    """

    place: "Mapping[str, int]"
    modes: "Mapping[str, str]"
    sizes: tuple[int, ...]
    outside: frozenset[str]
    rows: "Mapping[Lane, tuple[Row, ...]]"


@dataclass(frozen=True, slots=True)
class Difference:
    """Who reaches whom otherwise than the first document says."""

    senders: tuple[str, ...]
    targets: tuple[str, ...]
    lane: Lane
    gained: "Openings"
    lost: "Openings"


@dataclass(frozen=True, slots=True)
class Comparison:
    """From the first document to the second; `modes` has the Droplets that are in another mode now."""

    come: tuple[str, ...]
    gone: tuple[str, ...]
    differences: tuple[Difference, ...]
    modes: "Mapping[str, tuple[str, ...]]"

    def __bool__(self) -> bool:
        return bool(self.come or self.gone or self.differences or self.modes)


def document(one: "Matrix") -> dict[str, Any]:
    """The Matrix as plain values; Droplets are their names, with the id where a name is not unique."""
    names = droplet_names(droplet for group in one.groups for droplet in group.droplets)
    return {
        "groups": [
            {
                "name": group.name,
                "droplets": [names[droplet.id] for droplet in group.droplets],
                "mode": group.mode.value,
                "private": group.private.value,
                "public": group.public.value,
            }
            for group in one.groups
        ],
        "outside": list(one.outside),
        "reach": list(_reach(one)),
    }


def _reach(one: "Matrix") -> "Iterator[dict[str, Any]]":
    parties = one.parties
    for target, name in enumerate(parties):
        for lane, rows in one.rows.items():
            for openings, who in sorted(rows[target].items()):
                senders = [parties[index] for index in members(who)]
                yield {"to": name, "on": lane.value, "ports": list(labels(openings)), "from": senders}


def told(found: Any) -> Told:
    """What a document says. ValueError, LookupError or TypeError for one that `document` never makes."""
    groups = [(str(group["name"]), [str(one) for one in group["droplets"]]) for group in found["groups"]]
    outside = [str(one) for one in found["outside"]]
    parties = [*(name for name, _ in groups), *outside]
    index = {name: n for n, name in enumerate(parties)}
    rows: dict[Lane, tuple[Row, ...]] = defaultdict(lambda: tuple({} for _ in parties))
    for entry in found["reach"]:
        row = rows[Lane(entry["on"])][index[entry["to"]]]
        openings = parse(map(str, entry["ports"]))
        row[openings] = row.get(openings, 0) | crowd(index[one] for one in entry["from"])
    place = {name: n for n, (_, droplets) in enumerate(groups) for name in droplets}
    place.update({_outside(name): len(groups) + n for n, name in enumerate(outside)})
    modes = {str(one): str(group["mode"]) for group in found["groups"] for one in group["droplets"]}
    sizes = tuple(len(droplets) for _, droplets in groups)
    return Told(place, modes, sizes, frozenset(map(_outside, outside)), dict(rows))


def _outside(name: str) -> str:
    """Nobody outside is mistaken for a Droplet of that name."""
    return f"{name} (outside the fleet)"


def compared(expected: Told, actual: Told) -> Comparison:
    """What is otherwise than expected."""
    atoms = _atoms(expected, actual)
    pairs = [(old, new) for old, new in atoms if old is not None and new is not None]
    names = [atoms[pair] for pair in pairs]
    found = tuple(difference for lane in Lane for difference in _on(lane, (expected, actual), pairs, names))
    come = tuple(name for (old, _), some in atoms.items() if old is None for name in some)
    gone = tuple(name for (_, new), some in atoms.items() if new is None for name in some)
    return Comparison(tuple(sorted(come)), tuple(sorted(gone)), found, _modes(expected, actual))


def _modes(expected: Told, actual: Told) -> "Mapping[str, tuple[str, ...]]":
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, mode in actual.modes.items():
        if expected.modes.get(name, mode) != mode:
            found[mode].append(name)
    return {mode: tuple(names) for mode, names in found.items()}


def _atoms(one: Told, other: Told) -> "dict[tuple[int | None, int | None], list[str]]":
    """Names by the parties that they are in, there and here."""
    found: defaultdict[tuple[int | None, int | None], list[str]] = defaultdict(list)
    for name in {**one.place, **other.place}:
        found[_party(one, name, other), _party(other, name, one)].append(name)
    return dict(found)


def _party(one: Told, name: str, other: Told) -> int | None:
    found = one.place.get(name)
    if found is None and name in other.outside:
        return one.place.get(_outside(ANYONE))
    return found


def _on(
    lane: Lane,
    both: tuple[Told, Told],
    pairs: "Sequence[tuple[int, int]]",
    names: "Sequence[list[str]]",
) -> "Iterator[Difference]":
    """Differences on one lane; targets that gain and lose the same from the same are told together."""
    old, new = (
        _rows(told, lane, [pair[side] for pair in pairs], [len(some) for some in names])
        for side, told in enumerate(both)
    )
    alike: defaultdict[tuple[Crowd, Openings, Openings], list[str]] = defaultdict(list)
    for target, some in enumerate(names):
        for (gained, lost), who in _changed(old[target], new[target]).items():
            alike[who, gained, lost] += some
    for (who, gained, lost), targets in alike.items():
        senders = tuple(name for index in members(who) for name in names[index])
        yield Difference(senders, tuple(targets), lane, gained, lost)


def _rows(told: Told, lane: Lane, parties: "Sequence[int]", sizes: "Sequence[int]") -> list[Row]:
    """The Rows of a document over atoms: `parties` has the party of each."""
    whole = told.rows.get(lane, ())
    atoms: defaultdict[int, Crowd] = defaultdict(int)
    for atom, party in enumerate(parties):
        atoms[party] |= 1 << atom
    spread = [{openings: crowd_of(atoms, who) for openings, who in row.items()} for row in whole]
    out = []
    for atom, party in enumerate(parties):
        mine = ~(1 << atom) if sizes[atom] == 1 else -1
        out.append({o: who & mine for o, who in spread[party].items() if who & mine} if whole else {})
    return out


def crowd_of(atoms: "Mapping[int, Crowd]", who: "Crowd") -> "Crowd":
    """The atoms of these parties."""
    found = 0
    for party in members(who):
        found |= atoms.get(party, 0)
    return found


def _changed(old: Row, new: Row) -> "dict[tuple[Openings, Openings], Crowd]":
    everybody = 0
    for who in (*old.values(), *new.values()):
        everybody |= who
    found: dict[tuple[Openings, Openings], Crowd] = {}
    for was, before in _whole(old, everybody).items():
        for now, after in _whole(new, everybody).items():
            if was != now and before & after:
                key = without(now, was), without(was, now)
                found[key] = found.get(key, 0) | before & after
    return found


def _whole(row: Row, everybody: "Crowd") -> Row:
    """With those who reach nothing."""
    closed = everybody
    for who in row.values():
        closed &= ~who
    return {**row, CLOSED: closed} if closed else row
