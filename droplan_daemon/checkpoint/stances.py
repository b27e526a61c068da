"""The Stance on disk: a sealed file of its own, since it is written when nothing else is.

Laws:
1. What is read is what was written last, or StoreFailed; where there is no file nothing was ever said.
2. A Stance that cannot be read is no Stance without a panic: it is an error that says what to do.
"""

from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.stance import Stance

from .atomic import read_whole, write_atomic
from .sealed import seal, unseal
from .values import flag, seconds, text

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1
_KEYS = frozenset({"panic", "since", "tried", "tried_until", "confirmed", "rules", "path"})


def read_stance(path: "Path") -> Stance:
    """What this file says. Raises StoreFailed."""
    try:
        body = unseal(read_whole(path), _VERSION)
    except StoreFailed as error:
        if error.reason == "missing":
            return Stance()
        raise _unusable(path, error) from error
    try:
        return _read(body)
    except (ValueError, TypeError, LookupError):
        raise _unusable(path, StoreFailed("it has an unknown shape", reason="shape")) from None


def write_stance(path: "Path", stance: Stance) -> None:
    """Keep it, durably. Raises StoreFailed, also for what could not be read again."""
    body = {
        "panic": stance.panic,
        "since": stance.since,
        "tried": stance.tried,
        "tried_until": stance.tried_until,
        "confirmed": stance.confirmed,
        "rules": stance.rules,
        "path": stance.path,
    }
    try:
        _read(body)
    except ValueError:
        message = "this cannot be kept: the path of the configuration has characters that cannot be shown"
        raise StoreFailed(message, reason="shape") from None
    write_atomic(path, seal(_VERSION, body))


def _unusable(path: "Path", error: StoreFailed) -> StoreFailed:
    message = (
        f"whether there is a panic or a trial cannot be read in {path} ({error}); "
        "say it anew with: droplan panic, or droplan panic --end"
    )
    return StoreFailed(message, errno=error.errno, reason=error.reason)


def _read(body: Any) -> Stance:
    if not isinstance(body, dict) or body.keys() != _KEYS:
        raise ValueError("other keys")
    return Stance(
        flag(body["panic"]),
        seconds(body["since"]),
        text(body["tried"], least=0),
        seconds(body["tried_until"]),
        text(body["confirmed"], least=0),
        text(body["rules"], least=0),
        text(body["path"], least=0),
    )
