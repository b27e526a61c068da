"""The log: events with fields, to a terminal, to lines, or to the journal.

Laws:
1. An event is `noun.verb` with fields, never a sentence; nothing that can be told apart is
   told apart by text.
2. Logging never raises and never waits: a line that cannot be written now is dropped and
   counted, and the daemon goes on.
3. What came from outside is escaped and cut before it is rendered, and no secret that was
   learned, nor anything that looks like a token, is ever written.
4. Nothing is configured on import; the composition root calls `configure`, once for each
   start.

The pieces: `fields` (pure) cleans and redacts, `rendering` (pure) makes lines, `sinks` writes,
`conditions` (pure) keeps a lasting condition from repeating itself.
"""

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from droplan_daemon.lean import stand_in

# structlog knows it for the one exception with which its loggers refuse to be pickled: 0.7 MB. So whoever
# logs takes structlog from here.
with stand_in("pickle", PicklingError=TypeError):
    import structlog

from .conditions import Conditions, Phase, Spell
from .fields import Secrets, cleaned
from .rendering import json_line, plain_line, prefixed_line, terminal_line
from .sinks import JOURNAL, JournalSink, StreamSink
from .style import Style, choose_style

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import TextIO

    from structlog.typing import EventDict, WrappedLogger

    from .sinks import Sink

__all__ = ["Conditions", "Phase", "Secrets", "Spell", "Style", "choose_style", "configure", "structlog"]


def configure(
    stream: "TextIO",
    environ: "Mapping[str, str]",
    *,
    secrets: Secrets,
    style: Style | None = None,
    verbose: bool = False,
    journal: "Path" = JOURNAL,
) -> None:
    """Send everything that structlog and the standard library log to `stream` or the journal.

    Args:
        stream: where lines go (standard error), and what is fallen back to.
        environ: JOURNAL_STREAM, NO_COLOR and TERM are looked at.
        secrets: what is never written; it may learn more later.
        style: None: what suits the stream.
        verbose: debug events too.
        journal: journald's socket.
    """
    style = style or choose_style(stream, environ, journal)
    sink = _sink(style, stream, journal)
    level = logging.DEBUG if verbose else logging.INFO
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _stamp,
            structlog.processors.format_exc_info,
            secrets.redact,
            _clean,
            _hand_over,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    _take_over_standard_logging()


def _sink(style: Style, stream: "TextIO", journal: "Path") -> "Sink":
    match style:
        case Style.TERMINAL:
            return StreamSink(stream, terminal_line)
        case Style.JSON:
            return StreamSink(stream, json_line)
        case Style.PREFIXED:
            return StreamSink(stream, prefixed_line)
        case Style.JOURNAL:
            return JournalSink(journal, StreamSink(stream, prefixed_line))
        case Style.PLAIN:
            return StreamSink(stream, plain_line)


def _stamp(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    event["time"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _clean(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    return cleaned(event)


def _hand_over(
    _logger: "WrappedLogger", _method: str, event: "EventDict"
) -> "tuple[tuple[EventDict], dict[str, Any]]":
    """The sink gets the event itself: what it looks like is the sink's affair."""
    return (event,), {}


class _StandardLogging(logging.Handler):
    """Warnings of libraries (asyncio's lost exceptions above all) as events `library.warned`."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("library.warned", library=record.name, said=_said(record), exc_info=record.exc_info)


def _said(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a library's own mistake in its format
        return str(record.msg)


def _take_over_standard_logging() -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _StandardLogging):
            root.removeHandler(handler)
    root.addHandler(_StandardLogging(logging.WARNING))
