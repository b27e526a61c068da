"""What a Plan does to a Ruleset, as strictly as the kernel does it. PURE.

Laws:
1. All or nothing: the first Change that cannot be made raises, and nothing has changed.
2. The errno is the one that the kernel gives for the same mistake; the contract suite runs
   both and compares.

This is the meaning of a Plan. The fake backend is this module and a counter.
"""

import errno
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from .errors import CommitRejected
from .model.plan import (
    AddElements,
    AddEntries,
    Arm,
    CreateChain,
    CreateLease,
    CreateMap,
    CreateSet,
    CreateTable,
    DeleteChain,
    DeleteLease,
    DeleteMap,
    DeleteRule,
    DeleteSet,
    DeleteTable,
    Disarm,
    InsertRule,
    RemoveElements,
    RemoveEntries,
)
from .model.ruleset import Armed, Chain, Dispatch, From, PortMap, Ruleset, SetKind, To, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model.addresses import Element
    from .model.plan import Change, Plan
    from .model.ruleset import AddressSet, PortEntry, Rule


class _Impossible(Exception):
    """A Change that cannot be made; args[0] is the errno."""


def apply(plan: "Plan", ruleset: "Ruleset | None") -> "Ruleset | None":
    """The Ruleset after the Plan; CommitRejected with errno and index when it does not fit."""
    for index, change in enumerate(plan.changes):
        try:
            ruleset = _change(change, ruleset)
        except _Impossible as error:
            number = error.args[0]
            message = f"{change}: {errno.errorcode.get(number, number)}"
            raise CommitRejected(message, errno=number, change=index) from error
    return _canonical(ruleset)


def _canonical(ruleset: "Ruleset | None") -> "Ruleset | None":
    if ruleset is None:
        return None
    return replace(
        ruleset,
        sets=dict(sorted(ruleset.sets.items())),
        maps=dict(sorted(ruleset.maps.items())),
        chains=dict(sorted(ruleset.chains.items())),
    )


def _change(change: "Change", ruleset: "Ruleset | None") -> "Ruleset | None":
    if isinstance(change, CreateTable):
        _require(ruleset is None, errno.EEXIST)
        return Ruleset(comment=change.comment)
    if ruleset is None:
        raise _Impossible(errno.ENOENT)
    if isinstance(change, DeleteTable):
        return None
    if isinstance(change, CreateSet | DeleteSet | AddElements | RemoveElements):
        return replace(ruleset, sets=_change_sets(change, ruleset))
    if isinstance(change, CreateMap | DeleteMap | AddEntries | RemoveEntries):
        return replace(ruleset, maps=_change_maps(change, ruleset))
    if isinstance(change, CreateLease | DeleteLease | Arm | Disarm):
        return replace(ruleset, leases=_change_leases(change, ruleset))
    return replace(ruleset, chains=_change_chains(change, ruleset))


def _require(condition: bool, number: int) -> None:
    if not condition:
        raise _Impossible(number)


def _change_sets(
    change: CreateSet | DeleteSet | AddElements | RemoveElements, ruleset: Ruleset
) -> "dict[str, AddressSet]":
    sets = dict(ruleset.sets)
    if isinstance(change, CreateSet):
        _require(change.set.name not in _named(ruleset), errno.EEXIST)
        return sets | {change.set.name: change.set}
    name = change.name if isinstance(change, DeleteSet) else change.set
    _require(name in sets, errno.ENOENT)
    if isinstance(change, DeleteSet):
        _require(not any(name in _sets_used(rule) for rule in _rules(ruleset)), errno.EBUSY)
        del sets[name]
        return sets
    sets[name] = replace(sets[name], elements=_change_elements(change, sets[name]))
    return sets


def _named(ruleset: Ruleset) -> "frozenset[str]":
    """Sets, maps and leases: to the kernel all are sets, and no two have one name."""
    return ruleset.leases | ruleset.sets.keys() | ruleset.maps.keys()


def _change_leases(change: CreateLease | DeleteLease | Arm | Disarm, ruleset: Ruleset) -> "frozenset[str]":
    """How long a lease runs is not in the Ruleset, so that arming and ending one changes nothing in it."""
    if isinstance(change, CreateLease):
        _require(change.name not in _named(ruleset), errno.EEXIST)
        return ruleset.leases | {change.name}
    name = change.name if isinstance(change, DeleteLease) else change.lease
    _require(name in ruleset.leases, errno.ENOENT)
    if isinstance(change, DeleteLease):
        _require(not any(name in _leases_used(rule) for rule in _rules(ruleset)), errno.EBUSY)
        return ruleset.leases - {name}
    return ruleset.leases


def _change_elements(change: AddElements | RemoveElements, target: "AddressSet") -> "frozenset[Element]":
    if isinstance(change, RemoveElements):
        _require(change.elements <= target.elements, errno.ENOENT)
        return target.elements - change.elements
    together = target.elements | change.elements
    if target.kind is SetKind.RANGES:
        _require(not change.elements & target.elements, errno.EEXIST)
        _require(_disjoint(together, target.family.width), errno.EEXIST)
        return together
    _require_room(change, target)
    return together


def _require_room(change: AddElements, target: "AddressSet") -> None:
    """The kernel takes elements in order, and stops at the first that is there or one too many."""
    ordered = sorted(change.elements)
    known = next((n for n, element in enumerate(ordered) if element in target.elements), len(ordered))
    room = target.capacity - len(target.elements) if target.capacity else len(ordered)
    _require(known == len(ordered) or known > room, errno.EEXIST)
    _require(len(ordered) <= room, errno.ENFILE)


def _disjoint(ranges: "Iterable[Element]", width: int) -> bool:
    ordered = sorted(ranges)
    return all(a[width:] < b[:width] for a, b in pairwise(ordered))


def _change_maps(
    change: CreateMap | DeleteMap | AddEntries | RemoveEntries, ruleset: Ruleset
) -> dict[str, PortMap]:
    maps = dict(ruleset.maps)
    if isinstance(change, CreateMap):
        _require(change.name not in _named(ruleset), errno.EEXIST)
        return maps | {change.name: PortMap(change.name)}
    name = change.name if isinstance(change, DeleteMap) else change.map
    _require(name in maps, errno.ENOENT)
    if isinstance(change, DeleteMap):
        _require(not any(name == _dispatched(rule) for rule in _rules(ruleset)), errno.EBUSY)
        del maps[name]
        return maps
    maps[name] = replace(maps[name], entries=_change_entries(change, maps[name], ruleset))
    return maps


def _change_entries(
    change: AddEntries | RemoveEntries, target: PortMap, ruleset: Ruleset
) -> "frozenset[PortEntry]":
    if isinstance(change, RemoveEntries):
        # The kernel looks at the ports alone when it removes.
        spans = {entry[:2] for entry in change.entries}
        _require(spans <= {entry[:2] for entry in target.entries}, errno.ENOENT)
        return frozenset(entry for entry in target.entries if entry[:2] not in spans)
    together = set(target.entries)
    for entry in sorted(change.entries):  # as they are sent: the first that is wrong is the one complained of
        first, last, chain = entry
        _require(chain in ruleset.chains, errno.ENOENT)
        _require(ruleset.chains[chain].hook is None, errno.EOPNOTSUPP)
        _require(all(last < one[0] or one[1] < first for one in together), errno.EEXIST)
        together.add(entry)
    return frozenset(together)


def _change_chains(
    change: CreateChain | DeleteChain | InsertRule | DeleteRule, ruleset: Ruleset
) -> dict[str, Chain]:
    chains = dict(ruleset.chains)
    if isinstance(change, CreateChain):
        _require(change.name not in chains, errno.EEXIST)
        return chains | {change.name: Chain(change.name, change.hook)}
    name = change.name if isinstance(change, DeleteChain) else change.chain
    _require(name in chains, errno.ENOENT)
    if isinstance(change, DeleteChain):
        others = (rule for chain in chains.values() if chain.name != name for rule in chain.rules)
        _require(not any(_entered(rule) == name for rule in others), errno.EBUSY)
        _require(not any(name == e[2] for m in ruleset.maps.values() for e in m.entries), errno.EBUSY)
        del chains[name]
        return chains
    chains[name] = replace(chains[name], rules=_change_rules(change, chains[name], ruleset))
    return chains


def _change_rules(change: InsertRule | DeleteRule, chain: Chain, ruleset: Ruleset) -> "tuple[Rule, ...]":
    rules, index = chain.rules, change.index
    if isinstance(change, DeleteRule):
        _require(index < len(rules), errno.ENOENT)
        return rules[:index] + rules[index + 1 :]
    _require(index <= len(rules), errno.ENOENT)
    _require(_sets_used(change.rule) <= ruleset.sets.keys(), errno.ENOENT)
    _require(_leases_used(change.rule) <= ruleset.leases, errno.ENOENT)
    dispatched = _dispatched(change.rule)
    _require(dispatched is None or dispatched in ruleset.maps, errno.ENOENT)
    entered = _entered(change.rule)
    if entered is not None:
        _require(entered in ruleset.chains, errno.ENOENT)
        _require(ruleset.chains[entered].hook is None, errno.EOPNOTSUPP)
    return (*rules[:index], change.rule, *rules[index:])


def _rules(ruleset: Ruleset) -> "Iterable[Rule]":
    return (rule for chain in ruleset.chains.values() for rule in chain.rules)


def _sets_used(rule: "Rule") -> set[str]:
    return {match.set for match in rule.matches if isinstance(match, From | To)}


def _leases_used(rule: "Rule") -> set[str]:
    return {match.lease for match in rule.matches if isinstance(match, Armed)}


def _entered(rule: "Rule") -> str | None:
    return rule.verdict.chain if isinstance(rule.verdict, Verdict) else None


def _dispatched(rule: "Rule") -> str | None:
    return rule.verdict.map if isinstance(rule.verdict, Dispatch) else None
