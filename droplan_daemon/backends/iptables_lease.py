"""Two Rulesets in the chains of iptables: one for as long as a lease runs, the other without it. PURE.

Laws:
1. `decode(encode(r), r.sets, r.leases) == r` for all that `policy.lease` composes of what iptables can hold.
2. One test decides for a packet in each built-in chain: it is judged by one of both, never by halves or not
   at all, at whatever moment the lease ends.
3. The chains of the base are what they are without a lease, so that they count on.

The test is for the packet's source in an ip set that holds every address: `dp-trial`, `dp-trial6`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import Ruleset
from droplan_daemon.policy.lease import Composed, compose, split

from . import iptables_encode
from .ipset_lease import lease_set
from .ipset_shape import kernel_name, ruleset_name
from .iptables_decode import judged, understood
from .iptables_line import Line
from .iptables_names import BUILT_IN, entry, fork, lease_of, lent, owned
from .iptables_rules import UnfitError, comment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from droplan_daemon.model.ruleset import AddressSet

    from .iptables_decode import Tables
    from .iptables_encode import Table


def encode(ruleset: Ruleset) -> "dict[Family, Table]":
    """The tables, with a lease or without. Raises UnfitError."""
    both = split(ruleset)
    if ruleset == Ruleset(leases=ruleset.leases) and ruleset.leases:  # what a crash left
        return {family: dict.fromkeys(BUILT_IN, ()) for family in Family}
    if both.trial is None or not both.trial.chains:  # a lease that no rule asks for
        return iptables_encode.encode(replace(ruleset, leases=frozenset()))
    if not _is_composed(ruleset, both):
        raise UnfitError("iptables holds what is tried only as droplan composes it")
    trial = iptables_encode.encode(both.trial)
    nothing: Table = dict.fromkeys(BUILT_IN, ())
    base = iptables_encode.encode(both.base) if both.base else dict.fromkeys(trial, nothing)
    if base.keys() != trial.keys():
        raise UnfitError("a family that is left out only while a lease runs")
    return {family: _forked(base[family], trial[family], both.lease, family) for family in base}


def _is_composed(ruleset: Ruleset, both: Composed) -> bool:
    try:
        return compose(both.base, both.trial or Ruleset(), both.lease) == ruleset
    except ValueError:
        return False


def _forked(base: "Table", trial: "Table", lease: str, family: Family) -> "Table":
    found = {name: lines for name, lines in base.items() if name not in BUILT_IN}
    for name, lines in trial.items():
        renamed = entry(name, lease) if name in BUILT_IN else lent(name, lease)
        found[renamed] = tuple(_lent(line, lease) if line else None for line in lines)
    about = comment(0, lease)
    test = Line(comment=about, set=lease_set(lease, family), side="src")
    for name in BUILT_IN:
        found[name] = (Line(fork(name, lease), about),)
        found[fork(name, lease)] = (replace(test, target=entry(name, lease), goto=True), *base[name])
    return found


def _lent(line: Line, lease: str) -> Line:
    target = lent(line.target, lease) if line.target.startswith("droplan-") else line.target
    name = ruleset_name(line.set) if line.set else None
    return replace(line, target=target, set=kernel_name(f"{lease}.{name}") if name else line.set)


def decode(tables: "Tables", sets: "Mapping[str, AddressSet]", leases: "Collection[str]") -> "Ruleset | None":
    """The Ruleset, whose sets and leases are these, with a Foreign rule where it is not as written."""
    return judged(tables, _understood(tables, sets, frozenset(leases)), encode)


def _understood(
    tables: "Tables", sets: "Mapping[str, AddressSet]", leases: frozenset[str]
) -> "Ruleset | None":
    lease = next((one for table in tables.values() for name in table if (one := lease_of(name))), "")
    if not lease:
        found = understood(tables, sets)
        return replace(found or Ruleset(), leases=leases) if leases else found
    under = f"{lease}."
    own = {name: one for name, one in sets.items() if not name.startswith(under)}
    others = (replace(one, name=name.removeprefix(under)) for name, one in sets.items() if name not in own)
    base = understood({family: _base(table, lease) for family, table in tables.items()}, own)
    trial = understood(
        {family: _trial(table, lease) for family, table in tables.items()},
        {one.name: one for one in others},
    )
    return replace(compose(base, trial or Ruleset(), lease), leases=leases)


def without_lease(table: "Table") -> "Table":
    """What holds when no lease runs, alone."""
    lease = next((found for name in table if (found := lease_of(name))), "")
    return _base(table, lease) if lease else table


def _base(table: "Table", lease: str) -> "Table":
    """The chains of what holds without the lease."""
    found = {name: lines for name, lines in table.items() if not lease_of(name)}
    for name in BUILT_IN:
        if (place := fork(name, lease)) in table:
            found[name] = table[place][1:]
    return found


def _trial(table: "Table", lease: str) -> "Table":
    """The chains of what holds while the lease runs, under the names that they have without one."""
    found: Table = {name: table.get(entry(name, lease), ()) for name in BUILT_IN}
    for name, lines in table.items():
        if lease_of(name) == lease and owned(name) != name:
            found[owned(name)] = lines
    return {name: tuple(_own(line) if line else None for line in lines) for name, lines in found.items()}


def _own(line: Line) -> Line:
    name = ruleset_name(line.set) if line.set else None
    plain = kernel_name(name.split(".", 1)[1]) if name and "." in name else line.set
    return replace(line, target=owned(line.target), set=plain)
