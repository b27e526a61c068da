"""What the lab shows a person: plain text, with modest colour on a terminal.

Law: text goes out line by line, at once; without colour it is the same text.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping


class Ink(StrEnum):
    """Colours by meaning; the values are SGR parameters (ECMA-48)."""

    GOOD = "32"
    BAD = "31"
    FAINT = "2"
    STRONG = "1"


class Console:
    """Writes to `stream`; `colour` or not."""

    def __init__(self, stream: TextIO, *, colour: bool = False) -> None:
        self._stream = stream
        self._colour = colour

    def say(self, text: str = "") -> None:
        """One line, or several."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def paint(self, text: str, ink: Ink) -> str:
        """The text in this colour, where there is colour."""
        return f"\x1b[{ink}m{text}\x1b[0m" if self._colour else text


def wants_colour(stream: TextIO, environ: "Mapping[str, str]") -> bool:
    """On a terminal that can, unless the user says no (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
