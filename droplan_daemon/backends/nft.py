"""The nftables backend: one table, `inet droplan`, observed and committed over netlink.

Laws:
1. Only this table is read or written.
2. `observe` answers for one generation: it reads again when anybody committed meanwhile.
3. `commit` is conditional on the generation that was observed. Rule handles belong to that
   generation; a Plan that touches rules is refused when they are not known for it.
"""

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from droplan_daemon.effects import Generation, Observation
from droplan_daemon.errors import CommitConflict, CommitUnknown
from droplan_daemon.model.ruleset import PortMap, Ruleset, SetKind, ruleset

from . import nft_codec as codec
from . import nft_wire as wire
from .nft_batch import Batch
from .nft_codec import Place
from .nft_lease import left
from .nft_map import unpack_entries
from .nft_socket import BatchRefusedError, DumpInterruptedError, NftSocket
from .nft_text import render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.plan import Plan
    from droplan_daemon.model.ruleset import AddressSet, Chain

TABLE = "droplan"
_READS = 8  # a busy neighbour may commit while we read; this often in a row, nobody does


@dataclass(slots=True)
class _Layout:
    """Where the rules of each chain are, at one generation."""

    generation: Generation
    places: dict[str, list[Place]] = field(default_factory=dict)


class NftBackend:
    """The kernel of this network namespace. Blocking; for one thread at a time."""

    name = "nftables"
    has_leases = True

    def __init__(self, table: str = TABLE, deadline: float = 5.0) -> None:
        self._table = table
        self._socket = NftSocket(deadline)
        self._layout: _Layout | None = None

    def close(self) -> None:
        """Close the socket; the table stays."""
        self._socket.close()

    @property
    def port(self) -> int:
        """What the kernel's events call our commits; 0 before the first."""
        return self._socket.port

    def fit(self, ruleset: Ruleset) -> Ruleset:
        """All of it."""
        return ruleset

    def generation(self) -> Generation:
        """The kernel's generation; 4 µs."""
        return self._socket.generation()

    def observe(self) -> Observation:
        """What the kernel holds of our table, with packet counters."""
        for _ in range(_READS):
            before = self._socket.generation()
            try:
                found, rules, leases = self._read()
            except DumpInterruptedError:
                continue
            except ValueError as error:
                raise CommitUnknown("the kernel's ruleset could not be read", reason="garbled") from error
            if self._socket.generation() == before:
                return replace(self._remember(before, found, rules), leases=leases)
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

    def _read(self) -> tuple[Ruleset | None, list[codec.ObservedRule], dict[str, float]]:
        answer = self._socket.get(codec.get_table(self._table))
        if answer is None:
            return None, [], {}
        _, flags, comment = codec.read_table(answer.body)
        odd: set[str] = set()
        leases: dict[str, float | None] = {}
        sets, maps = self._read_sets(odd, leases)
        rules = [codec.read_rule(m.body) for m in self._socket.dump(codec.get_rules(self._table))]
        found = ruleset(sets, tuple(self._read_chains(rules, odd)), comment, maps, frozenset(leases))
        running = {name: seconds for name, seconds in leases.items() if seconds is not None}
        return replace(found, flags=flags | odd), rules, running

    def _read_sets(
        self, odd: set[str], leases: dict[str, float | None]
    ) -> "tuple[tuple[AddressSet, ...], tuple[PortMap, ...]]":
        """Sets and maps with all that is in them; `odd` gets a flag for each that is none of ours.

        `leases` gets each lease, and how long it still runs (None: it has run out).
        """
        sets: list[AddressSet] = []
        maps: list[PortMap] = []
        for message in self._socket.dump(codec.get_sets(self._table)):
            try:
                if found := codec.read_set(message.body):
                    sets.append(replace(found, elements=self._read_elements(found)))
                    continue
                if name := codec.read_map(message.body):
                    maps.append(PortMap(name, unpack_entries(b"".join(self._packed(name)))))
                    continue
                if name := codec.read_lease(message.body):
                    leases[name] = left(b"".join(self._packed(name)))
                    continue
            except wire.ForeignElementError:
                pass  # one element of it is more than an address, a range or a jump
            odd.add(f"foreign set {codec.read_name(message.body)}")
        return tuple(sets), tuple(maps)

    def _packed(self, name: str) -> list[bytes]:
        dumped = self._socket.dump(codec.get_elements(self._table, name))
        return [wire.elements_of(message.body)[1] for message in dumped]

    def _read_elements(self, target: "AddressSet") -> frozenset[bytes]:
        """The elements of a set. Raises ForeignElementError."""
        parts, width = self._packed(target.name), target.family.width
        if target.kind is SetKind.RANGES:
            keys = [pair for part in parts for pair in wire.unpack_elements(part, width)]
            return wire.pair_ranges(keys, width)
        return frozenset(chain.from_iterable(wire.unpack_hosts(part, width) for part in parts))

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
        batch = Batch(self._table, {name: list(places) for name, places in layout.places.items()})
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

    def script(self, ruleset: Ruleset) -> str:
        """What `nft -f` loads to have this Ruleset."""
        return render(ruleset, self._table)

    def _layout_at(self, at: Generation) -> _Layout:
        """The handles at this generation: those kept from the last look, else from a new one."""
        if self._layout is None or self._layout.generation != at:
            self.observe()
        if self._layout is None or self._layout.generation != at:
            raise CommitConflict("the kernel's ruleset changed since it was read")
        return self._layout
