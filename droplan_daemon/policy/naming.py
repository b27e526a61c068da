"""Names for groups of Droplets, as a person would call them. PURE.

Laws: no two groups have the same name; a name that is a selector picks exactly the group.
"""

from collections import Counter, defaultdict
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from droplan_daemon.model.fleet import Droplet, Fleet


def group_names(fleet: "Fleet", groups: "Sequence[tuple[Droplet, ...]]") -> tuple[str, ...]:
    """One for each group, in their order."""
    names = droplet_names(fleet.droplets)
    tagged: defaultdict[str, set[int]] = defaultdict(set)
    for droplet in fleet.droplets:
        for tag in droplet.tags:
            tagged[tag].add(droplet.id)
    every = sorted(droplet.name for droplet in fleet.droplets)
    return tuple(_name(group, names, tagged, every) for group in groups)


def droplet_names(droplets: "Iterable[Droplet]") -> dict[int, str]:
    """Names by id, with the id where others have the same name."""
    found = list(droplets)
    namesakes = Counter(droplet.name for droplet in found)
    return {one.id: one.name if namesakes[one.name] == 1 else f"{one.name} (id {one.id})" for one in found}


def _name(
    group: "tuple[Droplet, ...]",
    names: dict[int, str],
    tagged: "defaultdict[str, set[int]]",
    every: "list[str]",
) -> str:
    if len(group) == 1:
        return names[group[0].id]
    if len(group) == len(every):
        return "all"
    ids = {droplet.id for droplet in group}
    tag = next((tag for tag in group[0].tags if tagged[tag] == ids), None)
    if tag is not None:
        return f"tag:{tag}"
    return next(_globs(group, every), f"{names[group[0].id]} +{len(group) - 1}")


def _globs(group: "tuple[Droplet, ...]", every: "list[str]") -> "Iterator[str]":
    """`name:web-*`, where that is exactly the group."""
    names = [droplet.name for droplet in group]
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(names), max(names), strict=False))
    shared = "".join(letter for letter, _ in alike).rstrip("0123456789")
    plain = shared and not any(sign in shared for sign in "*?[")
    if plain and sum(name.startswith(shared) for name in every) == len(group):
        yield f"name:{shared}*"
