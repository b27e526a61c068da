"""Which Droplet this machine is, by whatever can be learned."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import HostUnknown
from droplan_daemon.lab.delivery import BlackHole
from droplan_daemon.lab.faults import Deliver, Effect, Fault, Status, html
from droplan_daemon.lab.metadata import Metadata as LabMetadata
from droplan_daemon.lab.metadata import fixed
from droplan_daemon.lab.server import LabServer
from droplan_daemon.lab.world import World
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host, Link
from droplan_daemon.sources.host import DropletFinder, by_addresses, by_identity, by_memory
from droplan_daemon.sources.links import read_links
from droplan_daemon.sources.metadata import Identity, Metadata, Nic
from tests.sources.samples import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Namespace

PRIVATE_MAC, PUBLIC_MAC, OTHER_MAC = "04:01:00:00:00:02", "04:01:00:00:00:01", "02:42:00:00:00:09"


def _held(*texts: str) -> frozenset[bytes]:
    return frozenset(map(parse_address, texts))


def _link(name: str, mac: str, *addresses: str) -> Link:
    return Link(name, mac, _held(*addresses))


def _droplet(number: int, private: str | None, public: str | None = None) -> Droplet:
    return Droplet(
        number,
        f"web-{number}",
        private=tuple(map(parse_address, [private] if private else [])),
        public=tuple(map(parse_address, [public] if public else [])),
    )


ETH0 = _link("eth0", PUBLIC_MAC, "203.0.113.7", "10.17.0.5", "2001:db8::7")
ETH1 = _link("eth1", PRIVATE_MAC, "10.10.0.7")
DOCKER = _link("docker0", OTHER_MAC, "172.17.0.1")
FLEET = Fleet((_droplet(7, "10.10.0.7", "203.0.113.7"), _droplet(8, "10.10.0.8"), _droplet(9, None)))
US = Identity(
    7,
    "web-7",
    "nyc3",
    Nic(PRIVATE_MAC, _held("10.10.0.7")),
    Nic(PUBLIC_MAC, _held("203.0.113.7", "10.17.0.5")),
)


def _unknown(attempt: "Callable[[], object]") -> HostUnknown:
    with pytest.raises(HostUnknown) as caught:
        attempt()
    return caught.value


# By MAC.


@pytest.mark.parametrize(
    "names", [("eth0", "eth1"), ("eth1", "eth0"), ("ens3", "ens4"), ("lan", "wan"), ("-", "ü")]
)
def test_interfaces_are_found_by_mac_whatever_they_are_called(names: tuple[str, str]) -> None:
    """The anchor address out of 10.0.0.0/8 does not make the public interface private."""
    public, private = names
    links = [DOCKER, _link(private, PRIVATE_MAC, "10.10.0.7"), _link(public, PUBLIC_MAC, "10.17.0.5")]
    assert Host(7, private, public, "metadata") == by_identity(US, links)


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (Identity(7, "", "", US.private, None), Host(7, "eth1", None, "metadata")),
        (Identity(7, "", "", None, US.public), Host(7, None, "eth0", "metadata")),
        (Identity(7, "", ""), Host(7, None, None, "metadata")),
    ],
)
def test_a_kind_that_the_droplet_has_not_is_none(identity: Identity, expected: Host) -> None:
    """No public interface, no private one, none at all."""
    assert expected == by_identity(identity, [ETH0, ETH1])


@pytest.mark.parametrize("links", [[], [DOCKER], [ETH0, DOCKER]])
def test_a_mac_that_no_link_has_is_missing(links: list[Link]) -> None:
    """The sentence names the MAC and the links that are there."""
    error = _unknown(lambda: by_identity(US, links))
    assert "interface_missing" == error.reason
    assert PRIVATE_MAC in str(error)
    assert all(link.name in str(error) and link.mac in str(error) for link in links)


def test_a_bridge_with_a_mac_of_its_own_is_the_interface() -> None:
    """The card that is its port has the MAC, the bridge the address, and packets come in by the bridge."""
    links = [ETH0, _link("eth1", PRIVATE_MAC), _link("br0", "02:00:00:00:00:99", "10.10.0.7")]
    assert Host(7, "br0", "eth0", "metadata") == by_identity(US, links)


def test_of_links_with_one_mac_the_one_with_the_address_counts() -> None:
    """A bridge and the VLANs on a port share its MAC; the address is where packets arrive."""
    links = [
        ETH0,
        _link("eth1", PRIVATE_MAC),
        _link("br0", PRIVATE_MAC, "10.10.0.7"),
        _link("v", PRIVATE_MAC),
    ]
    assert Host(7, "br0", "eth0", "metadata") == by_identity(US, links)


@pytest.mark.parametrize("addresses", [(), ("10.10.0.7",)])
def test_links_that_cannot_be_told_apart_are_ambiguous(addresses: tuple[str, ...]) -> None:
    """None of them, or all of them, have the address."""
    links = [ETH0, _link("eth1", PRIVATE_MAC, *addresses), _link("br0", PRIVATE_MAC, *addresses)]
    assert "interface_ambiguous" == _unknown(lambda: by_identity(US, links)).reason


# By the Fleet's addresses.


@pytest.mark.parametrize(
    ("fleet", "links", "expected"),
    [
        (FLEET, [ETH0, ETH1, DOCKER], Host(7, "eth1", "eth0", "addresses")),
        (FLEET, [_link("ens4", OTHER_MAC, "10.10.0.8")], Host(8, "ens4", None, "addresses")),
        (Fleet((_droplet(7, None, "2001:db8::7"),)), [ETH0, ETH1], Host(7, None, "eth0", "addresses")),
    ],
)
def test_the_droplet_whose_addresses_are_here_is_us(fleet: Fleet, links: list[Link], expected: Host) -> None:
    """Both interfaces, or the one that it has, in either family."""
    assert expected == by_addresses(fleet, links)


@pytest.mark.parametrize(
    ("fleet", "links", "reason"),
    [
        (FLEET, [], "not_in_fleet"),
        (FLEET, [DOCKER], "not_in_fleet"),
        (Fleet(()), [ETH0, ETH1], "not_in_fleet"),
        (FLEET, [ETH0, ETH1, _link("x", OTHER_MAC, "10.10.0.8")], "ambiguous"),
        (FLEET, [ETH0], "interface_missing"),
        (FLEET, [ETH1], "interface_missing"),
    ],
)
def test_otherwise_nobody_knows(fleet: Fleet, links: list[Link], reason: str) -> None:
    """No Droplet, two of them, or one of whose interfaces is not there."""
    assert reason == _unknown(lambda: by_addresses(fleet, links)).reason


# By memory.


def test_a_remembered_host_needs_its_interfaces() -> None:
    """Rules for a name that nothing carries would guard nothing."""
    remembered = Host(7, "eth1", "eth0", "metadata")
    assert Host(7, "eth1", "eth0", "state") == by_memory(remembered, [ETH0, ETH1])
    error = _unknown(lambda: by_memory(remembered, [ETH0]))
    assert ("interface_missing", True) == (error.reason, "eth1" in str(error))
    assert Host(7, None, "eth0", "state") == by_memory(Host(7, None, "eth0"), [ETH0])


# Whom to ask first.


def _located(
    world: World,
    droplet_id: int,
    fleet: Fleet,
    links: tuple[Link, ...],
    *,
    effect: Effect | None = None,
    remembered: Host | None = None,
) -> Host:
    async def run() -> Host:
        service = LabMetadata(world, fixed(droplet_id))
        service.faults.add(*([Fault(effect)] if effect else []))
        async with LabServer(service) as server:
            finder = DropletFinder(
                metadata=Metadata(
                    server.url, now=lambda: NOW, deadline=0.3 if isinstance(effect, Deliver) else 30.0
                ),
                links=lambda: links,
                remembered=remembered,
            )
            try:
                return await finder.locate(fleet)
            finally:
                await finder.aclose()

    return asyncio.run(run())


@pytest.fixture
def machine() -> tuple[World, int, tuple[Link, ...], Fleet]:
    """A Droplet of the lab, its id, its links, and the Fleet that it is in."""
    world = World()
    made = world.add_droplet("one", private="10.10.0.7/20", public="203.0.113.7/24")
    links = (
        _link("ens3", made.public_mac, "203.0.113.7"),
        _link("ens4", made.private_mac, "10.10.0.7"),
    )
    return (
        world,
        made.id,
        links,
        Fleet((_droplet(made.id, "10.10.0.7", "203.0.113.7"), _droplet(8, "10.10.0.8"))),
    )


Machine = tuple[World, int, tuple[Link, ...], Fleet]


def test_metadata_are_asked_first_and_beat_memory(machine: Machine) -> None:
    """An image of another Droplet remembers being that one."""
    world, us, links, _ = machine
    elsewhere, remembered = Fleet((_droplet(8, "10.10.0.7"),)), Host(8, "ens4", "ens3")
    assert Host(us, "ens4", "ens3", "metadata") == _located(
        world, us, elsewhere, links, remembered=remembered
    )


@pytest.mark.fault("C1")
@pytest.mark.parametrize("effect", [Status(500), Status(404), Deliver(BlackHole())])
def test_without_metadata_the_fleet_decides_before_memory(machine: Machine, effect: Effect) -> None:
    """Unreachable, slow, or not of DigitalOcean."""
    world, us, links, fleet = machine
    remembered = Host(8, "ens4", None)
    found = _located(world, us, fleet, links, effect=effect, remembered=remembered)
    assert Host(us, "ens4", "ens3", "addresses") == found


@pytest.mark.fault("C3")
def test_an_interface_is_gone_when_metadata_and_the_fleet_agree(machine: Machine) -> None:
    """Metadata that forget it are not enough: it is found by its address, or missed; then both say so."""
    world, us, links, fleet = machine
    v4 = tuple(n for n in world.droplets[us].v4 if n.kind == "public")
    world.change_droplet(us, v4=v4)
    assert Host(us, "ens4", "ens3", "metadata") == _located(world, us, fleet, links)
    (missed,) = _located(world, us, fleet, links[:1]).lost
    assert (InterfaceKind.PRIVATE, "interface_missing") == (missed.kind, missed.reason)
    agreed = _located(world, us, Fleet((_droplet(us, None, "203.0.113.7"),)), links[:1])
    assert (Host(us, None, "ens3", "metadata"), ()) == (agreed, agreed.lost)


@pytest.mark.fault("C1")
def test_without_either_we_are_who_we_were(machine: Machine) -> None:
    """A Fleet that does not know our addresses does not make us forget."""
    world, us, links, _ = machine
    remembered = Host(us, "ens4", "ens3", "metadata")
    found = _located(world, us, Fleet(()), links, effect=Status(500), remembered=remembered)
    assert Host(us, "ens4", "ens3", "state") == found


def test_without_anything_nobody_knows(machine: Machine) -> None:
    """The first start on a machine that is not in the Fleet."""
    world, us, links, _ = machine
    error = _unknown(lambda: _located(world, us, Fleet(()), links, effect=Status(500)))
    assert "not_in_fleet" == error.reason


@pytest.mark.fault("C4")
def test_nonsense_from_metadata_is_not_silence(machine: Machine) -> None:
    """Somebody else answers there: nothing is concluded, however good the memory."""
    world, us, links, fleet = machine
    error = _unknown(lambda: _located(world, us, fleet, links, effect=html(), remembered=Host(us)))
    assert "metadata_rejected" == error.reason


@pytest.mark.fault("C1")
def test_what_was_found_is_remembered(machine: Machine) -> None:
    """Metadata that fall silent later do not make us forget what they said."""
    world, us, links, _ = machine

    async def run() -> None:
        service = LabMetadata(world, fixed(us))
        async with LabServer(service) as server:
            finder = DropletFinder(metadata=Metadata(server.url, now=lambda: NOW), links=lambda: links)
            assert "metadata" == (await finder.locate(Fleet(()))).learned
            service.faults.add(Fault(Status(503)))
            assert Host(us, "ens4", "ens3", "state") == await finder.locate(Fleet(()))
            await finder.aclose()

    asyncio.run(run())


def test_metadata_need_not_be_asked(machine: Machine) -> None:
    """A machine that is no Droplet of DigitalOcean has none."""
    _, us, links, fleet = machine
    finder = DropletFinder(metadata=None, links=lambda: links)
    assert Host(us, "ens4", "ens3", "addresses") == asyncio.run(finder.locate(fleet))
    asyncio.run(finder.aclose())


@pytest.mark.kernel
def test_the_kernels_links_are_good_enough(namespace: "Namespace") -> None:
    """The real list of interfaces of a namespace, matched by address."""
    for name, mac, address in (("pub", PUBLIC_MAC, "203.0.113.7/24"), ("prv", PRIVATE_MAC, "10.10.0.7/20")):
        namespace.run("ip", "link", "add", name, "address", mac, "type", "bridge")
        namespace.run("ip", "address", "add", address, "dev", name)
    links = namespace.call(read_links)
    assert Host(7, "prv", "pub", "addresses") == by_addresses(FLEET, links)
    assert Host(7, "prv", "pub", "metadata") == by_identity(US, links)
