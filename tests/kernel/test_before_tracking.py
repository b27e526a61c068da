"""Connections that were open before the kernel tracked any: the limit that decision 2 names."""

import socket

import pytest

from droplan_daemon.model.policy import Policy
from tests.kernel.ground import until
from tests.kernel.wires import HOST, IN_VAIN, STRANGER, THE_PEER, Wires, compiled, received

pytestmark = pytest.mark.kernel


@pytest.mark.fault("D21")
@pytest.mark.parametrize(
    ("loose", "server_talks", "lives"),
    [(1, True, True), (1, False, False), (0, True, False)],
    ids=["the server talks on", "the stranger talks first", "tcp_loose is off"],
)
def test_what_was_open_before_the_first_enforcement(
    wires: Wires, loose: int, server_talks: bool, lives: bool
) -> None:
    """A stranger's connection outlives it only where the server talks first and tcp_loose is on."""
    wires.host.run("sysctl", "-q", "-w", f"net.netfilter.nf_conntrack_tcp_loose={loose}")
    listening = wires.open(wires.host, socket.SOCK_STREAM, HOST, 8000)
    stranger = wires.connected(STRANGER, HOST, 8000)
    assert stranger is not None
    server = listening.accept()[0]
    wires.kernel.become(compiled(Policy(), THE_PEER))
    if server_talks:
        server.send(b"still there?")
        assert b"still there?" == stranger.recv(100)
    denied = wires.count("denied")
    stranger.send(b"yes")
    if lives:
        assert [b"yes"] == received(server, 1, 10.0)
    else:
        assert until(lambda: wires.count("denied") > denied, 10.0)
        assert [] == received(server, 1, IN_VAIN)
    server.close()
