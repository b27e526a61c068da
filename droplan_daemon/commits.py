"""What was in the way of a commit, and whom the kernel refused, as log events. PURE.

Laws: one line for each kind of setback, however often it happened; an element is told by the name of the
Droplet whose it is. A cycle that ended well says what it overcame; one that failed says its error alone.
"""

from errno import errorcode
from typing import TYPE_CHECKING, Any

from .errors import CommitConflict, CommitUnknown, CommitUnsent
from .model.addresses import format_element

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .outcomes import Committed, Quarantined, Setback, Unchanged, World

Event = tuple[str, str, dict[str, Any]]
"""(level, event, fields), as structlog takes them."""


def setbacks(outcome: "Unchanged | Committed") -> "Iterator[Event]":
    """What the commit overcame."""
    for one in outcome.setbacks:
        yield from _setback(one)


def _setback(one: "Setback") -> "Iterator[Event]":
    error, told = one.error, {"message": str(one.error)}
    if isinstance(error, CommitUnsent):
        yield "info", "commit.retry", {"errno": _name(error.errno), "retry": one.times, **told}
    elif isinstance(error, CommitConflict):
        yield "info", "commit.conflict", {"retry": one.times, **told}
    elif isinstance(error, CommitUnknown):
        yield "warning", "commit.unknown", {"reason": error.reason, **told}
        yield "info", "commit.verified", {"message": "what was read back is as it should be"}


def rejected(world: "World") -> "Iterator[Event]":
    """That elements are left out, and whose the first is."""
    if not world.quarantined:
        return
    first, count = world.quarantined[0], len(world.quarantined)
    address, peer = format_element(first.element, first.family), _owner(world, first)
    more = f" and {count - 1:,} more" if count > 1 else ""
    whose = f" ({peer})" if peer else ""
    message = (
        f"the kernel refuses {address}{whose}{more}: left out until something else changes, all others are in"
    )
    fields = {"errno": _name(first.errno), "peer": peer or None, "address": address, "set": first.set}
    yield "warning", "commit.rejected", {**fields, "elements": count, "message": message}


def _owner(world: "World", one: "Quarantined") -> str:
    """The name of the Droplet that has the address; empty for a range, and for an address of nobody."""
    mine = (d.name for d in world.fleet.droplets if one.element in (*d.private, *d.public))
    return next(mine, "")


def _name(number: int) -> str:
    return errorcode.get(number, str(number))
