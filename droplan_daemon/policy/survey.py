"""The Policy over the whole Fleet at once: who enforces what, and whom each rule picks. PURE.

Laws:
1. The same answers as asking each Droplet alone (`scene`, `effective`, `pick`), for every other
   Droplet as the other side; a Droplet is never its own other side.
2. What Droplets see alike is worked out once: a Standpoint is a VPC (and a region, where peers are
   those of a region).
"""

from bisect import bisect_left, bisect_right
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import Droplet, InterfaceKind
from droplan_daemon.model.policy import Scope
from droplan_daemon.model.selector import Kind, Term

from .effective import effective
from .peers import peer_droplets
from .pick import ANY, droplets, names_droplets_only, picked
from .scene import Ids, Scene, scene
from .space import contains
from .warnings import enforcers

if TYPE_CHECKING:
    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.model.selector import Selector

    from .space import Space

Standpoint = tuple[str | None, str]
"""VPC, and region where it matters."""

NOBODY = Droplet(0, "")
"""Who looks: no Droplet has this id, so `self` picks none of the others."""

_ALL = Term(Kind.ALL)


class Lane(StrEnum):
    """A network, and the family of addresses on it (a VPC has no IPv6)."""

    PRIVATE = "private"
    PUBLIC_IPV4 = "public-ipv4"
    PUBLIC_IPV6 = "public-ipv6"

    @property
    def kind(self) -> InterfaceKind:
        """The kind of interface that it arrives at."""
        return InterfaceKind.PRIVATE if self is Lane.PRIVATE else InterfaceKind.PUBLIC

    @property
    def family(self) -> Family:
        """The family of its addresses."""
        return Family.IPV6 if self is Lane.PUBLIC_IPV6 else Family.IPV4


def lanes(kind: InterfaceKind) -> tuple[Lane, ...]:
    """The lanes of one kind of interface."""
    return tuple(lane for lane in Lane if lane.kind is kind)


class Survey:
    """Answers about one Policy and one Fleet; each is worked out once, when it is asked for."""

    def __init__(self, policy: "Policy", fleet: "Fleet") -> None:
        self.policy, self.fleet = policy, fleet
        seen = scene(fleet, NOBODY, ())
        self._base = replace(seen, droplets={**seen.droplets, NOBODY.id: NOBODY})
        self._scenes: dict[Standpoint, Scene] = {}
        self._addresses = {lane: _sorted_addresses(fleet, lane) for lane in Lane}
        self._present: dict[Lane, Ids] = {lane: frozenset(ids) for lane, (_, ids) in self._addresses.items()}
        self._found: dict[tuple[Standpoint, Lane, int], Ids] = {}
        self._spaces: dict[tuple[Standpoint, Lane, int], Space | None] = {}

    def standpoint(self, droplet: Droplet) -> Standpoint:
        """Where a Droplet stands."""
        return droplet.vpc, droplet.region if self.policy.peers.scope is Scope.REGION else ""

    def scene(self, at: Standpoint) -> Scene:
        """What everybody there sees; its `own` is NOBODY, and its peers hold everybody there."""
        if at not in self._scenes:
            vpc, region = at
            own = replace(NOBODY, vpc=vpc, region=region)
            near = self._base.everyone
            if vpc:
                reach = self.fleet.peered_with(vpc)
                near = frozenset[int]().union(*(self._base.vpcs.get(one, frozenset()) for one in reach))
            self._scenes[at] = replace(
                self._base,
                own=own,
                peers=frozenset(d.id for d in peer_droplets(self.policy.peers, self.fleet, own)),
                neighbours=near,
                vpc_range=next((one.ip_range for one in self.fleet.vpcs if one.id == vpc), None),
            )
        return self._scenes[at]

    def near(self, at: Standpoint, lane: Lane) -> Ids:
        """The Droplets that there is a way from, and to."""
        here = self._present[lane]
        return here & self.scene(at).neighbours if lane is Lane.PRIVATE else here

    def present(self, lane: Lane) -> Ids:
        """The Droplets that have an address there."""
        return self._present[lane]

    def enforcers(self, on: "Selector") -> Ids:
        """The Droplets that an `on` picks, each asked for itself."""
        return enforcers(on, self._base)

    def effective(self, own: Droplet, policy: "Policy") -> "Policy":
        """The Policy of a Droplet, from one whose overrides and rules are all its own."""
        overrides = tuple(replace(one, on=_ALL) for one in policy.overrides)
        allows = tuple(replace(one, on=_ALL) for one in policy.allows)
        return effective(replace(policy, overrides=overrides, allows=allows), replace(self._base, own=own))

    def peers(self, at: Standpoint, lane: Lane) -> Ids:
        """The peers that there is a way from."""
        return self.scene(at).peers & self.near(at, lane)

    def found(self, at: Standpoint, lane: Lane, rule: int) -> Ids:
        """The Droplets whose address a rule of the Policy (by its index) picks as the other side."""
        key = (at, lane, rule)
        if key not in self._found:
            who, near = self.policy.allows[rule].who, self.near(at, lane)
            if who == ANY:
                found = near
            elif names_droplets_only(who):
                found = droplets(who, self.scene(at)) & near
            else:
                found = self._within(self._space(key), lane) & near
            self._found[key] = found
        return self._found[key]

    def admits(self, at: Standpoint, lane: Lane, rule: int, address: "Address") -> bool:
        """Whether a rule picks an address that no Droplet has."""
        who = self.policy.allows[rule].who
        return who == ANY or (
            not names_droplets_only(who) and contains(self._space((at, lane, rule)), address)
        )

    def addresses(self, lane: Lane) -> "list[int]":
        """Every address of a Droplet there, as numbers in ascending order."""
        return self._addresses[lane][0]

    def _space(self, key: tuple[Standpoint, Lane, int]) -> "Space":
        at, lane, rule = key
        found = self._spaces.get(key)
        if found is None:
            found = picked(self.policy.allows[rule].who, self.scene(at), lane.kind, lane.family)
            self._spaces[key] = found
        return found

    def _within(self, where: "Space", lane: Lane) -> Ids:
        numbers, ids = self._addresses[lane]
        spans = ((bisect_left(numbers, first), bisect_right(numbers, last)) for first, last in where)
        return frozenset(droplet_id for start, end in spans for droplet_id in ids[start:end])


def _sorted_addresses(fleet: "Fleet", lane: Lane) -> tuple[list[int], list[int]]:
    pairs = sorted(
        (int.from_bytes(address, "big"), droplet.id)
        for droplet in fleet.droplets
        for address in droplet.addresses(lane.kind)
        if family_of(address) is lane.family
    )
    return [number for number, _ in pairs], [droplet_id for _, droplet_id in pairs]
