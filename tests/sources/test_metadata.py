"""What the metadata service says is foreign input."""

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.errors import DroplanError, HostUnknown, SourceUnavailable
from droplan_daemon.lab.delivery import BlackHole, Bomb, Cut, Drip, Endless, Reset, Verbatim
from droplan_daemon.lab.faults import Deliver, Effect, Fault, Status, html, redirect
from droplan_daemon.lab.metadata import Metadata as LabMetadata
from droplan_daemon.lab.metadata import fixed
from droplan_daemon.lab.server import LabServer
from droplan_daemon.lab.world import World
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.sources.metadata import Identity, Metadata, Nic, read_identity
from tests.sources.samples import NOW, Json

if TYPE_CHECKING:
    from droplan_daemon.lab.account import LabDroplet


def _asked(service: LabMetadata, *, deadline: float = 30.0) -> Identity:
    async def run() -> Identity:
        async with LabServer(service) as server:
            metadata = Metadata(server.url, now=lambda: NOW, deadline=deadline)
            try:
                return await metadata.identity()
            finally:
                await metadata.aclose()
                assert not any("authorization" in entry.headers for entry in server.log)

    return asyncio.run(run())


def _service(world: World, droplet: "LabDroplet", *faults: Effect) -> LabMetadata:
    service = LabMetadata(world, fixed(droplet.id))
    service.faults.add(*map(Fault, faults))
    return service


@pytest.fixture
def home() -> World:
    return World()


def test_a_droplet_learns_who_it_is(home: World) -> None:
    """Id, hostname, region, and by kind the MAC and every address, the anchor on the public one."""
    droplet = home.add_droplet("web-1", private="10.10.0.7/20", public="203.0.113.7/24", anchor="10.17.0.5")
    public = Nic(droplet.public_mac, frozenset(map(parse_address, ("203.0.113.7", "10.17.0.5"))))
    private = Nic(droplet.private_mac, frozenset({parse_address("10.10.0.7")}))
    assert Identity(droplet.id, "web-1", "nyc3", private, public) == _asked(_service(home, droplet))


@pytest.mark.parametrize(("without", "other"), [("private", "public"), ("public", "private")])
def test_an_interface_that_is_not_there_is_none(home: World, without: str, other: str) -> None:
    """A Droplet without a public, or without a private interface."""
    absent: Json = {without: None}
    identity = _asked(_service(home, home.add_droplet("one", **absent)))
    assert getattr(identity, without) is None
    assert getattr(identity, other) is not None


@pytest.mark.fault("C1")
@pytest.mark.parametrize(
    "effect",
    [
        Status(500),
        Status(404),
        Status(403),
        Status(401),
        Status(429),
        Deliver(BlackHole()),
        Deliver(Drip(0.1)),
        Deliver(Reset()),
        Deliver(Verbatim(b"")),
    ],
)
def test_silence_is_unavailable(home: World, effect: Effect) -> None:
    """The caller may look elsewhere."""
    with pytest.raises(SourceUnavailable):
        _asked(_service(home, home.add_droplet("one"), effect), deadline=0.3)


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    "effect",
    [
        html(),
        Status(200, b""),
        Status(200, b"\0" * 100),
        Status(200, {"droplet_id": 7}),
        Deliver(Cut(60)),
        Deliver(Bomb()),
        Deliver(Endless()),
        redirect("http://127.0.0.1:9/"),
    ],
)
def test_nonsense_is_rejected(home: World, effect: Effect) -> None:
    """Whoever answers there is not believed, and not asked again elsewhere."""
    with pytest.raises(HostUnknown) as caught:
        _asked(_service(home, home.add_droplet("one"), effect))
    assert "metadata_rejected" == caught.value.reason


MAC = "04:01:2a:0f:2a:02"


def _document(**changes: Any) -> Json:
    nic = {"mac": MAC.upper(), "ipv4": {"ip_address": "10.10.0.7", "netmask": "255.255.240.0"}}
    return {"droplet_id": 7, "hostname": "one", "region": "nyc3", "interfaces": {"private": [nic]}, **changes}


def test_a_mac_is_compared_in_lower_case() -> None:
    """As the kernel writes it."""
    identity = read_identity(json.dumps(_document()).encode())
    assert identity.private == Nic(MAC, frozenset({parse_address("10.10.0.7")}))
    assert identity.public is None


@pytest.mark.parametrize("interfaces", [{}, {"private": []}, {"private": None, "public": []}])
def test_no_interface_at_all_is_possible(interfaces: Json) -> None:
    """However it is written."""
    identity = read_identity(json.dumps(_document(interfaces=interfaces)).encode())
    assert (None, None) == (identity.private, identity.public)


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    "changes",
    [
        {"droplet_id": "7"},
        {"droplet_id": True},
        {"droplet_id": 7.0},
        {"droplet_id": 0},
        {"droplet_id": 2**63},
        {"hostname": None},
        {"interfaces": None},
        {"interfaces": []},
        {"interfaces": {"private": [{}]}},
        {"interfaces": {"private": [{"mac": "eth0"}]}},
        {"interfaces": {"private": [{"mac": f"{MAC}\n"}]}},
        {"interfaces": {"private": [{"mac": MAC, "ipv4": {"ip_address": "10.0.0.1/8"}}]}},
        {"interfaces": {"private": [{"mac": MAC, "ipv4": {"ip_address": True}}]}},
        {"interfaces": {"private": [{"mac": MAC, "ipv6": {"ip_address": "fe80::1%eth0"}}]}},
    ],
)
def test_a_wrong_field_rejects_the_whole(changes: Json) -> None:
    """Half an identity is none."""
    with pytest.raises(HostUnknown) as caught:
        read_identity(json.dumps(_document(**changes)).encode())
    assert "metadata_rejected" == caught.value.reason


@pytest.mark.fault("C4")
@given(st.binary(max_size=200), st.integers(0), st.integers(0, 255))
def test_any_bytes_raise_nothing_but_our_errors(raw: bytes, at: int, value: int) -> None:
    """Random ones, and good ones with a byte changed."""
    good = bytearray(json.dumps(_document()).encode())
    good[at % len(good)] = value
    for body in (raw, bytes(good)):
        with suppress(DroplanError):
            read_identity(body)
