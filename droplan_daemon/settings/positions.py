"""Where each key of a TOML document stands, which tomllib does not tell.

Laws: pure. The document is valid (tomllib has read it), so the scanner only has to find where
things end; and it says nothing about what they mean. Its key paths are those of the parsed
document: tables by name, elements of arrays and arrays of tables by index.

Source: TOML 1.0.0, https://toml.io/en/v1.0.0
"""

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the text: line and column, both from 1, the column in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key is written, and where its value begins (a table's: its key).

    `verbatim`: the value is a string on one line without escapes, so that its characters follow
    the quote one by one.
    """

    key: Spot
    value: Spot
    verbatim: bool = False


def positions(text: str) -> "Mapping[KeyPath, Place]":
    """The Place of every key path of a valid document. A path written twice counts where it is explicit."""
    return _Scanner(text.replace("\r\n", "\n")).document()


_BLANK = re.compile(r"[ \t]*")
_VOID = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
# Up to five quotes close a multi-line string: the last three of them are the delimiter.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_VERBATIM = re.compile(r"""(?:"[^"\\\n]*"(?!")|'[^'\n]*'(?!'))""")
_SCALAR = re.compile(r"[^,\]}#\n]+")


@dataclass(frozen=True, slots=True)
class _Part:
    """One segment of a (dotted) key, and its offset in the text."""

    name: str
    offset: int


class _Scanner:
    """One pass over the text; `_at` is the offset that it has come to."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._places: dict[KeyPath, Place] = {}
        self._lengths: dict[KeyPath, int] = {}  # of arrays of tables, so far

    def document(self) -> dict[KeyPath, Place]:
        table: KeyPath = ()
        self._skip(_VOID)
        while self._at < len(self._text):
            if self._next() == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_VOID)
        return self._places

    def _header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`: the path of the table that it opens."""
        array = self._text.startswith("[[", self._at)
        opening = self._at
        self._at += 2 if array else 1
        parts = self._key()
        self._skip(_BLANK)
        self._at += 2 if array else 1
        path = self._above((), parts)
        if array:
            self._note_implied(path, parts[-1].offset)
            index = self._lengths[path] = self._lengths.get(path, 0) + 1
            path = (*path, index - 1)
        self._note(path, opening if array else parts[-1].offset)
        return path

    def _above(self, table: KeyPath, parts: list[_Part]) -> KeyPath:
        """The path that a (dotted) key names; tables on the way there are implied by it.

        A name of an array of tables means the last table of that array.
        """
        for part in parts[:-1]:
            table = (*table, part.name)
            self._note_implied(table, part.offset)
            if table in self._lengths:
                table = (*table, self._lengths[table] - 1)
        return (*table, parts[-1].name)

    def _pair(self, table: KeyPath) -> None:
        parts = self._key()
        self._skip(_BLANK)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        path = self._above(table, parts)
        self._note(path, parts[-1].offset, self._at)
        self._value(path)

    def _key(self) -> list[_Part]:
        parts: list[_Part] = []
        while True:
            self._skip(_BLANK)
            parts.append(_Part(self._name(), self._at))
            self._at = self._name_end()
            self._skip(_BLANK)
            if self._next() != ".":
                return parts
            self._at += 1

    def _name(self) -> str:
        written = self._text[self._at : self._name_end()]
        # tomllib knows the escapes; a quoted key is written like a string.
        return str(tomllib.loads(f"x = {written}")["x"]) if written[0] in "\"'" else written

    def _name_end(self) -> int:
        return self._end_of(_STRING if self._next() in "\"'" else _BARE)

    def _value(self, path: KeyPath) -> None:
        match self._next():
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._at = self._end_of(_STRING)
            case _:
                self._at = self._end_of(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        index = 0
        self._at += 1
        self._skip(_VOID)
        while self._next() not in {"]", ""}:
            self._note((*path, index), self._at, self._at)
            self._value((*path, index))
            index += 1
            self._separator()
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        self._skip(_VOID)
        while self._next() not in {"}", ""}:
            self._pair(path)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._skip(_VOID)
        if self._next() == ",":
            self._at += 1
        self._skip(_VOID)

    def _note(self, path: KeyPath, key: int, value: int | None = None) -> None:
        self._places[path] = self._place(key, value)

    def _note_implied(self, path: KeyPath, key: int) -> None:
        if path not in self._places:
            self._places[path] = self._place(key)

    def _place(self, key: int, value: int | None = None) -> Place:
        if value is None:
            return Place(self._spot(key), self._spot(key))
        return Place(self._spot(key), self._spot(value), bool(_VERBATIM.match(self._text, value)))

    def _spot(self, offset: int) -> Spot:
        line = bisect_right(self._starts, offset)
        return Spot(line, offset - self._starts[line - 1] + 1)

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, what: re.Pattern[str]) -> None:
        self._at = self._end_of(what)

    def _end_of(self, what: re.Pattern[str]) -> int:
        found = what.match(self._text, self._at)
        return found.end() if found else len(self._text)
