"""Which Droplets behave alike. PURE.

Laws:
1. Two Droplets of one part enforce the same rules, see the same network and are picked by the same
   selectors, so that neither can be told from the other by any packet.
2. Only rules that somebody enforces count.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .survey import Lane, Survey, lanes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from droplan_daemon.model.policy import Policy

    from .scene import Ids
    from .survey import Standpoint


@dataclass(frozen=True, slots=True)
class Profile:
    """What a Droplet enforces: its effective Policy, and its rules as indices of the whole Policy's."""

    at: "Standpoint"
    mine: "Policy"
    rules: tuple[int, ...]


def profiles(survey: Survey) -> "Mapping[int, Profile]":
    """The Profile of each Droplet, by id; equal ones are one object."""
    policy = survey.policy
    overrides = _held([survey.enforcers(one.on) for one in policy.overrides])
    rules = _held([survey.enforcers(one.on) for one in policy.allows])
    known: dict[object, Profile] = {}
    found = {}
    for droplet in survey.fleet.droplets:
        at = survey.standpoint(droplet)
        mine = tuple(overrides[droplet.id]), tuple(rules[droplet.id])
        if (at, mine) not in known:
            applied = survey.effective(droplet, _only(policy, *mine))
            known[at, mine] = Profile(at, applied, mine[1])
        found[droplet.id] = known[at, mine]
    return found


def alike(survey: Survey, found: "Mapping[int, Profile]") -> list[tuple[int, ...]]:
    """The ids of the Fleet in parts of Droplets that behave alike, in the order of their lowest id."""
    marks = _held(_memberships(survey, found))
    ways = _held([survey.present(lane) for lane in Lane])
    parts: defaultdict[object, list[int]] = defaultdict(list)
    for droplet_id, profile in found.items():
        parts[id(profile), tuple(marks[droplet_id]), tuple(ways[droplet_id])].append(droplet_id)
    return sorted(tuple(sorted(part)) for part in parts.values())


def _memberships(survey: Survey, found: "Mapping[int, Profile]") -> "list[Ids]":
    """Every distinct set of Droplets that a rule in force picks, or that are somebody's peers."""
    distinct = {id(profile): profile for profile in found.values()}.values()
    sets: dict[Ids, None] = {}
    for profile in distinct:
        sets.update(dict.fromkeys(_picked(survey, profile)))
    return list(sets)


def _picked(survey: Survey, profile: Profile) -> "Iterator[Ids]":
    for lane in Lane:
        if profile.mine.on(lane.kind).allow_peers:
            yield survey.peers(profile.at, lane)
    for rule in profile.rules:
        for lane in lanes(survey.policy.allows[rule].interface):
            yield survey.found(profile.at, lane, rule)


def _held(sets: "list[Ids]") -> "defaultdict[int, list[int]]":
    """The indices of the sets that hold each id."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for index, ids in enumerate(sets):
        for droplet_id in ids:
            found[droplet_id].append(index)
    return found


def _only(policy: "Policy", overrides: tuple[int, ...], rules: tuple[int, ...]) -> "Policy":
    return replace(
        policy,
        overrides=tuple(policy.overrides[index] for index in overrides),
        allows=tuple(policy.allows[index] for index in rules),
    )
