"""From an account to machines: the wires, cards and addresses of a Droplet. PURE.

Laws:
1. What a machine has is what the API and the metadata service say of its Droplet: MACs,
   addresses, which interface it has at all.
2. The Internet is one wire, on which every address is a neighbour; each VPC is another one.
   Peered VPCs are joined by routes through the provider, and nothing else joins two wires.
"""

from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from .topology import Machine, Nic, Route

if TYPE_CHECKING:
    from .account import LabDroplet, LabVpc
    from .world import World

INTERNET = "internet"
"""The segment of the public interfaces."""

API_ADDRESS = "203.0.113.2"
METADATA_ADDRESS = "169.254.169.254"

PROVIDER_ADDRESSES = (f"{API_ADDRESS}/24", "2001:db8::2/64", f"{METADATA_ADDRESS}/32")
ANYWHERE = (Route("0.0.0.0/0"), Route("::/0"))

STRANGER_INSIDE = "stranger-vpc"
STRANGER_OUTSIDE = "stranger-net"

# Locally administered MACs: no Droplet has one of these.
_MAC_INSIDE, _MAC_OUTSIDE = "06:66:00:00:00:02", "06:66:00:00:00:01"
_OUTSIDE = ("203.0.113.66/24", "2001:db8::66/64")


def gateway(vpc: "LabVpc") -> str:
    """The provider's address in a VPC, with prefix length: the first one, which no Droplet gets."""
    network = IPv4Network(vpc.ip_range)
    return f"{network[1]}/{network.prefixlen}"


def machine_of(droplet: "LabDroplet", name: str, world: "World") -> Machine:
    """The machine of a Droplet, under `name`."""
    cards = (_public(droplet), _private(droplet, world))
    return Machine(name, tuple(card for card in cards if card.addresses))


def _public(droplet: "LabDroplet") -> Nic:
    networks = (*(n for n in droplet.v4 if n.kind == "public"), *droplet.v6)
    addresses = tuple(f"{network.address}/{network.prefix}" for network in networks)
    anchor = (f"{droplet.anchor}/16",) if droplet.anchor else ()
    return Nic("eth0", droplet.public_mac, INTERNET, addresses + anchor, ANYWHERE)


def _private(droplet: "LabDroplet", world: "World") -> Nic:
    vpc = world.vpcs[droplet.vpc]
    addresses = tuple(f"{n.address}/{n.prefix}" for n in droplet.v4 if n.kind == "private")
    router = gateway(vpc).partition("/")[0]
    reachable = _peered_ranges(vpc, world)
    if droplet.address("public") is None:
        # Else it could not ask the API and the metadata service.
        reachable = ("0.0.0.0/0",)
    return Nic("eth1", droplet.private_mac, vpc.id, addresses, tuple(Route(r, router) for r in reachable))


def _peered_ranges(vpc: "LabVpc", world: "World") -> tuple[str, ...]:
    joined = {
        other
        for peering in world.peerings.values()
        if peering.status == "ACTIVE" and vpc.id in peering.vpcs
        for other in peering.vpcs
        if other != vpc.id
    }
    return tuple(sorted(world.vpcs[other].ip_range for other in joined))


def strangers(vpc: "LabVpc") -> tuple[Machine, Machine]:
    """Two machines that are in no account: one in this VPC's network, one on the Internet."""
    network = IPv4Network(vpc.ip_range)
    # The last address: Droplets get theirs from the other end.
    inside = Nic("eth1", _MAC_INSIDE, vpc.id, (f"{network[-2]}/{network.prefixlen}",))
    outside = Nic("eth0", _MAC_OUTSIDE, INTERNET, _OUTSIDE, ANYWHERE)
    return Machine(STRANGER_INSIDE, (inside,)), Machine(STRANGER_OUTSIDE, (outside,))


def addresses_of(machine: Machine) -> dict[str, tuple[str, ...]]:
    """The addresses on each card, without their prefix lengths."""
    return {nic.name: tuple(a.partition("/")[0] for a in nic.addresses) for nic in machine.nics}
