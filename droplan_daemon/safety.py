"""What must hold before a Plan may be carried out. PURE.

Laws:
1. A Fleet that this Droplet is not in, that knows no address of it, or whose answer hides what
   the Policy asks about, is no ground for any change.
2. A Droplet whose entry could not be read this time is not gone: what is known of it stays.
   When nothing is known, nobody is removed until the entry can be read again.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .errors import Refusal
from .model.ruleset import SetKind
from .policy.demands import require
from .policy.peers import peer_droplets
from .policy.scene import scene
from .policy.space import ranges, space

if TYPE_CHECKING:
    from .model.fleet import Droplet, Fleet
    from .model.host import Host
    from .model.policy import Policy
    from .model.ruleset import AddressSet, Ruleset
    from .policy.scene import Scene


@dataclass(frozen=True, slots=True)
class Evidence:
    """A Fleet that may be acted on, our own Droplet in it, what it sees, and whether removals are held."""

    fleet: "Fleet"
    own: "Droplet"
    scene: "Scene"
    hold_removals: bool = False


def examine(policy: "Policy", fleet: "Fleet", host: "Host", previous: "Fleet | None") -> Evidence:
    """The evidence that this Fleet gives; Refusal when it gives none.

    `previous` is the last Fleet that was acted on, None after a start.
    """
    carried, unknown = _carry(fleet, previous)
    own = carried.droplet(host.droplet_id)
    if own is None:
        raise Refusal(
            f"this Droplet (id {host.droplet_id}) is not among the {len(fleet.droplets)} of the answer: "
            f"is the token of another account or team?{unread(fleet)}",
            reason="self_missing",
        )
    view = scene(carried, own, peer_droplets(policy.peers, carried, own))
    require(policy, carried, host, view)
    return Evidence(carried, own, view, hold_removals=unknown)


def unread(fleet: "Fleet") -> str:
    """Half a sentence about entries that were left out; empty when there are none."""
    if not fleet.skipped:
        return ""
    first = fleet.skipped[0]
    return (
        f"; entries that could not be read: {len(fleet.skipped)}, the first (id {first.id}): {first.reason}"
    )


def _carry(fleet: "Fleet", previous: "Fleet | None") -> "tuple[Fleet, bool]":
    """The Fleet with unreadable entries as they were last; whether any of them is unknown."""
    present = {droplet.id for droplet in fleet.droplets}
    missing = {skipped.id for skipped in fleet.skipped} - present
    known = (
        {droplet.id: droplet for droplet in previous.droplets if droplet.id in missing} if previous else {}
    )
    if not known:
        return fleet, bool(missing)
    droplets = sorted((*fleet.droplets, *known.values()), key=lambda droplet: droplet.id)
    return replace(fleet, droplets=tuple(droplets)), len(known) < len(missing)


def held(desired: "Ruleset", observed: "Ruleset | None") -> "Ruleset":
    """The desired Ruleset, with nobody taken out of the sets that the kernel holds."""
    if observed is None:
        return desired
    sets = {name: _union(new, observed.sets.get(name)) for name, new in desired.sets.items()}
    return replace(desired, sets=sets)


def _union(new: "AddressSet", old: "AddressSet | None") -> "AddressSet":
    if old is None or (old.family, old.kind) != (new.family, new.kind):
        return new
    if new.kind is SetKind.RANGES:
        width = new.family.width
        spans = (
            (int.from_bytes(element[:width], "big"), int.from_bytes(element[width:], "big"))
            for element in new.elements | old.elements
        )
        return replace(new, elements=ranges(space(spans), new.family))
    return replace(new, capacity=max(new.capacity, old.capacity), elements=new.elements | old.elements)
