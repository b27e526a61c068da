"""The Ruleset that chains of iptables stand for. PURE.

Laws:
1. `decode(encode(r), r.sets) == r` for every Ruleset that can be encoded.
2. What is read is written again and compared: whatever differs, in either family, in a twin or
   in the order, is a Foreign rule of the chain that it belongs to, and so will be repaired.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import (
    Action,
    Chain,
    Dispatch,
    Foreign,
    Interface,
    PortMap,
    Protocol,
    Rule,
    Transport,
    Verdict,
    ruleset,
)

from .iptables_encode import HOOKS, PORTED, encode, map_name
from .iptables_names import ABOUT, BUILT_IN, INBOUND, LANES, OUTBOUND, READ, model_of
from .iptables_rules import UnfitError, place_of, rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from droplan_daemon.model.ruleset import AddressSet, PortEntry, Ruleset

    from .iptables_encode import Table
    from .iptables_line import Line
    from .iptables_names import Lane

    Tables = Mapping[Family, Table]

_NOTHING: "Table" = dict.fromkeys(BUILT_IN, ())


def decode(tables: "Tables", sets: "Mapping[str, AddressSet]") -> "Ruleset | None":
    """The Ruleset, whose sets are these; None: there is nothing of ours.

    Of a family that is not among the tables nothing is known, so the Ruleset says nothing of it.
    """
    return judged(tables, understood(tables, sets), encode)


def judged(
    tables: "Tables", found: "Ruleset | None", expected: "Callable[[Ruleset], Tables]"
) -> "Ruleset | None":
    """A Ruleset as it was read, with a Foreign rule wherever writing it would give something else."""
    if found is None:
        return None
    try:
        odd = sorted(_differing(tables, expected(found)))
    except UnfitError as error:
        return replace(found, flags=frozenset({f"foreign: {error}"}))
    chains = dict(found.chains)
    for name in odd:
        model = model_of(name)
        if model is None:
            return replace(found, flags=frozenset({f"foreign rules in {name}"}))
        before = chains.get(model) or Chain(model, HOOKS.get(model))
        foreign = Rule(name, (Foreign(f"{name} is not as droplan wrote it"),))
        chains[model] = replace(before, rules=(*before.rules, foreign))
    return replace(found, chains=dict(sorted(chains.items())))


def _differing(tables: "Tables", expected: "Tables") -> set[str]:
    """Chains that are not, in every family, what they should be."""
    return {
        name
        for family in tables
        for name in tables[family].keys() | expected.get(family, _NOTHING).keys()
        if tables[family].get(name) != expected.get(family, _NOTHING).get(name)
    }


def understood(tables: "Tables", sets: "Mapping[str, AddressSet]") -> "Ruleset | None":
    """What can be read of it, without a look at what differs."""
    if not sets and not any(
        lines or name not in BUILT_IN for t in tables.values() for name, lines in t.items()
    ):
        return None
    reader = _Reader(tables)
    chains = [Chain(INBOUND, HOOKS[INBOUND], tuple(reader.base(INBOUND)))]
    if entered := tuple(reader.base(OUTBOUND)):
        chains.append(Chain(OUTBOUND, HOOKS[OUTBOUND], entered))
    maps: list[PortMap] = []
    for lane in READ:
        if any(lane.main in table for table in tables.values()):
            found, used = reader.lane(lane)
            chains += found
            maps += used
    return ruleset(tuple(sets.values()), tuple(chains), reader.about(), tuple(maps))


class _Reader:
    """Reads what it understands; what it does not is found by comparing."""

    def __init__(self, tables: "Tables") -> None:
        self._tables = tables
        self._one = next(iter(tables))  # both say the same of what is not about addresses

    def about(self) -> str:
        """The comment of the whole."""
        for line in self._lines(self._one, ABOUT):
            number, text = place_of(line)
            if not number:
                return text
        return ""

    def base(self, name: str) -> "Iterator[Rule]":
        """The rules by which a base chain of the Ruleset enters the others."""
        outbound = name == OUTBOUND
        for line in self._lines(self._one, "OUTPUT" if outbound else "INPUT"):
            device = line.outbound if outbound else line.inbound
            lane = next((lane for lane in LANES if lane.main == line.target), None)
            if lane and device:
                _, text = place_of(line)
                enter = Verdict(Action.GOTO, lane.model)
                yield Rule(text, (Interface(device, outbound=outbound),), verdict=enter)

    def lane(self, lane: "Lane") -> tuple[list[Chain], list[PortMap]]:
        """The chain of a place, with the maps and chains that its ports lead to."""
        maps: list[PortMap] = []
        rules = tuple(self._rules((lane.main, lane.rest), lane))
        for one in rules:
            match one.matches, one.verdict:
                case (Transport(protocol),), Dispatch(name):
                    top = lane.ports(protocol.name.lower(), natted=False)
                    maps.append(PortMap(name, frozenset(self._entries(top, lane))))
        parts = sorted({chain for found in maps for _, _, chain in found.entries})
        chains = [Chain(name, None, tuple(self._rules((lane.part(name),), lane))) for name in parts]
        return [Chain(lane.model, None, rules), *chains], maps

    def _rules(self, chains: "Iterable[str]", lane: "Lane") -> "Iterator[Rule]":
        groups: dict[int, dict[Family, list[Line]]] = {}
        for family in self._tables:
            for chain in chains:
                for line in self._lines(family, chain):
                    if line.target != lane.rest:
                        number, _ = place_of(line)
                        groups.setdefault(number, {}).setdefault(family, []).append(line)
        for number in sorted(groups):
            found = groups[number]
            only, lines = next(iter(found.items()))
            try:
                yield _dispatch(lines[0], lane) or rule(lines, only if len(found) == 1 else None)
            except UnfitError:
                continue

    def _entries(self, chain: str, lane: "Lane", deeper: bool = True) -> "Iterator[PortEntry]":
        """What the chains of a protocol's ports say."""
        for line in self._lines(self._one, chain):
            model = lane.model_of(line.target)
            if line.target.startswith(f"{chain}-") and deeper:
                yield from self._entries(line.target, lane, deeper=False)
            elif line.destination and model and model != lane.model:
                yield *line.destination, model

    def _lines(self, family: Family, chain: str) -> "Iterator[Line]":
        for line in self._tables[family].get(chain, ()):
            if line is not None:
                try:
                    place_of(line)
                except UnfitError:
                    continue
                yield line


def _dispatch(line: "Line", lane: "Lane") -> Rule | None:
    """The rule that looks up a port, if this is one of its lines."""
    for protocol in PORTED:
        if line.target == lane.ports(protocol.name.lower(), natted=False):
            _, name = place_of(line)
            return Rule(
                name, (Transport(Protocol(protocol)),), verdict=Dispatch(map_name(lane.model, protocol))
            )
    return None
