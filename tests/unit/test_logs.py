"""The log: every style, nothing from outside unescaped, no secret, never waiting, never failing."""

import io
import json
import logging
import os
import pty
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.logs import Secrets, Style, choose_style, configure
from droplan_daemon.logs.fields import cleaned
from droplan_daemon.logs.rendering import (
    journal_datagram,
    json_line,
    plain_line,
    prefixed_line,
    terminal_line,
)

CANARY = "dop_v1_" + "0badc0de" * 8
NO_JOURNAL = Path("/nonexistent/socket")


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    """Whatever a test configures ends with it."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    root.handlers[:] = before
    structlog.reset_defaults()


def _raise_with(text: str) -> None:
    raise RuntimeError(f"outer {text}") from KeyError(text)


def _logged(style: Style, *, secrets: Secrets | None = None, **fields: Any) -> str:
    stream = io.StringIO()
    configure(stream, {}, secrets=secrets or Secrets(), style=style, journal=NO_JOURNAL)
    structlog.get_logger().warning("fleet.gathered", **fields)
    return stream.getvalue()


def test_a_plain_line_has_time_level_event_and_fields() -> None:
    """Time in UTC, level, event, and fields that are quoted only where they must be."""
    time, rest = _logged(Style.PLAIN, peers=5, name="two words", ok=True, none=None).split(" ", 1)
    assert 'warning  fleet.gathered peers=5 name="two words" ok=true none=null\n' == rest
    assert ("T", "Z") == (time[10], time[-1])


@pytest.mark.parametrize(
    ("method", "number"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_a_prefixed_line_has_the_priority_of_sd_daemon(method: str, number: int) -> None:
    """`<N>` before the event, so that systemd files a line of standard error rightly."""
    stream = io.StringIO()
    configure(stream, {}, secrets=Secrets(), style=Style.PREFIXED, verbose=True)
    getattr(structlog.get_logger(), method)("a.b", x=1)
    assert f"<{number}>a.b x=1\n" == stream.getvalue()


def test_debug_is_silent_unless_verbose() -> None:
    """Without verbose, debug events are not written."""
    stream = io.StringIO()
    configure(stream, {}, secrets=Secrets(), style=Style.PREFIXED)
    structlog.get_logger().debug("a.b")
    assert "" == stream.getvalue()


def test_a_json_line_is_one_object() -> None:
    """One JSON object with event, level, time and the fields as they are."""
    event = json.loads(_logged(Style.JSON, peers=[1, "x"], age=1.5))
    assert {"event": "fleet.gathered", "level": "warning", "peers": [1, "x"], "age": 1.5} == {
        key: value for key, value in event.items() if key != "time"
    }


def test_a_terminal_line_has_colours() -> None:
    """On a terminal the event stands out; without the colours it is the same text."""
    line = _logged(Style.TERMINAL, peers=5)
    assert "\x1b[1mfleet.gathered\x1b[0m" in line
    assert "peers=\x1b[0m5" in line


@pytest.mark.parametrize("style", [Style.PLAIN, Style.PREFIXED, Style.JSON, Style.TERMINAL])
def test_an_exception_brings_its_traceback(style: Style) -> None:
    """A traceback is written whole, and on one line where a line is an entry."""
    stream = io.StringIO()
    configure(stream, {}, secrets=Secrets(), style=style)
    try:
        _raise_with("bad\nline")
    except RuntimeError:
        structlog.get_logger().exception("task.failed")
    assert "test_logs.py" in stream.getvalue()
    if style in {Style.PREFIXED, Style.JSON}:
        assert 1 == stream.getvalue().count("\n")


# Values, and how they come out of `cleaned`.
VALUES = [
    ("a\nb", "a\\nb"),
    ("\x1b[2J", "\\x1b[2J"),
    ("\u202egnp", "\\u202egnp"),
    ("\ud800", "\\ud800"),
    ("x" * 201, "x" * 199 + "…"),
    ("ü 漢", "ü 漢"),
    (Path("/a\n"), "/a\\n"),
    (b"\xff", "\\xff"),
    (Style.JSON, "Style.JSON"),
    (ValueError("no\n"), "no\\n"),
    ({"a": {"b\n": "c\n"}}, {"a": {"b\\n": "c\\n"}}),
    (("a", 1), ["a", 1]),
    (frozenset({"b", "a"}), ["a", "b"]),
    (list(range(22)), [*range(20), "and 2 more"]),
    (1 << 70, "a number of more than 64 bits"),
    (True, True),
    (1.5, 1.5),
]


@pytest.mark.parametrize(("value", "written"), VALUES)
def test_values_are_escaped_and_cut(value: Any, written: Any) -> None:
    """What comes from outside is escaped, cut at 200 characters, and bounded in number."""
    assert {"x": written} == cleaned(Secrets().redact(None, "", {"x": value}))


def test_a_sentence_keeps_its_end() -> None:
    """A message of ours, where what to do stands last, has twice the room; it is escaped and cut as well."""
    advice = "put `required = false` into [management]"
    told = {"message": "\x1b" + "x" * 300 + advice, "inner": {"message": "x" * 201}}
    found = cleaned(Secrets().redact(None, "", told))
    assert found["message"].endswith("xx" + advice)
    assert "\\x1bx" == found["message"][:5]
    assert "x" * 199 + "…" == found["inner"]["message"]
    assert {"message": "x" * 399 + "…"} == cleaned({"message": "x" * 401})


def test_the_pipeline_cleans() -> None:
    """What is handed to a sink has been escaped and cut."""
    line = _logged(Style.PLAIN, x="\x1b" + "x" * 300)
    assert "\\x1bxxx" in line
    assert "xxx…" in line


class _Broken:
    def __str__(self) -> str:
        message = "no"
        raise RuntimeError(message)


def test_a_value_that_cannot_be_shown_does_not_stop_the_log() -> None:
    """A value whose own text fails is written as its type."""
    assert "x=<_Broken>" in _logged(Style.PLAIN, x=_Broken())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), ANYTHING, max_size=4), st.text())
def test_any_event_is_one_line_in_every_style(fields: dict[str, Any], name: str) -> None:
    """Whatever an event holds, each style makes one printable line (or one datagram) of it."""
    event = {key: value for key, value in fields.items() if key != "exception"} | {"event": name}
    clean = cleaned(Secrets().redact(None, "", event))
    assert plain_line(clean).isprintable()
    assert prefixed_line(clean).isprintable()
    assert json_line(clean).isprintable()
    assert "\n" not in terminal_line(clean)
    assert 0 < len(_parsed(journal_datagram(clean)))


def _parsed(datagram: bytes) -> dict[str, str]:
    """A journal datagram read back, as systemd's JOURNAL_NATIVE_PROTOCOL page says."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, (size,) = line, struct.unpack("<Q", rest[:8])
            value, end, rest = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert b"\n" == end
        fields[name.decode()] = value.decode()
        datagram = rest
    return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.settimeout(5)
        yield server


def test_the_journal_gets_fields(journald: socket.socket) -> None:
    """MESSAGE, PRIORITY, an identifier, the event, and one field for each of ours."""
    stream = io.StringIO()
    path = Path(journald.getsockname())
    configure(stream, {}, secrets=Secrets(), style=Style.JOURNAL, journal=path)
    structlog.get_logger().error("fetch.failed", status=502, reason="two words", **{"odd-name": "x"})
    assert {
        "MESSAGE": 'fetch.failed status=502 reason="two words" odd-name=x',
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "droplan",
        "DROPLAN_EVENT": "fetch.failed",
        "DROPLAN_STATUS": "502",
        "DROPLAN_REASON": "two words",
        "DROPLAN_ODD_NAME": "x",
    } == _parsed(journald.recv(65536))
    assert "" == stream.getvalue()


def test_a_traceback_reaches_the_journal_with_its_lines(journald: socket.socket) -> None:
    """A MESSAGE of several lines goes as a field with its length."""
    configure(io.StringIO(), {}, secrets=Secrets(), style=Style.JOURNAL, journal=Path(journald.getsockname()))
    try:
        _raise_with("x")
    except RuntimeError:
        structlog.get_logger().exception("task.failed")
    message = _parsed(journald.recv(65536))["MESSAGE"]
    assert ("task.failed", "RuntimeError: outer x") == (message.splitlines()[0], message.splitlines()[-1])


def test_without_journald_the_stream_gets_the_line(journald: socket.socket) -> None:
    """A journal that is full, or gone, costs the fields and not the line, and nobody waits."""
    stream = io.StringIO()
    path = Path(journald.getsockname())
    configure(stream, {}, secrets=Secrets(), style=Style.JOURNAL, journal=path)
    log = structlog.get_logger()
    for number in range(2000):  # far more than a socket queues (net.unix.max_dgram_qlen)
        log.info("a.b", number=number)
    assert "<6>a.b number=1999\n" in stream.getvalue()
    path.unlink()
    log.info("c.d")
    assert stream.getvalue().endswith("<6>c.d\n")


def test_a_stream_that_nobody_reads_is_not_waited_for() -> None:
    """Into a full pipe lines are dropped; the next one that fits says how many."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        configure(stream, {}, secrets=Secrets(), style=Style.PREFIXED)
        log = structlog.get_logger()
        for _ in range(2000):
            log.info("a.b", padding="x" * 190)
        before = os.read(reading, 1 << 20).count(b"a.b")
        log.info("c.d")
        assert b"<4>log.dropped count=%d\n<6>c.d\n" % (2000 - before) == os.read(reading, 1 << 20)
    os.close(reading)


def test_a_stream_that_is_gone_is_no_error() -> None:
    """A reader that went away, or a closed stream, does not stop the daemon."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "wb", buffering=0)
    text = io.TextIOWrapper(stream, write_through=True)
    configure(text, {}, secrets=Secrets(), style=Style.PLAIN)
    structlog.get_logger().info("a.b")
    stream.close()
    structlog.get_logger().info("a.b")


def test_the_style_fits_the_stream(tmp_path: Path, journald: socket.socket) -> None:
    """Journal when JOURNAL_STREAM is this stream, colours on a terminal that wants them, else plain lines."""
    main, other = pty.openpty()
    with (tmp_path / "log").open("w") as file, os.fdopen(other, "w") as terminal, os.fdopen(main, "rb"):
        found = os.fstat(file.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        journal = Path(journald.getsockname())
        assert Style.JOURNAL is choose_style(file, environ, journal)
        assert Style.PREFIXED is choose_style(file, environ, NO_JOURNAL)
        assert Style.PLAIN is choose_style(file, {"JOURNAL_STREAM": "1:2"}, journal)
        assert Style.PLAIN is choose_style(io.StringIO(), environ, journal)
        assert Style.TERMINAL is choose_style(terminal, environ, journal)
        assert Style.PLAIN is choose_style(terminal, {"NO_COLOR": "1"}, journal)
        assert Style.PLAIN is choose_style(terminal, {"TERM": "dumb"}, journal)


def test_libraries_warn_through_us() -> None:
    """What libraries log at warning or above becomes an event; below that it is not heard."""
    logging.getLogger().handlers.clear()  # pytest's own stumbles over the bad format below
    stream = io.StringIO()
    configure(stream, {}, secrets=Secrets(CANARY), style=Style.PREFIXED)
    configure(stream, {}, secrets=Secrets(CANARY), style=Style.PREFIXED)
    logging.getLogger("asyncio").error("lost %s", CANARY)
    logging.getLogger("httpx").info("HTTP Request: GET")
    logging.getLogger("httpx").warning("bad %d", "format")
    assert (
        '<3>library.warned library=asyncio said="lost ***"\n<4>library.warned library=httpx said="bad %d"\n'
    ) == stream.getvalue()


@pytest.mark.fault("J5")
@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("secret", [CANARY, "an-odd.token/of+another=maker"])
def test_a_token_is_never_written(style: Style, secret: str, journald: socket.socket) -> None:
    """In no style, in no place of an event, does a secret that was learned come out."""
    stream = io.StringIO()
    secrets = Secrets()
    configure(stream, {}, secrets=secrets, style=style, journal=Path(journald.getsockname()))
    secrets.learn(secret)
    log = structlog.get_logger().bind(bound=secret)
    try:
        _raise_with(secret)
    except RuntimeError as error:
        log.exception("a.b", error=error)
    deep = {"h": [{"Authorization": f"Bearer {secret}"}, (secret,)], secret: 1}
    event = f"x.{secret}"
    log.info(event, deep=deep, data=secret.encode(), cut="x" * 190 + secret, **{secret: secret})
    journald.setblocking(False)
    received = b"" if style is not Style.JOURNAL else journald.recv(1 << 20) + journald.recv(1 << 20)
    written = stream.getvalue() + received.decode("latin-1")
    assert "a.b" in written
    assert secret not in written
    assert secret[:20] not in written


@pytest.mark.fault("J5")
def test_what_looks_like_a_token_is_hidden_unlearned() -> None:
    """A DigitalOcean token that nobody told us about is masked by its looks."""
    assert "x=***\n" in _logged(Style.PLAIN, x=CANARY)


@pytest.mark.fault("J5")
def test_secrets_do_not_show_themselves() -> None:
    """Nor does the list of secrets; and a rotated one stays secret."""
    secrets = Secrets("first-one", "second-one")
    assert "one" not in repr(secrets)
    assert "*** ***" == secrets.hide("first-one second-one")


def test_one_letter_is_no_secret() -> None:
    """A secret too short to be one does not blank out every word."""
    assert "abc" == Secrets("a", "").hide("abc")


def test_nothing_is_configured_on_import() -> None:
    """Importing the room changes neither structlog nor the standard library's logging."""
    assert "droplan_daemon.logs" in sys.modules
    assert not structlog.is_configured()
    assert not [h for h in logging.getLogger().handlers if type(h).__module__.startswith("droplan_daemon")]
