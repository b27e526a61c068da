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
from .model.fleet import InterfaceKind
from .model.policy import Scope
from .model.ruleset import SetKind
from .policy.compile import managed_interface

if TYPE_CHECKING:
    from .model.fleet import Droplet, Fleet
    from .model.host import Host
    from .model.policy import Policy
    from .model.ruleset import AddressSet, Ruleset


@dataclass(frozen=True, slots=True)
class Evidence:
    """A Fleet that may be acted on, our own Droplet in it, and whether removals are held."""

    fleet: "Fleet"
    own: "Droplet"
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
    open_to_peers = _open_to_peers(policy, host)
    if open_to_peers:
        _require_addresses(own, open_to_peers)
        _require_tags(policy, carried)
        _require_vpcs(policy, carried, own)
    return Evidence(carried, own, hold_removals=unknown)


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


def _open_to_peers(policy: "Policy", host: "Host") -> list[InterfaceKind]:
    """Where it matters who is a peer."""
    return [
        kind
        for kind in InterfaceKind
        if managed_interface(policy, host, kind) and policy.on(kind).allow_peers
    ]


def _require_addresses(own: "Droplet", kinds: list[InterfaceKind]) -> None:
    """An answer without our own addresses lacks other Droplets' too, and would shut them out."""
    for kind in kinds:
        if not own.addresses(kind):
            raise Refusal(
                f"the answer has no {kind} address of this Droplet ({own.name}, id {own.id}), though it "
                f"has a {kind} interface: nothing is changed until the answer has one",
                reason="addresses_hidden",
            )


def _require_tags(policy: "Policy", fleet: "Fleet") -> None:
    if policy.peers.tag is not None and not any(droplet.tags for droplet in fleet.droplets):
        raise Refusal(
            f"peers.tag is '{policy.peers.tag}', but no Droplet of the answer has any tag: "
            "give the token the scope tag:read",
            reason="tags_hidden",
        )


def _require_vpcs(policy: "Policy", fleet: "Fleet", own: "Droplet") -> None:
    if policy.peers.scope is not Scope.VPC or own.vpc is not None:
        return
    if any(droplet.vpc for droplet in fleet.droplets):
        raise Refusal(
            f"peers.scope is 'vpc', but this Droplet ({own.name}, id {own.id}) has no VPC in the answer: "
            "set peers.scope to 'region' or 'account'",
            reason="no_vpc",
        )
    raise Refusal(
        "peers.scope is 'vpc', but no Droplet of the answer has a VPC: "
        "give the token the scope vpc:read, or set peers.scope to 'region' or 'account'",
        reason="vpcs_hidden",
    )


def held(desired: "Ruleset", observed: "Ruleset | None") -> "Ruleset":
    """The desired Ruleset, with nobody taken out of the sets that the kernel holds."""
    if observed is None:
        return desired
    sets = {name: _union(new, observed.sets.get(name)) for name, new in desired.sets.items()}
    return replace(desired, sets=sets)


def _union(new: "AddressSet", old: "AddressSet | None") -> "AddressSet":
    if old is None or old.family is not new.family or new.kind is not SetKind.HOSTS:
        return new
    return replace(new, capacity=max(new.capacity, old.capacity), elements=new.elements | old.elements)
