"""What of a loss is believed, and when. PURE.

Laws:
1. What is missing from a group is believed at once, unless more than SHARE of the group and more than
   FEW elements are missing, or nothing is left of it. Then all that is missing is held.
2. What is held is let go by AGREEING complete answers in a row that lack it, or by the operator.
   One answer that has it begins anew.
3. What the answer says nothing about (`unsaid`) is held, and that counts for nothing.
4. While Droplets are missing in such numbers, or while this Droplet is another than it was, what is
   missing from any group is held; while the answer is not whole, that too, but it counts for nothing.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from droplan_daemon.model.doubt import AGREEING, FLEET, SELF, Absences, Cause, Doubt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FEW = 5
"""So many may leave at once, whatever the size of a group, as long as somebody stays."""

SHARE = 0.3
"""Of a group: what may leave at once."""


@dataclass(frozen=True, slots=True)
class Group:
    """What was enforced and is `missing` now, of `size` elements; `left`: anything is there still.

    `unsaid` was enforced too, and nobody can tell whether it is there.
    """

    name: str
    missing: frozenset[bytes]
    size: int
    left: bool = True
    unsaid: frozenset[bytes] = frozenset()

    @property
    def suspicious(self) -> bool:
        """Whether too much is missing to believe it at once."""
        if self.name == SELF:
            return bool(self.missing)
        gone = len(self.missing)
        return bool(gone) and (not self.left or (gone > FEW and gone > SHARE * self.size))


@dataclass(frozen=True, slots=True)
class Weighed:
    """What stays although it is missing, by group, and what to say and to remember of it."""

    absences: Absences = field(default_factory=Absences)
    doubts: tuple[Doubt, ...] = ()

    def held(self, group: str) -> frozenset[bytes]:
        """The elements of this group that stay."""
        return frozenset(self.absences.groups.get(group, ()))


def weigh(
    groups: "Iterable[Group]", known: Absences, *, whole: bool = True, accepted: bool = False
) -> Weighed:
    """Judge every group; FLEET and SELF, which decide about others, come first whatever their place.

    `known` is what was held before this answer; `accepted`: the operator wants that to go.
    """
    counted: dict[str, Mapping[bytes, int]] = {}
    doubts: list[Doubt] = []
    cause = Cause.SHRINK if whole else Cause.UNREADABLE
    sweeping = False
    for one in sorted(groups, key=lambda group: (group.name != SELF, group.name != FLEET)):
        before = known.groups.get(one.name, {})
        group = _without(one, frozenset(before)) if accepted else one
        counts = _counts(group, before, doubtful=sweeping or group.suspicious, whole=whole)
        if not counts:
            continue
        counted[group.name] = counts
        sweeping = sweeping or group.name in {FLEET, SELF}
        cause = Cause.IDENTITY if group.name == SELF else cause
        said = Cause.UNREADABLE if counts.keys() <= group.unsaid else cause
        doubts.append(Doubt(said, group.name, len(counts), group.size, max(counts.values())))
    return Weighed(Absences(counted), tuple(doubts))


def remembered(known: Absences, sizes: "Mapping[str, int]") -> Weighed:
    """What is still held while nobody answers; `sizes` are those of the groups that are enforced."""
    doubts = (
        Doubt(
            Cause.IDENTITY if SELF in known.groups else Cause.SHRINK,
            name,
            len(counts),
            max(sizes.get(name, 0), len(counts)),
            max(counts.values()),
        )
        for name, counts in known.groups.items()
    )
    return Weighed(known, tuple(doubts))


def _without(group: Group, accepted: frozenset[bytes]) -> Group:
    gone = group.missing & accepted
    return replace(
        group, missing=group.missing - gone, size=group.size - len(gone), unsaid=group.unsaid - accepted
    )


def _counts(
    group: Group, before: "Mapping[bytes, int]", *, doubtful: bool, whole: bool
) -> "Mapping[bytes, int]":
    """What is held of a group, with the answers that lack it up to now."""
    unsaid = {element: before.get(element, 0) for element in group.unsaid}
    if not whole:
        return {**unsaid, **{element: before.get(element, 0) for element in group.missing}}
    lacking = ((element, before.get(element, 0)) for element in group.missing)
    believed = (times for times in lacking if times[1] or doubtful)
    return {**unsaid, **{element: times + 1 for element, times in believed if times + 1 < AGREEING}}
