"""A Plan on its way to netlink messages, and a refusal on its way back.

Law: each message is remembered by the Change that it came from, so that the kernel's refusal of a
message is told in terms of the Plan: which Change, which element.
"""

import os
from typing import TYPE_CHECKING

from droplan_daemon.errors import CommitRejected
from droplan_daemon.model.plan import (
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

from . import nft_codec as codec
from . import nft_wire as wire
from .nft_codec import Place, Request
from .nft_lease import arming
from .nft_map import pack_entries
from .nft_socket import Refused

if TYPE_CHECKING:
    from droplan_daemon.model.plan import Change, Plan


_NOWHERE = Place((1 << 63) - 1, committed=True)  # no rule's handle: the kernel refuses, in its turn


class Batch:
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
        if isinstance(change, AddEntries | RemoveEntries):
            self._add_entries(index, change)
            return
        if isinstance(change, Arm):
            # Flushed first: up to Linux 6.11 an element that is there keeps its end when it is added again.
            self._append(index, codec.flush_set(self._table, change.lease))
            payload = arming(self._table, change.lease, change.seconds)
            self._append(index, Request(codec.NEWSETELEM, codec.CREATE, payload))
            return
        self._append(index, self._request(index, change))

    def _append(self, index: int, request: Request) -> None:
        self.requests.append(request)
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

    def _add_entries(self, index: int, change: AddEntries | RemoveEntries) -> None:
        kind = codec.NEWSETELEM if isinstance(change, AddEntries) else codec.DELSETELEM
        flags = codec.CREATE if isinstance(change, AddEntries) else 0
        for payload in pack_entries(self._table, change.map, sorted(change.entries)):
            self.requests.append(Request(kind, flags, payload))
            self._origins.append((index, ()))

    def _request(self, index: int, change: "Change") -> Request:
        match change:
            case CreateTable(comment):
                return codec.new_table(self._table, comment)
            case DeleteTable():
                self._places.clear()
                return codec.delete_table(self._table)
            case CreateSet(new):
                return codec.new_set(self._table, new, index + 1)
            case CreateLease(name):
                return codec.new_lease(self._table, name, index + 1)
            case Disarm(lease):
                return codec.flush_set(self._table, lease)
            case DeleteSet(name) | DeleteMap(name) | DeleteLease(name):
                return codec.delete_set(self._table, name)
            case CreateMap(name):
                return codec.new_map(self._table, name, index + 1)
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

    def explain(self, refused: "Refused", plan: "Plan") -> CommitRejected:
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


def _words(refused: "Refused") -> str:
    return refused.text or os.strerror(refused.errno)
