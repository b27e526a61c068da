"""What a selector picks of a Scene: Droplets, or addresses on one kind of interface. PURE.

Laws:
1. Pointwise, so Boolean: De Morgan holds and the order of the Fleet does not matter. A selector
   of Droplet terms alone ranges over the Fleet: `not tag:web` is every Droplet without the tag. One
   with an address term ranges over all addresses.
2. A Droplet term stands for the addresses that its Droplets have on that interface.
3. A selector over addresses whose `not` would let in the rest of the world is not `bounded`; the
   configuration refuses it unless it says `any` itself.
4. In a Union each part ranges for itself: joining rules must not turn the Fleet's `not tag:web` of
   one into the whole world's because the other names an address.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.ruleset import SetKind
from droplan_daemon.model.selector import ADDRESS_KINDS, And, Kind, Not, Or, Term, joined, terms

from .scene import named
from .space import NOTHING, Space, complement, everything, intersection, of_addresses, ranges, union

if TYPE_CHECKING:
    from droplan_daemon.model.addresses import Element
    from droplan_daemon.model.selector import Selector

    from .scene import Ids, Scene

ANY = Term(Kind.ANY)


@dataclass(frozen=True, slots=True)
class Union:
    """What any of these picks: some of Droplet terms alone, and some with address terms.

    Where all parts are of one sort, an Or says the same.
    """

    parts: "tuple[Selector, ...]"

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))


def joint(parts: "tuple[Selector, ...]") -> "Selector | Union":
    """What any of these, one or more, picks, each on its own."""
    one = joined(Or, parts)
    return one if len({names_droplets_only(part) for part in parts}) == 1 else Union(parts)


def names_droplets_only(selector: "Selector") -> bool:
    """No term of it is about addresses as such."""
    return not any(term.kind in ADDRESS_KINDS for term in terms(selector))


def bounded(selector: "Selector") -> bool:
    """Whether it picks nothing beyond what its terms name."""
    return names_droplets_only(selector) or _bounded(selector)


def _bounded(selector: "Selector") -> bool:
    match selector:
        case Term():
            return True
        case Not(part):
            return part == ANY
        case And(parts):
            return any(_bounded(part) for part in parts)
        case Or(parts):
            return all(_bounded(part) for part in parts)


def droplets(selector: "Selector", scene: "Scene") -> "Ids":
    """The ids of the Droplets that it picks. ValueError for a selector with address terms."""
    match selector:
        case Term():
            return _droplets_of(selector, scene)
        case Not(part):
            return scene.everyone - droplets(part, scene)
        case And(parts):
            found = scene.everyone
            for part in parts:
                found &= droplets(part, scene)
            return found
        case Or(parts):
            return frozenset().union(*(droplets(part, scene) for part in parts))


def _droplets_of(term: Term, scene: "Scene") -> "Ids":
    nobody: Ids = frozenset()
    match term.kind:
        case Kind.ALL:
            return scene.everyone
        case Kind.PEERS:
            return scene.peers
        case Kind.SELF:
            return frozenset({scene.own.id})
        case Kind.TAG:
            return scene.tags.get(term.value, nobody)
        case Kind.NAME:
            return named(scene, term.value, re.compile)
        case Kind.ID:
            return frozenset({int(term.value)}) & scene.everyone
        case Kind.REGION:
            return scene.regions.get(term.value, nobody)
        case Kind.VPC:
            return scene.vpcs.get(term.value, nobody)
    message = f"`{term}` is about addresses, not about Droplets"
    raise ValueError(message)


def set_kind(selector: "Selector | Union") -> SetKind:
    """Which kind of AddressSet holds what it picks; it does not depend on the Fleet."""
    if isinstance(selector, Union):
        return SetKind.RANGES
    return SetKind.HOSTS if names_droplets_only(selector) else SetKind.RANGES


def families(selector: "Selector | Union", kind: InterfaceKind) -> tuple[Family, ...]:
    """The families in which it can pick anything; a VPC has no IPv6 addresses."""
    if isinstance(selector, Union):
        each = {family for part in selector.parts for family in families(part, kind)}
        return tuple(sorted(each))
    if kind is InterfaceKind.PUBLIC:
        return tuple(Family)
    beyond = any(t.kind is Kind.ANY or (t.kind is Kind.PREFIX and ":" in t.value) for t in terms(selector))
    return tuple(Family) if beyond else (Family.IPV4,)


def elements(
    selector: "Selector | Union", scene: "Scene", kind: InterfaceKind, family: Family
) -> "frozenset[Element]":
    """What it picks, as elements of a set of its `set_kind`."""
    if isinstance(selector, Union):
        return ranges(union(*(_alone(part, scene, kind, family) for part in selector.parts)), family)
    if names_droplets_only(selector):
        width = family.width
        found = scene.addresses(droplets(selector, scene), kind)
        return frozenset(address for address in found if len(address) == width)
    return ranges(picked(selector, scene, kind, family), family)


def _alone(part: "Selector", scene: "Scene", kind: InterfaceKind, family: Family) -> Space:
    """What a part of a Union picks; parts come back in one Union after another."""
    asked = part, kind, family
    if asked not in scene.known:
        if names_droplets_only(part):
            scene.known[asked] = of_addresses(elements(part, scene, kind, family))
        else:
            scene.known[asked] = picked(part, scene, kind, family)
    return scene.known[asked]


def picked(selector: "Selector", scene: "Scene", kind: InterfaceKind, family: Family) -> Space:
    """What it picks, as a Space."""
    match selector:
        case Term():
            return _space_of(selector, scene, kind, family)
        case Not(part):
            return complement(picked(part, scene, kind, family), family)
        case And(parts):
            found = everything(family)
            for part in parts:
                found = intersection(found, picked(part, scene, kind, family))
            return found
        case Or(parts):
            return union(*(picked(part, scene, kind, family) for part in parts))


def _space_of(term: Term, scene: "Scene", kind: InterfaceKind, family: Family) -> Space:
    if term.kind is Kind.ANY:
        return everything(family)
    if term.kind is Kind.PREFIX:
        return _prefix(term.value, family)
    if term.kind is Kind.VPC_RANGE:
        return _prefix(scene.vpc_range, family) if scene.vpc_range else NOTHING
    found = scene.addresses(_droplets_of(term, scene), kind)
    return of_addresses(address for address in found if family_of(address) is family)


def _prefix(text: str, family: Family) -> Space:
    net = ip_network(text, strict=False)
    if net.version != family.value:
        return NOTHING
    return ((int(net.network_address), int(net.broadcast_address)),)
