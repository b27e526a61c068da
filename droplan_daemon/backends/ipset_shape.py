"""An AddressSet as ip sets can hold it: names, types, sizes and prefixes. PURE.

Laws:
1. The mapping is exact in both directions: a kernel set made from an AddressSet is read back as
   that AddressSet, and what droplan would never write is read as something that equals none.
2. Ours are the names that begin with `dp-` (in force) and `dn-` (built beside, a spare), and
   nothing else.

Hosts are `hash:ip`, ranges `hash:net`: a range is cut into the fewest prefixes, and prefixes that
touch are one range again. Source: ipset(8), linux/net/netfilter/ipset/ip_set_hash_net.c.
"""

import re
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import AddressSet, SetKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.addresses import Element

Entry = bytes
"""What a kernel set holds: an address (`hash:ip`), or an address and one byte of prefix length."""

IN_FORCE, SPARE = "dp-", "dn-"
LONGEST_NAME = 31  # bytes; IPSET_MAXNAMELEN with its NUL
ODD_OPTIONS, ODD_TYPE = -1, -2
"""Capacities of sets that droplan never made: no desired AddressSet has one."""

_NAME = re.compile(r"[A-Za-z0-9_.:-]+", re.ASCII)
_SHORTENED = (("private-", "+"), ("public-", "="))
_LENT = (("trial.", "@"), ("pause.", "%"))
"""What holds for a while is built of sets of its own; a sign leaves room for the names of any."""
_UNDECLARED = 0xFFFFFF  # maxelem of a set without a capacity: room for all, and no power of two
_MOST_ELEMENTS = 0xFFFFFFFF
# Prefixes that the longest cut takes: 2 for each bit but the last.
_PER_RANGE = {Family.IPV4: 62, Family.IPV6: 254}
_TYPES = {SetKind.HOSTS: "hash:ip", SetKind.RANGES: "hash:net"}
_KINDS = {name: kind for kind, name in _TYPES.items()}
_FEWEST_BUCKETS, _MOST_BUCKETS = 64, 1 << 16


def kernel_name(name: str, prefix: str = IN_FORCE) -> str:
    """The ip set that holds the Ruleset's set of this name; ValueError where none can.

    A name that is too long for the kernel has its kind of interface shortened to a sign.
    """
    if not _NAME.fullmatch(name):
        message = f"no name for an ip set: {name[:60]!r}"
        raise ValueError(message)
    for long, short in _LENT:
        if name.startswith(long):
            prefix, name = prefix + short, name[len(long) :]
    found = prefix + name
    for long, short in _SHORTENED if len(found) > LONGEST_NAME else ():
        if name.startswith(long):
            found = prefix + short + name[len(long) :]
    if len(found) > LONGEST_NAME:
        message = f"too long for the name of an ip set: {name[:60]!r}"
        raise ValueError(message)
    return found


def spare_name(name: str) -> str:
    """The ip set that the next content of this set is built in."""
    return kernel_name(name, SPARE)


def ruleset_name(kernel: str) -> str | None:
    """The Ruleset's set that an ip set in force holds; None for a name that droplan never gives."""
    rest, lent = kernel.removeprefix(IN_FORCE), ""
    for long, short in _LENT:
        if rest.startswith(short) and not lent:
            rest, lent = rest[len(short) :], long
    for long, short in _SHORTENED:
        if rest.startswith(short):
            rest = long + rest[len(short) :]
    try:
        return lent + rest if kernel_name(lent + rest) == kernel else None
    except ValueError:
        return None


def type_name(kind: SetKind) -> str:
    """The kernel's type for this kind."""
    return _TYPES[kind]


def kind_of(kernel_type: str) -> SetKind | None:
    """The kind that this type of the kernel's holds; None: not one that droplan uses."""
    return _KINDS.get(kernel_type)


def max_elements(made: AddressSet) -> int:
    """`maxelem`: entries that the kernel lets into the set; ValueError for a capacity beyond it.

    The kernel counts prefixes where the capacity counts ranges.
    """
    each = _PER_RANGE[made.family] if made.kind is SetKind.RANGES else 1
    most = made.capacity * each if made.capacity else _UNDECLARED
    if not 0 < most <= _MOST_ELEMENTS or (made.capacity and most == _UNDECLARED):
        message = f"an ip set cannot have a capacity of {made.capacity}"
        raise ValueError(message)
    return most


def capacity_of(kind: SetKind, family: Family, most: int) -> int:
    """The capacity that gives this `maxelem`; ODD_OPTIONS where none does."""
    if most == _UNDECLARED:
        return 0
    each = _PER_RANGE[family] if kind is SetKind.RANGES else 1
    return most // each if most and most % each == 0 else ODD_OPTIONS


def buckets(made: AddressSet, entries: int) -> int:
    """`hashsize`: four entries a bucket when the set is full, so that it need not grow while it is read."""
    wanted = -(-max(made.capacity if made.kind is SetKind.HOSTS else 0, entries) // 4)
    return min(max(1 << max(wanted - 1, 0).bit_length(), _FEWEST_BUCKETS), _MOST_BUCKETS)


def entries(made: AddressSet) -> frozenset[Entry]:
    """What the kernel set holds for these elements."""
    if made.kind is SetKind.HOSTS:
        return made.elements
    return frozenset(prefix for item in made.elements for prefix in _cut(item, made.family.width))


def elements(kind: SetKind, family: Family, found: "frozenset[Entry]") -> "frozenset[Element] | None":
    """The elements that these entries stand for; None when droplan would have cut them otherwise."""
    if kind is SetKind.HOSTS:
        return found
    ranges = frozenset(_joined(found, family.width))
    cut = {prefix for item in ranges for prefix in _cut(item, family.width)}
    return ranges if cut == found else None


def _cut(element: "Element", width: int) -> "Iterator[Entry]":
    """The fewest prefixes that make up a range; `hash:net` takes no /0."""
    bits = 8 * width
    first, last = int.from_bytes(element[:width], "big"), int.from_bytes(element[width:], "big")
    while first <= last:
        aligned = (first & -first).bit_length() - 1 if first else bits - 1
        size = min(aligned, (last - first + 1).bit_length() - 1)
        yield first.to_bytes(width, "big") + bytes([bits - size])
        first += 1 << size


def _joined(prefixes: "Iterable[Entry]", width: int) -> "Iterator[Element]":
    """Ranges that neither overlap nor touch."""
    start = last = -1
    for prefix in sorted(prefixes):
        first = int.from_bytes(prefix[:width], "big")
        end = first | ((1 << (8 * width - prefix[width])) - 1)
        if start >= 0 and first > last + 1:
            yield start.to_bytes(width, "big") + last.to_bytes(width, "big")
            start = -1
        start, last = (first if start < 0 else start), max(end, last)
    if start >= 0:
        yield start.to_bytes(width, "big") + last.to_bytes(width, "big")
