"""Tables as input of iptables-restore, and from the output of iptables-save. PURE.

Laws:
1. `changes(before, after)` loaded with `--noflush` over `before` gives `after`, in one commit of the
   kernel; it names no chain, rule or policy that is not ours.
2. Chains that stay as they are, are not named, so their counters go on; rules that stay in a chain
   that changes are given their counters back.
3. Our jumps stand first in INPUT, FORWARD and OUTPUT; where one does not, all are put there again.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .iptables_line import MARK, counted, read, specification, written
from .iptables_names import ABOUT, BUILT_IN, LENT, is_ours, judges, lent, model_of
from .iptables_rules import UnfitError, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .iptables_encode import Table
    from .iptables_line import Line

Counters = tuple[int, int]
"""Packets and bytes."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What iptables-save says of one family.

    `counters`: of the rules of ours, by chain and rule, whatever number it has. `strangers`: chains
    that have a name of ours and are somebody else's. `others`: rules that are not ours.
    """

    table: "Table" = field(default_factory=lambda: dict.fromkeys(BUILT_IN, ()))
    counters: "dict[tuple[str, Line], Counters]" = field(default_factory=dict)
    strangers: frozenset[str] = frozenset()
    others: int = 0


def saved(text: str) -> Saved:
    """Read the output of `iptables-save -c -t filter`."""
    rows = text.splitlines()
    declared = (row[1:].split(" ", 1)[0] for row in rows if row.startswith(":"))
    chains: dict[str, list[Line | None]] = {name: [] for name in BUILT_IN}
    chains |= {name: [] for name in declared if is_ours(name)}
    counters: dict[tuple[str, Line], Counters] = {}
    unmarked, others = set[str](), 0
    for row in rows:
        if not row.startswith(("[", "-A ")):
            continue
        packets, size, rule = counted(row)
        name = next(iter(rule.split(" ", 2)[1:]), "")  # none in a line that was cut off
        line = read(rule)[1] if MARK in rule else None
        mine = line if line and line.ours and (name not in BUILT_IN or is_ours(line.target)) else None
        if name in chains:
            chains[name].append(mine)
        if mine and name in chains:
            counters[name, _unnumbered(mine)] = packets, size
        else:
            others += 1
            unmarked |= {name, _target(rule)}
    table = {name: _trimmed(lines) if name in BUILT_IN else tuple(lines) for name, lines in chains.items()}
    owned = any(any(table.get(name, ())) for name in (ABOUT, *(lent(ABOUT, lease) for lease in LENT)))
    strangers = frozenset() if owned else frozenset(unmarked & chains.keys() - set(BUILT_IN))
    return Saved(table, counters, strangers, others)


def _target(rule: str) -> str:
    """Where a rule leads, whatever else it says."""
    words = rule.split()
    return next((words[at + 1] for at, word in enumerate(words[:-1]) if word in {"-j", "-g"}), "")


def _trimmed(lines: "list[Line | None]") -> "tuple[Line | None, ...]":
    """All up to the last that is ours."""
    last = max((at + 1 for at, line in enumerate(lines) if line), default=0)
    return tuple(lines[:last])


def _unnumbered(line: "Line") -> "Line":
    """The same whatever place it has in its chain."""
    try:
        _, name = place_of(line)
    except UnfitError:
        return line
    return replace(line, comment=name)


def changes(before: Saved, after: "Table") -> str:
    """Input of `iptables-restore --noflush --counters`; empty when there is nothing to change."""
    rows = [*_chains(before, after), *_jumps(before, after)]
    rows += [f"-X {name}" for name in _gone(before, after)]
    return "\n".join(["*filter", *rows, "COMMIT", ""]) if rows else ""


def _gone(before: Saved, after: "Table") -> list[str]:
    return [name for name in before.table if name not in BUILT_IN and name not in after]


def _chains(before: Saved, after: "Table") -> "Iterator[str]":
    """Every chain that changes, emptied, and what is in it then."""
    new = [name for name in after if name not in BUILT_IN and before.table.get(name) != after[name]]
    yield from (f":{name} - [0:0]" for name in (*new, *_gone(before, after)))
    for name in new:
        for line in after[name]:
            if line:
                yield _counting(before, name, line) + written(name, line)


def _jumps(before: Saved, after: "Table") -> "Iterator[str]":
    for name in BUILT_IN:
        old, new = before.table.get(name, ()), after.get(name, ())
        if old == new:
            continue
        for line in old:
            if line:
                yield " ".join(("-D", name, *specification(line)))
        for place, line in enumerate(new, 1):
            if line:
                yield _counting(before, name, line) + " ".join(("-I", name, str(place), *specification(line)))


def _counting(before: Saved, chain: str, line: "Line") -> str:
    packets, size = before.counters.get((chain, _unnumbered(line)), (0, 0))
    return f"[{packets}:{size}] " if packets else ""


def whole(after: "Table") -> str:
    """The table for a kernel that holds nothing of ours, or an older state of ours.

    Loaded a second time by hand it only leaves our jumps twice, which changes no verdict; at boot what stands
    of ours goes in the same transaction.
    """
    return changes(Saved(), after)


def packets(found: Saved) -> "Iterator[tuple[tuple[str, str], int]]":
    """Packets by chain and rule of the Ruleset; several of one rule come one by one."""
    for (chain, line), (number, _) in found.counters.items():
        model = model_of(chain)
        if model and judges(chain):
            yield (model, line.comment), number
