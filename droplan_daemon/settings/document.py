"""The bytes of the file as a Document, or the Problem that they have. Pure.

Law: this is the one place that knows how tomllib says where a syntax error is.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from droplan_daemon.errors import Problem
from droplan_daemon.plaintext import escape, mask

from .positions import KeyPath, Place, Spot, positions

LONGEST = 1 << 20
"""Bytes of the longest file that is read: a thousand times what a policy needs."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file, where its keys stand, and its text."""

    data: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[KeyPath, Place] = field(default_factory=dict)
    text: str = ""

    def key(self, path: KeyPath) -> Spot | None:
        """Where this key, or the nearest table around it, is written."""
        place = self._place(path)
        return place.key if place else None

    def value(self, path: KeyPath) -> Spot | None:
        """Where the value of this key, or the nearest table around it, begins."""
        place = self._place(path)
        return place.value if place else None

    def inside(self, path: KeyPath, offset: int) -> Spot | None:
        """Where this character (from 0) of a string stands; where the string begins, if it is folded."""
        place = self._place(path)
        if place is None or not place.verbatim:
            return place.value if place else None
        return Spot(place.value.line, place.value.column + 1 + offset)

    def _place(self, path: KeyPath) -> Place | None:
        around = (self.places.get(path[:length]) for length in range(len(path), 0, -1))
        return next((place for place in around if place), None)


def decode(data: bytes) -> str | Problem:
    """The text of the file; a byte order mark, as some editors leave one, is no part of it."""
    if len(data) > LONGEST:
        return Problem(
            f"the file is longer than {LONGEST:,} bytes", hint="this cannot be a policy of droplan"
        )
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        bad = error.start
    before = data[:bad]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
    return Problem(
        f"the file is not UTF-8 text: byte 0x{data[bad]:02x}",
        line=line,
        column=column,
        hint="save it with the encoding UTF-8",
    )


def parse(text: str) -> Document | Problem:
    """A valid TOML document with its positions."""
    try:
        return Document(tomllib.loads(text), positions(text), text)
    except ValueError as error:  # TOMLDecodeError, and int() on a number of thousands of digits
        return _syntax_problem(error, text)
    except RecursionError:
        return Problem("the file is nested too deeply", hint="a policy has two levels")


_AT = re.compile(
    r"(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)


def _syntax_problem(error: ValueError, text: str) -> Problem:
    """Presentation only. From Python 3.14 on the error has attributes; before, just its text."""
    said = _AT.fullmatch(str(error))
    what = getattr(error, "msg", None) or (said["what"] if said else "a number is too long")
    line = getattr(error, "lineno", None) or (int(said["line"]) if said and said["line"] else None)
    column = getattr(error, "colno", None) or (int(said["column"]) if said and said["column"] else None)
    if line is None and said:
        lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    reason = mask(escape(what[:1].lower() + what[1:]), doubtful=True)
    return Problem(f"this is not TOML: {reason}", line=line, column=column, hint="see https://toml.io")
