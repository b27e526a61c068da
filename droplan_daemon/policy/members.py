"""The AddressSets of a Ruleset: one for each selector, family and kind of interface. PURE.

Law: a selector has the same set, under the same name, wherever it is used; the Fleet decides
what is in it and nothing else.
"""

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction
from droplan_daemon.model.ruleset import AddressSet, From, SetKind, To
from droplan_daemon.model.selector import Kind, Term

from .pick import ANY, elements, families, set_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.addresses import Family
    from droplan_daemon.model.ruleset import Match
    from droplan_daemon.model.selector import Selector

    from .pick import Union
    from .scene import Scene

_PLAIN = re.compile(r"(?:tag|name|region|id):[a-z0-9_.-]{1,14}", re.ASCII)
# A VPC holds at most 10,000 resources: with this room no change of the peers is a new set.
_PEER_CAPACITY, _CAPACITY = 16_384, 1_024


class Members:
    """Gathers the sets while rules are compiled."""

    def __init__(self, scene: "Scene") -> None:
        self._scene = scene
        self._sets: dict[str, AddressSet] = {}

    def sets(self) -> tuple[AddressSet, ...]:
        """Every set that a rule asked for."""
        return tuple(self._sets.values())

    def matches(
        self, who: "Selector | Union", kind: InterfaceKind, direction: Direction
    ) -> "Iterator[tuple[Match, ...]]":
        """Alternatives, one for each family; a single one without conditions for `any`."""
        if who == ANY:
            yield ()
            return
        side = From if direction is Direction.INBOUND else To
        for family in families(who, kind):
            yield (side(self._named(who, kind, family), family),)

    def _named(self, who: "Selector | Union", kind: InterfaceKind, family: "Family") -> str:
        name = set_name(who, kind, family)
        if name not in self._sets:
            found = elements(who, self._scene, kind, family)
            sort = set_kind(who)
            room = capacity(len(found), _least(who)) if sort is SetKind.HOSTS else 0
            self._sets[name] = AddressSet(name, family, sort, room, found)
        return name

    def constant(self, name: str, family: "Family", found: frozenset[bytes]) -> str:
        """A set of ranges that does not depend on the Fleet."""
        self._sets[name] = AddressSet(name, family, SetKind.RANGES, 0, found)
        return name


def set_name(who: "Selector | Union", kind: InterfaceKind, family: "Family") -> str:
    """At most 31 characters: readable for a plain term, else by the digest of the selector."""
    text = str(who)
    plain = isinstance(who, Term) and (who.kind in {Kind.PEERS, Kind.ALL} or _PLAIN.fullmatch(text))
    return f"{kind}-{text.replace(':', '-') if plain else digest(text)}-{family.value}"


def digest(text: str) -> str:
    """Twelve hexadecimal digits that stand for a text: no two of an operator's will ever be the same."""
    return sha256(text.encode()).hexdigest()[:12]


def _least(who: "Selector | Union") -> int:
    return _PEER_CAPACITY if isinstance(who, Term) and who.kind in {Kind.PEERS, Kind.ALL} else _CAPACITY


def capacity(members: int, least: int = _PEER_CAPACITY) -> int:
    """What a set declares to the kernel: room to grow, in powers of two.

    A hash that may grow is read short while it does, so the size is fixed; outgrowing it is a
    new set. A quarter more than its members keeps small changes of a large fleet from that.
    """
    size = least
    while size < members + members // 4:
        size *= 2
    return size
