"""Open connections as the kernel lists them, and the plan that says which of them it would cut."""

import errno
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.cli import reach_view
from droplan_daemon.diff import diff
from droplan_daemon.effects import Observation
from droplan_daemon.errors import NotPermitted
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.connection import Connection
from droplan_daemon.model.fleet import Droplet, Fleet, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Allow, InterfacePolicy, Policy, PortProtocol, Ports
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.outcomes import Prospect, World
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.selector import parse
from droplan_daemon.sources.conntrack import Conntrack
from tests.daemon.machine import NOBODY, PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import Ruleset
    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

PEER, OWN = parse_address("10.0.0.1"), parse_address("10.0.0.2")


def _droplet(number: int, name: str, address: bytes) -> Droplet:
    return Droplet(number, name, (), "nyc3", "ours", (address,))


MINE = _droplet(2, "db", OWN)
FLEET = Fleet((_droplet(1, "web", PEER), MINE), (Vpc("ours", "ours", "nyc3", "10.0.0.0/24"),))
HOST = Host(2, private="lo")
"""Both sides talk over loopback here; what the kernel tracks is the same."""


@pytest.fixture
def open_ports(namespace: "Namespace") -> "Iterator[tuple[int, int]]":
    """Two connections from the peer's address to ours; their destination ports."""
    namespace.run("ip", "link", "set", "lo", "up")
    for address in ("10.0.0.1/32", "10.0.0.2/32"):
        namespace.run("ip", "address", "add", address, "dev", "lo")
    # Connections are tracked where a rule asks for their state.
    namespace.run("nft", "-f", "-", text=_TRACKING)
    with ExitStack() as stack:
        yield namespace.call(_connected, stack), namespace.call(_connected, stack)


_TRACKING = """
table inet other {
  chain seen {
    type filter hook prerouting priority 0
    ct state established counter
  }
}
"""


def _connected(stack: ExitStack) -> int:
    server = stack.enter_context(socket.create_server(("10.0.0.2", 0)))
    port = int(server.getsockname()[1])
    stack.enter_context(socket.create_connection(("10.0.0.2", port), 5, ("10.0.0.1", 0)))
    stack.enter_context(server.accept()[0])
    return port


def test_open_connections_are_listed_as_they_were_opened(
    namespace: "Namespace", open_ports: tuple[int, int]
) -> None:
    """Source, destination, protocol and ports; one that was closed is not among them."""
    with ExitStack() as closed:
        namespace.call(_connected, closed)
    found = namespace.call(Conntrack().open_now)
    assert {(PEER, OWN, Protocol.TCP, port) for port in open_ports} == {
        (one.source, one.destination, one.protocol, one.destination_port) for one in found
    }
    assert all(one.source_port > 1023 for one in found)


def test_a_datagram_counts_when_it_was_answered(namespace: "Namespace", open_ports: tuple[int, int]) -> None:
    """A knock that nobody answered is no open connection."""

    def talk(*, answered: bool) -> int:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            server.bind(("10.0.0.2", 0))
            client.bind(("10.0.0.1", 0))
            client.sendto(b"?", server.getsockname())
            if answered:
                server.sendto(b"!", client.getsockname())
            return int(server.getsockname()[1])

    silent, spoken = namespace.call(talk, answered=False), namespace.call(talk, answered=True)
    found = namespace.call(Conntrack().open_now)
    ports = {one.destination_port for one in found if one.protocol == Protocol.UDP}
    assert spoken in ports
    assert silent not in ports
    assert len(found) == len(open_ports) + 1


def _policy(*ports: int) -> Policy:
    allows = tuple(
        Allow(f"port {port}", parse("all"), parse("name:web"), ports=(Ports(PortProtocol.TCP, port, port),))
        for port in ports
    )
    return Policy(private=InterfacePolicy(managed=True, allow_peers=False), allows=allows)


def _world(port: int) -> World:
    policy = _policy(port)
    return World(FLEET, HOST, MINE, (), compile_ruleset(policy, FLEET, HOST, MINE), policy)


def _committed(namespace: "Namespace", policy: Policy) -> "Ruleset":
    def commit() -> "Ruleset":
        backend, desired = NftBackend(), compile_ruleset(policy, FLEET, HOST, MINE)
        observed = backend.observe()
        backend.commit(diff(observed.ruleset, desired), observed.generation)
        found = backend.observe().ruleset
        backend.close()
        assert found is not None
        return found

    return namespace.call(commit)


def test_a_plan_says_which_open_connections_it_cuts(
    namespace: "Namespace", open_ports: tuple[int, int]
) -> None:
    """From what the kernel holds to what it should: ports lost, and the connection that is on one."""
    stays, goes = open_ports
    observed = _committed(namespace, _policy(*open_ports))
    world = _world(stays)
    prospect = Prospect(world, Observation(observed, 1, {}), diff(observed, world.desired))
    meant = namespace.call(reach_view.meaning, prospect, Conntrack())
    assert [
        f"- web may no longer reach {goes}/tcp on lo",
        "! cuts 1 open connection:",
        f"  10.0.0.1 to 10.0.0.2 {goes}/tcp",
    ] == list(reach_view.lines(meant))
    told = reach_view.plain(meant)
    assert [f"10.0.0.1 to 10.0.0.2 {goes}/tcp"] == told["cuts"]
    assert [{"interface": "lo", "direction": "inbound", "who": ["web"], "lost": [f"{goes}/tcp"]}] == told[
        "reach"
    ]


def test_a_plan_from_nothing_cuts_what_it_does_not_let_in(
    namespace: "Namespace", open_ports: tuple[int, int]
) -> None:
    """Where nothing was judged, what is open now and will not be let through is told too."""
    stays, goes = open_ports
    world = _world(stays)
    prospect = Prospect(world, Observation(None, 1, {}), diff(None, world.desired))
    meant = namespace.call(reach_view.meaning, prospect, Conntrack())
    assert [goes] == [one.destination_port for one in meant.cut or ()]
    assert [
        "lo inbound is judged from now on; it lets through, beside what keeps the network alive:",
        f"  + web: {stays}/tcp",
    ] == list(reach_view.lines(meant))[:2]


def test_who_may_not_read_them_is_told(namespace: "Namespace", open_ports: tuple[int, int]) -> None:
    """Without CAP_NET_ADMIN the plan says that they are not shown, and goes on."""

    class Forbidden:
        def open_now(self) -> tuple[Connection, ...]:
            raise NotPermitted("the open connections may not be read by this user")

    world = _world(open_ports[0])
    prospect = Prospect(world, Observation(world.desired, 1, {}), diff(world.desired, world.desired))
    meant = reach_view.meaning(prospect, Forbidden())
    expected = "open connections are not shown: the open connections may not be read by this user"
    assert [expected] == list(reach_view.lines(meant))
    assert reach_view.plain(meant)["cuts"] is None


def test_the_kernel_refuses_who_has_no_capability() -> None:
    """EPERM becomes NotPermitted, at the edge."""
    script = (
        "from droplan_daemon.sources.conntrack import Conntrack\n"
        "from droplan_daemon.errors import NotPermitted\n"
        "try:\n    Conntrack().open_now()\n"
        "except NotPermitted as error:\n    print(error.__cause__.errno)\n"
    )
    user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all")
    done = subprocess.run(
        [*user, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(PACKAGES)},
    )
    if done.returncode:
        pytest.skip(f"no other user may run this checkout: {done.stderr[-200:]}")
    assert f"{errno.EPERM}\n" == done.stdout
