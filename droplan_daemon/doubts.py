"""What is held, as log events, and as words for whoever looks. PURE.

Law: nothing here decides anything; every message says what the operator can do.
"""

from typing import TYPE_CHECKING, Any

from .model.doubt import AGREEING, FLEET, SELF, Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model.doubt import Doubt
    from .outcomes import World
    from .report import Event

EXPIRED = "peers.expired"
"""The condition while no Droplet is let in, because nobody has answered for so long."""

ALARM = "stale.alarm"
"""The condition while nobody has answered for longer than ten minutes."""

_WORDS = {"10m": "10 minutes", "1h": "an hour", "1d": "a day"}
_LONGEST = "1d"
_GONE = "nobody has answered for longer than peers.max_stale, so no Droplet is let in any more"

HELD, CHANGED = "guard.shrink.held", "identity.changed"
"""The conditions while what an answer takes away is held: too much at once; this Droplet is another."""


def remarks(world: "World") -> "Iterator[Event]":
    """One event for each cause, about the group of which most is held."""
    if world.expired:
        yield "error", EXPIRED, {"message": _GONE}
    changed = next((doubt for doubt in world.doubts if doubt.group == SELF), None)
    if changed:
        yield "warning", CHANGED, {"was": was(world), "polls": changed.polls, "message": sentence(changed)}
    others = [doubt for doubt in world.doubts if doubt.group != SELF]
    if others:
        worst = max(others, key=lambda doubt: doubt.held)
        fields = {"removed": worst.held, "of": worst.of, "set": worst.group, "polls": worst.polls}
        fields |= {"sets": len(others) if len(others) > 1 else None, "message": sentence(worst)}
        yield "warning", HELD, fields


def alarm(level: str) -> "Event":
    """That nobody has answered for long."""
    fields = {"level": level, "message": f"{stale(level)}: nobody knows who came and who left"}
    return "error" if level == _LONGEST else "warning", ALARM, fields


def stale(level: str) -> str:
    """In words how long there was no answer."""
    return f"no complete answer for more than {_WORDS[level]}"


def was(world: "World") -> str:
    """What this Droplet was and, as the answer has it, is not any more."""
    return ", ".join(sorted(map(bytes.decode, world.absences.groups.get(SELF, ()))))


def sentence(doubt: "Doubt") -> str:
    """What is held, until when, and what the operator can do."""
    if doubt.group == SELF:
        return f"this Droplet is not what it was, so nobody leaves for that yet {_until(doubt)}"
    who = "Droplets" if doubt.group == FLEET else f"addresses of {doubt.group}"
    found = f"{doubt.held:,} of {doubt.of:,} {who} are missing in the answer and stay for now"
    if doubt.cause is Cause.UNREADABLE:
        return f"{found}, until every entry of it can be read; to let them go at once: droplan accept"
    return f"{found} {_until(doubt)}"


def _until(doubt: "Doubt") -> str:
    return f"({doubt.polls} of {AGREEING} answers say so; to believe it at once: droplan accept)"


def plain(world: "World") -> list[dict[str, Any]]:
    """The doubts as JSON-able dicts, largest first."""
    return [
        {
            "cause": doubt.cause.value,
            "set": doubt.group,
            "held": doubt.held,
            "of": doubt.of,
            "polls": doubt.polls,
            "message": sentence(doubt),
        }
        for doubt in sorted(world.doubts, key=lambda doubt: -doubt.held)
    ]
