"""The iptables backend: our chains in the filter tables of both families, members in ip sets.

Laws:
1. Chains, rules, policies and counters of others are never touched; a chain that has a name of ours and
   is somebody else's is refused.
2. Each family changes in one commit of the kernel: one run of iptables-restore per change of the rules,
   none where only members differ (two, where members that rules see change with the rules).
3. Nobody who may come in before and after a change is shut out in between, nobody else let in: new
   sets stand before the rules that name them, old ones go after.
4. iptables counts no generations: ours is a digest of what is ours. A commit that changes rules looks
   again before it writes; one that changes members looks at the sets.

A family that this machine has no program for (or no IPv6 at all) is left out, and said so: `fit` takes it
out of what is desired, and nothing of it is read or written, its ip sets neither.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from errno import EINVAL
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.apply import apply
from droplan_daemon.effects import Generation, Observation
from droplan_daemon.errors import CommitConflict, CommitRejected, DroplanError, Refusal
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.plan import AddElements, RemoveElements
from droplan_daemon.model.ruleset import AddressSet, Ruleset

from . import iptables_plain as plain
from .ipset_shape import kernel_name, spare_name
from .ipset_text import render as render_sets
from .iptables_decode import decode
from .iptables_encode import encode
from .iptables_family import without
from .iptables_names import BUILT_IN
from .iptables_program import Program, where
from .iptables_rules import UnfitError
from .iptables_text import Saved, changes, packets, saved, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.model.plan import Plan

    from .ipset import IpSets
    from .iptables_encode import Table

_NO_IPSET = (
    "there is no program ipset: these rules are enforced without it, but boot cannot restore them; "
    "install the package ipset, or set firewall.ipset = false"
)
_OF_MEMBERS = (AddElements, RemoveElements)
_PROGRAM = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was there at one look; `sets` are ip sets, and `sizes` the numbers of entries of all of them.

    Of a family that is left out there is no table, and its sets are `hidden`.
    """

    tables: dict[Family, Saved]
    sets: dict[str, AddressSet]
    hidden: dict[str, AddressSet]
    sizes: dict[str, int | None]
    generation: Generation


class IptablesBackend:
    """iptables and ip sets of this network namespace. Blocking; for one thread at a time.

    `variant`: `nft`, `legacy`, or None for what `iptables` is here. `deadline`, in seconds, is for
    answers of the kernel and for the lock of iptables. Not `alone`: ip sets of ours belong to somebody
    else's rules, such as another variant's, and are neither read nor written.
    """

    name = "iptables"

    def __init__(
        self,
        variant: str | None = None,
        *,
        ipset: bool = True,
        deadline: float = 5.0,
        alone: bool = True,
    ) -> None:
        self._programs = {family: Program(family, variant, deadline) for family in Family}
        self._ipset = ipset
        self._deadline = deadline
        self._alone = alone
        self.variant = variant or ""
        self._sets: IpSets | None = None
        self._seen: tuple[_Seen, Ruleset | None] | None = None

    def close(self) -> None:
        """Close the socket; rules and sets stay."""
        if self._sets:
            self._sets.close()

    def cautions(self) -> tuple[str, ...]:
        """What a person should know: a family that is left out, what boot will lack, and what to do."""
        absent = tuple(self._programs[family].absence for family in Family if family not in self._held())
        return (*absent, _NO_IPSET) if self._ipset and not where("ipset") else absent

    def fit(self, ruleset: Ruleset) -> Ruleset:
        """The same without a family that this host has no program for, or that its kernel has not."""
        for family in Family:
            if family not in self._held():
                ruleset = without(ruleset, family)
        return ruleset

    def generation(self) -> Generation:
        """A digest of our rules in both families and of our sets; some milliseconds."""
        return self._look().generation

    def observe(self) -> Observation:
        """What the kernel holds of ours, with packet counters. Raises Refusal for a stranger's chain."""
        seen = self._look()
        found = self._ruleset(seen)
        self._seen = seen, found
        counters: dict[tuple[str, str], int] = {}
        for table in seen.tables.values():
            for key, number in packets(table):
                counters[key] = counters.get(key, 0) + number
        return Observation(found, seen.generation, counters)

    def commit(self, plan: "Plan", at: Generation) -> None:
        """All of the Plan or nothing (of each family), if the generation is still `at`."""
        if self._seen is None or self._seen[0].generation != at:
            self.observe()
        if self._seen is None or self._seen[0].generation != at:
            raise CommitConflict("the rules of iptables changed since they were read")
        seen, found = self._seen
        desired = apply(plan, found)
        if not plan:
            return
        self._seen = None
        if self._ipset and desired and all(isinstance(change, _OF_MEMBERS) for change in plan.changes):
            self._change_members(desired.sets, seen)
        else:
            self._become(desired, seen)

    def script(self, ruleset: Ruleset) -> str:
        """The body of the boot script: sets, then the rules of each family that is not left out. PURE."""
        tables = self._tables(ruleset)
        sets = render_sets(ruleset.sets) if self._ipset else ""
        rules = {name: whole(tables[family]) if family in tables else "" for family, name in _PROGRAM.items()}
        parts = ("ipset", sets), *rules.items()
        return "".join(f"#: {name}\n{text}" for name, text in parts)

    def _look(self) -> _Seen:
        tables = {family: self._read(family) for family in self._held()}
        used = self._alone and (self._ipset or _kernel_has_sets())
        sizes = self._sizes() if used else {}
        found = self._ip_sets().observe() if used else {}
        sets = {name: one for name, one in found.items() if one.family in tables}
        hidden = {name: one for name, one in found.items() if name not in sets}
        ours = tuple((family, *found.table.items()) for family, found in tables.items())
        return _Seen(tables, sets, hidden, sizes, hash((ours, *sets.values())) & 0x7FFF_FFFF_FFFF_FFFF)

    def _sizes(self) -> dict[str, int | None]:
        return {header.name: header.count for header in self._ip_sets().headers()}

    def _read(self, family: Family) -> Saved:
        return saved(self._programs[family].save())

    def _held(self) -> tuple[Family, ...]:
        """The families that are not left out; without any program it is IPv4, whose absence is then told."""
        return tuple(family for family in Family if self._programs[family].present) or (Family.IPV4,)

    def _ruleset(self, seen: _Seen) -> Ruleset | None:
        strangers = frozenset[str]().union(*(table.strangers for table in seen.tables.values()))
        if strangers:
            names = ", ".join(sorted(strangers))
            message = (
                f"iptables holds chains with names of droplan's that it did not write: {names}; "
                f"`droplan migrate` takes over those of the old droplan, others must be renamed or removed"
            )
            raise Refusal(message, reason="foreign_chain")
        tables = {family: found.table for family, found in seen.tables.items()}
        if self._ipset:
            return decode(tables, seen.sets)
        found = plain.decode(tables)
        if not seen.sets:
            return found
        return replace(found or Ruleset(), flags=frozenset({"ip sets"}))

    def _tables(self, ruleset: Ruleset | None) -> "dict[Family, Table]":
        if ruleset is None:
            return {family: dict.fromkeys(BUILT_IN, ()) for family in Family}
        try:
            tables = encode(ruleset)
            return tables if self._ipset else plain.expand(tables, ruleset.sets)
        except UnfitError as error:
            raise CommitRejected(str(error), errno=EINVAL) from error

    def _change_members(self, after: "Mapping[str, AddressSet]", seen: _Seen) -> None:
        """In the sets that the rules name already: no program runs."""
        if self._sizes() != seen.sizes:
            raise CommitConflict("the ip sets changed since they were read")
        self._ip_sets().prepare(seen.sets, after, rules_change=False)

    def _become(self, desired: Ruleset | None, seen: _Seen) -> None:
        tables = {family: table for family, table in self._tables(desired).items() if family in seen.tables}
        structural = any(changes(seen.tables[family], table) for family, table in tables.items())
        if structural and self._look().generation != seen.generation:
            raise CommitConflict("the rules of iptables changed since they were read")
        if not self._ipset:
            self._write(seen.tables, tables)
            if seen.sets:
                self._ip_sets().retire(seen.sets, {})
            return
        sets, after = self._ip_sets(), desired.sets if desired else {}
        beside = sets.prepare(seen.sets, after, rules_change=structural) if after else frozenset()
        if structural or beside:
            self._write(seen.tables, _renamed(tables, beside))
        if beside:
            sets.settle(beside, after)
            self._write({family: self._read(family) for family in tables}, tables)
        if structural or beside or seen.sets.keys() - after.keys():
            sets.retire(seen.sets, after)
        if seen.hidden and desired is None:
            with suppress(CommitConflict):  # rules that nobody here can see may still name them
                sets.retire(seen.hidden, {})

    def _write(self, before: "Mapping[Family, Saved]", after: "Mapping[Family, Table]") -> None:
        """Every family; when the second cannot be written, the first is made what it was."""
        done: list[Family] = []
        for family, table in after.items():
            text = changes(before[family], table)
            if text:
                try:
                    self._programs[family].restore(text)
                except DroplanError:
                    self._undo(done, before, after)
                    raise
                done.append(family)

    def _undo(
        self, done: list[Family], before: "Mapping[Family, Saved]", after: "Mapping[Family, Table]"
    ) -> None:
        for family in done:
            whole_again = replace(before[family], table=after[family])
            self._programs[family].restore(changes(whole_again, before[family].table))

    def _ip_sets(self) -> "IpSets":
        if self._sets is None:
            from .ipset import IpSets  # noqa: PLC0415 - pyroute2, for those who use it

            self._sets = IpSets(self._deadline)
        return self._sets


def _renamed(tables: "Mapping[Family, Table]", beside: frozenset[str]) -> "dict[Family, Table]":
    """The tables with spares in place of these sets."""
    names = {kernel_name(name): spare_name(name) for name in beside}
    return {
        family: {
            chain: tuple(replace(line, set=names.get(line.set, line.set)) if line else None for line in lines)
            for chain, lines in table.items()
        }
        for family, table in tables.items()
    }


def _kernel_has_sets() -> bool:
    """Whether there can be any ip set: to ask would load the module."""
    return Path("/sys/module/ip_set").is_dir()
