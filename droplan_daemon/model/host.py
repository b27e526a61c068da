"""The Host: the Droplet that we run on, seen from inside.

Law: an interface is known by its MAC or by its addresses, never by its name or by an
address range: a reserved IP's anchor lies in 10.0.0.0/8 on the *public* interface.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .fleet import InterfaceKind

if TYPE_CHECKING:
    from .addresses import Address


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface of this machine: kernel name, MAC (lower case, colons), addresses."""

    name: str
    mac: str
    addresses: "frozenset[Address]" = frozenset()


@dataclass(frozen=True, slots=True)
class Host:
    """Which Droplet we are, and which interface is which (None: there is none of that kind).

    `learned` says how we know: `metadata`, `addresses` (matched against the Fleet), `state`
    (remembered from an earlier start) or `given` (named on the command line).
    """

    droplet_id: int
    private: str | None = None
    public: str | None = None
    learned: str = "given"

    def interface(self, kind: InterfaceKind) -> str | None:
        """The name of the interface of this kind."""
        return self.private if kind is InterfaceKind.PRIVATE else self.public
