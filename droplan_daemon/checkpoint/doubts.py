"""Absences as JSON, what the operator accepted, and when somebody answered last. PURE.

Law: what is read back is what was written, or StoreFailed(`shape`); elements are hexadecimal.
"""

from typing import Any

from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.checkpoint import Heard
from droplan_daemon.model.doubt import AGREEING, Absences

from .values import items, number, seconds, text

VERSION = 1

_MOST = 1_000_000
"""Elements: as many as any fleet has, so that a foreign file cannot fill the memory."""


def encode(absences: Absences) -> dict[str, Any]:
    """The body of the file."""
    groups = absences.groups.items()
    return {"groups": {name: {element.hex(): n for element, n in found.items()} for name, found in groups}}


def decode(body: object) -> Absences:
    """The Absences of a body. Raises StoreFailed."""
    try:
        return Absences({text(name): _counts(found) for name, found in _table(_only(body, "groups")).items()})
    except (ValueError, TypeError):
        raise StoreFailed("what was held has an unknown shape", reason="shape") from None


def words(body: object) -> frozenset[str]:
    """What was accepted. Raises StoreFailed."""
    try:
        return frozenset(map(text, items(_only(body, "accepted"))))
    except (ValueError, TypeError):
        raise StoreFailed("what was accepted has an unknown shape", reason="shape") from None


def read_heard(body: object) -> Heard:
    """When somebody answered last. Raises StoreFailed."""
    try:
        found = _table(body)
        if found.keys() != {"at", "boot", "uptime"}:
            raise ValueError("other keys")  # noqa: TRY301 - said where it is known
        return Heard(seconds(found["at"]), text(found["boot"], least=0), seconds(found["uptime"]))
    except (ValueError, TypeError):
        raise StoreFailed("when somebody answered has an unknown shape", reason="shape") from None


def _only(body: object, key: str) -> object:
    """What the body has under this key, and nothing beside it."""
    if type(body) is not dict or body.keys() != {key}:
        raise ValueError("other keys")
    return body[key]


def _table(found: object) -> dict[str, object]:
    if type(found) is not dict:
        raise ValueError("no table")
    return found


def _counts(found: object) -> dict[bytes, int]:
    if type(found) is not dict or not 0 < len(found) <= _MOST:
        raise ValueError("no counts")
    return {bytes.fromhex(text(element)): number(n, 0, AGREEING - 1) for element, n in found.items()}
