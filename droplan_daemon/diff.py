"""From what is to what should be: a Plan. PURE.

Laws:
1. `apply(diff(a, b), a) == b` and `diff(a, a)` is empty, for every two Rulesets.
2. What both have in common is not touched: a change of the fleet is a change of elements,
   and the counters of every rule that stays, stay.
3. What the kernel cannot change in place (set schemas, hooks, table flags) is a new table,
   swapped in the same transaction.
4. Leases are made and removed; how long they run is not in a Ruleset, and so nothing to differ in.
"""

from typing import TYPE_CHECKING

from .model.plan import (
    AddElements,
    AddEntries,
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
    InsertRule,
    Plan,
    RemoveElements,
    RemoveEntries,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .model.plan import Change
    from .model.ruleset import AddressSet, Chain, PortMap, Ruleset


def diff(observed: "Ruleset | None", desired: "Ruleset | None") -> Plan:
    """The Plan that turns one into the other."""
    if observed == desired:
        return Plan()
    if desired is None:
        return Plan((DeleteTable(),))
    if observed is None:
        return Plan(tuple(_build(desired)))
    if _needs_new_table(observed, desired):
        return Plan((DeleteTable(), *_build(desired)))
    return Plan(tuple(_edit(observed, desired)))


def _build(desired: "Ruleset") -> "Iterator[Change]":
    yield CreateTable(desired.comment)
    for new in desired.sets.values():
        yield from _create_set(new)
    yield from map(CreateLease, sorted(desired.leases))
    for chain in desired.chains.values():
        yield CreateChain(chain.name, chain.hook)
    for new_map in desired.maps.values():
        yield from _edit_map(None, new_map)
    for chain in desired.chains.values():
        for index, rule in enumerate(chain.rules):
            yield InsertRule(chain.name, index, rule)


def _create_set(new: "AddressSet") -> "Iterator[Change]":
    yield CreateSet(_emptied(new))
    if new.elements:
        yield AddElements(new.name, new.family, new.elements)


def _edit_map(old: "PortMap | None", new: "PortMap") -> "Iterator[Change]":
    if old is None:
        yield CreateMap(new.name)
    held = old.entries if old else frozenset()
    if held - new.entries:
        yield RemoveEntries(new.name, held - new.entries)
    if new.entries - held:
        yield AddEntries(new.name, new.entries - held)


def _emptied(new: "AddressSet") -> "AddressSet":
    return type(new)(new.name, new.family, new.kind, new.capacity)


def _needs_new_table(observed: "Ruleset", desired: "Ruleset") -> bool:
    return (
        observed.flags != desired.flags
        or observed.comment != desired.comment
        or any(observed.sets[n].schema != desired.sets[n].schema for n in _both(observed.sets, desired.sets))
        or any(
            observed.chains[n].hook != desired.chains[n].hook for n in _both(observed.chains, desired.chains)
        )
    )


def _both(one: "Mapping[str, object]", other: "Mapping[str, object]") -> list[str]:
    return [name for name in one if name in other]


def _edit(observed: "Ruleset", desired: "Ruleset") -> "Iterator[Change]":
    """Rules go first and come last, so that nothing is removed while it is in use."""
    for chain in observed.chains.values():
        yield from _deleted_rules(chain, desired.chains.get(chain.name))
    for new in desired.sets.values():
        yield from _edit_set(observed.sets.get(new.name), new)
    yield from map(CreateLease, sorted(desired.leases - observed.leases))
    for chain in desired.chains.values():
        if chain.name not in observed.chains:
            yield CreateChain(chain.name, chain.hook)
    for new_map in desired.maps.values():
        yield from _edit_map(observed.maps.get(new_map.name), new_map)
    for chain in desired.chains.values():
        yield from _inserted_rules(observed.chains.get(chain.name), chain)
    yield from (DeleteMap(name) for name in observed.maps if name not in desired.maps)
    yield from (DeleteChain(name) for name in observed.chains if name not in desired.chains)
    yield from (DeleteSet(name) for name in observed.sets if name not in desired.sets)
    yield from map(DeleteLease, sorted(observed.leases - desired.leases))


def _edit_set(old: "AddressSet | None", new: "AddressSet") -> "Iterator[Change]":
    if old is None:
        yield from _create_set(new)
        return
    gone, come = old.elements - new.elements, new.elements - old.elements
    if gone:
        yield RemoveElements(new.name, new.family, gone)
    if come:
        yield AddElements(new.name, new.family, come)


def _deleted_rules(old: "Chain", new: "Chain | None") -> "Iterator[Change]":
    """From the end backwards, so that the indices of those still to go stay right."""
    for tag, first, last, _, _ in reversed(_opcodes(old, new)):
        if tag in {"delete", "replace"}:
            for index in range(last - 1, first - 1, -1):
                yield DeleteRule(old.name, index, old.rules[index])


def _inserted_rules(old: "Chain | None", new: "Chain") -> "Iterator[Change]":
    """From the beginning, so that each index is where the rule ends up."""
    for tag, _, _, first, last in _opcodes(old, new):
        if tag in {"insert", "replace"}:
            for index in range(first, last):
                yield InsertRule(new.name, index, new.rules[index])


def _opcodes(old: "Chain | None", new: "Chain | None") -> "Sequence[tuple[str, int, int, int, int]]":
    before, after = (chain.rules if chain else () for chain in (old, new))
    if before == after:
        return ()
    from difflib import SequenceMatcher  # noqa: PLC0415 - 0.3 MB, and rules hardly ever change

    return SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
