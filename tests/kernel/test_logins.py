"""Live logins through a change of the policy: what is predicted to be cut is cut, and the rest goes on."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace
from threading import get_native_id
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.cli import here, management_view
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Allow,
    InterfacePolicy,
    Management,
    Mode,
    Policy,
    PortProtocol,
    Ports,
)
from droplan_daemon.outcomes import World
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.selector import parse
from droplan_daemon.sources.caller import VARIABLE
from droplan_daemon.sources.conntrack import Conntrack
from droplan_daemon.sources.sockets import Sockets
from tests.daemon.machine import until
from tests.kernel.ground import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

OWN = "10.0.0.1"
CALLERS = {"bastion": "10.0.0.2", "office": "10.0.0.3", "stranger": "10.0.0.9"}


def _droplet(number: int, name: str, address: str) -> Droplet:
    return Droplet(number, name, (), "nyc3", "ours", (parse_address(address),))


MINE = _droplet(1, "db", OWN)
FLEET = Fleet(
    (MINE, _droplet(2, "bastion", CALLERS["bastion"]), _droplet(3, "office", CALLERS["office"])),
    (Vpc("ours", "ours", "nyc3", "10.0.0.0/24"),),
)
HOST = Host(1, private="eth1")


@dataclass(frozen=True, slots=True)
class Login:
    """Both ends of a connection to the management port."""

    caller: socket.socket
    server: socket.socket


@dataclass(frozen=True, slots=True)
class Site:
    """A Droplet with logins that are open; `port` is where they came in."""

    kernel: Kernel
    port: int
    logins: dict[str, Login]

    def policy(self, *who: str) -> Policy:
        """These may log in."""
        port = (Ports(PortProtocol.TCP, self.port, self.port),)
        allows = tuple(Allow(f"ssh from {one}", parse("all"), parse(one), ports=port) for one in who)
        closed = InterfacePolicy(managed=True, allow_peers=False)
        return Policy(private=closed, allows=allows, management=Management(port))

    def world(self, policy: Policy) -> World:
        return World(FLEET, HOST, MINE, (), compile_ruleset(policy, FLEET, HOST, MINE), policy)

    def access(self, policy: Policy) -> management_view.Access:
        """As `plan` sees it."""
        observed, sessions = self.kernel.holds(), self.kernel.namespace.call(here.sessions)
        return management_view.access(self.world(policy), observed, sessions)

    def cut(self, name: str) -> bool:
        """Whether what a caller says next is dropped; if not, it is heard."""
        login, before = self.logins[name], self.denied
        login.caller.sendall(b"?")
        login.server.setblocking(False)
        until(lambda: _heard(login.server) or self.denied > before, what=f"{name} is heard or denied")
        return not _heard(login.server)

    @property
    def denied(self) -> int:
        return self.kernel.observation().counters.get(("private-in", "denied"), 0)


def _heard(server: socket.socket) -> bool:
    try:
        return bool(server.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


@pytest.fixture
def site(namespace: "Namespace") -> "Iterator[Site]":
    """eth1 of ours, and at its far end, in another namespace, those who log in."""
    far = type(namespace)()
    with ExitStack() as stack:
        stack.callback(far.close)
        _wire(namespace, far)
        kernel = Kernel(namespace)
        stack.callback(kernel.close)
        server = stack.enter_context(namespace.call(socket.create_server, (OWN, 0)))
        port = int(server.getsockname()[1])
        logins = {}
        for name, address in CALLERS.items():
            caller = far.call(socket.create_connection, (OWN, port), 10, (address, 0))
            stack.enter_context(caller)
            logins[name] = Login(caller, stack.enter_context(server.accept()[0]))
        yield Site(kernel, port, logins)


def _wire(ours: "Namespace", far: "Namespace") -> None:
    ours.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far")
    ours.run("ip", "link", "set", "far", "netns", str(far.call(get_native_id)))
    ours.run("ip", "address", "add", f"{OWN}/24", "dev", "eth1")
    ours.run("ip", "link", "set", "eth1", "up")
    for address in CALLERS.values():
        far.run("ip", "address", "add", f"{address}/24", "dev", "far")
    far.run("ip", "link", "set", "far", "up")


def _names(access: management_view.Access) -> "set[str]":
    addresses = {parse_address(address): name for name, address in CALLERS.items()}
    return {addresses[one.connection.source] for _, one in access.cuts}


@pytest.mark.fault("H3")
def test_predicted_cut_is_cut_and_the_rest_goes_on(site: Site) -> None:
    """From rules that let in three to rules that let in one: each of the logins ends as was foretold."""
    site.kernel.become(site.world(site.policy("name:bastion", "name:office", "10.0.0.9")).desired)
    assert not any(site.cut(name) for name in CALLERS)
    for one in site.logins.values():
        one.server.recv(1)
    fresh = site.policy("name:bastion")
    predicted = _names(site.access(fresh))
    assert {"office", "stranger"} == predicted
    site.kernel.become(site.world(fresh).desired)
    assert predicted == {name for name in CALLERS if site.cut(name)}


@pytest.mark.fault("H3")
def test_the_first_rules_of_all_cut_what_they_do_not_let_in(site: Site) -> None:
    """Before them the kernel tracks nothing; the logins are found all the same, and end as was foretold."""
    assert () == site.kernel.namespace.call(Conntrack().open_now)
    fresh = site.policy("name:bastion", "10.0.0.9")
    access = site.access(fresh)
    assert {"office"} == _names(access)
    assert [
        f"log in by {site.port}/tcp: from bastion (10.0.0.2), 10.0.0.9 by private",
        "! 1 open login would be cut: from office (10.0.0.3)",
    ] == list(management_view.lines(access))
    site.kernel.become(site.world(fresh).desired)
    assert {"office"} == {name for name in CALLERS if site.cut(name)}


def test_audit_cuts_nobody(site: Site) -> None:
    """What would be let in once audit ends is told, and no login is in danger before."""
    audited = replace(site.policy("name:bastion"), mode=Mode.AUDIT)
    access = site.access(audited)
    assert [f"once audit ends, log in by {site.port}/tcp: from bastion (10.0.0.2) by private"] == list(
        management_view.lines(access)
    )
    site.kernel.become(site.world(audited).desired)
    for login in site.logins.values():
        login.caller.sendall(b"?")
        login.server.settimeout(30)
        assert b"?" == login.server.recv(1)


def test_the_callers_own_login_is_told_apart(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who types the command by a connection that would be cut reads so; a login that is over is nobody's."""
    port = _source(site.logins["office"])
    monkeypatch.setenv(VARIABLE, f"{CALLERS['office']} {port} {OWN} {site.port}")
    sessions = site.kernel.namespace.call(here.sessions)
    caller = site.kernel.namespace.call(here.caller, sessions)
    access = management_view.access(site.world(site.policy("name:bastion")), None, sessions, caller)
    assert [
        "! your own SSH connection from 10.0.0.3 would be cut",
        "! 1 other open login would be cut: from 10.0.0.9",
    ] == list(management_view.lines(access))[1:]
    monkeypatch.setenv(VARIABLE, f"{CALLERS['office']} 1 {OWN} {site.port}")
    assert site.kernel.namespace.call(here.caller) is None


def _source(login: Login) -> int:
    return int(login.caller.getsockname()[1])


def test_sockets_are_listed_as_they_were_opened(site: Site) -> None:
    """By who asked whom; what listens, and what was closed, is no connection."""
    over = site.logins["stranger"]
    over.caller.close()
    over.server.close()
    wanted = {
        (
            parse_address(CALLERS[name]),
            parse_address(OWN),
            site.port,
            site.logins[name].caller.getsockname()[1],
        )
        for name in ("bastion", "office")
    }

    def found() -> "set[tuple[bytes, bytes, int, int]]":
        return {
            (one.source, one.destination, one.destination_port, one.source_port)
            for one in site.kernel.namespace.call(Sockets().open_now)
        }

    until(lambda: wanted == found(), what=f"{wanted}, not {found()}")
