"""What the service manager is told, over a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from droplan_daemon.notify import ServiceManager, watchdog_interval


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(5)
        yield server


@pytest.fixture
def manager(systemd: socket.socket) -> Iterator[ServiceManager]:
    made = ServiceManager({"NOTIFY_SOCKET": systemd.getsockname()})
    yield made
    made.close()


def test_each_message_is_what_systemd_reads(systemd: socket.socket, manager: ServiceManager) -> None:
    """READY with a status, RELOADING with its time, STATUS, WATCHDOG, STOPPING: one datagram each."""
    manager.ready("5 peers")
    manager.reloading(123456)
    manager.status("gathering")
    manager.watchdog()
    manager.stopping()
    assert [
        b"READY=1\nSTATUS=5 peers",
        b"RELOADING=1\nMONOTONIC_USEC=123456",
        b"STATUS=gathering",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ] == [systemd.recv(4096) for _ in range(5)]


def test_a_status_is_one_line_of_utf8(systemd: socket.socket, manager: ServiceManager) -> None:
    """A status cannot smuggle a second message, is UTF-8, and is cut."""
    manager.status("ü 漢\nREADY=1 \ud800")
    assert "STATUS=ü 漢\\nREADY=1 \\ud800".encode() == systemd.recv(4096)
    manager.status("x" * 10_000)
    assert len(systemd.recv(20_000)) < 600


def test_abstract_sockets_are_found() -> None:
    """An address that begins with @ is an abstract socket."""
    name = f"droplan-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name}")
        server.settimeout(5)
        manager = ServiceManager({"NOTIFY_SOCKET": f"@{name}"})
        manager.watchdog()
        assert b"WATCHDOG=1" == server.recv(100)
        manager.close()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
@pytest.mark.fault("G9")
def test_without_a_service_manager_nothing_is_said(environ: dict[str, str]) -> None:
    """No NOTIFY_SOCKET: every call returns, and none counts as a failure."""
    manager = ServiceManager(environ)
    manager.ready("x")
    manager.watchdog()
    assert 0 == manager.failures


@pytest.mark.parametrize("address", ["/nonexistent/notify", "relative\0nul", "vsock:2:1234", "/" + "x" * 300])
@pytest.mark.fault("G9")
def test_a_service_manager_that_is_gone_is_no_error(address: str) -> None:
    """A socket that cannot be reached is counted, never raised."""
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    manager.ready("x")
    manager.stopping()
    assert 2 == manager.failures


@pytest.mark.fault("G9")
def test_a_full_queue_is_not_waited_for(systemd: socket.socket, manager: ServiceManager) -> None:
    """When systemd does not read, messages are dropped and counted; afterwards they get through again."""
    for _ in range(2000):
        manager.watchdog()
    assert manager.failures > 0
    for _ in range(2000 - manager.failures):
        assert b"WATCHDOG=1" == systemd.recv(100)
    manager.status("again")
    assert b"STATUS=again" == systemd.recv(100)


def test_a_restarted_service_manager_is_found_again(tmp_path: Path) -> None:
    """A new socket under the same name is used from the second message on at the latest."""
    path = str(tmp_path / "notify")
    manager = ServiceManager({"NOTIFY_SOCKET": path})
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(path)
            server.setblocking(False)
            manager.watchdog()
            manager.watchdog()
            assert b"WATCHDOG=1" == server.recv(100)
        Path(path).unlink()
    manager.close()


INTERVALS = [
    ({}, None),
    ({"WATCHDOG_USEC": "30000000"}, 30.0),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
    ({"WATCHDOG_USEC": "0"}, None),
    ({"WATCHDOG_USEC": "-5"}, None),
    ({"WATCHDOG_USEC": "soon"}, None),
    ({"WATCHDOG_USEC": "9" * 5000}, None),
    ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": ""}, 0.5),
]


@pytest.mark.parametrize(("environ", "seconds"), INTERVALS)
def test_the_watchdog_interval_is_systemds(environ: dict[str, str], seconds: float | None) -> None:
    """WATCHDOG_USEC in seconds when it is meant for this process; anything unusable is no watchdog."""
    assert seconds == watchdog_interval(environ, 42)
