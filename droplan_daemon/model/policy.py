"""What the operator wants, as values.

Law: a Policy knows nothing of files or of the environment; `settings` makes it from both.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from .fleet import InterfaceKind


class Mode(StrEnum):
    """enforce: drop what is not allowed; audit: count and log it, drop nothing."""

    ENFORCE = "enforce"
    AUDIT = "audit"


class Scope(StrEnum):
    """Which Droplets count as peers before tags are looked at."""

    VPC = "vpc"
    REGION = "region"
    ACCOUNT = "account"


class Unit(StrEnum):
    """The period of a Rate."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` (1 or more) times in each `unit`."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


@dataclass(frozen=True, slots=True)
class Peers:
    """Who is a peer: everybody in scope, and carrying `tag` (canonical case) when one is given."""

    scope: Scope = Scope.VPC
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class InterfacePolicy:
    """What holds on one interface. Managed means: default-deny inbound on it."""

    managed: bool
    allow_peers: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole of it. The default is the old droplan's: peers of my VPC, private interface."""

    mode: Mode = Mode.ENFORCE
    peers: Peers = field(default_factory=Peers)
    private: InterfacePolicy = InterfacePolicy(managed=True, allow_peers=True)
    public: InterfacePolicy = InterfacePolicy(managed=False, allow_peers=False)
    denied_log: Rate | None = Rate(60, Unit.MINUTE)

    def on(self, kind: InterfaceKind) -> InterfacePolicy:
        """The part that concerns one kind of interface."""
        return self.private if kind is InterfaceKind.PRIVATE else self.public
