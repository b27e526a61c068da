"""The difference between two Rulesets, as printable data.

Laws:
1. A Plan is ordered: each Change is valid after those before it, and the whole is one
   transaction.
2. Changes are strict: what is added was not there, what is removed was. A world that moved
   on makes the kernel refuse the whole, never half of it.
3. `str(change)` is one line that a person reads; no backend parses it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .addresses import format_element

if TYPE_CHECKING:
    from .addresses import Element, Family
    from .ruleset import AddressSet, Hook, PortEntry, Rule


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Make the (absent) table, with neither sets nor chains."""

    comment: str = ""

    def __str__(self) -> str:
        return "create table"


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Remove the table and everything in it."""

    def __str__(self) -> str:
        return "delete table"


@dataclass(frozen=True, slots=True)
class CreateSet:
    """Make a set; its elements come by AddElements."""

    set: "AddressSet"

    def __str__(self) -> str:
        return f"create set {self.set.name}"


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """Remove a set that no rule names any more."""

    name: str

    def __str__(self) -> str:
        return f"delete set {self.name}"


@dataclass(frozen=True, slots=True)
class AddElements:
    """Put elements into a set that holds none of them."""

    set: str
    family: "Family"
    elements: "frozenset[Element]"

    def __str__(self) -> str:
        return f"add to {self.set}: {_sample(self.elements, self.family)}"


@dataclass(frozen=True, slots=True)
class RemoveElements:
    """Take elements out of a set that holds all of them."""

    set: str
    family: "Family"
    elements: "frozenset[Element]"

    def __str__(self) -> str:
        return f"remove from {self.set}: {_sample(self.elements, self.family)}"


@dataclass(frozen=True, slots=True)
class CreateMap:
    """Make a verdict map without entries."""

    name: str

    def __str__(self) -> str:
        return f"create map {self.name}"


@dataclass(frozen=True, slots=True)
class DeleteMap:
    """Remove a map that no rule names any more."""

    name: str

    def __str__(self) -> str:
        return f"delete map {self.name}"


@dataclass(frozen=True, slots=True)
class AddEntries:
    """Put entries into a map whose ports do not overlap them; their chains exist."""

    map: str
    entries: "frozenset[PortEntry]"

    def __str__(self) -> str:
        return f"add to {self.map}: {_ports(self.entries)}"


@dataclass(frozen=True, slots=True)
class RemoveEntries:
    """Take entries out of a map that holds all of them."""

    map: str
    entries: "frozenset[PortEntry]"

    def __str__(self) -> str:
        return f"remove from {self.map}: {_ports(self.entries)}"


@dataclass(frozen=True, slots=True)
class CreateChain:
    """Make a chain without rules."""

    name: str
    hook: "Hook | None" = None

    def __str__(self) -> str:
        return f"create chain {self.name}"


@dataclass(frozen=True, slots=True)
class DeleteChain:
    """Remove a chain without rules that nothing jumps to."""

    name: str

    def __str__(self) -> str:
        return f"delete chain {self.name}"


@dataclass(frozen=True, slots=True)
class InsertRule:
    """Put a rule at `index` of a chain (0-based, at most its length)."""

    chain: str
    index: int
    rule: "Rule"

    def __str__(self) -> str:
        return f"insert rule '{self.rule.name}' in {self.chain} at {self.index}"


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Remove the rule at `index` of a chain; `rule` is what stands there, for the reader."""

    chain: str
    index: int
    rule: "Rule"

    def __str__(self) -> str:
        return f"delete rule '{self.rule.name}' of {self.chain} at {self.index}"


@dataclass(frozen=True, slots=True)
class CreateLease:
    """Make a lease that has run out."""

    name: str

    def __str__(self) -> str:
        return f"create lease {self.name}"


@dataclass(frozen=True, slots=True)
class DeleteLease:
    """Remove a lease that no rule asks for any more, whether it still runs or not."""

    name: str

    def __str__(self) -> str:
        return f"delete lease {self.name}"


@dataclass(frozen=True, slots=True)
class Arm:
    """Have a lease run for so many seconds from the commit on, however long it still ran."""

    lease: str
    seconds: float

    def __str__(self) -> str:
        return f"arm lease {self.lease} for {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Disarm:
    """End a lease, if it still runs."""

    lease: str

    def __str__(self) -> str:
        return f"end lease {self.lease}"


Change = (
    CreateTable
    | DeleteTable
    | CreateSet
    | DeleteSet
    | AddElements
    | RemoveElements
    | CreateMap
    | DeleteMap
    | AddEntries
    | RemoveEntries
    | CreateChain
    | DeleteChain
    | InsertRule
    | DeleteRule
    | CreateLease
    | DeleteLease
    | Arm
    | Disarm
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in the order in which the kernel gets them; falsy when there is nothing to do."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.changes))


def _sample(elements: "frozenset[Element]", family: "Family", most: int = 8) -> str:
    shown = ", ".join(format_element(e, family) for e in sorted(elements)[:most])
    return shown if len(elements) <= most else f"{shown} and {len(elements) - most} more"


def _ports(entries: "frozenset[PortEntry]") -> str:
    return ", ".join(f"{first}-{last} to {chain}" for first, last, chain in sorted(entries))
