"""Which Droplet this machine is, and which of its interfaces is which.

Laws:
1. Metadata knows best and are asked first; a different id there beats whatever is remembered.
2. Where they are silent, the Fleet's one Droplet whose addresses are on this machine's links is
   us; else we are who we were.
3. An interface is found by its MAC or by its addresses. One that should be there and is not is
   `lost`, and told why: whether that matters, the Policy of this Droplet says (see `safety`).
4. What was kept on a disk is of this machine if metadata, or else what is remembered, name the same
   Droplet, and no interface that is there has another MAC than it had: a Droplet cloned from a
   snapshot has the disk of another.
"""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.errors import HostUnknown, SourceUnavailable
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.host import Host, Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from droplan_daemon.model.checkpoint import Checkpoint
    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.host import Link

    from .metadata import Identity, Metadata, Nic

KINDS = (InterfaceKind.PRIVATE, InterfaceKind.PUBLIC)


class DropletFinder:
    """A HostFinder and a Follower. `metadata` None: never ask; `links` blocks and gives this machine's links.

    `remembered` is the Host of an earlier start; what is found later takes its place.
    """

    def __init__(
        self,
        *,
        metadata: "Metadata | None",
        links: "Callable[[], tuple[Link, ...]]",
        remembered: Host | None = None,
    ) -> None:
        self._metadata = metadata
        self._links = links
        self._remembered = remembered
        self._told: Identity | None = None
        self._silent = ""

    async def locate(self, fleet: "Fleet") -> Host:
        """The Host. Raises HostUnknown."""
        links = await asyncio.to_thread(self._links)
        identity = await self._identity()
        if identity:
            host = _with_lost(lambda needed: by_identity(identity, links, needed, _named(fleet, identity)))
        else:
            host = self._without_metadata(fleet, links)
        self._remembered = host = replace(host, silent=self._silent)
        return host

    async def follow(self, fleet: "Fleet") -> Host:
        """The Host on the links that there are now, by what the metadata said last. Raises HostUnknown."""
        links, told = await asyncio.to_thread(self._links), self._told
        if told is None:
            return replace(self._without_metadata(fleet, links), silent=self._silent)
        host = _with_lost(lambda needed: by_identity(told, links, needed, _named(fleet, told)))
        return replace(host, silent=self._silent)

    def macs(self) -> dict[str, str]:
        """The MAC of each link by name. Blocking. Raises HostUnknown."""
        return {link.name: link.mac for link in self._links()}

    async def recognise(self, checkpoint: "Checkpoint") -> Host:
        """This machine, if the Checkpoint is of it. Raises HostUnknown(`another_droplet`, `cloned`).

        Interfaces that are not there yet, as early in a boot, have the names that they had.
        """
        links = await asyncio.to_thread(self._links)
        identity = await self._identity()
        known = identity.droplet_id if identity else self._remembered and self._remembered.droplet_id
        if known is not None and known != checkpoint.host.droplet_id:
            raise HostUnknown(
                f"what was kept is of Droplet {checkpoint.host.droplet_id}, and this is Droplet {known}",
                reason="another_droplet",
            )
        _same_cards(checkpoint, links)
        host = checkpoint.host
        if identity:
            own = _named(checkpoint.fleet, identity)
            found = _with_lost(lambda needed: by_identity(identity, links, needed, own))
            host = _completed(found, checkpoint.host)
        self._remembered = host
        return replace(host, learned="metadata" if identity else "state", silent=self._silent)

    async def aclose(self) -> None:
        """Close the connection to the metadata service."""
        if self._metadata is not None:
            await self._metadata.aclose()

    async def _identity(self) -> "Identity | None":
        try:
            self._told = await self._metadata.identity() if self._metadata else None
        except SourceUnavailable as error:
            self._silent = error.reason
            return None
        self._silent = ""
        return self._told

    def _without_metadata(self, fleet: "Fleet", links: "Sequence[Link]") -> Host:
        before = self._remembered
        try:
            host = _with_lost(lambda needed: by_addresses(fleet, links, needed))
        except HostUnknown:
            if before is None:
                raise
            return _with_lost(lambda needed: by_memory(before, links, needed))
        if host.lost and before and before.droplet_id == host.droplet_id:
            return _completed(host, by_memory(before, links, ()))
        return host


def _with_lost(find: "Callable[[Collection[InterfaceKind]], Host]") -> Host:
    """What `find` gives when it needs no interface, and why it fails for each that it would need."""
    lost = []
    for kind in KINDS:
        try:
            find((kind,))
        except HostUnknown as error:
            lost.append(Lost(kind, error.reason, str(error)))
    return replace(find(()), lost=tuple(lost))


def _completed(host: Host, before: Host) -> Host:
    """The Host, and in place of what is lost the names that it had."""
    lost = {lost.kind for lost in host.lost}
    private, public = (before.interface(kind) if kind in lost else host.interface(kind) for kind in KINDS)
    still = tuple(lost for lost in host.lost if before.interface(lost.kind) is None)
    return replace(host, private=private, public=public, lost=still)


def _same_cards(checkpoint: "Checkpoint", links: "Sequence[Link]") -> None:
    """Raises HostUnknown(`cloned`) when an interface that is there had another MAC."""
    macs = {link.name: link.mac for link in links}
    for name, mac in checkpoint.links:
        if macs.get(name, mac) != mac:
            raise HostUnknown(
                f"what was kept is of a machine whose {name} has the MAC {mac}, and here it has {macs[name]}:"
                " this Droplet was made from a snapshot of another one",
                reason="cloned",
            )


def _named(fleet: "Fleet", identity: "Identity") -> "Droplet | None":
    return fleet.droplet(identity.droplet_id)


def by_identity(
    identity: "Identity",
    links: "Sequence[Link]",
    needed: "Collection[InterfaceKind]" = KINDS,
    droplet: "Droplet | None" = None,
) -> Host:
    """The Host that the metadata name. Raises HostUnknown(`interface_missing`, `interface_ambiguous`).

    An interface of which they say nothing, and the Fleet's `droplet` says that it has an address, is
    not gone before both agree.
    """

    def find(kind: InterfaceKind) -> str | None:
        nic = identity.nic(kind)
        if nic is None:
            return _name_by_address(droplet, kind, links) if droplet else None
        return _name_by_mac(nic, kind, links)

    private, public = (_if_needed(find, kind, needed) for kind in KINDS)
    return Host(identity.droplet_id, private, public, "metadata")


def by_addresses(
    fleet: "Fleet", links: "Sequence[Link]", needed: "Collection[InterfaceKind]" = KINDS
) -> Host:
    """The Droplet whose addresses are here. Raises HostUnknown(`not_in_fleet`, `ambiguous`, …)."""
    here = frozenset[bytes]().union(*(link.addresses for link in links))
    ours = [d for d in fleet.droplets if not here.isdisjoint(d.private) or not here.isdisjoint(d.public)]
    if not ours:
        raise HostUnknown(
            f"None of the {len(fleet.droplets)} Droplets has an address of this machine:"
            " is the token of the right account?",
            reason="not_in_fleet",
        )
    if len(ours) > 1:
        names = ", ".join(f"{droplet.name} ({droplet.id})" for droplet in ours[:4])
        raise HostUnknown(
            f"This machine has addresses of {len(ours)} Droplets ({names}):"
            " let it reach the metadata service, which knows.",
            reason="ambiguous",
        )

    def find(kind: InterfaceKind) -> str | None:
        return _name_by_address(ours[0], kind, links)

    private, public = (_if_needed(find, kind, needed) for kind in KINDS)
    return Host(ours[0].id, private, public, "addresses")


def by_memory(remembered: Host, links: "Sequence[Link]", needed: "Collection[InterfaceKind]" = KINDS) -> Host:
    """The Host of an earlier start, if its interfaces are still there. Raises HostUnknown."""
    there = {link.name for link in links}

    def find(kind: InterfaceKind) -> str | None:
        name = remembered.interface(kind)
        if name is not None and name not in there:
            raise HostUnknown(
                f"The interface {name} of an earlier start is gone ({_seen(links)}):"
                " let droplan reach the metadata service.",
                reason="interface_missing",
            )
        return name

    private, public = (_if_needed(find, kind, needed) for kind in KINDS)
    return replace(remembered, private=private, public=public, learned="state")


def _if_needed(
    find: "Callable[[InterfaceKind], str | None]", kind: InterfaceKind, needed: "Collection[InterfaceKind]"
) -> str | None:
    """The interface of this kind; None where it cannot be told and nobody needs it."""
    try:
        return find(kind)
    except HostUnknown:
        if kind in needed:
            raise
        return None


def _name_by_mac(nic: "Nic", kind: InterfaceKind, links: "Sequence[Link]") -> str:
    """The link that has the address, else the one with the MAC.

    The address comes first: of a card that is a bridge's port the kernel says that packets come in
    by the bridge, which may have a MAC of its own.
    """
    addressed = [link for link in links if link.addresses & nic.addresses]
    if len(addressed) == 1:
        return addressed[0].name
    named = [link for link in links if link.mac == nic.mac]
    if not named:
        raise HostUnknown(
            f"No interface has the MAC {nic.mac} of the {kind} network ({_seen(links)}): is it up?",
            reason="interface_missing",
        )
    if len(named) > 1:
        named = [link for link in named if link.addresses & nic.addresses]
    if len(named) != 1:
        raise HostUnknown(
            f"Several interfaces have the MAC {nic.mac} of the {kind} network, and not one of them"
            " alone has its address.",
            reason="interface_ambiguous",
        )
    return named[0].name


def _name_by_address(droplet: "Droplet", kind: InterfaceKind, links: "Sequence[Link]") -> str | None:
    addresses = droplet.addresses(kind)
    if not addresses:
        return None
    for link in links:
        if not link.addresses.isdisjoint(addresses):
            return link.name
    raise HostUnknown(
        f"No interface has the {kind} address of {droplet.name} ({_seen(links)}): is it up?",
        reason="interface_missing",
    )


def _seen(links: "Sequence[Link]") -> str:
    seen = ", ".join(f"{link.name} {link.mac}".rstrip() for link in links[:8])
    more = f" and {len(links) - 8} more" if len(links) > 8 else ""  # noqa: PLR2004 - as many as a line holds
    return f"there are {seen}{more}" if seen else "there is none but loopback"
