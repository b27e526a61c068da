"""From the sets that stand to those that should: which messages, in which order. PURE.

Laws:
1. What no rule sees yet is built first, in a datagram of its own, so that a refusal of the kernel
   (no memory, set full) is known before anything counts.
2. What rules see changes in one other datagram, all additions before all removals. The kernel
   carries out a datagram whole even when its sender is killed, so a crash leaves the old sets or the new.
3. A large difference is a second set that is swapped in; a small one is added and removed. A swap
   costs a grace period of the kernel (up to 30 ms on some versions), an element a microsecond.

A swap needs sets of one type. Where the rules change as well, or the type does, the new content
stands *beside*: the rules that come must name the spare.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import ipset_wire as wire
from .ipset_shape import (
    ODD_TYPE,
    buckets,
    entries,
    kernel_name,
    max_elements,
    spare_name,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from droplan_daemon.model.addresses import Family
    from droplan_daemon.model.ruleset import AddressSet, SetKind

    Revision = Callable[[SetKind, Family], int]

_SMALL = 512  # entries that come or go; beyond, building and swapping is as quick


@dataclass(slots=True)
class Steps:
    """Commands in two datagrams: `unseen`, then `seen`.

    `swaps`: spares that are swapped in, by the Ruleset's name of the set. `beside`: names of the
    Ruleset's sets whose new content stays in the spare.
    """

    unseen: list[wire.Command] = field(default_factory=list)
    seen: list[wire.Command] = field(default_factory=list)
    swaps: dict[str, str] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Edit:
    """Commands that add and remove so many entries. `fits`: the set that stands can take them."""

    come: tuple[wire.Command, ...]
    go: tuple[wire.Command, ...]
    entries: int
    fits: bool


_NOTHING = Edit((), (), 0, fits=True)


def steps(
    observed: "Mapping[str, AddressSet]",
    desired: "Mapping[str, AddressSet]",
    revision: "Revision",
    *,
    rules_change: bool,
) -> Steps:
    """What makes every desired set stand. What is no longer desired stays; rules may name it."""
    made, gone = Steps(), list[wire.Command]()
    for name, new in desired.items():
        old = observed.get(name)
        edit = None if old is None else difference(old, new)
        if edit == _NOTHING:
            continue
        if edit and edit.entries <= _SMALL and edit.fits and not rules_change:
            made.seen += edit.come
            gone += edit.go
            continue
        spare = spare_name(name)
        made.unseen += build(new, spare, revision(new.kind, new.family))
        if old is None:
            made.seen.append(wire.rename(spare, kernel_name(name)))
        elif rules_change or not _one_type(old, new):
            made.beside.add(name)
        else:
            made.swaps[spare] = name
            made.seen.append(wire.swap(spare, kernel_name(name)))
    made.seen += gone
    return made


def build(new: "AddressSet", name: str, revision: int) -> "Iterator[wire.Command]":
    """A set of this name, which is free, with all its entries."""
    held = entries(new)
    size, most = buckets(new, len(held)), max_elements(new)
    yield wire.create(name, type_name(new.kind), new.family, revision=revision, most=most, buckets=size)
    yield from wire.change(wire.ADD, name, list(held), new.family.width)


def difference(old: "AddressSet", new: "AddressSet") -> Edit:
    """What comes and what goes, in the set that stands."""
    if old.schema != new.schema:
        return Edit((), (), len(old.elements) + len(new.elements), fits=False)
    before, after, width = entries(old), entries(new), new.family.width
    come, go, name = list(after - before), list(before - after), kernel_name(new.name)
    return Edit(
        tuple(wire.change(wire.ADD, name, come, width)),
        tuple(wire.change(wire.DELETE, name, go, width)),
        len(come) + len(go),
        fits=len(before) + len(come) <= max_elements(new),
    )


def _one_type(old: "AddressSet", new: "AddressSet") -> bool:
    return old.family is new.family and old.kind is new.kind and old.capacity != ODD_TYPE
