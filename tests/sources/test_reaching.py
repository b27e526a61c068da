"""Whether the API can be reached, asked without asking it anything."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.authority import Authority
from droplan_daemon.sources.reaching import ApiProbe

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.fault("B4")


def _reaches(url: str, ca_file: "Path | None" = None, deadline: float = 20.0) -> bool:
    return asyncio.run(ApiProbe(url, ca_file, deadline).reaches())


@contextmanager
def _server(tls: "ssl.SSLContext | None" = None) -> "Iterator[tuple[str, list[bytes]]]":
    """Takes one connection; its URL, and, when the context has ended, what it was sent."""
    sent: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        thread = threading.Thread(target=_hear, args=(listening, tls, sent))
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}", sent
        thread.join(60)


def _hear(listening: socket.socket, tls: "ssl.SSLContext | None", sent: list[bytes]) -> None:
    with suppress(OSError), listening.accept()[0] as plain:
        plain.settimeout(30)
        with tls.wrap_socket(plain, server_side=True) if tls else plain as connection:
            sent.append(connection.recv(1000))


def test_a_server_that_is_there_is_reached(tmp_path: "Path") -> None:
    """Over TLS with the operator's authority; it gets a connection, and no request."""
    authority = Authority()
    trusted = authority.write(tmp_path / "ca.pem")
    with _server(authority.server()) as (url, sent):
        assert _reaches(url, trusted)
    assert [b""] == sent


def test_plain_http_is_reached() -> None:
    """On a loopback address the API may be without TLS."""
    with _server() as (url, sent):
        assert _reaches(url)
    assert [b""] == sent


def test_somebody_else_is_not_the_api(tmp_path: "Path") -> None:
    """A certificate of an authority that nobody trusts is not who we reached before."""
    other = Authority().write(tmp_path / "other.pem")
    with _server(Authority().server()) as (url, sent):
        assert not _reaches(url, other)
    assert [] == sent


def test_who_says_nothing_is_not_reached() -> None:
    """A listener that never shakes hands: no, when the time is up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        began = time.monotonic()
        assert not _reaches(f"https://127.0.0.1:{listening.getsockname()[1]}", deadline=0.2)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1", "https://" + "a" * 70, "https://", "https://[::1", "https://a:b"]
)
def test_whatever_goes_wrong_is_a_no(url: str) -> None:
    """Nobody listens, the name is none, the URL is none: never an exception."""
    assert not _reaches(url)


def test_an_authority_that_cannot_be_read_is_a_no(tmp_path: "Path") -> None:
    """The file of the operator's authority has gone."""
    assert not _reaches("https://127.0.0.1:1", tmp_path / "gone.pem")
