"""Text as manual pages have it. Pure.

Law: whatever a text says, it comes out as text: no character of it is taken for a request of roff's.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CODE = re.compile(r"`([^`]+)`")
_SIGNS = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "~": r"\(ti", "^": r"\(ha", "…": "..."}


def literal(text: str) -> str:
    """Text of one line, to be shown exactly as it is."""
    safe = "".join(_SIGNS.get(char, char) for char in text)
    return rf"\&{safe}" if safe.startswith(".") else safe


def prose(text: str) -> str:
    """A paragraph; what stands in `backticks` is bold. Line breaks are blanks."""
    words = " ".join(text.split())
    parts = _CODE.split(words)
    return "".join(bold(part) if number % 2 else literal(part) for number, part in enumerate(parts))


def bold(text: str) -> str:
    """As it is typed."""
    return rf"\fB{literal(text)}\fR"


def italic(text: str) -> str:
    """What stands for something else."""
    return rf"\fI{literal(text)}\fR"


def title(name: str, section: int, date: str, version: str) -> str:
    """The head of a page; `date` as 2026-11-22."""
    return f'.TH {name} {section} {date} "droplan {version}" "droplan manual"'


def section(name: str, *paragraphs: str) -> str:
    """A section of ready paragraphs."""
    return "\n".join([f'.SH "{name}"', "\n.PP\n".join(paragraphs)])


def item(term: str, *lines: str) -> str:
    """A term and what is said about it, both ready."""
    return "\n".join([".TP", term, "\n.br\n".join(line for line in lines if line)])


def example(lines: "Iterable[str]") -> str:
    """Lines as they are typed, in a type of equal widths."""
    shown = [literal(line) or r"\&" for line in lines]
    return "\n".join([".EX", *shown, ".EE"])
