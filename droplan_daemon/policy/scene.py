"""The Fleet as one Droplet sees it, indexed for selectors. PURE.

Laws:
1. A Scene is a value of Fleet, peers and own Droplet; it does not depend on the Fleet's order.
2. On the private network only Droplets of the own VPC and its active peerings exist: an
   address of any other VPC may belong to somebody else here. Who is in no VPC is
   nobody's neighbour; only where our own is not known, nobody is shut out for that.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Mapping

    from droplan_daemon.model.addresses import Address, Family
    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.selector import Selector

    from .space import Space

Ids = frozenset[int]


@dataclass(frozen=True)
class Scene:
    """Droplets by id, and ids by tag, name, region and VPC.

    The indices are made when a selector asks, and kept: ten thousand names cost 3 MB, and most
    policies name nobody. (Without slots, for that is where they are kept.)

    `neighbours` are those that the private network connects us with; `vpc_range` is the address
    range of our VPC (None: not known). `known` keeps answers: a Scene never changes, so they hold.
    """

    own: "Droplet"
    droplets: "Mapping[int, Droplet]"
    everyone: Ids
    peers: Ids
    neighbours: Ids
    vpc_range: str | None
    known: "dict[tuple[Selector, InterfaceKind, Family], Space]" = field(
        default_factory=dict, compare=False, repr=False
    )

    @cached_property
    def tags(self) -> "Mapping[str, Ids]":
        """Ids by tag."""
        return _index(self.droplets, lambda d: d.tags)

    @cached_property
    def names(self) -> "Mapping[str, Ids]":
        """Ids by name."""
        return _index(self.droplets, lambda d: (d.name,))

    @cached_property
    def regions(self) -> "Mapping[str, Ids]":
        """Ids by region."""
        return _index(self.droplets, lambda d: (d.region,))

    @cached_property
    def vpcs(self) -> "Mapping[str, Ids]":
        """Ids by VPC."""
        return _index(self.droplets, lambda d: (d.vpc,) if d.vpc else ())

    def addresses(self, ids: Ids, kind: InterfaceKind) -> "Iterable[Address]":
        """The addresses that these Droplets have towards us on this kind of interface."""
        near = ids & self.neighbours if kind is InterfaceKind.PRIVATE else ids
        for droplet_id in near:
            yield from self.droplets[droplet_id].addresses(kind)


def scene(fleet: "Fleet", own: "Droplet", peers: "Iterable[Droplet]") -> Scene:
    """What `own` sees."""
    reach = fleet.peered_with(own.vpc) if own.vpc else None
    near = (d.id for d in fleet.droplets if reach is None or d.vpc in reach)
    return Scene(
        own=own,
        droplets={d.id: d for d in fleet.droplets},
        everyone=frozenset(d.id for d in fleet.droplets),
        peers=frozenset(d.id for d in peers),
        neighbours=frozenset(near),
        vpc_range=next((vpc.ip_range for vpc in fleet.vpcs if vpc.id == own.vpc), None),
    )


def _index(
    droplets: "Mapping[int, Droplet]", keys: "Callable[[Droplet], Iterable[str]]"
) -> "Mapping[str, Ids]":
    found: defaultdict[str, set[int]] = defaultdict(set)
    for droplet in droplets.values():
        for key in keys(droplet):
            found[key].add(droplet.id)
    return {key: frozenset(ids) for key, ids in found.items()}


def named(one: Scene, pattern: str, compiled: "Callable[[str], re.Pattern[str]]") -> Ids:
    """The Droplets whose name is this, or matches it where it is a pattern."""
    if not any(sign in pattern for sign in "*?["):
        return one.names.get(pattern, frozenset())
    matches = compiled(translate(pattern)).match
    return frozenset().union(*(ids for name, ids in one.names.items() if matches(name)))
