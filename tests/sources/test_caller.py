"""By which SSH connection somebody is logged in, from made-up processes and sockets."""

import os
import struct
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import KernelUnsupported
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.connection import Connection
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.sources.caller import caller
from droplan_daemon.sources.sockets import Sockets

if TYPE_CHECKING:
    from pathlib import Path

SAID = "203.0.113.9 51234 198.51.100.2 22"
FOUND = Connection(parse_address("203.0.113.9"), parse_address("198.51.100.2"), Protocol.TCP, 51_234, 22)


def _process(proc: "Path", pid: int, parent: int, environ: bytes = b"") -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} (a name) of (its) S) S {parent} {pid} 0\n")
    (folder / "environ").write_bytes(environ)


def test_our_own_environment_is_asked_first(tmp_path: "Path") -> None:
    """And nobody else when it says."""
    assert FOUND == caller(SAID, 100, tmp_path / "nothing")


def test_what_sudo_took_away_is_found_further_up(tmp_path: "Path") -> None:
    """A shell's environment outlives sudo's: the nearest process that has the variable tells."""
    other = b"SSH_CONNECTION=192.0.2.1 1 192.0.2.2 22\0"
    _process(tmp_path, 100, 90)
    _process(tmp_path, 90, 80, b"PATH=/bin\0MY_SSH_CONNECTION=x\0")
    _process(tmp_path, 80, 70, b"TERM=x\0SSH_CONNECTION=" + SAID.encode() + b"\0LANG=C\0")
    _process(tmp_path, 70, 1, other)
    assert FOUND == caller("", 100, tmp_path)


def test_init_is_nobodys_login(tmp_path: "Path") -> None:
    """The search ends below process 1, at a process that is gone, and in a circle."""
    said = b"SSH_CONNECTION=" + SAID.encode()
    _process(tmp_path, 1, 0, said)
    _process(tmp_path, 100, 1)
    assert caller("", 100, tmp_path) is None
    _process(tmp_path, 200, 201)
    assert caller("", 200, tmp_path) is None
    _process(tmp_path, 300, 301)
    _process(tmp_path, 301, 300)
    assert caller("", 300, tmp_path) is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "203.0.113.9 51234 198.51.100.2",
        "203.0.113.9 51234 198.51.100.2 22 1",
        "somebody 51234 198.51.100.2 22",
        "203.0.113.9 port 198.51.100.2 22",
        "fe80::1%eth0 51234 fe80::2%eth0 22",
        "\x00\ud800",
    ],
)
def test_what_is_no_connection_is_none(said: str, tmp_path: "Path") -> None:
    """An environment is input like any other."""
    assert caller(said, 100, tmp_path) is None


def test_ipv6_is_a_connection_too(tmp_path: "Path") -> None:
    """As sshd writes it."""
    found = caller("2001:db8::9 51234 2001:db8::2 22", 100, tmp_path)
    assert found
    assert parse_address("2001:db8::9") == found.source


# Sockets.

_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"


def _hex(address: str, port: int) -> str:
    packed = parse_address(address)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def _row(local: str, remote: str, state: str) -> str:
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  0  0 1 1 0 20\n"


def test_an_ipv4_login_at_an_ipv6_socket_is_ipv4(tmp_path: "Path") -> None:
    """Sshd listens on [::]: who came by IPv4 is told by the IPv4 address, and by which port they came."""
    (tmp_path / "tcp").write_text(_HEAD)
    (tmp_path / "tcp6").write_text(
        _HEAD
        + _row(_hex("::", 22), _hex("::", 0), "0A")
        + _row(_hex("::ffff:198.51.100.2", 22), _hex("::ffff:203.0.113.9", 51_234), "01")
        + _row(_hex("2001:db8::2", 22), _hex("2001:db8::9", 51_234), "08")
    )
    six = Connection(parse_address("2001:db8::9"), parse_address("2001:db8::2"), Protocol.TCP, 51_234, 22)
    assert (FOUND, six) == Sockets(tmp_path).open_now()


def test_who_asked_whom(tmp_path: "Path") -> None:
    """A port that is listened at was asked; from any other we asked. What is over is not told."""
    ours, theirs = "10.0.0.1", "10.0.0.2"
    (tmp_path / "tcp").write_text(
        _HEAD
        + _row(_hex("0.0.0.0", 22), _hex("0.0.0.0", 0), "0A")
        + _row(_hex(ours, 22), _hex(theirs, 40_000), "01")
        + _row(_hex(ours, 40_001), _hex(theirs, 443), "01")
        + _row(_hex(ours, 22), _hex(theirs, 40_002), "06")
    )
    a, b = map(parse_address, (ours, theirs))
    expected = Connection(b, a, Protocol.TCP, 40_000, 22), Connection(a, b, Protocol.TCP, 40_001, 443)
    assert expected == Sockets(tmp_path).open_now()


@pytest.mark.parametrize("text", ["x\n1: zz:1 yy:2 01\n", "x\n1:\n", "x\n1: 0100007F 0100007F 01\n"])
def test_a_list_that_makes_no_sense_is_no_list(tmp_path: "Path", text: str) -> None:
    """Nor is one that is not there."""
    with pytest.raises(KernelUnsupported):
        Sockets(tmp_path).open_now()
    (tmp_path / "tcp").write_text(text)
    with pytest.raises(KernelUnsupported):
        Sockets(tmp_path).open_now()


def test_this_kernel_lists_its_sockets() -> None:
    """And this process says by whom it was started, or that nobody logged in."""
    Sockets().open_now()
    caller("", os.getpid())
