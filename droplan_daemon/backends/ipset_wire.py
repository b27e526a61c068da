"""The messages of ip sets as bytes. PURE.

Law: everything here is arithmetic on bytes. Elements are packed and parsed in bulk: ten thousand
are three messages, and a message is one attribute with thousands of entries (IPSET_ATTR_ADT), as
ipset(8) sends them for `restore`.

Sources: linux/netfilter/ipset/ip_set.h, linux/net/netfilter/ipset/ip_set_core.c.
"""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family

from . import nft_wire as netlink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .ipset_shape import Entry

PROTOCOL, CREATE, DESTROY, FLUSH, RENAME, SWAP, LIST = 1, 2, 3, 4, 5, 6, 7  # IPSET_CMD_*
ADD, DELETE, TYPE = 9, 10, 13
STRICT = 0x200  # NLM_F_EXCL: without it, what is there already (or gone already) is no error
OLDEST_PROTOCOL = 6
"""What we speak: every kernel since 2011 does, and the newer one adds nothing that we need."""

HASH_FULL, FIND_TYPE, MAX_SETS, BUSY = 4352, 4098, 4099, 4100  # IPSET_ERR_*
NAME_TAKEN, TYPE_MISMATCH, REFERENCED = 4101, 4102, 4108
PROTOCOL_MISMATCH = 4097

_SUBSYSTEM = 6  # NFNL_SUBSYS_IPSET
_HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr and nfgenmsg
_ATTR = struct.Struct("=HH")
_NESTED, _NETWORK_ORDER = 0x8000, 0x4000
_AF = {Family.IPV4: 2, Family.IPV6: 10}
_FAMILY = {value: family for family, value in _AF.items()}

# IPSET_ATTR_* of a command
_A_PROTOCOL, _A_NAME, _A_TYPE, _A_REVISION, _A_FAMILY = 1, 2, 3, 4, 5
_A_FLAGS, _A_DATA, _A_ENTRIES, _A_LINE, _A_OLDEST = 6, 7, 8, 9, 10
_A_OTHER_NAME = _A_TYPE
# IPSET_ATTR_* of what a set or an entry is
_A_ADDRESS, _A_PREFIX, _A_TIMEOUT = 1, 3, 6
_A_SEED, _A_BUCKETS, _A_MOST, _A_BUCKET, _A_RESIZE = 17, 18, 19, 21, 22
_A_COUNT, _A_REFERENCES, _A_MEMORY = 24, 25, 26
# What a header may say of a set without changing what it holds or whom it matches.
_PLAIN = frozenset({_A_SEED, _A_BUCKETS, _A_MOST, _A_BUCKET, _A_RESIZE, _A_COUNT, _A_REFERENCES, _A_MEMORY})
_HEADERS_ONLY = 1 << 2  # IPSET_FLAG_LIST_HEADER
_MAX_ATTR = 0xFFFF
_MOST_IN_A_MESSAGE = _MAX_ATTR - _ATTR.size


class ForeignEntryError(ValueError):
    """An entry that is more than an address or a prefix."""


@dataclass(frozen=True, slots=True)
class Command:
    """One message but for its sequence: what to do (IPSET_CMD_*), with which set, and how."""

    kind: int
    payload: bytes
    name: str = ""
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """What a listing says of a set. `plain`: it has no option that droplan never gives.

    `count`: entries, None where the kernel does not tell. `references`: rules that name it. `lasting`:
    seconds that its entries last if nothing else is said, None where they have no end or there is any
    other option that droplan never gives.
    """

    name: str
    type: str
    family: Family | None
    most: int
    count: int | None
    references: int
    plain: bool
    lasting: int | None = None


def message(command: Command, flags: int, sequence: int) -> bytes:
    """The whole netlink message."""
    length = _HEADER.size + len(command.payload)
    kind = (_SUBSYSTEM << 8) | command.kind
    return _HEADER.pack(length, kind, command.flags | flags | 1, sequence, 0, 2, 0, 0) + command.payload


def ask_protocol() -> Command:
    """Which versions the kernel speaks."""
    return _command(PROTOCOL)


def ask_type(name: str, family: Family) -> Command:
    """Which revisions of a set type the kernel has."""
    fields = netlink.attribute(_A_TYPE, netlink.asciiz(name)) + _byte(_A_FAMILY, _AF[family])
    return _command(TYPE, payload=fields)


def ask_headers() -> Command:
    """The headers of every set, without entries."""
    return _command(LIST, payload=_number(_A_FLAGS, _HEADERS_ONLY))


def ask_entries(name: str) -> Command:
    """One set, with its entries."""
    return _command(LIST, name)


def create(
    name: str, kind: str, family: Family, *, revision: int, most: int, buckets: int, timed: bool = False
) -> Command:
    """Make an empty set, which must not be there; `timed`: its entries may have an end."""
    data = _number(_A_BUCKETS, buckets) + _number(_A_MOST, most) + (_number(_A_TIMEOUT, 0) if timed else b"")
    fields = (
        netlink.attribute(_A_TYPE, netlink.asciiz(kind))
        + _byte(_A_REVISION, revision)
        + _byte(_A_FAMILY, _AF[family])
        + netlink.attribute(_A_DATA | _NESTED, data)
    )
    return _command(CREATE, name, fields, STRICT)


def destroy(name: str) -> Command:
    """Remove a set that no rule names."""
    return _command(DESTROY, name, b"", STRICT)


def flush(name: str) -> Command:
    """Have a set hold nothing."""
    return _command(FLUSH, name)


def last(name: str, entries: "Sequence[Entry]", width: int, seconds: int) -> Command:
    """ADD ranges that end; for one that is there, the end is changed."""
    start, end = _entry_prefix(width, 16), _number(_A_TIMEOUT, seconds)
    packed = b"".join(start + one[:width] + _byte(_A_PREFIX, one[width]) + end for one in entries)
    return _command(ADD, name, _number(_A_LINE, 0) + netlink.attribute(_A_ENTRIES | _NESTED, packed))


def rename(name: str, to: str) -> Command:
    """Give a set that no rule names another name, which must be free."""
    return _command(RENAME, name, netlink.attribute(_A_OTHER_NAME, netlink.asciiz(to)))


def swap(name: str, other: str) -> Command:
    """Let two sets of one type change their content; rules stay with the name."""
    return _command(SWAP, name, netlink.attribute(_A_OTHER_NAME, netlink.asciiz(other)))


def change(kind: int, name: str, entries: "Sequence[Entry]", width: int) -> "Iterator[Command]":
    """ADD or DELETE entries, in the fewest messages; what is there or gone already is no error.

    Every message with several entries needs a line number, which nobody looks at.
    """
    ranges = bool(entries) and len(entries[0]) > width
    most = _MOST_IN_A_MESSAGE // (_entry_size(width) + (8 if ranges else 0))
    line = _number(_A_LINE, 0)
    for start in range(0, len(entries), most):
        part = entries[start : start + most]
        packed = b"".join(_packed_ranges(part, width)) if ranges else _packed_hosts(part, width)
        yield _command(kind, name, line + netlink.attribute(_A_ENTRIES | _NESTED, packed))


def read_protocol(body: bytes) -> tuple[int, int]:
    """The oldest and the newest version that the kernel speaks."""
    fields = dict(netlink.attributes(body[4:]))
    newest = netlink.number_of(fields.get(_A_PROTOCOL, b""))
    return netlink.number_of(fields.get(_A_OLDEST, fields.get(_A_PROTOCOL, b""))), newest


def read_revision(body: bytes) -> int:
    """The oldest revision of a type: every ipset(8) can list a set of it."""
    fields = dict(netlink.attributes(body[4:]))
    return netlink.number_of(fields.get(_A_OLDEST, fields.get(_A_REVISION, b"\0")))


def read_header(body: bytes) -> Header | None:
    """The header in one message of a listing; None for a message that goes on with entries."""
    fields = dict(netlink.attributes(body[4:]))
    if _A_DATA not in fields:
        return None
    data = dict(netlink.attributes(fields[_A_DATA]))
    count, lasting = data.get(_A_COUNT), data.get(_A_TIMEOUT)
    others = data.keys() - {_A_TIMEOUT} <= _PLAIN
    return Header(
        netlink.text_of(fields.get(_A_NAME, b"")),
        netlink.text_of(fields.get(_A_TYPE, b"")),
        _FAMILY.get(netlink.number_of(fields.get(_A_FAMILY, b""))),
        netlink.number_of(data.get(_A_MOST, b"")),
        None if count is None else netlink.number_of(count),
        netlink.number_of(data.get(_A_REFERENCES, b"")),
        others and lasting is None,
        netlink.number_of(lasting) if others and lasting is not None else None,
    )


def read_name(body: bytes) -> str:
    """The set that one message of a listing is about."""
    return next((netlink.text_of(data) for kind, data in netlink.attributes(body[4:]) if kind == _A_NAME), "")


def read_entries(body: bytes, width: int, *, ranges: bool) -> "Iterator[Entry]":
    """The entries in one message of a listing. Raises ForeignEntryError."""
    packed = next((data for kind, data in netlink.attributes(body[4:]) if kind == _A_ENTRIES), b"")
    return _unpacked_ranges(packed, width) if ranges else _unpacked_hosts(packed, width)


def read_lasting(body: bytes, width: int) -> "Iterator[tuple[Entry, int]]":
    """The entries in one message of a listing, and the seconds each still lasts. Raises ForeignEntryError."""
    packed = next((data for kind, data in netlink.attributes(body[4:]) if kind == _A_ENTRIES), b"")
    for address, prefix, seconds in _unpacked(packed, width, ends=True):
        yield address + prefix, seconds


def _command(kind: int, name: str = "", payload: bytes = b"", flags: int = 0) -> Command:
    about = netlink.attribute(_A_NAME, netlink.asciiz(name)) if name else b""
    return Command(kind, _byte(_A_PROTOCOL, OLDEST_PROTOCOL) + about + payload, name, flags)


def _byte(kind: int, value: int) -> bytes:
    return netlink.number_attribute(kind, value, 1)


def _number(kind: int, value: int) -> bytes:
    return netlink.number_attribute(kind | _NETWORK_ORDER, value)


def _entry_size(width: int) -> int:
    return 12 + width


def _entry_prefix(width: int, more: int = 0, order: int = _NETWORK_ORDER) -> bytes:
    """What stands before each address: three nested headers; the kernel's own leave out `order`."""
    address = _ATTR.pack(4 + width, (1 if width == Family.IPV4.width else 2) | order)
    around = _ATTR.pack(8 + width, _A_ADDRESS | _NESTED)
    return _ATTR.pack(12 + width + more, _A_DATA | _NESTED) + around + address


def _packed_hosts(entries: "Sequence[Entry]", width: int) -> bytes:
    return _entry_prefix(width).join((b"", *entries))


def _packed_ranges(entries: "Sequence[Entry]", width: int) -> "Iterator[bytes]":
    start = _entry_prefix(width, 8)
    for entry in entries:
        yield start + entry[:width] + _byte(_A_PREFIX, entry[width])


def _unpacked_hosts(packed: bytes, width: int) -> "Iterator[Entry]":
    """Slices first and asks later: a list of plain addresses is read right if joining gives it back."""
    stride, prefix = _entry_size(width), packed[:12]
    if len(packed) % stride == 0 and prefix == _entry_prefix(width, order=0):
        found = [packed[at : at + width] for at in range(12, len(packed), stride)]
        if prefix.join((b"", *found)) == packed:
            return iter(found)
    return (address for address, _, _ in _unpacked(packed, width))


def _unpacked_ranges(packed: bytes, width: int) -> "Iterator[Entry]":
    return (address + prefix for address, prefix, _ in _unpacked(packed, width))


def _unpacked(packed: bytes, width: int, *, ends: bool = False) -> "Iterator[tuple[bytes, bytes, int]]":
    for _, body in netlink.attributes(packed):
        fields = dict(netlink.attributes(body))
        address = next((data for _, data in netlink.attributes(fields.pop(_A_ADDRESS, b""))), b"")
        prefix = fields.pop(_A_PREFIX, bytes([8 * width]))
        seconds = netlink.number_of(fields.pop(_A_TIMEOUT, b"")) if ends else 0
        if len(address) != width or len(prefix) != 1 or fields:
            raise ForeignEntryError("an entry that droplan never writes")
        yield address, prefix, seconds
