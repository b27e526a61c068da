"""A connection that the kernel knows of.

Law: it is told as it was opened: its source is who opened it, its ports are the sender's, before
anybody's DNAT.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .addresses import Address


@dataclass(frozen=True, slots=True)
class Connection:
    """`protocol` is the IANA number; the ports are those of tcp and udp, else 0."""

    source: "Address"
    destination: "Address"
    protocol: int
    source_port: int = 0
    destination_port: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """A connection by which somebody is logged in here, and the interface by which it comes."""

    connection: Connection
    interface: str
