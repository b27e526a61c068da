"""The metrics as a file, for node_exporter's textfile collector.

Laws: a reader finds the whole file or the one before; it is readable by all and made in no folder that is
not there, for one that node_exporter does not look at would help nobody.
"""

from typing import TYPE_CHECKING

from droplan_daemon.checkpoint.atomic import write_atomic
from droplan_daemon.errors import ExportFailed, StoreFailed

from .text import render

if TYPE_CHECKING:
    from pathlib import Path

    from .families import Family

_READABLE = 0o644


class TextFile:
    """An Exporter to this path."""

    condition = "metrics.textfile.failed"

    def __init__(self, path: "Path") -> None:
        self._path = path

    def offer(self, families: "tuple[Family, ...]") -> None:
        """Replace the file. Raises ExportFailed."""
        if not self._path.parent.is_dir():
            message = f"{self._path} cannot be written: make the folder {self._path.parent}, or name another"
            raise ExportFailed(message, reason="textfile")
        try:
            write_atomic(self._path, render(families).encode(), _READABLE, durable=False)
        except StoreFailed as error:
            raise ExportFailed(str(error), reason="textfile") from error

    async def close(self) -> None:
        """Nothing: what was told last stays, and its age can be seen."""
