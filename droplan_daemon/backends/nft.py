"""The nftables backend: one table, `inet droplan`, observed and committed over netlink.

Laws:
1. Only this table is read or written.
2. `observe` answers for one generation: it reads again when anybody committed meanwhile.
3. `commit` is conditional on the generation that was observed. Rule handles belong to that
   generation; a Plan that touches rules is refused when they are not known for it.
"""

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from droplan_daemon.effects import Generation, Observation
from droplan_daemon.errors import CommitConflict, CommitRejected, CommitUnknown
from droplan_daemon.model.plan import (
    AddElements,
    CreateChain,
    CreateSet,
    CreateTable,
    DeleteChain,
    DeleteRule,
    DeleteSet,
    DeleteTable,
    InsertRule,
    RemoveElements,
)
from droplan_daemon.model.ruleset import Ruleset, SetKind, ruleset

from . import nft_codec as codec
from . import nft_wire as wire
from .nft_codec import Place, Request
from .nft_socket import BatchRefusedError, DumpInterruptedError, NftSocket, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.plan import Change, Plan
    from droplan_daemon.model.ruleset import AddressSet, Chain

TABLE = "droplan"
_NOWHERE = Place((1 << 63) - 1, committed=True)  # no rule's handle: the kernel refuses, in its turn
_READS = 8  # a busy neighbour may commit while we read; this often in a row, nobody does


@dataclass(slots=True)
class _Layout:
    """Where the rules of each chain are, at one generation."""

    generation: Generation
    places: dict[str, list[Place]] = field(default_factory=dict)


class NftBackend:
    """The kernel of this network namespace. Blocking; for one thread at a time."""

    def __init__(self, table: str = TABLE, deadline: float = 5.0) -> None:
        self._table = table
        self._socket = NftSocket(deadline)
        self._layout: _Layout | None = None

    def close(self) -> None:
        """Close the socket; the table stays."""
        self._socket.close()

    def generation(self) -> Generation:
        """The kernel's generation; 4 µs."""
        return self._socket.generation()

    def observe(self) -> Observation:
        """What the kernel holds of our table, with packet counters."""
        for _ in range(_READS):
            before = self._socket.generation()
            try:
                found, rules = self._read()
            except DumpInterruptedError:
                continue
            except ValueError as error:
                raise CommitUnknown("the kernel's ruleset could not be read", reason="garbled") from error
            if self._socket.generation() == before:
                return self._remember(before, found, rules)
        raise CommitConflict("the kernel's ruleset kept changing while it was read")

    def _remember(
        self, generation: Generation, found: Ruleset | None, rules: list[codec.ObservedRule]
    ) -> Observation:
        counters: dict[tuple[str, str], int] = {}
        self._layout = _Layout(generation, {name: [] for name in (found.chains if found else ())})
        for item in rules:
            self._layout.places.setdefault(item.chain, []).append(Place(item.handle, committed=True))
            key = item.chain, item.rule.name
            counters[key] = counters.get(key, 0) + item.packets
        return Observation(found, generation, counters)

    def _read(self) -> tuple[Ruleset | None, list[codec.ObservedRule]]:
        answer = self._socket.get(codec.get_table(self._table))
        if answer is None:
            return None, []
        _, flags, comment = codec.read_table(answer.body)
        odd: set[str] = set()
        sets = tuple(self._read_sets(odd))
        rules = [codec.read_rule(m.body) for m in self._socket.dump(codec.get_rules(self._table))]
        found = ruleset(sets, tuple(self._read_chains(rules, odd)), comment)
        return replace(found, flags=flags | odd), rules

    def _read_sets(self, odd: set[str]) -> "Iterator[AddressSet]":
        """The sets with their elements; `odd` gets a flag for each that is none of ours."""
        for message in self._socket.dump(codec.get_sets(self._table)):
            found = codec.read_set(message.body)
            elements = None if found is None else self._read_elements(found)
            if found is None or elements is None:
                odd.add(f"foreign set {codec.read_name(message.body)}")
            else:
                yield replace(found, elements=elements)

    def _read_elements(self, target: "AddressSet") -> frozenset[bytes] | None:
        """The elements of a set; None when one of them is more than an address or a range."""
        dumped = self._socket.dump(codec.get_elements(self._table, target.name))
        parts = [wire.elements_of(message.body)[1] for message in dumped]
        width = target.family.width
        try:
            if target.kind is SetKind.RANGES:
                keys = [pair for part in parts for pair in wire.unpack_elements(part, width)]
                return wire.pair_ranges(keys, width)
            return frozenset(host for part in parts for host in wire.unpack_hosts(part, width))
        except wire.ForeignElementError:
            return None

    def _read_chains(self, rules: list[codec.ObservedRule], odd: set[str]) -> "Iterator[Chain]":
        """The chains with their rules; `odd` gets a flag for each that is none of ours."""
        for message in self._socket.dump(codec.GET_CHAINS):
            table, name = codec.chain_names(message.body)
            if table != self._table:
                continue  # a chain of another table is not even decoded
            found = codec.read_chain(message.body)
            if found is None:
                odd.add(f"foreign chain {name}")
            else:
                yield replace(found, rules=tuple(item.rule for item in rules if item.chain == name))

    def commit(self, plan: "Plan", at: Generation) -> None:
        """All of the Plan or nothing, if the generation is still `at`; an empty Plan writes nothing."""
        layout = self._layout_at(at)
        if not plan:
            return
        batch = _Batch(self._table, {name: list(places) for name, places in layout.places.items()})
        for index, change in enumerate(plan.changes):
            batch.add(index, change)
        if not batch.requests:
            return  # elements of no number; a batch without messages gets no answer
        self._layout = None
        try:
            self._socket.transact(batch.requests, at)
        except BatchRefusedError as error:
            raise batch.explain(error.refusals[0], plan) from error
        if not batch.numbered:
            # No rule came or went, and the commit was conditional: the handles are still right.
            self._layout = _Layout(at + 1, layout.places)

    def _layout_at(self, at: Generation) -> _Layout:
        """The handles at this generation: those kept from the last look, else from a new one."""
        if self._layout is None or self._layout.generation != at:
            self.observe()
        if self._layout is None or self._layout.generation != at:
            raise CommitConflict("the kernel's ruleset changed since it was read")
        return self._layout


class _Batch:
    """A Plan on its way to messages: remembers which message came from which Change."""

    def __init__(self, table: str, places: dict[str, list[Place]]) -> None:
        self.requests: list[Request] = []
        self.numbered = 0
        self._table = table
        self._places = places
        self._origins: list[tuple[int, tuple[bytes, ...]]] = []

    def add(self, index: int, change: "Change") -> None:
        """Append the messages of one Change."""
        if isinstance(change, AddElements | RemoveElements):
            self._add_elements(index, change)
            return
        self.requests.append(self._request(index, change))
        self._origins.append((index, ()))

    def _add_elements(self, index: int, change: AddElements | RemoveElements) -> None:
        kind = codec.NEWSETELEM if isinstance(change, AddElements) else codec.DELSETELEM
        flags = codec.CREATE if isinstance(change, AddElements) else 0
        ordered, width = sorted(change.elements), change.family.width
        start = 0
        for payload, count in wire.pack_elements(self._table, change.set, ordered, width):
            self.requests.append(Request(kind, flags, payload))
            self._origins.append((index, tuple(ordered[start : start + count])))
            start += count

    def _request(self, index: int, change: "Change") -> Request:
        match change:
            case CreateTable(comment):
                return codec.new_table(self._table, comment)
            case DeleteTable():
                self._places.clear()
                return codec.delete_table(self._table)
            case CreateSet(new):
                return codec.new_set(self._table, new, index + 1)
            case DeleteSet(name):
                return codec.delete_set(self._table, name)
            case CreateChain(name, hook):
                self._places[name] = []
                self.numbered += 1
                return codec.new_chain(self._table, name, hook)
            case DeleteChain(name):
                self._places.pop(name, None)
                self.numbered += 1
                return codec.delete_chain(self._table, name)
            case InsertRule():
                return self._insert(change)
            case DeleteRule():
                return self._delete(change)
        raise TypeError(change)

    def _insert(self, change: InsertRule) -> Request:
        self.numbered += 1
        places = self._places.setdefault(change.chain, [])
        before = _NOWHERE if change.index > len(places) else None
        before = places[change.index] if change.index < len(places) else before
        places.insert(change.index, Place(self.numbered, committed=False))
        return codec.new_rule(self._table, change.chain, change.rule, number=self.numbered, before=before)

    def _delete(self, change: DeleteRule) -> Request:
        self.numbered += 1
        places = self._places.get(change.chain, [])
        place = places.pop(change.index) if change.index < len(places) else _NOWHERE
        return codec.delete_rule(self._table, change.chain, place)

    def explain(self, refused: Refused, plan: "Plan") -> CommitRejected:
        """The kernel's refusal in terms of the Plan: which Change, which element."""
        if refused.index is None:
            message = f"the kernel refused the transaction: {_words(refused)}"
            return CommitRejected(message, errno=refused.errno)
        index, elements = self._origins[refused.index]
        change = plan.changes[index]
        element = self._element(refused, change, elements)
        message = f"the kernel refused '{change}': {_words(refused)}"
        return CommitRejected(message, errno=refused.errno, change=index, element=element)

    def _element(self, refused: Refused, change: "Change", elements: tuple[bytes, ...]) -> bytes | None:
        if not isinstance(change, AddElements | RemoveElements) or refused.offset is None:
            return None
        at = wire.element_at(refused.offset, self._table, change.set, len(elements[0]), change.family.width)
        return elements[at] if 0 <= at < len(elements) else None


def _words(refused: Refused) -> str:
    return refused.text or os.strerror(refused.errno)
