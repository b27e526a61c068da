"""The tutorial's fleet under the manual's policy, by real connections.

What must be is written here, as the tutorial says it, and not computed by droplan. The account and the
policy are the files of docs/examples/wordpress themselves.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from droplan_daemon.lab import wiring
from droplan_daemon.lab.client import Client, connected
from droplan_daemon.lab.fleet_file import read_fleet
from droplan_daemon.lab.netns import Namespace
from droplan_daemon.lab.probe import Pulse, Question, Verdict, ask_all
from droplan_daemon.lab.reach import Station, Way, survey
from droplan_daemon.lab.site import PORTS, Site
from droplan_daemon.lab.talk import Service

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.kernel

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "wordpress"
SERVERS = ("haproxy-www", "tunnel-1", "wordpress-1", "wordpress-2", "mysql-1", "mysql-2")
STRANGERS = ("stranger-vpc", "stranger-net")

UNNAMED = 8888
"""A port of which no rule speaks; everybody answers on it all the same."""

SSH, HTTP = frozenset({22}), frozenset({80})
ALL, NONE = frozenset({*PORTS, UNNAMED}), frozenset[int]()
MYSELF = None

# Rows are origins, columns the SERVERS in order: which ports of the column the row reaches.
PRIVATE: dict[str, tuple[frozenset[int] | None, ...]] = {
    "haproxy-www": (MYSELF, NONE, HTTP, HTTP, NONE, NONE),
    "tunnel-1": (SSH, MYSELF, SSH, SSH, SSH, SSH),
    "wordpress-1": (NONE, NONE, MYSELF, ALL, ALL, ALL),
    "wordpress-2": (NONE, NONE, ALL, MYSELF, ALL, ALL),
    "mysql-1": (NONE, NONE, ALL, ALL, MYSELF, ALL),
    "mysql-2": (NONE, NONE, ALL, ALL, ALL, MYSELF),
    "stranger-vpc": (NONE, NONE, NONE, NONE, NONE, NONE),
}
PUBLIC: dict[str, tuple[frozenset[int] | None, ...]] = {
    "haproxy-www": (MYSELF, NONE, NONE, NONE, NONE, NONE),
    "tunnel-1": (HTTP, MYSELF, NONE, NONE, NONE, NONE),
    "wordpress-1": (HTTP, SSH, MYSELF, NONE, NONE, NONE),
    "wordpress-2": (HTTP, SSH, NONE, MYSELF, NONE, NONE),
    "mysql-1": (HTTP, SSH, NONE, NONE, MYSELF, NONE),
    "mysql-2": (HTTP, SSH, NONE, NONE, NONE, MYSELF),
    "stranger-net": (HTTP, SSH, NONE, NONE, NONE, NONE),
}
EXPECTED = {
    (network, origin, target, port): Verdict.OPEN if port in ports else Verdict.DROPPED
    for network, rows in (("eth1", PRIVATE), ("eth0", PUBLIC))
    for origin, row in rows.items()
    for target, ports in zip(SERVERS, row, strict=True)
    if ports is not MYSELF
    for port in ALL
}

DNS, NTP, ELSEWHERE = 53, 123, 5000


@dataclass(frozen=True)
class Stage:
    """The protected fleet; coroutines run in its loop."""

    runner: "asyncio.Runner"
    site: Site
    client: Client
    stations: tuple[Station, ...]

    def play(self, scene: "Coroutine[Any, Any, None]") -> None:
        self.runner.run(scene)

    def machine(self, name: str) -> Namespace:
        return self.site.topology.namespace(name)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The six servers with their daemons ready, two strangers, and somebody at home on every port."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(_built(runner, stack))
        finally:
            runner.run(stack.aclose())


async def _built(runner: "asyncio.Runner", stack: AsyncExitStack) -> Stage:
    world, policy = read_fleet(EXAMPLE / "fleet.json"), (EXAMPLE / "droplan.toml").read_text()
    site = await stack.enter_async_context(Site(world, policy=policy))
    client = await stack.enter_async_context(connected(site.local_url, site.ca_file))
    strangers = wiring.strangers(next(iter(world.vpcs.values())))
    for plan in strangers:
        machine = site.topology.add(plan)
        for port in PORTS:
            await stack.enter_async_context(Service(machine, port))
    for name in (*SERVERS, *STRANGERS):
        await stack.enter_async_context(Service(site.topology.namespace(name), UNNAMED))
    await site.protect()
    plans = [*(site.homes[name].plan for name in SERVERS), *strangers]
    stations = tuple(
        Station(plan.name, site.topology.namespace(plan.name), "", wiring.addresses_of(plan))
        for plan in plans
    )
    return Stage(runner, site, client, stations)


def expected(way: Way) -> Verdict:
    return EXPECTED.get((way.network, way.origin.label, way.target.label, way.port), Verdict.DROPPED)


def test_every_pair_reaches_what_the_tutorial_says_and_nothing_else(stage: Stage) -> None:
    """Each port of each server from everybody else, on both networks; public in IPv4 and IPv6 alike."""

    async def scene() -> None:
        findings = await survey(stage.stations, stage.stations[: len(SERVERS)], sorted(ALL), expected)
        met = {
            (f.way.network, f.way.origin.label, f.way.target.label, f.way.port): f.verdicts
            for f in findings
            if f.verdicts
        }
        assert {way: frozenset({verdict}) for way, verdict in EXPECTED.items()} == met

    families = [{":" in a for a in station.addresses.get("eth0", ())} for station in stage.stations]
    assert [{False, True}] * len(SERVERS) == families[: len(SERVERS)]
    stage.play(scene())


def test_everybody_reaches_himself(stage: Stage) -> None:
    """By loopback, IPv4 and IPv6, and by the machine's own address, which goes by loopback too."""

    async def scene() -> None:
        questions = [
            Question(station.machine, address, port)
            for station in stage.stations[: len(SERVERS)]
            for address in ("127.0.0.1", "::1", *station.addresses["eth1"], *station.addresses["eth0"])
            for port in sorted(ALL)
        ]
        assert dict.fromkeys(questions, Verdict.OPEN) == await ask_all(questions, patience=3.0)

    stage.play(scene())


def test_haproxy_opens_no_connection_to_the_internet_but_for_its_lifelines(stage: Stage) -> None:
    """Not to a port on which a stranger answers tunnel-1; the API's 443 and the metadata service are open."""

    async def scene() -> None:
        def questions(name: str) -> list[Question]:
            addresses = ("203.0.113.66", "2001:db8::66")
            return [Question(stage.machine(name), a, port) for a in addresses for port in sorted(ALL)]

        haproxy = stage.machine("haproxy-www")
        alive = [
            Question(haproxy, wiring.API_ADDRESS, 443),
            Question(haproxy, wiring.METADATA_ADDRESS, 80),
        ]
        verdicts = await ask_all([*questions("tunnel-1"), *alive], patience=3.0)
        assert {Verdict.OPEN} == set(verdicts.values())
        assert {Verdict.DROPPED} == set((await ask_all(questions("haproxy-www"))).values())

    stage.play(scene())


class Echo(asyncio.DatagramProtocol):
    """Answers every datagram with itself."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.transport.sendto(data, addr)


@asynccontextmanager
async def echoing(machine: Namespace, port: int) -> AsyncIterator[None]:
    listening = machine.open_socket(socket.AF_INET6, socket.SOCK_DGRAM)
    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listening.bind(("::", port))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, sock=listening)
    try:
        yield
    finally:
        transport.close()
        await asyncio.sleep(0)


async def answered(machine: Namespace, address: str, port: int) -> bool:
    """Whether one of three datagrams gets an answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    loop = asyncio.get_running_loop()
    with machine.open_socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect((address, port))
        for _ in range(3):
            # Outbound drop: the kernel tells the sender of a datagram at once (EPERM).
            with contextlib.suppress(PermissionError, TimeoutError):
                asking.send(b"who is it")
                return bool(await asyncio.wait_for(loop.sock_recv(asking, 64), 3.0))
    return False


def test_haproxy_asks_for_names_and_for_the_time(stage: Stage) -> None:
    """DNS and NTP stay alive where everything else is dropped; tunnel-1 reaches the other port."""

    async def scene() -> None:
        stranger = stage.machine("stranger-net")
        async with echoing(stranger, DNS), echoing(stranger, NTP), echoing(stranger, ELSEWHERE):
            found = {
                (name, port, address): await answered(stage.machine(name), address, port)
                for name in ("haproxy-www", "tunnel-1")
                for port in (DNS, NTP, ELSEWHERE)
                for address in ("203.0.113.66", "2001:db8::66")
            }
        wanted = {key: (key[0], key[1]) != ("haproxy-www", ELSEWHERE) for key in found}
        assert wanted == found

    stage.play(scene())


def test_a_server_that_is_added_needs_its_tag_and_nothing_else(stage: Stage) -> None:
    """wordpress-3 is reached by haproxy-www on 80 alone, and reaches MySQL; no file is touched."""

    async def scene() -> None:
        files = [stage.site.homes[name].folder / "droplan.toml" for name in SERVERS]
        before = [file.read_text() for file in files]
        number = await stage.client.create(
            "wordpress-3", vpc=await stage.client.first_vpc(), tags=("wordpress",)
        )
        await stage.site.settle()
        await stage.site.ready()
        try:
            home = stage.site.homes["wordpress-3"]
            (private,) = wiring.addresses_of(home.plan)["eth1"]
            haproxy, (mysql,) = stage.machine("haproxy-www"), stage.stations[4].addresses["eth1"]
            for question in (Question(haproxy, private, 80), Question(home.machine, mysql, 3306)):
                async with Pulse(question, every=0.05) as pulse:
                    await pulse.opened(30)
            closed = [Question(haproxy, private, 22), Question(stage.machine("stranger-vpc"), private, 80)]
            assert {Verdict.DROPPED} == set((await ask_all(closed)).values())
        finally:
            await stage.client.destroy(number)
            await stage.site.settle()
        assert before == [file.read_text() for file in files]

    stage.play(scene())


def test_no_daemon_is_cut_off_by_its_own_rules(stage: Stage) -> None:
    """Each of them asks the API and is answered, again and again, haproxy-www's too."""

    async def scene() -> None:
        begun, waiting = time.time(), set(SERVERS)
        while waiting and time.time() < begun + 60:
            for name in tuple(waiting):
                daemon = stage.site.homes[name].daemon
                assert daemon is not None
                told = json.loads(await daemon.ask("status", "--json"))
                assert (True, None) == (told["ready"], told["error"])
                # Taken twice since the beginning: one may have been on its way before.
                if told["world"]["taken"] > begun + 2:
                    waiting.remove(name)
        assert set() == waiting

    stage.play(scene())
