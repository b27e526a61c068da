"""Who reaches whom, between parts of Droplets that behave alike and those outside. PURE.

Law: a connection needs both sides: what the sender's Policy lets out, of what the target's lets in.
A side that judges nothing, in that direction, lets everything.
"""

from typing import TYPE_CHECKING

from droplan_daemon.model.policy import Direction, Outbound
from droplan_daemon.model.ruleset import Transport

from .crowd import Crowd, Row, crowd, granted, joined, kept, members, narrowed, turned
from .lifelines import lifelines
from .members import Members
from .openings import EVERYTHING, of_ports, of_transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .grouping import Profile
    from .openings import Openings
    from .outside import Outside, Outsider
    from .scene import Ids
    from .survey import Lane, Survey


class Flows:
    """Parties are the parts, by index, then the outsiders."""

    def __init__(
        self,
        survey: "Survey",
        found: "Mapping[int, Profile]",
        parts: "Sequence[tuple[int, ...]]",
        beyond: "tuple[Sequence[Outsider], Outside]",
    ) -> None:
        self._survey, self._parts = survey, parts
        self._outsiders, self._outside = beyond
        self._place = {droplet_id: index for index, part in enumerate(parts) for droplet_id in part}
        self._profiles = [found[part[0]] for part in parts]
        self._crowds: dict[Ids, Crowd] = {}
        self._judged: dict[tuple[int, Lane, Direction], Row] = {}

    def rows(self, lane: "Lane") -> tuple[Row, ...]:
        """A Row for each party as the target."""
        here = self._crowd(self._survey.present(lane))
        limits = {
            index: self._row(self._profiles[index], lane, Direction.OUTBOUND)
            for index in members(here)
            if self._limited(index, lane)
        }
        targets = [self._inward(index, lane, here) for index in range(len(self._parts))]
        targets += [self._outward(outsider, lane, here) for outsider in self._outsiders]
        free = ~crowd(limits)
        both = zip(targets, turned(limits, len(targets)), strict=True)
        return tuple(joined(kept(row, free), narrowed(row, reached)) for row, reached in both)

    def present(self, lane: "Lane") -> Crowd:
        """Those outside whom any Droplet can meet there."""
        places = {profile.at for profile in self._profiles}
        return crowd(
            len(self._parts) + n
            for n, outsider in enumerate(self._outsiders)
            if any(self._outside.address(at, lane, outsider) is not None for at in places)
        )

    def _limited(self, index: int, lane: "Lane") -> bool:
        on = self._profiles[index].mine.on(lane.kind)
        return on.managed and on.outbound is Outbound.DROP

    def _inward(self, index: int, lane: "Lane", here: Crowd) -> Row:
        """What a part lets in; one Droplet alone is nobody's other side."""
        if not here >> index & 1:
            return {}
        row = self._row(self._profiles[index], lane, Direction.INBOUND)
        return row if len(self._parts[index]) > 1 else kept(row, ~(1 << index))

    def _outward(self, outsider: "Outsider", lane: "Lane", here: Crowd) -> Row:
        """Who has a way to somebody outside."""
        away = [
            index
            for index in members(here)
            if self._outside.address(self._profiles[index].at, lane, outsider) is not None
        ]
        return {EVERYTHING: crowd(away)} if away else {}

    def _row(self, profile: "Profile", lane: "Lane", direction: Direction) -> Row:
        key = (id(profile), lane, direction)
        if key not in self._judged:
            around = self._around(profile, lane)
            judged = direction is Direction.OUTBOUND or profile.mine.on(lane.kind).managed
            grants = self._grants(profile, lane, direction) if judged else ((EVERYTHING, around),)
            self._judged[key] = granted(around, grants)
        return self._judged[key]

    def _around(self, profile: "Profile", lane: "Lane") -> Crowd:
        """Everybody there is a way from, and to."""
        outside = (self._outside.address(profile.at, lane, outsider) for outsider in self._outsiders)
        strangers = crowd(len(self._parts) + n for n, address in enumerate(outside) if address is not None)
        return self._crowd(self._survey.near(profile.at, lane)) | strangers

    def _grants(
        self, profile: "Profile", lane: "Lane", direction: Direction
    ) -> "Iterator[tuple[Openings, Crowd]]":
        if direction is Direction.OUTBOUND:
            yield from ((openings, self._around(profile, lane)) for openings in self._kept_alive(profile))
        elif profile.mine.on(lane.kind).allow_peers:
            yield EVERYTHING, self._crowd(self._survey.peers(profile.at, lane))
        for rule in profile.rules:
            allow = self._survey.policy.allows[rule]
            if allow.interface is lane.kind and allow.direction is direction:
                droplets = self._crowd(self._survey.found(profile.at, lane, rule))
                yield of_ports(allow.ports), droplets | self._strangers(profile, lane, rule)

    def _strangers(self, profile: "Profile", lane: "Lane", rule: int) -> Crowd:
        outside = (self._outside.address(profile.at, lane, outsider) for outsider in self._outsiders)
        return crowd(
            len(self._parts) + n
            for n, address in enumerate(outside)
            if address is not None and self._survey.admits(profile.at, lane, rule, address)
        )

    def _kept_alive(self, profile: "Profile") -> "Iterator[Openings]":
        """The services that a Host reaches wherever they are."""
        everyone = Members(self._survey.scene(profile.at))
        for rule in lifelines(profile.mine.lifelines, Direction.OUTBOUND, everyone):
            match rule.matches:
                case (Transport(source=None) as transport,):
                    yield of_transport(transport)

    def _crowd(self, ids: "Ids") -> Crowd:
        if ids not in self._crowds:
            self._crowds[ids] = crowd({self._place[droplet_id] for droplet_id in ids})
        return self._crowds[ids]
