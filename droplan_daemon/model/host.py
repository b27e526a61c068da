"""The Host: the Droplet that we run on, seen from inside.

Law: an interface is known by its MAC or by its addresses, never by its name or by an
address range: a reserved IP's anchor lies in 10.0.0.0/8 on the *public* interface.
"""

from dataclasses import dataclass, field
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
class Lost:
    """An interface that should be there and was not found: why, for programs and for people."""

    kind: InterfaceKind
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Host:
    """Which Droplet we are, and which interface is which (None: there is none of that kind).

    `learned` says how we know: `metadata`, `addresses` (matched against the Fleet), `state`
    (remembered from an earlier start) or `given` (named on the command line). `lost`, and `silent`
    (why the metadata service gave no answer; empty: it did, or was not asked), are of the moment, and
    no part of who we are.
    """

    droplet_id: int
    private: str | None = None
    public: str | None = None
    learned: str = "given"
    lost: tuple[Lost, ...] = field(default=(), compare=False)
    silent: str = field(default="", compare=False)

    def interface(self, kind: InterfaceKind) -> str | None:
        """The name of the interface of this kind."""
        return self.private if kind is InterfaceKind.PRIVATE else self.public

    def should_have(self, kind: InterfaceKind) -> bool:
        """Whether there is an interface of this kind, found or not."""
        return self.interface(kind) is not None or any(lost.kind is kind for lost in self.lost)
