"""The entries of a verdict map of ports, as bytes. PURE.

Law: what is read is what was packed; an entry that droplan would never write raises
ForeignElementError, as for sets of addresses.

Source: linux/netfilter/nf_tables.h; a port range is a start element with a verdict and an end
element without, as in any interval set.
"""

from typing import TYPE_CHECKING

from .nft_wire import (
    ForeignElementError,
    asciiz,
    attribute,
    attributes,
    element_list,
    number_attribute,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import PortEntry

_NESTED = 0x8000
_LIST_ELEM, _ELEMENTS = 1, 3  # NFTA_LIST_ELEM, NFTA_SET_ELEM_LIST_ELEMENTS
_KEY, _DATA, _FLAGS = 1, 2, 3  # NFTA_SET_ELEM_*
_VALUE, _VERDICT = 1, 2  # NFTA_DATA_*
_CODE, _CHAIN = 1, 2  # NFTA_VERDICT_*
_NFT_JUMP = -3
_INTERVAL_END = 1
_LAST_PORT = 0xFFFF
_MOST = 500  # entries a message: an attribute's length is 16 bits, and an entry takes 76 bytes or so


def pack_entries(table: str, name: str, entries: "list[PortEntry]") -> "Iterator[bytes]":
    """Payloads of the messages that hold all entries."""
    for start in range(0, len(entries), _MOST):
        packed = b"".join(_packed(*entry) for entry in entries[start : start + _MOST])
        yield element_list(table, name) + attribute(_ELEMENTS | _NESTED, packed)


def _packed(first: int, last: int, chain: str) -> bytes:
    code = attribute(_CODE, _NFT_JUMP.to_bytes(4, "big", signed=True))
    verdict = attribute(_VERDICT | _NESTED, code + attribute(_CHAIN, asciiz(chain)))
    start = attribute(_LIST_ELEM | _NESTED, _key(first) + attribute(_DATA | _NESTED, verdict))
    if last == _LAST_PORT:
        return start
    return start + attribute(_LIST_ELEM | _NESTED, number_attribute(_FLAGS, _INTERVAL_END) + _key(last + 1))


def _key(port: int) -> bytes:
    return attribute(_KEY | _NESTED, attribute(_VALUE, port.to_bytes(2, "big")))


def unpack_entries(packed: bytes) -> "frozenset[PortEntry]":
    """The entries. Raises ForeignElementError."""
    found = [_read(body) for _, body in attributes(packed)]
    found.sort(key=lambda entry: (entry[0], entry[1] is not None))  # an end before the next start
    entries: list[PortEntry] = []
    start: tuple[int, str] | None = None
    for port, chain in found:
        if start is not None and chain is not None:
            raise ForeignElementError("an entry without an end, before another one")
        if start is not None:
            entries.append((start[0], port - 1, start[1]))
        start = None if chain is None else (port, chain)
    if start is not None:
        entries.append((start[0], _LAST_PORT, start[1]))
    return frozenset(entries)


def _read(body: bytes) -> tuple[int, str | None]:
    """(port, chain to jump to); no chain: the end of an interval."""
    fields = dict(attributes(body))
    key = dict(attributes(fields.get(_KEY, b""))).get(_VALUE, b"")
    flags = int.from_bytes(fields.get(_FLAGS, b"\0"), "big")
    verdict = dict(attributes(dict(attributes(fields.get(_DATA, b""))).get(_VERDICT, b"")))
    jumps = int.from_bytes(verdict.get(_CODE, b""), "big", signed=True) == _NFT_JUMP
    ends = bool(flags & _INTERVAL_END)
    if len(key) != len("pp") or flags & ~_INTERVAL_END or (not ends and not jumps) or fields.keys() & _BEYOND:
        raise ForeignElementError("a map entry that droplan never writes")
    return int.from_bytes(key, "big"), None if ends else text_of(verdict.get(_CHAIN, b""))


_BEYOND = frozenset({4, 7, 9, 10, 11})  # TIMEOUT, EXPR, OBJREF, KEY_END, EXPRESSIONS
