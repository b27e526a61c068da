"""Rules sorted by what they are about: all ports, a port, a protocol. PURE.

Laws:
1. The order of the rules does not matter; the same rules always give the same values.
2. Each port of tcp or udp belongs to at most one Segment, whose selector is the union of all
   rules that open it; neighbouring ports with the same union are one Segment.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from droplan_daemon.model.policy import PortProtocol

from .pick import ANY, joint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.model.policy import Allow
    from droplan_daemon.model.selector import Selector

    from .pick import Union


@dataclass(frozen=True, slots=True)
class Segment:
    """Ports (inclusive) that the same rules open; `names` are theirs."""

    first: int
    last: int
    who: "Selector | Union"
    names: tuple[str, ...]


def on_every_port(allows: "Iterable[Allow]") -> "list[Allow]":
    """The rules that name no ports."""
    return [allow for allow in allows if not allow.ports]


def of_protocol(allows: "Iterable[Allow]", protocol: PortProtocol) -> "list[Allow]":
    """The rules that open anything of this protocol by name."""
    return [allow for allow in allows if any(ports.protocol is protocol for ports in allow.ports)]


def merged(allows: "Iterable[Allow]") -> "tuple[Selector | Union, tuple[str, ...]] | None":
    """The union of the rules' selectors, and their names; None for no rule."""
    found = {str(allow.who): allow.who for allow in allows}
    if not found:
        return None
    names = tuple(sorted({allow.name for allow in allows}))
    if ANY in found.values():
        return ANY, names
    return joint(tuple(found[text] for text in sorted(found))), names


def segments(allows: "Iterable[Allow]", protocol: PortProtocol) -> "list[Segment]":
    """The ports of a protocol that any rule opens, in ascending order."""
    spans = [
        (ports.first, ports.last, allow)
        for allow in allows
        for ports in allow.ports
        if ports.protocol is protocol
    ]
    edges = sorted({edge for first, last, _ in spans for edge in (first, last + 1)})
    opening: dict[int, list[Allow]] = {edge: [] for edge in edges}
    closing: dict[int, list[Allow]] = {edge: [] for edge in edges}
    for first, last, allow in spans:
        opening[first].append(allow)
        closing[last + 1].append(allow)
    return _swept(edges, opening, closing)


def _swept(
    edges: list[int], opening: "dict[int, list[Allow]]", closing: "dict[int, list[Allow]]"
) -> "list[Segment]":
    out: list[Segment] = []
    open_now: list[Allow] = []
    for edge, following in pairwise(edges):
        for allow in closing[edge]:
            open_now.remove(allow)
        open_now += opening[edge]
        both = merged(open_now)
        if both is None:
            continue
        who, names = both
        if out and out[-1].last + 1 == edge and (out[-1].who, out[-1].names) == (who, names):
            edge = out.pop().first  # noqa: PLW2901 - the segment before goes on
        out.append(Segment(edge, following - 1, who, names))
    return out
