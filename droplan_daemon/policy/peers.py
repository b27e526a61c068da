"""Who counts as a peer, and why. PURE.

Law: every Droplet of the Fleet gets exactly one verdict with exactly one reason, and being
a peer does not depend on any other Droplet but our own.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.model.policy import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.policy import Peers


@dataclass(frozen=True, slots=True)
class Judged:
    """A Droplet, whether it is a peer, and the reason in a few words."""

    droplet: "Droplet"
    peer: bool
    reason: str


def judge(peers: "Peers", fleet: "Fleet", own: "Droplet") -> tuple[Judged, ...]:
    """A verdict on every Droplet, in the order of the Fleet."""
    reach = fleet.peered_with(own.vpc) if own.vpc else frozenset[str]()
    return tuple(_judge(peers, droplet, own, reach) for droplet in fleet.droplets)


def peer_droplets(peers: "Peers", fleet: "Fleet", own: "Droplet") -> "tuple[Droplet, ...]":
    """The peers alone."""
    return tuple(judged.droplet for judged in judge(peers, fleet, own) if judged.peer)


def _judge(peers: "Peers", droplet: "Droplet", own: "Droplet", reach: frozenset[str]) -> Judged:
    if droplet.id == own.id:
        return Judged(droplet, peer=False, reason="this Droplet itself")
    near, reason = _in_scope(peers.scope, droplet, own, reach)
    if not near:
        return Judged(droplet, peer=False, reason=reason)
    if peers.tag is None:
        return Judged(droplet, peer=True, reason=reason)
    if peers.tag in droplet.tags:
        return Judged(droplet, peer=True, reason=f"{reason}, tag {peers.tag}")
    return Judged(droplet, peer=False, reason=f"{reason}, but without tag {peers.tag}")


def _in_scope(scope: Scope, droplet: "Droplet", own: "Droplet", reach: frozenset[str]) -> tuple[bool, str]:
    if scope is Scope.ACCOUNT:
        return True, "same account"
    if scope is Scope.REGION:
        near = droplet.region == own.region
        return near, f"same region {own.region}" if near else f"other region {droplet.region}"
    if droplet.vpc is None:
        return False, "in no VPC"
    if droplet.vpc == own.vpc:
        return True, "same VPC"
    return (True, "peered VPC") if droplet.vpc in reach else (False, "other VPC")


def warnings(peers: "Peers", fleet: "Fleet", own: "Droplet") -> "Iterator[str]":
    """What is allowed but hardly meant, one sentence each."""
    known = sorted({tag for droplet in fleet.droplets for tag in droplet.tags})
    if peers.tag is not None and peers.tag not in known:
        from difflib import get_close_matches  # noqa: PLC0415 - for a typo alone: 0.3 MB

        near = get_close_matches(peers.tag, known, n=1)
        hint = f"; the nearest that exists is '{near[0]}'" if near else ""
        yield f"peers.tag: no Droplet has the tag '{peers.tag}'{hint}"
    elif not peer_droplets(peers, fleet, own):
        yield f"peers: no Droplet but this one is in scope '{peers.scope}'"
