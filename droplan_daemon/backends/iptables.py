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
5. What holds for a while is written whole before its lease runs, and that is one datagram. Whenever we are
   killed the old verdicts hold, or those of the lease until the kernel ends it.

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
from droplan_daemon.model.plan import AddElements, Arm, Disarm, RemoveElements
from droplan_daemon.model.ruleset import AddressSet, Ruleset
from droplan_daemon.policy.lease import split

from . import iptables_plain as plain
from .ipset_lease import NAMES as LEASES
from .ipset_leases import IpsetLeases
from .ipset_shape import kernel_name, spare_name
from .ipset_text import render as render_sets
from .iptables_encode import encode as encode_plain
from .iptables_family import without
from .iptables_lease import decode, encode, without_lease
from .iptables_names import BUILT_IN, fork
from .iptables_program import Program, where
from .iptables_rules import UnfitError
from .iptables_text import Saved, changes, packets, saved, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.model.plan import Plan

    from .ipset import IpSets
    from .ipset_lease import Lease
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
    leases: "Mapping[str, Lease]"
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
        self._ipset = self.has_leases = ipset
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
        left = {name: one.left for name, one in seen.leases.items()} if self._ipset else {}
        running = {name: seconds for name, seconds in left.items() if seconds is not None}
        return Observation(found, seen.generation, counters, running)

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
            self._last(plan)

    def script(self, ruleset: Ruleset) -> str:
        """The body of the boot script: sets, then the rules of each family that is not left out. PURE.

        Of what holds for a while there is nothing in it.
        """
        ruleset = split(ruleset).base or Ruleset()
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
        leases = IpsetLeases(self._ip_sets(), tuple(tables)).observe() if used else {}
        sets = {name: one for name, one in found.items() if one.family in tables}
        hidden = {name: one for name, one in found.items() if name not in sets}
        ours = tuple((family, *found.table.items()) for family, found in tables.items())
        lent = tuple((name, one.families, one.odd) for name, one in leases.items())
        digest = hash((ours, lent, *sets.values())) & 0x7FFF_FFFF_FFFF_FFFF
        return _Seen(tables, sets, hidden, sizes, leases, digest)

    def _sizes(self) -> dict[str, int | None]:
        headers = self._ip_sets().headers()
        return {header.name: header.count for header in headers if header.name not in LEASES}

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
            read = decode(tables, seen.sets, seen.leases)
            odd = [name for name, one in seen.leases.items() if one.odd]
            return replace(read, flags=read.flags | {f"foreign lease {odd[0]}"}) if read and odd else read
        found = plain.decode(tables)
        if not seen.sets and not seen.leases:
            return found
        return replace(found or Ruleset(), flags=frozenset({"ip sets"}))

    def _tables(self, ruleset: Ruleset | None) -> "dict[Family, Table]":
        if ruleset is None:
            return {family: dict.fromkeys(BUILT_IN, ()) for family in Family}
        try:
            return encode(ruleset) if self._ipset else plain.expand(encode_plain(ruleset), ruleset.sets)
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
            if seen.sets or seen.leases:
                self._ip_sets().retire(seen.sets, {})
                self._leases(seen).destroy(seen.leases)
            return
        if any(one.odd for one in seen.leases.values()):
            seen = self._without_odd(seen)
        sets, after = self._ip_sets(), desired.sets if desired else {}
        beside = sets.prepare(seen.sets, after, rules_change=structural) if after else frozenset()
        self._lend(desired, seen)
        if structural or beside:
            self._write(seen.tables, _renamed(tables, beside))
        if beside:
            sets.settle(beside, after)
            self._write({family: self._read(family) for family in tables}, tables)
        if structural or beside or seen.sets.keys() - after.keys():
            sets.retire(seen.sets, after)
        self._leases(seen).destroy(seen.leases.keys() - (desired.leases if desired else ()))
        if seen.hidden and desired is None:
            with suppress(CommitConflict):  # rules that nobody here can see may still name them
                sets.retire(seen.hidden, {})

    def _leases(self, seen: _Seen) -> IpsetLeases:
        return IpsetLeases(self._ip_sets(), tuple(seen.tables))

    def _lend(self, desired: Ruleset | None, seen: _Seen) -> None:
        """Have the sets of leases stand that rules will ask; what no rule asks yet does not run."""
        for lease in desired.leases if desired else ():
            asked = all(fork(BUILT_IN[0], lease) in found.table for found in seen.tables.values())
            if lease not in seen.leases:
                self._leases(seen).make(lease)
            elif not asked:
                self._leases(seen).end(lease)

    def _last(self, plan: "Plan") -> None:
        """Arm and end leases, each at one moment. Raises CommitConflict where one is gone."""
        for change in plan.changes:
            match change:
                case Arm(lease, seconds):
                    IpsetLeases(self._ip_sets(), self._held()).arm(lease, seconds)
                case Disarm(lease):
                    IpsetLeases(self._ip_sets(), self._held()).end(lease)

    def _without_odd(self, seen: _Seen) -> _Seen:
        """What somebody made of a lease is out of the rules, and gone."""
        self._write(seen.tables, {family: without_lease(one.table) for family, one in seen.tables.items()})
        self._leases(seen).destroy(seen.leases)
        return replace(seen, tables={family: self._read(family) for family in seen.tables}, leases={})

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
