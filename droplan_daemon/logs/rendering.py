"""A cleaned event as a line, or as journald's fields. Pure.

Source of the priorities and of `<N>`: sd-daemon(3). Of the journal's datagrams:
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import json
import re
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

IDENTIFIER = "droplan"
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_OWN = ("event", "level", "time", "exception")
_PLAIN = re.compile(r"[^\s\"'=\\]+")
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")
_LONGEST_NAME = 64

_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_COLOUR = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}


def message(event: "Mapping[str, Any]") -> str:
    """`event key=value key="two words"`, on one line."""
    return " ".join((str(event.get("event", "")), *(f"{k}={value_text(v)}" for k, v in _fields(event))))


def plain_line(event: "Mapping[str, Any]") -> str:
    """Time, level, message; a traceback indented below."""
    line = f"{event.get('time', '')} {event.get('level', 'info'):<8} {message(event)}"
    return line + _indented(event)


def prefixed_line(event: "Mapping[str, Any]") -> str:
    """`<N>` and the message, a traceback escaped into it: the journal takes each line for an entry."""
    trace = event.get("exception")
    return f"<{priority(event)}>{message(event)}" + (f" exception={value_text(trace)}" if trace else "")


def json_line(event: "Mapping[str, Any]") -> str:
    """One JSON object."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def terminal_line(event: "Mapping[str, Any]") -> str:
    """Local reading: time of day, level by colour, event in bold, names of fields dimmed."""
    level = str(event.get("level", "info"))
    fields = " ".join(f"{_DIM}{k}={_RESET}{value_text(v)}" for k, v in _fields(event))
    clock = str(event.get("time", ""))[11:19]
    colour = _COLOUR.get(level, _COLOUR["error"])
    head = f"{_DIM}{clock}{_RESET} {colour}{level:<8}{_RESET} {_BOLD}{event.get('event', '')}{_RESET}"
    return f"{head} {fields}".rstrip() + _indented(event)


def journal_datagram(event: "Mapping[str, Any]") -> bytes:
    """MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, DROPLAN_EVENT and a DROPLAN_ field for each of ours."""
    trace = event.get("exception")
    fields = {
        "MESSAGE": message(event) + (f"\n{trace}" if trace else ""),
        "PRIORITY": str(priority(event)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        **{_journal_name(k): _journal_value(v) for k, v in _fields(event)},
        "DROPLAN_EVENT": str(event.get("event", "")),
    }
    return b"".join(_journal_field(name, value) for name, value in fields.items())


def priority(event: "Mapping[str, Any]") -> int:
    """The syslog priority of an event's level."""
    return _PRIORITY.get(str(event.get("level", "info")), _PRIORITY["error"])


def value_text(value: Any) -> str:
    """A value in a line: bare where that is unmistakable, else quoted as JSON does."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _fields(event: "Mapping[str, Any]") -> list[tuple[str, Any]]:
    return [(key, value) for key, value in event.items() if key not in _OWN]


def _indented(event: "Mapping[str, Any]") -> str:
    trace = event.get("exception")
    return "".join(f"\n    {line}" for line in str(trace).splitlines()) if trace else ""


def _journal_name(key: str) -> str:
    return f"DROPLAN_{_NOT_IN_NAMES.sub('_', key.upper())}"[:_LONGEST_NAME]


def _journal_value(value: Any) -> str:
    return value if isinstance(value, str) else value_text(value)


def _journal_field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)
