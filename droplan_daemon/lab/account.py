"""What an account of the emulated DigitalOcean consists of, as values.

Law: no JSON, no HTTP, no clock; frozen. `World` makes and replaces them.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .catalogue import is_gpu

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["public", "private"]


@dataclass(frozen=True, slots=True)
class Network:
    """One address of a Droplet: text, prefix length, gateway (private ones have "nil"), kind."""

    address: str
    prefix: int
    gateway: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class LabDroplet:
    """A Droplet as its owner sees it.

    `anchor` is the address at which `reserved_ip` arrives on the public interface. `extra`
    replaces fields of the JSON that the API shows, to say what a sane API would not; a field
    whose extra value is `...` is left out.
    """

    id: int
    name: str
    region: str
    vpc: str
    size: str
    created_at: str
    tags: tuple[str, ...] = ()
    status: str = "active"
    v4: tuple[Network, ...] = ()
    v6: tuple[Network, ...] = ()
    public_mac: str = ""
    private_mac: str = ""
    anchor: str | None = None
    reserved_ip: str | None = None
    extra: "Mapping[str, Any]" = field(default_factory=dict)

    @property
    def gpu(self) -> bool:
        """Whether it is in the list `type=gpus` instead of the ordinary one."""
        return is_gpu(self.size)

    def network(self, kind: Kind) -> Network | None:
        """Its first IPv4 network of this kind."""
        return next((network for network in self.v4 if network.kind == kind), None)

    def address(self, kind: Kind) -> str | None:
        """Its first IPv4 address on the interface of this kind."""
        network = self.network(kind)
        return network.address if network else None


@dataclass(frozen=True, slots=True)
class LabVpc:
    """A VPC network; `default` ones take the Droplets of their region that name no other."""

    id: str
    name: str
    region: str
    ip_range: str
    created_at: str
    default: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class LabPeering:
    """A VPC peering; `status` is PROVISIONING, ACTIVE or DELETING."""

    id: str
    name: str
    vpcs: tuple[str, str]
    created_at: str
    status: str = "ACTIVE"


@dataclass(frozen=True, slots=True)
class LabAction:
    """Something that was done to a Droplet, completed at once."""

    id: int
    type: str
    at: str
    droplet: int
    region: str
