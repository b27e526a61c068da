"""The five servers of DigitalOcean's droplan tutorial, as an account. PURE but for the World it fills."""

from pathlib import Path
from typing import TYPE_CHECKING

from .world import World

if TYPE_CHECKING:
    from .account import LabVpc

ROLES = ("haproxy", "tunnel", "wordpress", "mysql")
"""The tags of the servers; each has one."""

POLICY = Path(__file__).with_name("wordpress.toml")
"""The policy of them all, as the manual has it in docs/examples/wordpress; without a source."""

SERVERS = (
    ("haproxy-www", "haproxy"),
    ("tunnel-1", "tunnel"),
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


def role(tags: tuple[str, ...]) -> str:
    """What a Droplet with these tags is for; empty when no tag says."""
    return next((tag for tag in tags if tag in ROLES), "")
