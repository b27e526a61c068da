"""The fleet: which Droplets exist, as one complete snapshot.

Law: a Fleet is immutable and complete. A listing that is partial, that contradicts itself
or that could not be read is never a Fleet; it is an error of its Source.

Only what a policy can ask about is kept: ten thousand Droplets must fit beside the daemon
on a machine of 512 MB.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .addresses import Address


class InterfaceKind(StrEnum):
    """The two networks of a Droplet: its VPC's, and the Internet's."""

    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Droplet:
    """One machine of the fleet.

    `tags` are in canonical (lower) case and sorted; `vpc` is the UUID of its VPC or None; `private` and
    `public` are its addresses by interface kind (private: IPv4 only, public: both families).
    """

    id: int
    name: str
    tags: tuple[str, ...] = ()
    region: str = ""
    vpc: str | None = None
    private: "tuple[Address, ...]" = ()
    public: "tuple[Address, ...]" = ()

    def addresses(self, kind: InterfaceKind) -> "tuple[Address, ...]":
        """Its addresses on one kind of interface."""
        return self.private if kind is InterfaceKind.PRIVATE else self.public


@dataclass(frozen=True, slots=True)
class Vpc:
    """A VPC network: UUID, name, region slug and its address range as text (`10.10.0.0/20`)."""

    id: str
    name: str
    region: str
    ip_range: str


@dataclass(frozen=True, slots=True)
class Peering:
    """An *active* VPC peering: the two VPC UUIDs that it joins."""

    vpcs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry of a listing that could not be read, and why (`id` None: it had none).

    `listing` is the API's word for what it would have been: `droplets`, `vpcs`, `vpc_peerings`.
    """

    id: int | None
    reason: str
    listing: str = "droplets"


@dataclass(frozen=True, slots=True)
class Fleet:
    """One complete snapshot: Droplets by ascending id, VPCs, active peerings, origin.

    `taken` is seconds since the epoch when the answer was complete. `skipped` names entries
    that were left out because they were malformed; a Source lets only a few pass. `relisted` is how
    often a list had to be read again because it contradicted itself.
    """

    droplets: tuple[Droplet, ...]
    vpcs: tuple[Vpc, ...] = ()
    peerings: tuple[Peering, ...] = ()
    source: str = ""
    taken: float = 0.0
    skipped: tuple[Skipped, ...] = field(default=())
    relisted: int = field(default=0, compare=False)

    @property
    def via(self) -> str:
        """What the names of events about it begin with: `api`, or `source` for all other origins."""
        return "api" if self.source.startswith("http") else "source"

    def droplet(self, droplet_id: int) -> Droplet | None:
        """The Droplet with this id, or None."""
        return next((d for d in self.droplets if d.id == droplet_id), None)

    def named(self, name: str) -> tuple[Droplet, ...]:
        """Every Droplet with this name (DigitalOcean does not make names unique)."""
        return tuple(d for d in self.droplets if d.name == name)

    def peered_with(self, vpc: str) -> frozenset[str]:
        """The VPC itself and those joined to it by an active peering."""
        joined = (peering.vpcs for peering in self.peerings if vpc in peering.vpcs)
        return frozenset({vpc}).union(*joined)
