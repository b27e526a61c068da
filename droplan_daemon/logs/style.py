"""What suits the place that the log goes to."""

import os
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import TextIO


class Style(Enum):
    """What a line looks like.

    TERMINAL: colours. PLAIN: a line with its time. PREFIXED: a line with `<N>`, for a standard
    error that systemd reads. JOURNAL: journald's own fields. JSON: one object a line.
    """

    TERMINAL = auto()
    PLAIN = auto()
    PREFIXED = auto()
    JOURNAL = auto()
    JSON = auto()


def choose_style(stream: "TextIO", environ: "Mapping[str, str]", journal: "Path") -> Style:
    """The Style for this stream: JOURNAL_STREAM says whether the journal reads it (systemd.exec(5))."""
    if _is_journal(stream, environ.get("JOURNAL_STREAM", "")):
        return Style.JOURNAL if journal.is_socket() else Style.PREFIXED
    if stream.isatty() and environ.get("TERM") != "dumb" and not environ.get("NO_COLOR"):
        return Style.TERMINAL
    return Style.PLAIN


def _is_journal(stream: "TextIO", device_and_inode: str) -> bool:
    if not device_and_inode:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return device_and_inode == f"{found.st_dev}:{found.st_ino}"
