"""The five servers of DigitalOcean's droplan tutorial, as an account. PURE but for the World it fills."""

from typing import TYPE_CHECKING

from .world import World

if TYPE_CHECKING:
    from .account import LabVpc

ROLES = {"lb": 80, "bastion": 22, "wordpress": 80, "mysql": 3306}
"""The tags of the servers, and the port on which each kind serves."""

SERVERS = (
    ("haproxy-www", "lb"),
    ("tunnel-1", "bastion"),
    ("wordpress-1", "wordpress"),
    ("wordpress-2", "wordpress"),
    ("mysql-1", "mysql"),
)

_FIRST = 11


def tutorial() -> "tuple[World, LabVpc]":
    """The account, and the VPC in which all of its Droplets are."""
    world = World()
    vpc = world.add_vpc("tutorial", ip_range="10.10.0.0/20", default=True)
    for number, (name, tag) in enumerate(SERVERS, _FIRST):
        world.add_droplet(
            name,
            vpc=vpc.id,
            tags=(tag,),
            private=f"10.10.0.{number}",
            public=f"203.0.113.{number}/24",
            ipv6=f"2001:db8::{number}/64",
        )
    return world, vpc


def service_port(tags: tuple[str, ...]) -> int:
    """Where a Droplet with these tags serves; ssh when no tag says."""
    return next((ROLES[tag] for tag in tags if tag in ROLES), 22)
