"""Default-deny, in and out, on a Host that forwards: what is judged, by what, and what stays alive."""

import socket
import subprocess
import threading
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import NotPermitted
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    InterfacePolicy,
    Lifeline,
    Outbound,
    Policy,
    PortProtocol,
    Ports,
)
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.model.selector import Kind, Term
from droplan_daemon.policy.compile import compile_ruleset
from tests.kernel.crossroads import BEHIND, METADATA_SEAT, Crossroads, Probe, Way
from tests.kernel.variants import BACKENDS, EACH
from tests.worlds import OWN_SEAT, SEATS, STRANGERS, Seat

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

FRIEND, OTHER = STRANGERS[0], SEATS[0]
IN_TIME, IN_VAIN = 10.0, 0.2
CLOSED = InterfacePolicy(managed=True, allow_peers=False, outbound=Outbound.DROP)
ONLY_INBOUND = InterfacePolicy(managed=True, allow_peers=False)
HOST = Host(1, private="eth1", public="eth0")
FLEET = Fleet((Droplet(1, "own"),))


@pytest.fixture(params=EACH)
def crossroads(request: pytest.FixtureRequest) -> "Iterator[Crossroads]":
    try:
        made = Crossroads(make=BACKENDS[request.param])
    except NotPermitted as error:
        pytest.skip(str(error))
    with made:
        yield made


def _rule(
    who: str,
    *ports: int,
    direction: Direction = Direction.INBOUND,
    interface: InterfaceKind = InterfaceKind.PUBLIC,
) -> Allow:
    return Allow(
        f"{direction} {who} {ports}",
        Term(Kind.ALL),
        Term(Kind.PREFIX, who),
        direction,
        tuple(Ports(PortProtocol.TCP, port, port) for port in ports),
        interface,
    )


def _enforce(crossroads: Crossroads, policy: Policy) -> None:
    crossroads.enforce(compile_ruleset(policy, FLEET, HOST, FLEET.droplets[0]))


class Server:
    """Accepts connections at one address of a machine, and says hello."""

    def __init__(self, crossroads: Crossroads, machine: str, address: str, port: int) -> None:
        self._listening = crossroads.topology.namespace(machine).listen(address, port)
        self._listening.setblocking(True)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection, suppress(OSError):
                    connection.sendall(b"hello")

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


def _answers(
    crossroads: Crossroads, machine: str, source: str, target: tuple[str, int], wait: float = IN_TIME
) -> bool:
    """Whether a TCP connection is accepted and says hello."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with crossroads.topology.namespace(machine).call(socket.socket, family, socket.SOCK_STREAM) as made:
        made.settimeout(wait)
        made.bind((source, 0))
        with suppress(OSError):  # in vain: silence, or the kernel's word that it is not permitted
            made.connect(target)
            return made.recv(10) == b"hello"
    return False


def _machine(seat: Seat) -> str:
    return f"seat-{(*SEATS, *STRANGERS).index(seat)}"


def test_a_published_port_is_judged_as_the_sender_wrote_it(crossroads: Crossroads) -> None:
    """A container's port behind DNAT is open by the outer port and the sender, not by the inner port."""
    _enforce(crossroads, Policy(public=ONLY_INBOUND, allows=(_rule(FRIEND.public, 8050),)))
    with closing(Server(crossroads, "behind", BEHIND, 9000)):
        ask = crossroads, _machine(FRIEND), FRIEND.public
        assert _answers(*ask, (OWN_SEAT.public, 8050))
        assert not _answers(*ask, (OWN_SEAT.public, 8100), IN_VAIN)
        assert not _answers(crossroads, _machine(OTHER), OTHER.public, (OWN_SEAT.public, 8050), IN_VAIN)


def test_the_port_behind_dnat_opens_nothing(crossroads: Crossroads) -> None:
    """A rule for the container's own port does not open the port that it is published at."""
    _enforce(crossroads, Policy(public=ONLY_INBOUND, allows=(_rule(FRIEND.public, 9000),)))
    with closing(Server(crossroads, "behind", BEHIND, 9000)):
        assert not _answers(crossroads, _machine(FRIEND), FRIEND.public, (OWN_SEAT.public, 8050), IN_VAIN)


def test_default_drop_judges_what_containers_send(crossroads: Crossroads) -> None:
    """Forwarded connections get out to whom a rule names, on its ports, and their replies come back."""
    outbound = _rule(FRIEND.public, 8000, direction=Direction.OUTBOUND)
    _enforce(crossroads, Policy(public=CLOSED, allows=(outbound,)))
    with (
        closing(Server(crossroads, _machine(FRIEND), FRIEND.public, 8000)),
        closing(Server(crossroads, _machine(FRIEND), FRIEND.public, 8001)),
        closing(Server(crossroads, _machine(OTHER), OTHER.public, 8000)),
    ):
        for machine, source in (("behind", BEHIND), ("host", OWN_SEAT.public)):
            assert _answers(crossroads, machine, source, (FRIEND.public, 8000))
            assert not _answers(crossroads, machine, source, (FRIEND.public, 8001), IN_VAIN)
            assert not _answers(crossroads, machine, source, (OTHER.public, 8000), IN_VAIN)


def test_what_was_let_in_is_answered(crossroads: Crossroads) -> None:
    """Under default-drop both ways, an allowed sender is answered by the Host and by what it publishes."""
    _enforce(crossroads, Policy(public=CLOSED, allows=(_rule(FRIEND.public, 22, 8050),)))
    with (
        closing(Server(crossroads, "host", OWN_SEAT.public, 22)),
        closing(Server(crossroads, "behind", BEHIND, 9000)),
    ):
        assert _answers(crossroads, _machine(FRIEND), FRIEND.public, (OWN_SEAT.public, 22))
        assert _answers(crossroads, _machine(FRIEND), FRIEND.public, (OWN_SEAT.public, 8050))


def test_an_answer_is_no_permission_to_ask(crossroads: Crossroads) -> None:
    """Whoever is let in may not be called: the Host opens no connection back."""
    _enforce(crossroads, Policy(public=CLOSED, allows=(_rule(FRIEND.public, 22),)))
    with (
        closing(Server(crossroads, "host", OWN_SEAT.public, 22)),
        closing(Server(crossroads, _machine(FRIEND), FRIEND.public, 8000)),
    ):
        assert _answers(crossroads, _machine(FRIEND), FRIEND.public, (OWN_SEAT.public, 22))
        assert not _answers(crossroads, "host", OWN_SEAT.public, (FRIEND.public, 8000), IN_VAIN)


@pytest.mark.parametrize("direction", Direction)
def test_a_rule_that_goes_takes_its_connections(crossroads: Crossroads, direction: Direction) -> None:
    """What a rule let pass, answered or not, is cut when the rule goes, though conntrack remembers it."""
    rule = replace(_rule(FRIEND.public, direction=direction), ports=())
    _enforce(crossroads, Policy(public=CLOSED, allows=(rule,)))
    inside = _datagrams(crossroads, "host", OWN_SEAT.public)
    outside = _datagrams(crossroads, _machine(FRIEND), FRIEND.public)
    asking, answering = (inside, outside) if direction is Direction.OUTBOUND else (outside, inside)
    with inside, outside:
        assert _heard(asking, answering, IN_TIME)
        assert _heard(answering, asking, IN_TIME)
        assert _heard(asking, answering, IN_TIME)
        _enforce(crossroads, Policy(public=CLOSED))
        assert not _heard(asking, answering, IN_VAIN)


def _datagrams(crossroads: Crossroads, machine: str, address: str) -> socket.socket:
    made = crossroads.topology.namespace(machine).call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 8000))
    return made


def _heard(one: socket.socket, other: socket.socket, wait: float) -> bool:
    """Whether a datagram from one to the other arrives."""
    other.settimeout(wait)
    with suppress(PermissionError, TimeoutError):
        one.sendto(b"hello", other.getsockname())
        return other.recv(10) == b"hello"
    return False


@pytest.mark.parametrize(
    "address", ["127.0.0.1", OWN_SEAT.private, OWN_SEAT.public, OWN_SEAT.public_6, "::1"]
)
def test_loopback_is_nobodys_business(crossroads: Crossroads, address: str) -> None:
    """Under default-drop everywhere, with every lifeline off, the Host reaches its own addresses."""
    _enforce(crossroads, Policy(private=CLOSED, public=CLOSED, lifelines=frozenset()))
    with closing(Server(crossroads, "host", address, 8000)):
        assert _answers(crossroads, "host", address, (address, 8000))


@pytest.mark.parametrize("alive", [True, False])
def test_neighbours_are_found(crossroads: Crossroads, alive: bool) -> None:
    """Under default-drop IPv6 finds its neighbours by real solicitations, and without the lifeline not."""
    lifelines = frozenset({Lifeline.NEIGHBOUR_DISCOVERY}) if alive else frozenset()
    rule = _rule(FRIEND.public_6, 8000, direction=Direction.OUTBOUND)
    _enforce(crossroads, Policy(public=CLOSED, allows=(rule,), lifelines=lifelines))
    forgotten = ["ip", "neigh", "del", FRIEND.public_6, "dev", "eth0"]
    crossroads.host.call(subprocess.run, forgotten, check=True)
    with closing(Server(crossroads, _machine(FRIEND), FRIEND.public_6, 8000)):
        wait = IN_TIME if alive else IN_VAIN
        assert alive == _answers(crossroads, "host", OWN_SEAT.public_6, (FRIEND.public_6, 8000), wait)


PUBLIC = InterfaceKind.PUBLIC
_V4, _V6 = Family.IPV4, Family.IPV6


def _icmp(way: Way, *types: int, family: Family) -> list[Probe]:
    protocol = Protocol.ICMP if family is _V4 else Protocol.ICMPV6
    return [Probe(way, FRIEND, PUBLIC, family, protocol, icmp_type=kind) for kind in types]


def _udp(way: Way, source: int | None, destination: int, *families: Family) -> list[Probe]:
    return [Probe(way, FRIEND, PUBLIC, family, Protocol.UDP, destination, source) for family in families]


def _tcp(way: Way, destination: int, seat: Seat = FRIEND) -> Probe:
    return Probe(way, seat, PUBLIC, _V4, Protocol.TCP, destination)


KEPT_ALIVE: dict[Lifeline, list[Probe]] = {
    Lifeline.ICMP_ERRORS: [
        probe
        for way in (Way.INTO, Way.OUT_OF)
        for probe in (*_icmp(way, 3, 11, 12, family=_V4), *_icmp(way, 1, 2, 3, 4, family=_V6))
    ],
    Lifeline.NEIGHBOUR_DISCOVERY: [
        *_icmp(Way.INTO, 130, 133, 134, 135, 136, family=_V6),
        *_icmp(Way.OUT_OF, 130, 133, 134, 135, 136, 143, family=_V6),
    ],
    Lifeline.DHCP: [
        *_udp(Way.INTO, 67, 68, _V4),
        *_udp(Way.INTO, 547, 546, _V6),
        *_udp(Way.OUT_OF, 68, 67, _V4),
        *_udp(Way.OUT_OF, 546, 547, _V6),
    ],
    Lifeline.DNS: [
        _tcp(Way.OUT_OF, 53),
        *_udp(Way.OUT_OF, None, 53, _V4, _V6),
        *_udp(Way.FORWARDED, None, 53, _V4),
    ],
    Lifeline.NTP: _udp(Way.OUT_OF, None, 123, _V4, _V6),
    Lifeline.METADATA: [_tcp(Way.OUT_OF, 80, METADATA_SEAT), _tcp(Way.FORWARDED, 80, METADATA_SEAT)],
    Lifeline.API: [_tcp(Way.OUT_OF, 443), _tcp(Way.FORWARDED, 443)],
}
"""What each lifeline is for, as packets."""

NOT_KEPT = [
    *_icmp(Way.INTO, 8, 13, 5, family=_V4),
    *_icmp(Way.INTO, 128, 137, 143, family=_V6),
    *_icmp(Way.OUT_OF, 8, 5, family=_V4),
    *_icmp(Way.OUT_OF, 128, 137, family=_V6),
    *_udp(Way.INTO, 68, 68, _V4),
    *_udp(Way.INTO, 67, 67, _V4),
    *_udp(Way.INTO, None, 53, _V4, _V6),
    *_udp(Way.INTO, 53, 8000, _V4, _V6),
    *_udp(Way.INTO, None, 123, _V4),
    *_udp(Way.OUT_OF, 67, 68, _V4),
    *_udp(Way.OUT_OF, None, 443, _V4),
    *_udp(Way.OUT_OF, 53, 8000, _V4),
    *(_tcp(Way.INTO, port) for port in (22, 53, 80, 443)),
    *(_tcp(Way.OUT_OF, port) for port in (22, 80, 123, 442, 444)),
    _tcp(Way.OUT_OF, 22, METADATA_SEAT),
]
"""Close to what is kept alive, and not."""


@pytest.mark.parametrize("off", [None, *Lifeline])
def test_lifelines_live_and_are_switched_off_by_name(crossroads: Crossroads, off: Lifeline | None) -> None:
    """Under default-drop both ways every lifeline lives but the one that is off, and nothing else does."""
    lifelines = frozenset(Lifeline) - {off}
    _enforce(crossroads, Policy(private=CLOSED, public=CLOSED, lifelines=lifelines))
    for lifeline, probes in KEPT_ALIVE.items():
        lives = lifeline is not off
        assert [lives] * len(probes) == crossroads.arrivals(probes, [lives] * len(probes)), lifeline
    nothing = [False] * len(NOT_KEPT)
    assert nothing == crossroads.arrivals(NOT_KEPT, nothing)
