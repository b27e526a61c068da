"""What the kernel should hold, or does hold: desired and observed are one type.

Laws:
1. A Ruleset says everything that decides a verdict: table flags, hooks, chains in full,
   the order of rules, set schemas and elements. Two equal Rulesets judge alike.
2. It says nothing that does not: handles, counters and generations belong to a backend.
3. It is written in matches, not in bytecode, so that netlink, nft text and iptables are
   three renderings of it.

An absent table is `None`, not an empty Ruleset: they judge alike, but only one is there.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from .policy import Rate

if TYPE_CHECKING:
    from .addresses import Element, Family


class SetKind(StrEnum):
    """hosts: a hash of single addresses; ranges: disjoint intervals."""

    HOSTS = "hosts"
    RANGES = "ranges"


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A named set of addresses of one family.

    `capacity` is declared to the kernel (0: not declared): a hash that grows while it is
    read gives short answers. Elements are packed; see `model.addresses`.
    """

    name: str
    family: "Family"
    kind: SetKind
    capacity: int = 0
    elements: "frozenset[Element]" = frozenset()

    @property
    def schema(self) -> "tuple[str, Family, SetKind, int]":
        """All that cannot be changed without making the set anew."""
        return self.name, self.family, self.kind, self.capacity


@dataclass(frozen=True, slots=True)
class PortMap:
    """A named verdict map: destination ports of tcp or udp to the chain that judges them.

    `entries` are (first port, last port, chain), disjoint. A rule with a Dispatch jumps through
    it in the time of one lookup, however many rules an operator wrote.
    """

    name: str
    entries: "frozenset[PortEntry]" = frozenset()


PortEntry = tuple[int, int, str]
"""First and last port (inclusive), and the chain to jump to."""


class Protocol(IntEnum):
    """IANA protocol numbers that a rule may name."""

    ICMP = 1
    TCP = 6
    UDP = 17
    ICMPV6 = 58


class CtState(IntEnum):
    """Connection tracking states, as bits (linux/netfilter/nf_conntrack_common.h)."""

    INVALID = 1
    ESTABLISHED = 2
    RELATED = 4
    NEW = 8
    UNTRACKED = 64


@dataclass(frozen=True, slots=True)
class Interface:
    """The packet came in on (or, `outbound`, leaves by) this interface."""

    name: str
    outbound: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Its connection is in one of these states."""

    states: frozenset[CtState]


@dataclass(frozen=True, slots=True)
class Reply:
    """It travels against the direction in which its connection was opened."""


@dataclass(frozen=True, slots=True)
class From:
    """Its source address is in this set."""

    set: str
    family: "Family"


@dataclass(frozen=True, slots=True)
class To:
    """Its destination address is in this set."""

    set: str
    family: "Family"


@dataclass(frozen=True, slots=True)
class Transport:
    """Its protocol is this one and, where given, its ports are in these inclusive ranges."""

    protocol: Protocol
    source: tuple[int, int] | None = None
    destination: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Icmp:
    """It is ICMP of this family with a type in this inclusive range."""

    family: "Family"
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something in the kernel that droplan never writes; it equals nothing that is desired."""

    description: str


@dataclass(frozen=True, slots=True)
class Armed:
    """The lease of this name has not run out. It says nothing of the packet."""

    lease: str


Match = Interface | State | Reply | From | To | Transport | Icmp | Armed | Foreign


class Action(StrEnum):
    """What ends a rule."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An Action, and the chain that a jump or goto enters."""

    action: Action
    chain: str | None = None


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Jump to the chain that the map has for the destination port; without one, go on."""

    map: str


@dataclass(frozen=True, slots=True)
class Log:
    """Write a kernel log line with this prefix (at most 127 bytes), at most so often."""

    prefix: str
    rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """If all `matches` hold: count, log, decide. `name` is its comment in the kernel."""

    name: str
    matches: tuple[Match, ...] = ()
    counter: bool = False
    log: Log | None = None
    verdict: Verdict | Dispatch | None = None


class HookPoint(StrEnum):
    """Where in the network stack a base chain is called (linux/netfilter.h)."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


@dataclass(frozen=True, slots=True)
class Hook:
    """A base chain's place: hook, priority, and the verdict at its end."""

    point: HookPoint
    priority: int
    policy: Action = Action.ACCEPT
    kind: str = "filter"


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order; with a Hook it is a base chain."""

    name: str
    hook: Hook | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruleset:
    """One table: flags as the kernel names them (`dormant`, `owner`), comment, sets, maps, chains.

    Sets, maps and chains are keyed and ordered by name; a map's name is no set's. `leases` are the names
    of what rules ask for with Armed, and are neither a set's nor a map's. How long one still runs decides
    a verdict too, but by the kernel's clock, and is no part of the Ruleset: the Observation tells it.
    """

    sets: dict[str, AddressSet] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    comment: str = ""
    maps: dict[str, PortMap] = field(default_factory=dict)
    leases: frozenset[str] = frozenset()


def ruleset(
    sets: tuple[AddressSet, ...],
    chains: tuple[Chain, ...],
    comment: str = "",
    maps: tuple[PortMap, ...] = (),
    leases: frozenset[str] = frozenset(),
) -> Ruleset:
    """A Ruleset in canonical order."""
    return Ruleset(
        leases=leases,
        maps={m.name: m for m in sorted(maps, key=lambda m: m.name)},
        sets={s.name: s for s in sorted(sets, key=lambda s: s.name)},
        chains={c.name: c for c in sorted(chains, key=lambda c: c.name)},
        comment=comment,
    )
