"""Where events go: a stream, or journald's socket.

Law: a sink neither raises nor waits. What cannot be written at once is dropped; the next
line that gets through says how many were.
"""

import io
import select
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .rendering import journal_datagram

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

JOURNAL = Path("/run/systemd/journal/socket")


class Sink(Protocol):
    """What structlog calls with the event, by the name of its level."""

    def write(self, event: "Mapping[str, Any]") -> None:
        """Write one cleaned event."""


class StreamSink:
    """One rendered line at a time to a text stream."""

    def __init__(self, stream: "TextIO", render: "Callable[[Mapping[str, Any]], str]") -> None:
        self._stream = stream
        self._render = render
        self._dropped = 0

    def write(self, event: "Mapping[str, Any]") -> None:
        """Write one event, or drop it when the stream is closed, broken or full."""
        lines = [self._render(event)]
        if self._dropped:
            lines.insert(
                0, self._render({"event": "log.dropped", "level": "warning", "count": self._dropped})
            )
        try:
            if not self._writable():
                self._dropped += 1
                return
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: closed
            self._dropped += 1
        else:
            self._dropped = 0

    debug = info = warning = error = critical = write

    def _writable(self) -> bool:
        """Whether a line can be written without waiting: a pipe or a journal that nobody reads fills up."""
        try:
            number = self._stream.fileno()
        except io.UnsupportedOperation:  # a stream in memory
            return True
        ready = select.poll()
        ready.register(number, select.POLLOUT)
        return bool(ready.poll(0))


class JournalSink:
    """journald's native protocol; what journald does not take goes to the stream."""

    def __init__(self, path: Path, fallback: StreamSink) -> None:
        self._path = str(path)
        self._fallback = fallback

    def write(self, event: "Mapping[str, Any]") -> None:
        """Send one event. A socket for each: events are rare, and journald and its socket come and go."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(journal_datagram(event), self._path)
        except OSError:
            self._fallback.write(event)

    debug = info = warning = error = critical = write
