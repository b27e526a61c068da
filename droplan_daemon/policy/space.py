"""Sets of addresses of one family as sorted, disjoint, non-adjacent spans of integers. PURE.

Law: a Boolean algebra; the form is canonical, so equal sets are equal tuples.
"""

from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.model.addresses import Address, Element

Span = tuple[int, int]
"""First and last address, inclusive."""

Space = tuple[Span, ...]

NOTHING: Space = ()


def everything(family: Family) -> Space:
    """Every address of a family."""
    return ((0, (1 << 8 * family.width) - 1),)


def space(spans: "Iterable[Span]") -> Space:
    """The canonical form of any spans."""
    out: list[Span] = []
    for first, last in sorted(spans):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


def of_addresses(addresses: "Iterable[Address]") -> Space:
    """The Space of single addresses of one family."""
    numbers = (int.from_bytes(address, "big") for address in addresses)
    return space((number, number) for number in numbers)


def union(*spaces: Space) -> Space:
    """What is in any of them."""
    return space(span for one in spaces for span in one)


def complement(one: Space, family: Family) -> Space:
    """What is not in it."""
    ((start, end),) = everything(family)
    out: list[Span] = []
    for first, last in one:
        if start < first:
            out.append((start, first - 1))
        start = last + 1
    return (*out, (start, end)) if start <= end else tuple(out)


def intersection(one: Space, other: Space) -> Space:
    """What is in both."""
    out: list[Span] = []
    left, right = 0, 0
    while left < len(one) and right < len(other):
        first, last = max(one[left][0], other[right][0]), min(one[left][1], other[right][1])
        if first <= last:
            out.append((first, last))
        if one[left][1] < other[right][1]:
            left += 1
        else:
            right += 1
    return tuple(out)


def contains(one: Space, address: "Address") -> bool:
    """Whether it holds this address, which must be of its family."""
    number = int.from_bytes(address, "big")
    return any(first <= number <= last for first, last in one)


def ranges(one: Space, family: Family) -> "frozenset[Element]":
    """As set elements of kind ranges."""
    width = family.width
    return frozenset(first.to_bytes(width, "big") + last.to_bytes(width, "big") for first, last in one)
