"""Netlink envelopes, replies and set elements as bytes. PURE.

Law: everything here is arithmetic on bytes; nothing is sent and nothing is kept.

Set elements are packed and parsed in bulk, because they are the only part of a ruleset that
is ever large: ten thousand through nested message classes take 300 ms, joined as bytes 1 ms.

Sources: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
"""

import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.addresses import Element

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x200, 0x400, 0x800
NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x10, 0x100, 0x200
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11
NFNL_SUBSYS_NFTABLES = 10
NFPROTO_INET = 1
NFNL_BATCH_GENID = 1

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_NFGEN = struct.Struct(">BBH")  # nfgenmsg: family, version, resource id
_ACK_SIZE = 4 + _HEADER.size  # nlmsgerr: errno, header of the message that it is about
_ATTR = struct.Struct("=HH")  # nlattr: length, type
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_LIST_ELEM = 1  # NFTA_LIST_ELEM
_SET_ELEM_KEY, _SET_ELEM_FLAGS = 1, 3  # NFTA_SET_ELEM_*
# NFTA_SET_ELEM_*: DATA, TIMEOUT, EXPR, OBJREF, KEY_END, EXPRESSIONS. They decide when and whom it matches.
_BEYOND_KEY = frozenset({2, 4, 7, 9, 10, 11})
_DATA_VALUE = 1  # NFTA_DATA_VALUE
_INTERVAL_END = 1  # NFT_SET_ELEM_INTERVAL_END
_ELEM_LIST_TABLE, _ELEM_LIST_SET, _ELEM_LIST_ELEMENTS = 1, 2, 3
_MAX_ATTR = 0xFFFF  # nlattr.nla_len is 16 bits
_EXTACK_MESSAGE, _EXTACK_OFFSET = 1, 2  # NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS


class ForeignElementError(ValueError):
    """A set element that is more than an address or the bound of a range: `*`, or one with a time limit."""


@dataclass(frozen=True, slots=True)
class Message:
    """One received netlink message: `body` follows the 16-byte header."""

    type: int
    flags: int
    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """An NLMSG_ERROR: errno (0: acknowledged), what the kernel says, the offending byte's offset."""

    sequence: int
    errno: int
    text: str = ""
    offset: int | None = None


def envelope(kind: int, flags: int, sequence: int, payload: bytes, *, family: int = NFPROTO_INET) -> bytes:
    """A whole nftables message around attributes."""
    length = _HEADER.size + _NFGEN.size + len(payload)
    type_ = (NFNL_SUBSYS_NFTABLES << 8) | kind
    header = _HEADER.pack(length, type_, flags | NLM_F_REQUEST, sequence, 0)
    return header + _NFGEN.pack(family, 0, 0) + payload


def batch_begin(sequence: int, generation: int) -> bytes:
    """BATCH_BEGIN that makes the commit conditional on this generation (0: unconditional)."""
    payload = _NFGEN.pack(0, 0, NFNL_SUBSYS_NFTABLES)
    payload += attribute(NFNL_BATCH_GENID, generation.to_bytes(4, "big")) if generation else b""
    return _HEADER.pack(16 + len(payload), NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, sequence, 0) + payload


def batch_end(sequence: int) -> bytes:
    """BATCH_END, without an ACK: kernels before 6.10 give none."""
    payload = _NFGEN.pack(0, 0, NFNL_SUBSYS_NFTABLES)
    return _HEADER.pack(20, NFNL_MSG_BATCH_END, NLM_F_REQUEST, sequence, 0) + payload


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTR.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def number_attribute(kind: int, value: int, width: int = 4) -> bytes:
    """An attribute with a number: big-endian, unlike the header before it."""
    return attribute(kind, value.to_bytes(width, "big"))


def number_of(payload: bytes) -> int:
    """The number in an attribute."""
    return int.from_bytes(payload, "big")


def asciiz(text: str) -> bytes:
    """A string as attributes hold it."""
    return text.encode() + b"\0"


def text_of(payload: bytes) -> str:
    """The string in an attribute."""
    return payload.rstrip(b"\0").decode(errors="replace")


def attributes(data: bytes) -> "Iterator[tuple[int, bytes]]":
    """(type, payload) of each attribute; ValueError when the lengths do not add up."""
    offset = 0
    while offset + _ATTR.size <= len(data):
        length, kind = _ATTR.unpack_from(data, offset)
        if length < _ATTR.size or offset + length > len(data):
            message = "attribute length out of bounds"
            raise ValueError(message)
        yield kind & _TYPE_MASK, data[offset + _ATTR.size : offset + length]
        offset += (length + 3) & ~3


def messages(data: bytes) -> "Iterator[Message]":
    """The messages of one datagram; ValueError when the lengths do not add up."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            message = "message length out of bounds"
            raise ValueError(message)
        yield Message(kind, flags, sequence, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def ack(message: Message) -> Ack:
    """Read an NLMSG_ERROR, with its extended acknowledgement where the kernel gave one.

    Raises ValueError for one that is cut short.
    """
    if len(message.body) < _ACK_SIZE:
        text = "acknowledgement cut short"
        raise ValueError(text)
    (code,) = struct.unpack_from("=i", message.body)
    if not message.flags & NLM_F_ACK_TLVS:
        return Ack(message.sequence, -code)
    (original,) = struct.unpack_from("=I", message.body, 4)
    skip = 20 if message.flags & NLM_F_CAPPED else 4 + ((original + 3) & ~3)
    said = dict(attributes(message.body[skip:]))
    offset = said.get(_EXTACK_OFFSET)
    return Ack(
        message.sequence,
        -code,
        text_of(said.get(_EXTACK_MESSAGE, b"")),
        None if offset is None else int.from_bytes(offset, sys.byteorder),
    )


def host_prefix(width: int, nested: int = _NESTED) -> bytes:
    """What stands before each address in a list of set elements: three nested headers."""
    value = _ATTR.pack(4 + width, _DATA_VALUE)
    key = _ATTR.pack(8 + width, _SET_ELEM_KEY | nested)
    return _ATTR.pack(12 + width, _LIST_ELEM | nested) + key + value


def _range_end_prefix(width: int) -> bytes:
    flags = attribute(_SET_ELEM_FLAGS, _INTERVAL_END.to_bytes(4, "big"))
    key = _ATTR.pack(8 + width, _SET_ELEM_KEY | _NESTED) + _ATTR.pack(4 + width, _DATA_VALUE)
    return _ATTR.pack(4 + len(flags) + 8 + width, _LIST_ELEM | _NESTED) + flags + key


def element_size(width: int, *, ranges: bool) -> int:
    """Bytes that one element takes in a message (a range: start and end)."""
    return 2 * (12 + width) + 8 if ranges else 12 + width


def element_list(table: str, name: str) -> bytes:
    """The attributes that say whose elements a message is about."""
    return attribute(_ELEM_LIST_TABLE, asciiz(table)) + attribute(_ELEM_LIST_SET, asciiz(name))


def pack_elements(
    table: str, name: str, elements: "list[Element]", width: int
) -> "Iterator[tuple[bytes, int]]":
    """(payload, number of elements) of the fewest messages that hold all elements.

    An attribute's length is 16 bits, so a message holds some 4,000 IPv4 addresses; several
    messages of one batch are still one transaction. Keep the order: errors are named by it.
    """
    ranges = bool(elements) and len(elements[0]) == 2 * width
    most = (_MAX_ATTR - _ATTR.size) // element_size(width, ranges=ranges)
    head = element_list(table, name)
    for start in range(0, len(elements), most):
        part = elements[start : start + most]
        packed = _pack_ranges(part, width) if ranges else _pack_hosts(part, width)
        yield head + attribute(_ELEM_LIST_ELEMENTS | _NESTED, packed), len(part)


def _pack_hosts(elements: "list[Element]", width: int) -> bytes:
    return host_prefix(width).join((b"", *elements))


def _pack_ranges(elements: "list[Element]", width: int) -> bytes:
    """Start (inclusive) and end (exclusive); a range up to the last address has no end."""
    start, end, beyond = host_prefix(width), _range_end_prefix(width), b"\xff" * width
    out = []
    for element in elements:
        out += [start, element[:width]]
        if element[width:] != beyond:
            out += [end, _neighbour(element[width:], 1)]
    return b"".join(out)


def _neighbour(address: bytes, step: int) -> bytes:
    return (int.from_bytes(address, "big") + step).to_bytes(len(address), "big")


def element_at(offset: int, table: str, name: str, length: int, width: int) -> int:
    """Which element (0-based; of `length` bytes) of a message an error's byte offset points into.

    Exact for hosts; a range that reaches the last address is shorter than the others, and
    sorts last, so that those before it are still found.
    """
    head = element_list(table, name)
    start = _HEADER.size + _NFGEN.size + len(head) + _ATTR.size
    return (offset - start) // element_size(width, ranges=length > width)


def unpack_hosts(packed: bytes, width: int) -> "list[Element]":
    """Addresses of a list of set elements. Raises ForeignElementError.

    Slices first and asks later: a list of plain keys is read right if joining them again gives it
    back. The kernel's own headers lack the flag that says "nested", ours have it.
    """
    stride = element_size(width, ranges=False)
    prefix = packed[:12]
    if len(packed) % stride == 0 and prefix in (host_prefix(width), host_prefix(width, nested=0)):
        found = [packed[at : at + width] for at in range(12, len(packed), stride)]
        if prefix.join((b"", *found)) == packed:
            return found
    return [key for key, _ in unpack_elements(packed, width)]


def unpack_elements(packed: bytes, width: int) -> "Iterator[tuple[bytes, bool]]":
    """(key, is the end of an interval) of each element; what only a person reads is passed over.

    Raises ForeignElementError for an element that is not a key alone, or no key of this width.
    """
    for _, body in attributes(packed):
        fields = dict(attributes(body))
        value = dict(attributes(fields.get(_SET_ELEM_KEY, b""))).get(_DATA_VALUE, b"")
        flags = int.from_bytes(fields.get(_SET_ELEM_FLAGS, b"\0"), "big")
        if len(value) != width or flags & ~_INTERVAL_END or _BEYOND_KEY & fields.keys():
            message = "a set element that droplan never writes"
            raise ForeignElementError(message)
        yield value, bool(flags & _INTERVAL_END)


def pair_ranges(keys: "list[tuple[bytes, bool]]", width: int) -> "frozenset[Element]":
    """Inclusive ranges from the kernel's start and end keys, in whatever order they came.

    An end without a start is nft(8)'s marker at the beginning of the address space; a start
    without an end reaches the last address. Raises ForeignElementError when that is not the last range.
    """
    ranges: list[bytes] = []
    start: bytes | None = None
    for key, is_end in sorted(keys, key=lambda pair: (pair[0], not pair[1])):
        if start is not None and not is_end:
            message = "a range without an end, before another range"
            raise ForeignElementError(message)
        if is_end and start is not None:
            ranges.append(start + _neighbour(key, -1))
        start = None if is_end else key
    if start is not None:
        ranges.append(start + b"\xff" * width)
    return frozenset(ranges)


def elements_of(body: bytes) -> tuple[str, bytes]:
    """(set name, packed elements) of one message of a GETSETELEM dump."""
    fields = dict(attributes(body[_NFGEN.size :]))
    name = text_of(fields.get(_ELEM_LIST_SET, b""))
    return name, fields.get(_ELEM_LIST_ELEMENTS, b"")
