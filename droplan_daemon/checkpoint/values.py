"""JSON values, looked at before they are believed. PURE.

Law: what comes back has the type that is asked for, exactly (`true` is no number), or ValueError.
"""

from math import isfinite
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_WIDEST = (1 << 63) - 1
_LONG = 4096


def items(value: object) -> list[object]:
    """A list."""
    if type(value) is not list:
        raise ValueError("no list")
    return value


def row(value: object, length: int) -> list[object]:
    """A list of this length."""
    found = items(value)
    if len(found) != length:
        raise ValueError("a row of another length")
    return found


def text(value: object, *, least: int = 1) -> str:
    """Printable text of bounded length."""
    if type(value) is not str or not least <= len(value) <= _LONG or not value.isprintable():
        raise ValueError("no text")
    return value


def number(value: object, low: int = 0, high: int = _WIDEST) -> int:
    """A whole number within these bounds."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError("no number")
    return value


def seconds(value: object) -> float:
    """A moment or a duration."""
    # Not every int is a float: JSON has numbers of any length.
    if type(value) is int and -_WIDEST <= value <= _WIDEST:
        return float(value)
    if type(value) is not float or not isfinite(value):
        raise ValueError("no time")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise ValueError("no flag")
    return value


def maybe(read: "Callable[[object], T]", value: object) -> T | None:
    """None, or what `read` makes of the value."""
    return None if value is None else read(value)
