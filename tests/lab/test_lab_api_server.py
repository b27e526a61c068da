"""The server: connections, TLS, its log and its end."""

import asyncio
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from droplan_daemon.errors import Fatal
from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.delivery import BlackHole, Endless
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.faults import Deliver, Fault
from droplan_daemon.lab.server import LabServer, serving

REQUEST = b"GET /v2/account HTTP/1.1\r\nhost: lab\r\n\r\n"


def exchange(server: LabServer, sent: bytes) -> bytes:
    """All that comes back on one connection until the server ends it."""
    with socket.create_connection(server.address, timeout=5) as raw:
        raw.sendall(sent)
        return b"".join(iter(lambda: raw.recv(65_536), b""))


def test_connections_are_kept(client: httpx.Client, server: LabServer) -> None:
    """Requests of one client share one connection, and are logged on it in their order."""
    paths = ["/v2/account", "/v2/tags", "/v2/account", "/v2/nothing"]
    for path in paths:
        client.get(path)
    assert 1 == server.connections
    assert [(path, 1) for path in paths] == [(entry.path, entry.connection) for entry in server.log]
    assert [200, 200, 200, 404] == [entry.status for entry in server.log]


def test_a_client_may_ask_for_the_end(server: LabServer) -> None:
    """`connection: close` is honoured: the server ends the connection after the answer."""
    told = exchange(server, REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert told.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 this is TLS, perhaps\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: lab\r\ncontent-length: ten\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: lab\r\ncontent-length: 2000000\r\n\r\n" + b" " * 2_000_000,
    ],
    ids=["tls", "no-host", "length", "large"],
)
def test_what_is_no_request_is_told_so(server: LabServer, sent: bytes) -> None:
    """Bytes that are no request, or one too large, get 400 and the end of the connection."""
    with socket.create_connection(server.address, timeout=5) as raw:
        raw.sendall(sent)
        assert raw.recv(12) == b"HTTP/1.1 400"
    assert not server.log


def test_a_body_can_be_waited_for(server: LabServer, cloud: DigitalOcean) -> None:
    """`expect: 100-continue` gets its 100 before the body is sent."""
    head = f"POST /v2/droplets HTTP/1.1\r\nhost: lab\r\nauthorization: Bearer {cloud.token}\r\n"
    with socket.create_connection(server.address, timeout=5) as raw:
        raw.sendall(f"{head}expect: 100-continue\r\ncontent-length: 12\r\n\r\n".encode())
        assert raw.recv(64).startswith(b"HTTP/1.1 100")
        raw.sendall(b'{"name":"x"}')
        assert raw.recv(64).startswith(b"HTTP/1.1 202")


def test_the_log_has_no_token(client: httpx.Client, server: LabServer, cloud: DigitalOcean) -> None:
    """The log tells method, path, parameters, client and headers, and that there was a token, not which."""
    client.get("/v2/droplets", params={"page": "2"}, headers={"x-mark": "seen"})
    entry = server.log[-1]
    assert ("GET", {"page": "2"}, "127.0.0.1", "seen", "…") == (
        entry.method,
        entry.query,
        entry.client,
        entry.headers["x-mark"],
        entry.headers["authorization"],
    )
    assert cloud.token not in f"{entry!r}{entry.headers!r}"


def test_links_lead_back_to_where_the_client_came_from(client: httpx.Client, server: LabServer) -> None:
    """The `next` link has the scheme, host and port under which the client found the server."""
    following = client.get("/v2/droplets").json()["links"]["pages"]["next"]
    assert f"{server.url}/v2/droplets?page=2" == following


def test_the_busiest_moment_is_counted(server: LabServer) -> None:
    """With a latency, requests sent together are in hand together, and each takes that long."""

    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            answers = await asyncio.gather(*(http.get("/v2/account") for _ in range(6)))
            return [answer.status_code for answer in answers]

    server.latency = 0.2
    begun = time.monotonic()
    assert [401] * 6 == asyncio.run(ask())
    assert time.monotonic() - begun >= 0.2
    assert 6 == server.busiest


def test_it_serves_inside_an_event_loop(cloud: DigitalOcean) -> None:
    """`async with` is enough where there is a loop."""

    async def ask() -> int:
        async with LabServer(cloud) as server, httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(f"{server.url}/v2/account")).status_code

    assert 401 == asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_can_be_handed_over(cloud: DigitalOcean, host: str) -> None:
    """A socket that somebody else made and bound is served, and closed at the end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        handed = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    server = LabServer(cloud, sock=handed)
    with serving(server), httpx.Client(trust_env=False) as http:
        assert 401 == http.get(f"{server.url}/v2/account").status_code
    assert -1 == handed.fileno()


def test_nothing_outlives_it(cloud: DigitalOcean) -> None:
    """With clients that wait, stall and idle, the end comes at once: no thread, no connection, no port."""
    cloud.faults.add(Fault(Deliver(BlackHole()), times=1), Fault(Deliver(Endless()), skip=1, times=1))
    server, threads = LabServer(cloud), threading.active_count()
    with serving(server):
        clients = [socket.create_connection(server.address, timeout=5) for _ in range(3)]
        for number, raw in enumerate(clients, start=1):
            raw.sendall(REQUEST)
            while len(server.log) < number:
                time.sleep(0.01)
        begun = time.monotonic()
    assert time.monotonic() - begun < 30
    assert threads == threading.active_count()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address, timeout=5)
    for raw in clients:
        raw.close()


def verdict(address: tuple[str, int], ca_file: Path | None) -> int:
    """0 when a client shakes hands, else OpenSSL's reason why it will not (X509_V_ERR_…)."""
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    try:
        with (
            socket.create_connection(address, timeout=5) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1"),
        ):
            return 0
    except ssl.SSLCertVerificationError as error:
        return error.verify_code


UNKNOWN_ISSUER, EXPIRED, OTHER_ADDRESS = 20, 10, 64


@pytest.mark.parametrize(
    ("names", "expired", "trusted", "expected"),
    [
        ((), False, True, 0),
        (("127.0.0.1",), False, True, 0),
        ((), False, False, UNKNOWN_ISSUER),
        (("api.example",), False, True, OTHER_ADDRESS),
        ((), True, True, EXPIRED),
    ],
)
def test_tls(
    cloud: DigitalOcean,
    authority: tuple[Authority, Path],
    *,
    names: tuple[str, ...],
    expired: bool,
    trusted: bool,
    expected: int,
) -> None:
    """Only a valid certificate for this address, of an authority that the client trusts, will do."""
    ca, ca_file = authority
    server = LabServer(cloud, tls=ca.server(*names, expired=expired))
    with serving(server):
        assert expected == verdict(server.address, ca_file if trusted else None)


def test_tls_names_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without trustme the message says what to install."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(Fatal, match=r"droplan-daemon\[lab\]"):
        Authority()
