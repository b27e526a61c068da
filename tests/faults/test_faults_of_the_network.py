"""Sections B and C: the way to the API, names, certificates, IPv6, and metadata, around a real daemon."""

import os
import signal
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import pytest

from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.delivery import BlackHole
from droplan_daemon.lab.faults import Deliver, Edit, Fault, Headers, Status, garbage
from droplan_daemon.lab.server import LabServer, serving
from tests.daemon.machine import PEERS, until
from tests.faults.conftest import metered
from tests.faults.ground_rules import LONG, enduring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.lab.faults import Effect
    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel

FAILED = "api.fetch.failed"
NAME = "api.example"


class Resolver:
    """DNS on 127.0.0.1 of a namespace: `answer` is an address, "" (no such name) or None (silence)."""

    def __init__(self, machine: "Machine") -> None:
        self.answer: str | None = "127.0.0.1"
        self.asked = 0
        self._socket = machine.namespace.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        machine.namespace.call(self._socket.bind, ("127.0.0.1", 53))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                question, client = self._socket.recvfrom(4096)
            except OSError:
                return
            if not question:
                return
            self.asked += 1
            if self.answer is not None:
                self._socket.sendto(_reply(question, self.answer), client)


def _reply(question: bytes, answer: str) -> bytes:
    """RFC 1035: the question again, and one A record; none for another type; NXDOMAIN without an answer."""
    end = question.index(0, 12) + 5
    is_a = question[end - 4 : end - 2] == b"\0\1"
    found = bool(answer) and is_a
    flags = b"\x81\x80" if answer else b"\x81\x83"
    head = question[:2] + flags + b"\0\1" + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(answer) if found else b""
    return head + question[12:end] + record


@pytest.fixture
def resolver(machine: "Machine") -> "Iterator[Resolver]":
    if os.geteuid():
        pytest.skip("a resolver of one's own takes root")
    with Resolver(machine) as made:
        yield made


def _resolving(machine: "Machine", options: str) -> tuple[str, ...]:
    """A command prefix under which names are asked of the Resolver."""
    resolv = machine.folder / "resolv.conf"
    resolv.write_text(f"nameserver 127.0.0.1\noptions {options}\n")
    mount = f'mount --bind {resolv} /etc/resolv.conf && exec "$@"'
    return "unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"


class Gate:
    """TLS of a server whose certificate can be exchanged: `shows` is what the next connection sees."""

    def __init__(self, authority: Authority) -> None:
        self.shows = self.good = authority.server(NAME)
        self.context = authority.server(NAME)
        self.context.sni_callback = self._chosen

    def _chosen(self, connection: ssl.SSLObject, *_: object) -> None:
        connection.context = self.shows

    def mend(self) -> None:
        self.shows = self.good


@contextmanager
def called(machine: "Machine") -> "Iterator[tuple[Gate, Authority]]":
    """The API under a name of its own; each request is a connection, so that names and certificates count."""
    authority = Authority()
    gate = Gate(authority)
    listening = machine.namespace.call(socket.create_server, ("127.0.0.1", 0))
    machine.ca_file = str(authority.write(machine.folder / "named.pem"))
    machine.url = f"https://{NAME}:{listening.getsockname()[1]}"
    metered(machine)
    machine.cloud.faults.add(Fault(Headers({"connection": "close"})))
    with serving(LabServer(machine.api, sock=listening, tls=gate.context)):
        yield gate, authority


@pytest.mark.fault("B2")
def test_a_name_that_does_not_lead_to_the_api(machine: "Machine", resolver: Resolver) -> None:
    """No such name, no answer, an address where nobody listens: each is told by its own reason."""
    with called(machine):
        running = machine.start(prefix=_resolving(machine, "timeout:1 attempts:1"))
        running.ready()

        def mend() -> None:
            resolver.answer = "127.0.0.1"

        for answer, reason in (("", "dns"), (None, "dns"), ("127.0.0.9", "connect")):
            with enduring(machine, running, FAILED, mend, reason=reason):
                resolver.answer = answer
        assert 0 == running.end(signal.SIGTERM)


@pytest.mark.fault("B2")
def test_a_resolver_that_hangs_holds_nobody_up(machine: "Machine", resolver: Resolver) -> None:
    """While it does, the watchdog is fed and the loop goes round; the peers stay."""
    with called(machine):
        environ = {"WATCHDOG_USEC": "1000000"}
        running = machine.start(prefix=_resolving(machine, "timeout:30 attempts:5"), environ=environ)
        running.ready()
        generation, asked = machine.generation, resolver.asked
        resolver.answer = None
        until(lambda: resolver.asked > asked, LONG, "a question")
        running.fed(times=4)
        assert (generation, machine.addresses(*PEERS)) == (machine.generation, machine.peers)
        assert 0 == running.end(signal.SIGTERM)


def _from_tomorrow(authority: Authority) -> ssl.SSLContext:
    """A certificate that is not valid yet: what a client sees whose own clock is late."""
    now = datetime.now(UTC)
    leaf = authority._ca.issue_cert(
        NAME, not_before=now + timedelta(days=1), not_after=now + timedelta(days=9)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


@pytest.mark.fault("B3", "F2")
def test_a_certificate_that_does_not_verify_takes_nobody_away(machine: "Machine", resolver: Resolver) -> None:
    """Expired, of tomorrow, of another host, of an authority that nobody trusts: no answer of it counts."""
    with called(machine) as (gate, authority):
        running = machine.start(prefix=_resolving(machine, "timeout:1 attempts:1"))
        running.ready()
        for shown in (
            authority.server(NAME, expired=True),
            _from_tomorrow(authority),
            authority.server("another.example"),
            Authority().server(NAME),
        ):
            with enduring(machine, running, FAILED, gate.mend, reason="tls_verify"):
                gate.shows = shown
        assert 0 == running.end(signal.SIGTERM)


@pytest.mark.fault("B8")
def test_without_ipv6_the_rules_for_it_stand(machine: "Machine") -> None:
    """It is READY, IPv4 is enforced, the same rules drop IPv6, and one line says that it is off."""
    machine.namespace.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    machine.write("[public]\nmanaged = true\n")
    running = machine.start()
    running.ready()
    machine.polled(2)
    assert machine.addresses(*PEERS) == machine.peers
    assert 1 == len(running.lines("ipv6.off"))
    assert "icmpv6" in machine.namespace.run("nft", "list", "table", "inet", "droplan")
    assert 0 == running.end(signal.SIGTERM)


@pytest.mark.fault("C1")
@pytest.mark.parametrize("effect", [Status(503), Deliver(BlackHole())], ids=["503", "silence"])
def test_metadata_that_say_nothing_are_told_and_not_needed(machine: "Machine", effect: "Effect") -> None:
    """Who we are is known from before and by our addresses; whoever joins is let in meanwhile."""
    running = machine.start()
    running.ready()
    with enduring(machine, running, "metadata.failed", machine.metadata.faults.clear, using="addresses"):
        machine.metadata.faults.add(Fault(effect))
    machine.metadata.faults.add(Fault(effect))
    machine.world.add_droplet("joined", vpc=machine.vpc.id)
    running.logs("peer.joined")
    assert machine.addresses(*PEERS, "joined") == machine.peers


@pytest.mark.fault("C1")
def test_without_metadata_and_addresses_what_is_kept_says_who_we_are(machine: "Machine") -> None:
    """`using=cache`: interfaces keep their names while nobody says anything about them."""
    running = machine.start()
    running.ready()
    running.end(signal.SIGTERM)
    machine.metadata.faults.add(Fault(Status(503)))
    for name in ("eth0", "eth1"):
        machine.namespace.run("ip", "address", "flush", "dev", name)
    again = machine.start(log="again")
    again.ready()
    again.logs("metadata.failed")
    assert "using=cache" in again.lines("metadata.failed")[0]
    assert machine.addresses(*PEERS) == machine.peers


ROGUE: "dict[str, Effect]" = {
    "garbage": garbage(b"\0\xff" * 500),
    "endless": garbage(b"[" * 100_000),
    "too long": garbage(b" " * 2 * 2**20),
    "another shape": Edit(lambda _: {"droplet_id": "7", "interfaces": {}}),
    "an address that is none": Edit(
        lambda body: (
            body
            | {
                "interfaces": {
                    "private": [{"mac": "02:00:00:00:00:01", "ipv4": {"ip_address": "10.10.0.1/0"}}]
                }
            }
        )
    ),
}


@pytest.mark.fault("C4")
def test_a_stranger_who_answers_for_metadata_changes_nothing(machine: "Machine") -> None:
    """Whatever it says: refused as a whole, told, and the rules stay until the service itself answers."""
    running = machine.start()
    running.ready()
    for effect in ROGUE.values():
        with enduring(machine, running, "metadata.rejected", machine.metadata.faults.clear):
            machine.metadata.faults.add(Fault(effect))


@pytest.mark.fault("C3")
def test_metadata_that_forget_the_private_network_open_and_close_nothing(machine: "Machine") -> None:
    """While the API still tells of it, the rules of that interface stay, and go on following the fleet."""
    running = machine.start()
    running.ready()
    generation = machine.generation

    def forgetful(body: dict[str, object]) -> dict[str, object]:
        nics = body.get("interfaces")
        assert isinstance(nics, dict)
        return body | {"interfaces": {kind: nic for kind, nic in nics.items() if kind != "private"}}

    machine.metadata.faults.add(Fault(Edit(forgetful)))
    machine.polled(6)  # more than would have to agree
    assert generation == machine.generation
    machine.world.add_droplet("joined", vpc=machine.vpc.id)
    running.logs("peer.joined")
    until(lambda: machine.addresses(*PEERS, "joined") == machine.peers)


@pytest.mark.fault("C3", "A21")
def test_a_private_network_that_is_gone_is_believed_when_it_was_said_often_enough(machine: "Machine") -> None:
    """Metadata and API agree: its rules stand until three answers said so, and that is told."""
    machine.write(interval="1h")
    running = machine.start()
    running.ready()
    v4 = tuple(network for network in machine.own.v4 if network.kind == "public")
    machine.world.change_droplet(machine.own.id, v4=v4)
    running.process.send_signal(signal.SIGUSR1)
    running.logs("identity.changed")
    assert machine.addresses(*PEERS) == machine.peers

    def withdrawn() -> bool:
        running.process.send_signal(signal.SIGUSR1)  # as often as it takes: a nudge carries no data
        return not machine.peers

    until(withdrawn, LONG, "rules that are gone")
    assert None is running.process.poll()
