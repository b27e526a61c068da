"""Which Droplets of a Fleet nobody gets at, by this Policy. PURE.

Law: the same answer as asking each Droplet alone (`ways_in` over what is compiled for it), though a
Fleet of ten thousand is compiled for a few only.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import family_of
from droplan_daemon.model.host import Host

from .compile import compile_ruleset
from .grouping import profiles
from .management import leads_in, ways_in
from .reach import reach
from .space import contains
from .survey import Survey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.policy import Policy

    from .grouping import Profile
    from .management import Way


def as_host(own: "Droplet") -> Host:
    """A Droplet as a Host: the interfaces that its addresses tell of, by the names of DigitalOcean."""
    return Host(own.id, "eth1" if own.private else None, "eth0" if own.public else None)


def kinds(policy: "Policy", fleet: "Fleet") -> "Iterator[tuple[Profile, list[Droplet]]]":
    """Droplets that enforce the same, see the same network and have the same interfaces."""
    found = profiles(Survey(policy, fleet))
    groups: defaultdict[object, list[Droplet]] = defaultdict(list)
    for droplet in fleet.droplets:
        has = bool(droplet.private), frozenset(map(family_of, droplet.public))
        groups[id(found[droplet.id]), has].append(droplet)
    return ((found[group[0].id], group) for group in groups.values())


def locked(policy: "Policy", fleet: "Fleet") -> "tuple[Droplet, ...]":
    """Those that nobody reaches at any management port, by ascending id."""
    found = [droplet for _, kind in kinds(policy, fleet) for droplet in _locked(policy, fleet, kind)]
    return tuple(sorted(found, key=lambda droplet: droplet.id))


def _locked(policy: "Policy", fleet: "Fleet", kind: "list[Droplet]") -> "Iterator[Droplet]":
    """Each of a kind lets in the same others, but leaves itself out.

    So whoever the first one lets in gets at the rest too, unless it is the one that is asked about. Where
    the first lets in nobody, only the first itself may get at the rest: one answers for all of them.
    """
    first, *rest = kind
    ways = _ways(policy, fleet, first)
    if not leads_in(ways):
        yield first
        if rest and not leads_in(_ways(policy, fleet, rest[0])):
            yield from rest
        return
    for droplet in rest:
        if not any(_beside(droplet, way) for way in ways) and not leads_in(_ways(policy, fleet, droplet)):
            yield droplet


def _ways(policy: "Policy", fleet: "Fleet", own: "Droplet") -> "tuple[Way, ...]":
    host = as_host(own)
    found = reach(compile_ruleset(policy, fleet, host, own))
    return ways_in(policy.management.ports, host, own, found)


def _beside(droplet: "Droplet", way: "Way") -> bool:
    """Whether a Way leads in anybody but this Droplet."""
    ours = {*droplet.private, *droplet.public}
    for family, where in way.sources:
        own = sum(contains(where, address) for address in ours if family_of(address) is family)
        if sum(last - first + 1 for first, last in where) > own:
            return True
    return False
