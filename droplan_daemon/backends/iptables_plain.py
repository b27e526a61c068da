"""The same rules without ip sets: one for each address, as the old droplan wrote them. PURE.

Laws:
1. `fold(expand(t, sets)) == (t, sets)` for every encoded table and its sets.
2. What the rules cannot say themselves (a set's name and capacity, a rule whose set is empty) is said
   by the comments of a chain that nothing enters.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import AddressSet, SetKind

from .ipset_shape import kernel_name, ruleset_name
from .iptables_decode import judged, understood
from .iptables_encode import encode
from .iptables_line import MARK
from .iptables_names import ABOUT, READ, is_ours
from .iptables_rules import UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from droplan_daemon.model.addresses import Element
    from droplan_daemon.model.ruleset import Ruleset

    from .iptables_decode import Tables
    from .iptables_encode import Table
    from .iptables_line import Line

_SET = re.compile(re.escape(MARK) + r"1 set (\S+) (hosts|ranges) (\d+)")
_USE = re.compile(re.escape(MARK) + r"2 (src|dst) (\S+) in (\S+): (.*)", re.DOTALL)
_LONGEST = 255  # bytes of a comment


def expand(tables: "Tables", sets: "Mapping[str, AddressSet]") -> dict[Family, "Table"]:
    """The tables with a line for each element where one names a set. Raises UnfitError."""
    return {family: _expanded(table, family, sets) for family, table in tables.items()}


def _expanded(table: "Table", family: Family, sets: "Mapping[str, AddressSet]") -> "Table":
    found = {name: tuple(_each(lines, sets)) for name, lines in table.items()}
    about = [line for line in table[ABOUT] if line]
    notes = [replace(about[0], comment=_note(made)) for made in sets.values() if made.family is family]
    return found | {ABOUT: (*about, *notes, *_templates(table))}


def _note(made: AddressSet) -> str:
    return f"{MARK}1 set {made.name} {made.kind} {made.capacity}"


def _templates(table: "Table") -> "Iterator[Line]":
    """Each rule that names a set, without it: from these its set is known when it has no lines."""
    for lane in READ:
        for name in sorted(name for name in table if lane.model_of(name)):
            for line in table[name]:
                if line and line.set:
                    text = f"{MARK}2 {line.side} {line.set} in {name}: {line.comment}"
                    if len(text.encode()) > _LONGEST:
                        raise UnfitError(f"too long for a comment of iptables: {line.comment}")
                    yield replace(line, set="", side="", comment=text)


def _each(lines: "tuple[Line | None, ...]", sets: "Mapping[str, AddressSet]") -> "Iterator[Line | None]":
    for line in lines:
        if line is None or not line.set:
            yield line
            continue
        made = sets.get(ruleset_name(line.set) or "")
        if made is None:
            raise UnfitError(f"a rule names a set that is not there: {line.set}")
        for element in sorted(made.elements):
            packed = element if len(element) > made.family.width else element + element
            yield replace(line, set="", range=packed)


def fold(tables: "Tables") -> tuple[dict[Family, "Table"], dict[str, AddressSet]]:
    """Tables that name sets, and the sets. What is not as `expand` writes it stays as it is."""
    sets: dict[str, AddressSet] = {}
    folded = {family: _folded(table, family, sets) for family, table in tables.items()}
    return folded, dict(sorted(sets.items()))


def _folded(table: "Table", family: Family, sets: dict[str, AddressSet]) -> "Table":
    for line in table.get(ABOUT, ()):
        found = _SET.fullmatch(line.comment) if line else None
        if found:
            sets[found[1]] = AddressSet(found[1], family, SetKind(found[2]), int(found[3]))
    out = dict(table)
    for line in table.get(ABOUT, ()):
        found = _USE.fullmatch(line.comment) if line else None
        name = ruleset_name(found[2]) if found else None
        if line and found and name in sets and is_ours(found[3]):
            before = replace(line, side=found[1], comment=found[4])
            elements = frozenset(_elements(out.get(found[3], ()), before, sets[name].kind))
            sets[name] = replace(sets[name], elements=elements)
            left = tuple(one for one in out.get(found[3], ()) if not _stands_for(one, before))
            out[found[3]] = (*left, replace(before, set=kernel_name(name)))
    if ABOUT in out:
        out[ABOUT] = tuple(line for line in out[ABOUT] if not line or not _is_note(line))
    return out


def _is_note(line: "Line") -> bool:
    return bool(_SET.fullmatch(line.comment) or _USE.fullmatch(line.comment))


def _stands_for(line: "Line | None", template: "Line") -> bool:
    return line is not None and bool(line.range) and replace(line, range=b"") == template


def _elements(lines: "tuple[Line | None, ...]", template: "Line", kind: SetKind) -> "Iterator[Element]":
    for line in lines:
        if line is not None and _stands_for(line, template):
            half = len(line.range) // 2
            single = kind is SetKind.HOSTS and line.range[:half] == line.range[half:]
            yield line.range[:half] if single else line.range


def decode(tables: "Tables") -> "Ruleset | None":
    """The Ruleset that expanded tables stand for, with a Foreign rule where they are not as written."""
    folded, sets = fold(tables)
    found = understood(folded, sets)
    return judged(tables, found, lambda again: expand(encode(again), again.sets))
