"""An event's values, made fit to be written. Pure.

Laws: after `cleaned` an event holds only None, booleans, numbers, and text without control
characters, and lists and dicts of them, all of bounded size. After `redact` no learned
secret and nothing that looks like a token is left in it, keys included.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TYPE_CHECKING, Any

from droplan_daemon.plaintext import MASK, cut, escape, mask

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

LONGEST_TEXT = 200
# What to do stands at the end of a sentence of ours, and must not be cut off.
LONGEST_SENTENCE = 400
_LONGEST_TRACE = 8_000
_MOST_ITEMS = 20
_DEEPEST = 4
_LARGEST = 1 << 63

# Shorter than this, a "secret" would blank out ordinary words.
_SHORTEST_SECRET = 4


class Secrets:
    """What must never be written. It learns; a token that was rotated stays secret."""

    def __init__(self, *known: str) -> None:
        self._known: tuple[str, ...] = ()
        for secret in known:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """Never write this from now on."""
        if len(secret) >= _SHORTEST_SECRET and secret not in self._known:
            # A longer one first: it may contain a shorter one.
            self._known = tuple(sorted((*self._known, secret), key=len, reverse=True))

    def __repr__(self) -> str:
        return f"Secrets({MASK})"

    def hide(self, text: str) -> str:
        """Text without any secret."""
        for secret in self._known:
            text = text.replace(secret, MASK)
        return mask(text)

    def redact(self, _logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
        """A structlog processor: the same event without any secret, in plain values."""
        return {self.hide(str(key)): self._value(value, _DEEPEST) for key, value in event.items()}

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or (isinstance(value, bool | int | float) and not isinstance(value, Enum)):
            return value
        if depth and isinstance(value, Mapping):
            return {self.hide(_text(key)): self._value(item, depth - 1) for key, item in value.items()}
        if depth and isinstance(value, list | tuple | AbstractSet):
            items = sorted(value, key=_text) if isinstance(value, AbstractSet) else value
            return [self._value(item, depth - 1) for item in items]
        return self.hide(_text(value))


def cleaned(event: "Mapping[str, Any]") -> dict[str, Any]:
    """A redacted event, escaped and cut. A traceback keeps its line breaks and its end."""
    return {escape(key): _field(key, value) for key, value in event.items()}


def _field(key: str, value: Any) -> Any:
    if key == "exception":
        return _trace(value)
    if key == "message" and isinstance(value, str):
        return cut(escape(value), LONGEST_SENTENCE)
    return _clean(value)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return cut(escape(value), LONGEST_TEXT)
    if isinstance(value, dict):
        return {
            cut(escape(key), LONGEST_TEXT): _clean(item) for key, item in list(value.items())[:_MOST_ITEMS]
        }
    if isinstance(value, list):
        more = [f"and {len(value) - _MOST_ITEMS} more"] if len(value) > _MOST_ITEMS else []
        return [_clean(item) for item in value[:_MOST_ITEMS]] + more
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        return "a number of more than 64 bits"
    return value


def _trace(value: Any) -> str:
    return escape(str(value)[-_LONGEST_TRACE:], keep="\n")


def _text(value: Any) -> str:
    """Text of any value; a value whose own `str` fails must not stop the log."""
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - foreign code, and the log never raises
        return f"<{type(value).__name__}>"
