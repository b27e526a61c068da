"""What the operator wants, as values.

Law: a Policy knows nothing of files or of the environment; `settings` makes it from both.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from .fleet import InterfaceKind

if TYPE_CHECKING:
    from .selector import Selector


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
    """Who is a peer: everybody in scope, and carrying `tag` (canonical case) when one is given.

    `max_peers`: a Fleet that would let more Droplets in is not enforced. `max_stale`: seconds without a
    complete answer after which no Droplet is let in any more; None: they stay, however long it lasts.
    """

    scope: Scope = Scope.VPC
    tag: str | None = None
    max_peers: int = 20_000
    max_stale: float | None = None


class Outbound(StrEnum):
    """What happens to outbound traffic that no rule allows."""

    ACCEPT = "accept"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class InterfacePolicy:
    """What holds on one interface. Managed means: default-deny inbound on it.

    `outbound` drop: default-deny outbound too; on an interface that is not managed it says nothing.
    """

    managed: bool
    allow_peers: bool
    outbound: Outbound = Outbound.ACCEPT


class PortProtocol(StrEnum):
    """What an operator may name in `ports`."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ICMPV6 = "icmpv6"


@dataclass(frozen=True, slots=True)
class Ports:
    """A protocol and, for tcp and udp, an inclusive range of destination ports (1 to 65535)."""

    protocol: PortProtocol
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        if not self.first:
            return self.protocol.value
        span = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{span}/{self.protocol}"


class Direction(StrEnum):
    """Seen from the Droplet that enforces the rule."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True)
class Allow:
    """One `[[allow]]`: on the Droplets that `on` picks, traffic from (or to) `who` on these ports.

    No `ports`: every protocol and port.
    """

    name: str
    on: "Selector"
    who: "Selector"
    direction: Direction = Direction.INBOUND
    ports: tuple[Ports, ...] = ()
    interface: InterfaceKind = InterfaceKind.PRIVATE


class Lifeline(StrEnum):
    """What stays alive under default-deny, unless it is switched off by name."""

    ICMP_ERRORS = "icmp-errors"
    NEIGHBOUR_DISCOVERY = "neighbour-discovery"
    DHCP = "dhcp"
    DNS = "dns"
    NTP = "ntp"
    METADATA = "metadata"
    API = "api"


@dataclass(frozen=True, slots=True)
class InterfaceOverride:
    """The keys of an interface section that an override sets; None: as it was."""

    managed: bool | None = None
    allow_peers: bool | None = None
    outbound: Outbound | None = None


class BackendName(StrEnum):
    """What holds the rules; auto: iptables on a host whose own rules are kept by iptables, else nftables."""

    AUTO = "auto"
    NFTABLES = "nftables"
    IPTABLES = "iptables"


@dataclass(frozen=True, slots=True)
class Firewall:
    """How the rules get into the kernel. `ipset`: with iptables, members are in ip sets."""

    backend: BackendName = BackendName.AUTO
    ipset: bool = True


@dataclass(frozen=True, slots=True)
class FirewallOverride:
    """The keys of [firewall] that an override sets; None: as it was."""

    backend: BackendName | None = None
    ipset: bool | None = None


@dataclass(frozen=True, slots=True)
class Management:
    """How people get at this Droplet: ports of tcp and udp. `required`: a policy must leave a way in."""

    ports: tuple[Ports, ...] = (Ports(PortProtocol.TCP, 22, 22),)
    required: bool = True


class Unset(StrEnum):
    """A value that was not given, where None means something."""

    UNSET = "unset"


@dataclass(frozen=True, slots=True)
class Override:
    """One `[[override]]`: for the Droplets that `on` picks. Later ones win, key by key.

    `denied_log` is a Rate, None for "off", or UNSET.
    """

    on: "Selector"
    mode: Mode | None = None
    private: InterfaceOverride = InterfaceOverride()
    public: InterfaceOverride = InterfaceOverride()
    denied_log: Rate | Unset | None = Unset.UNSET
    firewall: FirewallOverride = FirewallOverride()


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole of it. The default is the old droplan's: peers of my VPC, private interface."""

    mode: Mode = Mode.ENFORCE
    peers: Peers = field(default_factory=Peers)
    private: InterfacePolicy = InterfacePolicy(managed=True, allow_peers=True)
    public: InterfacePolicy = InterfacePolicy(managed=False, allow_peers=False)
    denied_log: Rate | None = Rate(60, Unit.MINUTE)
    allows: tuple[Allow, ...] = ()
    overrides: tuple[Override, ...] = ()
    lifelines: frozenset[Lifeline] = frozenset(Lifeline)
    firewall: Firewall = Firewall()
    management: Management = Management()

    def on(self, kind: InterfaceKind) -> InterfacePolicy:
        """The part that concerns one kind of interface."""
        return self.private if kind is InterfaceKind.PRIVATE else self.public
