"""Which answers are evidence at all. PURE.

Laws:
1. A Fleet that this Droplet is not in, that knows no address of it, or whose answer hides what
   the Policy asks about, is no ground for any change.
2. A Droplet whose entry could not be read this time is not gone: what is known of it stays.
   When nothing is known, nobody is removed until the entry can be read again.
3. An interface that this Droplet's own Policy manages, and that should be there, must be found: rules
   for a name that nothing carries would guard nothing. One that it does not manage concerns nobody.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from droplan_daemon.errors import HostUnknown, Refusal
from droplan_daemon.policy.demands import require
from droplan_daemon.policy.effective import effective
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.scene import scene

if TYPE_CHECKING:
    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.policy.scene import Scene


_DROPLETS = "droplets"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A Fleet that may be acted on, our own Droplet in it, and what it sees.

    `whole`: every entry could be read, or is known from before; otherwise nobody may be removed.
    `carried` are the Droplets (by id) that are known from before only: of them nothing may be taken away.
    """

    fleet: "Fleet"
    own: "Droplet"
    scene: "Scene"
    whole: bool = True
    carried: frozenset[int] = frozenset()


def examine(policy: "Policy", fleet: "Fleet", host: "Host", previous: "Fleet | None") -> Evidence:
    """The evidence that this Fleet gives; Refusal or HostUnknown when it gives none.

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
    # What is carried over was not said by this answer, and cannot show that it hides nothing.
    require(policy, replace(carried, droplets=fleet.droplets), host, view)
    mine = effective(policy, view)
    for lost in host.lost:
        if mine.on(lost.kind).managed:
            raise HostUnknown(lost.message, reason=lost.reason)
    taken = {droplet.id for droplet in carried.droplets} - {droplet.id for droplet in fleet.droplets}
    return Evidence(carried, own, view, whole=not unknown, carried=frozenset(taken))


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
    fleet, unknown = _carry_networks(fleet, previous)
    present = {droplet.id for droplet in fleet.droplets}
    missing = {entry.id for entry in fleet.skipped if entry.listing == _DROPLETS} - present
    known = {d.id: d for d in previous.droplets if d.id in missing} if previous else {}
    if not known:
        return fleet, unknown or bool(missing)
    droplets = sorted((*fleet.droplets, *known.values()), key=lambda droplet: droplet.id)
    return replace(fleet, droplets=tuple(droplets)), unknown or len(known) < len(missing)


def _carry_networks(fleet: "Fleet", previous: "Fleet | None") -> "tuple[Fleet, bool]":
    """VPCs and peerings never shrink while an entry of theirs cannot be read."""
    if all(entry.listing == _DROPLETS for entry in fleet.skipped):
        return fleet, False
    if previous is None:
        return fleet, True
    vpcs = {vpc.id: vpc for vpc in (*previous.vpcs, *fleet.vpcs)}
    peerings = dict.fromkeys((*fleet.peerings, *previous.peerings))
    return replace(fleet, vpcs=tuple(vpcs.values()), peerings=tuple(peerings)), False
