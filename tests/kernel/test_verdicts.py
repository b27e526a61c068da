"""What the compiled policy does to real packets."""

import fcntl
import os
import secrets
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.model.policy import InterfacePolicy, Mode, Policy, Rate, Unit
from droplan_daemon.model.ruleset import Action, Protocol, Rule, Ruleset, Transport, Verdict
from tests.kernel.ground import BOTH_MANAGED, until
from tests.kernel.wires import (
    HOST,
    HOST_6,
    HOST_PUBLIC,
    IN_VAIN,
    OTHER,
    PEER,
    PEER_6,
    PEER_PUBLIC,
    PUBLIC_RULES,
    STRANGER,
    STRANGER_6,
    STRANGER_PUBLIC,
    THE_OTHER,
    THE_PEER,
    Wires,
    compiled,
    icmp,
    received,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
PORT = 8000
_LOG_EVERYWHERE = Path("/proc/sys/net/netfilter/nf_log_all_netns")


@pytest.fixture
def guarded(wires: Wires) -> Wires:
    """The Host with the default policy and one peer, and a server on every address."""
    wires.kernel.become(compiled(Policy(), THE_PEER))
    return wires


@pytest.fixture
def guarded_twice(wires: Wires) -> Wires:
    """The same with the public interface managed too."""
    wires.kernel.become(compiled(BOTH_MANAGED, THE_PEER))
    return wires


@pytest.mark.parametrize(
    ("peer", "stranger", "host"),
    [
        (PEER, STRANGER, HOST),
        (PEER_PUBLIC, STRANGER_PUBLIC, HOST_PUBLIC),
        (PEER_6, STRANGER_6, HOST_6),
    ],
    ids=["private", "public IPv4", "public IPv6"],
)
def test_peers_get_in_and_strangers_do_not(guarded_twice: Wires, peer: str, stranger: str, host: str) -> None:
    """On a managed interface TCP, UDP and echo of a peer get through, and of a stranger none of them."""
    guarded_twice.open(guarded_twice.host, TCP, host, PORT)
    server = guarded_twice.open(guarded_twice.host, UDP, host, PORT)
    assert guarded_twice.tcp(peer, host, PORT)
    assert guarded_twice.udp(peer, server)
    assert guarded_twice.ping(peer, host)
    assert not guarded_twice.tcp(stranger, host, PORT, through=False)
    assert not guarded_twice.udp(stranger, server, through=False)
    assert not guarded_twice.ping(stranger, host, through=False)


def test_every_denied_packet_is_counted(guarded: Wires) -> None:
    """Seven datagrams of a stranger are seven in the counter `denied`, and a peer's are none."""
    server = guarded.open(guarded.host, UDP, HOST, PORT)
    before = guarded.count("denied")
    stranger = guarded.open(guarded.outside, UDP, STRANGER)
    for _ in range(7):
        stranger.sendto(b"x", (HOST, PORT))
    assert guarded.udp(PEER, server)
    assert before + 7 == guarded.count("denied")


def test_replies_to_what_the_host_opened_pass(guarded: Wires) -> None:
    """The Host may talk to a stranger first: TCP, UDP and echo replies come back."""
    guarded.open(guarded.outside, TCP, STRANGER, PORT)
    answering = guarded.open(guarded.outside, UDP, STRANGER, PORT)
    assert guarded.connected(HOST, STRANGER, PORT, where=guarded.host) is not None
    asking = guarded.open(guarded.host, UDP, HOST)
    asking.sendto(b"question", (STRANGER, PORT))
    _, whence = answering.recvfrom(100)
    answering.sendto(b"answer", whence)
    assert [b"answer"] == received(asking, 1, 2.0)
    assert guarded.ping(HOST, STRANGER, where=guarded.host)


def test_a_reply_opens_no_door(guarded: Wires) -> None:
    """A stranger whom the Host talks to is still denied on every other port."""
    guarded.open(guarded.outside, TCP, STRANGER, PORT)
    guarded.open(guarded.host, TCP, HOST, PORT + 1)
    assert guarded.connected(HOST, STRANGER, PORT, where=guarded.host) is not None
    assert not guarded.tcp(STRANGER, HOST, PORT + 1, through=False)


class Chatter:
    """A server that never stops talking on one connection, and counts what it hears."""

    def __init__(self, connection: socket.socket) -> None:
        self.heard = 0
        self._connection = connection
        self._end = threading.Event()
        connection.setblocking(False)
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        while not self._end.is_set():
            with suppress(BlockingIOError):
                self._connection.send(b"chatter" * 20)
            try:
                self.heard += len(self._connection.recv(65536))
            except BlockingIOError:
                time.sleep(0.001)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self._connection.close()


@pytest.fixture
def chat(guarded: Wires) -> "Iterator[tuple[Chatter, socket.socket]]":
    """An established connection that the peer opened to a chatty server, and its far end."""
    listening = guarded.open(guarded.host, TCP, HOST, PORT)
    far = guarded.connected(PEER, HOST, PORT)
    assert far is not None
    chatter = Chatter(listening.accept()[0])
    far.setblocking(False)
    yield chatter, far
    chatter.stop()


def _drained(far: socket.socket) -> int:
    """Bytes that have come so far and were not read yet."""
    total = 0
    while True:
        try:
            total += len(far.recv(1 << 16))
        except BlockingIOError:
            return total


def _silent(far: socket.socket) -> bool:
    """Whether nothing new comes for a while; what is sent again is not new."""
    _drained(far)
    time.sleep(2 * IN_VAIN)
    return 0 == _drained(far)


@pytest.mark.fault("D21")
def test_a_peer_that_leaves_is_cut_in_the_same_instant(
    guarded: Wires, chat: tuple[Chatter, socket.socket]
) -> None:
    """After the commit not one byte of its established flow arrives, and the chatty server falls silent."""
    chatter, far = chat
    far.send(b"a")
    assert until(lambda: chatter.heard == 1)
    guarded.kernel.become(compiled(Policy()))
    far.send(b"bcd")
    assert not until(lambda: chatter.heard > 1, IN_VAIN)
    assert until(lambda: _silent(far), 10.0)  # after what was under way before the cut


@pytest.mark.fault("D21")
def test_our_own_flow_to_a_peer_that_left_goes_on(guarded: Wires) -> None:
    """What the Host itself opened to a peer lives on when the peer leaves: only replies come back."""
    listening = guarded.open(guarded.outside, TCP, PEER, PORT)
    ours = guarded.connected(HOST, PEER, PORT, where=guarded.host)
    assert ours is not None
    theirs = listening.accept()[0]
    guarded.kernel.become(compiled(Policy()))
    ours.send(b"still there?")
    assert b"still there?" == theirs.recv(100)
    theirs.send(b"yes")
    assert b"yes" == ours.recv(100)
    theirs.close()


@pytest.mark.fault("D21")
def test_other_peers_do_not_notice(guarded: Wires, chat: tuple[Chatter, socket.socket]) -> None:
    """A peer's flow goes on while another peer comes and goes."""
    chatter, far = chat
    for peers in ((THE_PEER, THE_OTHER), (THE_PEER,)):
        guarded.kernel.become(compiled(Policy(), *peers))
        heard = chatter.heard
        far.send(b"x")
        assert until(lambda heard=heard: chatter.heard == heard + 1)  # type: ignore[misc]
    assert not guarded.ping(OTHER, HOST, through=False)


def test_loopback_and_unmanaged_interfaces_are_untouched(guarded: Wires) -> None:
    """With the private interface managed, loopback and the public interface are open to anybody."""
    guarded.open(guarded.host, TCP, "0.0.0.0", PORT)
    assert guarded.connected("127.0.0.1", "127.0.0.1", PORT, where=guarded.host) is not None
    assert guarded.connected(HOST, HOST, PORT, where=guarded.host) is not None
    assert guarded.tcp(STRANGER_PUBLIC, HOST_PUBLIC, PORT)


@pytest.mark.parametrize("opened_by", ["host", "peer"])
def test_path_mtu_is_learned_from_anybody(guarded: Wires, opened_by: str) -> None:
    """A router's `fragmentation needed` about a flow of ours, or of a peer's, lowers our MTU towards it."""
    far_address = STRANGER if opened_by == "host" else PEER
    near, far = (
        guarded.open(ns, UDP, a, PORT) for ns, a in ((guarded.host, HOST), (guarded.outside, far_address))
    )
    near.connect((far_address, PORT))
    near.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    if opened_by == "peer":
        far.sendto(b"x", (HOST, PORT))
        assert [b"x"] == received(near, 1, 2.0)
    near.send(b"x" * 1000)
    quoted = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 1028, 1, 0x4000, 64, 17, 0, *_packed(HOST, far_address))
    quoted += struct.pack("!HHHH", PORT, PORT, 1008, 0)
    with guarded.outside.call(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.bind((STRANGER, 0))
        raw.sendto(icmp(3, 4, struct.pack("!HH", 0, 600) + quoted), (HOST, 0))
    assert until(lambda: near.getsockopt(socket.IPPROTO_IP, 14) == 600)  # IP_MTU


def _packed(*addresses: str) -> list[bytes]:
    return [socket.inet_pton(socket.AF_INET, address) for address in addresses]


def test_neighbours_are_found_where_ipv6_is_managed(guarded_twice: Wires) -> None:
    """With empty neighbour caches Host and peer find each other, and the Host finds a stranger."""
    ends = (guarded_twice.host, guarded_twice.outside)
    for source, to, where in (
        (PEER_6, HOST_6, guarded_twice.outside),
        (HOST_6, PEER_6, guarded_twice.host),
        (HOST_6, STRANGER_6, guarded_twice.host),
    ):
        for end in ends:
            end.run("ip", "-6", "neigh", "flush", "dev", "eth0")
        assert guarded_twice.ping(source, to, where=where)
    assert guarded_twice.count("neighbour-discovery", PUBLIC_RULES) > 0


def test_a_dhcp_answer_gets_in(guarded: Wires) -> None:
    """A DHCP server that is no peer reaches our client port, and from another port it does not."""
    client = guarded.open(guarded.host, UDP, HOST, 68)
    assert guarded.udp(STRANGER, client, port=67)
    assert not guarded.udp(STRANGER, client, port=66, through=False)


def test_audit_drops_nothing_and_counts(wires: Wires) -> None:
    """In mode audit a stranger gets through, and is counted as what would have been denied."""
    wires.kernel.become(compiled(Policy(mode=Mode.AUDIT), THE_PEER))
    server = wires.open(wires.host, UDP, HOST, PORT)
    wires.open(wires.host, TCP, HOST, PORT)
    before = wires.count("denied")
    assert wires.udp(STRANGER, server)
    assert before + 1 == wires.count("denied")
    assert wires.tcp(STRANGER, HOST, PORT)
    assert wires.ping(STRANGER, HOST)


def test_an_interface_without_peers_lets_nobody_in(wires: Wires) -> None:
    """With `allow_peers = false` a managed interface denies peers too."""
    alone = Policy(private=InterfacePolicy(managed=True, allow_peers=False))
    wires.kernel.become(compiled(alone, THE_PEER))
    server = wires.open(wires.host, UDP, HOST, PORT)
    assert not wires.udp(PEER, server, through=False)


@pytest.mark.fault("J8")
def test_an_address_counts_on_its_own_interface_only(guarded_twice: Wires) -> None:
    """A packet with a peer's private address, sent in by the public interface, is a stranger's."""
    for name in ("all", "eth0"):
        guarded_twice.host.call(Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text, "0")
    server = guarded_twice.open(guarded_twice.host, UDP, HOST_PUBLIC, PORT)
    assert not guarded_twice.udp(PEER, server, through=False)
    assert guarded_twice.count("denied", PUBLIC_RULES) > 0


@pytest.fixture
def published(guarded: Wires) -> Wires:
    """Port 8080 of the Host leads to port 80 of a container, as Docker does it."""
    container = guarded.third()
    guarded.join("docker0", guarded.host, ("172.17.0.1/24",), container, ("172.17.0.2/24",))
    container.run("ip", "route", "add", "default", "via", "172.17.0.1")
    guarded.host.call(Path("/proc/sys/net/ipv4/ip_forward").write_text, "1")
    guarded.kernel.nft(
        """table ip docker {
            chain in { type nat hook prerouting priority -100; tcp dport 8080 dnat to 172.17.0.2:80; }
            chain out { type nat hook postrouting priority 100; ip saddr 172.17.0.0/24 masquerade; }
        }"""
    )
    guarded.open(container, TCP, "172.17.0.2", 80)
    return guarded


def test_a_published_port_is_judged_by_its_sender(published: Wires) -> None:
    """A peer reaches the container's published port, a stranger does not."""
    assert published.tcp(PEER, HOST, 8080)
    assert not published.tcp(STRANGER, HOST, 8080, through=False)


@pytest.mark.parametrize(("port", "through"), [(8080, True), (80, False)])
def test_a_published_port_is_judged_by_the_port_that_was_sent_to(
    published: Wires, port: int, through: bool
) -> None:
    """A rule for the port that the sender used lets him in; one for the container's own port does not."""
    published.kernel.become(_with_port(compiled(Policy(), THE_PEER), port))
    assert through is published.tcp(STRANGER, HOST, 8080, through=through)


def _with_port(found: Ruleset, port: int) -> Ruleset:
    chain = found.chains["private-in"]
    looked_at = (Transport(Protocol.TCP, None, (port, port)),)
    rule = Rule("web", looked_at, counter=True, verdict=Verdict(Action.ACCEPT))
    return replace(found, chains=found.chains | {chain.name: replace(chain, rules=(rule, *chain.rules))})


def test_a_container_may_open_connections(published: Wires) -> None:
    """What a container opens to a stranger is answered: the reply is judged by who opened the connection."""
    container = published.third()
    published.join("docker1", published.host, ("172.17.1.1/24",), container, ("172.17.1.2/24",))
    container.run("ip", "route", "add", "default", "via", "172.17.1.1")
    published.kernel.nft("add rule ip docker out ip saddr 172.17.1.0/24 masquerade")
    published.open(published.outside, TCP, STRANGER, PORT)
    assert published.connected("172.17.1.2", STRANGER, PORT, where=container) is not None


@pytest.fixture
def kernel_log() -> "Iterator[int]":
    """The kernel's log from now on, with the lines of every namespace; for one run of tests at a time."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        assert until(lambda: _locked(log), 120.0), "another run of these tests never ends"
        before = _LOG_EVERYWHERE.read_text()
        _LOG_EVERYWHERE.write_text("1")
    except OSError as error:
        pytest.skip(f"the kernel's log of a namespace cannot be read: {error.filename}: {error.strerror}")
    os.lseek(log, 0, os.SEEK_END)
    yield log
    _LOG_EVERYWHERE.write_text(before)
    os.close(log)


def _locked(log: int) -> bool:
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lines(log: int) -> list[str]:
    found = []
    while True:
        try:
            found.append(os.read(log, 8192).decode(errors="replace"))
        except BlockingIOError:
            return found
        except BrokenPipeError:
            continue  # lines were lost between two reads; the next read goes on


def test_denied_packets_are_logged_at_most_so_often(wires: Wires, kernel_log: int) -> None:
    """Of forty denied packets the log shows a burst of five, with prefix, interface and sender."""
    policy = Policy(denied_log=Rate(1, Unit.HOUR))
    wires.kernel.become(compiled(policy, THE_PEER))
    stranger = wires.open(wires.outside, UDP, STRANGER)
    port = 10_000 + secrets.randbelow(50_000)  # the log is the whole machine's
    for _ in range(40):
        stranger.sendto(b"x", (HOST, port))
    mine = [line for line in _lines(kernel_log) if f"DPT={port} " in line]
    assert 5 == len(mine)
    for words in ("droplan DROP: ", "IN=eth1", f"SRC={STRANGER}", f"DST={HOST}", "PROTO=UDP"):
        assert words in mine[0]
