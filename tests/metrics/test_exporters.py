"""The two ways out: a file, and a listener."""

import asyncio
import os
import random
import socket
import stat
import time
import urllib.error
import urllib.request
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import ExportFailed
from droplan_daemon.metrics.families import Family, Sample
from droplan_daemon.metrics.listening import Listener
from droplan_daemon.metrics.meter import Meter
from droplan_daemon.metrics.textfile import TextFile
from droplan_daemon.model.policy import Policy
from droplan_daemon.report import Standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ONE = (Family("droplan_x", "gauge", "A number.", (Sample(1),)),)
TWO = (Family("droplan_x", "gauge", "A number.", (Sample(2),)),)


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody is given by chance: below those of the kernel's choice (ip_local_port_range)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.randrange(10_000, 30_000)
        with closing(socket.socket(family)) as found, suppress(OSError):
            found.bind((host, port))
            return port


@asynccontextmanager
async def listening(host: str, port: int) -> "AsyncIterator[Listener]":
    made = Listener(host, port)
    try:
        made.offer(ONE)
        yield made
    finally:
        await made.close()


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


def test_a_file_is_whole_and_readable_by_all(tmp_path: "Path") -> None:
    """Whatever the umask; the content is the last that was offered, and nothing lies beside it."""
    path = tmp_path / "droplan.prom"
    before = os.umask(0o077)
    try:
        TextFile(path).offer(ONE)
        TextFile(path).offer(TWO)
    finally:
        os.umask(before)
    assert "# HELP droplan_x A number.\n# TYPE droplan_x gauge\ndroplan_x 2\n" == path.read_text()
    assert 0o644 == stat.S_IMODE(path.stat().st_mode)
    assert [path] == list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_not_made(tmp_path: "Path") -> None:
    """node_exporter would not look there: the sentence says which folder to make."""
    path = tmp_path / "missing" / "droplan.prom"
    with pytest.raises(ExportFailed, match=f"make the folder {path.parent}, or name another") as caught:
        TextFile(path).offer(ONE)
    assert "textfile" == caught.value.reason
    assert not path.parent.exists()


def test_a_file_that_cannot_be_written_is_told(tmp_path: "Path") -> None:
    """A folder in its place: an ExportFailed, and no half of a file."""
    path = tmp_path / "droplan.prom"
    path.mkdir()
    with pytest.raises(ExportFailed):
        TextFile(path).offer(ONE)
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_asks_gets_what_was_offered_last(host: str) -> None:
    """At /metrics and at /, in the text format, over IPv4 and IPv6."""

    async def life() -> list[str]:
        port = free_port(host)
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        async with listening(host, port) as listener:
            first = await asyncio.to_thread(_get, f"{url}/metrics")
            listener.offer(TWO)
            return [first, await asyncio.to_thread(_get, f"{url}/")]

    assert ["droplan_x 1.0", "droplan_x 2.0"] == [text.splitlines()[-1] for text in asyncio.run(life())]


def test_a_port_in_use_is_told_and_tried_again() -> None:
    """The sentence names address and port; when it is free, the next offer takes it."""

    async def life() -> str:
        port = free_port()
        with closing(socket.create_server(("127.0.0.1", port))):
            listener = Listener("127.0.0.1", port)
            with pytest.raises(ExportFailed, match=f"on 127.0.0.1:{port}: address already in use"):
                listener.offer(ONE)
        try:
            listener.offer(TWO)
            return await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/metrics")
        finally:
            await listener.close()

    assert "droplan_x 2.0" in asyncio.run(life())


def test_an_address_of_somebody_else_is_told() -> None:
    """192.0.2.1 is nobody's."""
    with pytest.raises(ExportFailed, match=r"192\.0\.2\.1:9753: cannot assign requested address"):
        Listener("192.0.2.1", 9753).offer(ONE)


def test_it_can_be_closed_and_opened_again() -> None:
    """A reload keeps its port, though a connection of before is in TIME_WAIT."""

    async def life() -> None:
        port = free_port()
        for _ in range(3):
            async with listening("127.0.0.1", port):
                await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/")
        with pytest.raises(urllib.error.URLError):
            await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/")

    asyncio.run(life())


@pytest.mark.full
def test_a_silent_client_keeps_nobody_away_for_long() -> None:
    """Its deadline is short; who asks meanwhile waits for that, and is answered."""

    async def life() -> float:
        port = free_port()
        async with listening("127.0.0.1", port):
            with closing(socket.create_connection(("127.0.0.1", port))):
                begun = time.monotonic()
                assert "droplan_x" in await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/")
                return time.monotonic() - begun

    assert asyncio.run(life()) < 19


def test_garbage_is_answered_or_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever is sent: the next who asks is answered, and nothing is printed."""

    async def life() -> str:
        port = free_port()
        async with listening("127.0.0.1", port):
            for data in (b"\0\xff" * 100, b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"\r\n"):
                with closing(socket.create_connection(("127.0.0.1", port))) as client:
                    client.sendall(data)
            return await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/")

    assert "droplan_x" in asyncio.run(life())
    assert ("", "") == capfd.readouterr()


def test_one_way_that_fails_keeps_no_other_from_telling(tmp_path: "Path") -> None:
    """Each failure is named by its condition."""
    good, bad = tmp_path / "droplan.prom", tmp_path / "missing" / "droplan.prom"
    meter = Meter((TextFile(bad), TextFile(good)), "1")
    failed = meter.offer(Standing(Policy()), None, ("api.fetch.failed",), ready=False)
    assert ["metrics.textfile.failed"] == [condition for condition, _ in failed]
    assert 'droplan_conditions{name="api.fetch.failed"} 1\n' in good.read_text()
