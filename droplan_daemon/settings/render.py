"""Problems for a person and for a program. Pure.

Laws: a line of the file is shown escaped, cut to the width around its column, and without
anything that may be a secret. The caret stands under the column that the Problem names.
"""

import re
import textwrap
import unicodedata
from typing import TYPE_CHECKING, Any

from droplan_daemon.plaintext import MASK, escape, mask

from .translate import holds_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.errors import Problem

WIDTH = 100
_BEFORE = 60  # columns to the left of the caret; of a longer line, so many characters as surely fit
_USERINFO = re.compile(r"//[^/@\s]*@")


def human(path: str, problems: "Iterable[Problem]", text: str, *, label: str = "") -> str:
    """Each Problem with its line of `text` (the file, as it was read) and a caret.

    `label` goes before each message (`warning: `). The result has no final line break.
    """
    lines = text.replace("\r\n", "\n").split("\n") if text else []
    return "\n".join(_paragraph(path, problem, lines, label) for problem in problems)


def plain(path: str, problems: "Iterable[Problem]") -> list[dict[str, Any]]:
    """The same as JSON-able dicts: file, key, line, column, message, hint."""
    return [
        {
            "file": path,
            "key": problem.key,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in problems
    ]


def _paragraph(path: str, problem: "Problem", lines: list[str], label: str) -> str:
    where = ":".join(str(part) for part in (escape(path), problem.line, problem.column) if part is not None)
    parts = [_wrapped(f"{where}: {label}{problem.message}", "    ")]
    if problem.line is not None and 1 <= problem.line <= len(lines):
        parts.append(_excerpt(problem, lines[problem.line - 1]))
    if problem.hint:
        parts.append(_wrapped(f"    {problem.hint}", "    "))
    return "\n".join(parts)


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _excerpt(problem: "Problem", line: str) -> str:
    column = problem.column or 1
    margin = f"{problem.line:>5} | "
    before, after = line[: column - 1], line[column - 1 :]
    if _is_secret(problem.key, line):
        before, after = _hidden(before, after)
    left = _shown(before)
    shown = f"…{left[-_BEFORE // 2 :]}" if _cells(left) > _BEFORE else left
    room = WIDTH - len(margin) - _cells(shown)
    right = _shown(after)
    tail = right if _cells(right) <= room else f"{right[: max(room // 2, 1)]}…"
    return f"{margin}{shown}{tail}\n      | {' ' * _cells(shown)}^"


def _is_secret(key: str, line: str) -> bool:
    written = line.partition("=")[0].strip().strip("\"'").replace(" ", "")
    return holds_secret(written) or (holds_secret(key) and "=" in line)


def _hidden(before: str, after: str) -> tuple[str, str]:
    """The two halves of a line with everything behind its equals sign masked."""
    if "=" in before:
        start = re.match(r"[^=]*=\s*", before)
        return (start[0] if start else ""), MASK
    key, sign, _ = after.partition("=")
    return before, f"{key}= {MASK}" if sign else mask(after, doubtful=True)


def _shown(text: str) -> str:
    return mask(_USERINFO.sub(f"//{MASK}@", escape(text.expandtabs(4))), doubtful=True)


def _cells(text: str) -> int:
    """Columns that a terminal gives to this text."""
    return sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
