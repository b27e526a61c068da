"""The metadata service, as a Droplet sees it."""

import json
from typing import Any

import httpx
import pytest

from droplan_daemon.lab.account import LabDroplet
from droplan_daemon.lab.faults import Fault, Faults, Status
from droplan_daemon.lab.messages import Request
from droplan_daemon.lab.metadata import JSON_PATH, Metadata, by_address, fixed
from droplan_daemon.lab.server import LabServer, serving
from droplan_daemon.lab.world import World


def home() -> tuple[World, LabDroplet]:
    """A Droplet with everything: both families, a reserved IP with its anchor, tags."""
    world = World()
    vpc = world.add_vpc("home", ip_range="10.10.0.0/20")
    droplet = world.add_droplet(
        "web-1",
        vpc=vpc.id,
        tags=("web", "env:prod"),
        private="10.10.0.5",
        public="203.0.113.7/24",
        ipv6="2001:db8::7/64",
        anchor="10.17.0.5",
        reserved_ip="198.51.100.9",
    )
    return world, droplet


def document(world: World, droplet_id: int) -> Any:
    return json.loads(Metadata(world, fixed(droplet_id)).answer(Request("GET", JSON_PATH)).content())


def test_the_whole_document() -> None:
    """`v1.json` has what the real one has, in its own spelling: IPv6 in full and in capitals."""
    world, me = home()
    assert {
        "droplet_id": me.id,
        "hostname": "web-1",
        "vendor_data": "#cloud-config\n",
        "public_keys": [],
        "auth_key": "",
        "region": "nyc3",
        "interfaces": {
            "private": [
                {
                    "ipv4": {"ip_address": "10.10.0.5", "netmask": "255.255.240.0", "gateway": "10.10.0.1"},
                    "mac": me.private_mac,
                    "type": "private",
                }
            ],
            "public": [
                {
                    "ipv4": {
                        "ip_address": "203.0.113.7",
                        "netmask": "255.255.255.0",
                        "gateway": "203.0.113.1",
                    },
                    "ipv6": {
                        "ip_address": "2001:0DB8:0000:0000:0000:0000:0000:0007",
                        "cidr": 64,
                        "gateway": "2001:0DB8:0000:0000:0000:0000:0000:0001",
                    },
                    "anchor_ipv4": {
                        "ip_address": "10.17.0.5",
                        "netmask": "255.255.0.0",
                        "gateway": "10.17.0.1",
                    },
                    "mac": me.public_mac,
                    "type": "public",
                }
            ],
        },
        "floating_ip": {"ipv4": {"active": True, "ip_address": "198.51.100.9"}},
        "reserved_ip": {"ipv4": {"active": True, "ip_address": "198.51.100.9"}},
        "dns": {"nameservers": ["67.207.67.3", "67.207.67.2"]},
        "tags": ["web", "env:prod"],
        "features": {"dhcp_enabled": False},
    } == document(world, me.id)
    assert me.private_mac != me.public_mac


@pytest.mark.parametrize(
    ("missing", "kinds"),
    [
        ({"public": None}, ["private"]),
        ({"private": None}, ["public"]),
        ({"public": None, "ipv6": "auto"}, ["private", "public"]),
        ({"public": None, "private": None}, []),
    ],
)
def test_an_interface_that_is_not_there(missing: dict[str, Any], kinds: list[str]) -> None:
    """A Droplet without an interface of a kind has no entry for it, not an empty one."""
    world = World()
    assert kinds == list(document(world, world.add_droplet("bare", **missing).id)["interfaces"])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("id", "{id}"),
        ("hostname", "web-1"),
        ("region", "nyc3"),
        ("user-data", ""),
        ("interfaces", "private/\npublic/"),
        ("interfaces/", "private/\npublic/"),
        ("interfaces/public/", "0/"),
        ("interfaces/public/0/", "ipv4/\nipv6/\nanchor_ipv4/\nmac\ntype"),
        ("interfaces/public/0/mac", "{mac}"),
        ("interfaces/public/0/ipv4/address", "203.0.113.7"),
        ("interfaces/public/0/ipv6/cidr", "64"),
        ("interfaces/public/0/anchor_ipv4/gateway", "10.17.0.1"),
        ("interfaces/private/0/ipv4/netmask", "255.255.240.0"),
        ("dns/nameservers", "67.207.67.3\n67.207.67.2"),
        ("tags/", "web\nenv:prod"),
        ("reserved_ip/ipv4/active", "true"),
    ],
)
def test_single_values(path: str, text: str) -> None:
    """Each value has a path of its own, and each folder lists what is in it."""
    world, me = home()
    told = Metadata(world, fixed(me.id)).answer(Request("GET", f"/metadata/v1/{path}"))
    assert (200, "text/plain; charset=utf-8") == (told.status, told.content_type)
    assert text.format(id=me.id, mac=me.public_mac) == told.content().decode()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metadata/v1", 200),
        ("GET", "/metadata/v1/", 200),
        ("GET", "/metadata/v1/nothing", 404),
        ("GET", "/metadata/v1/id/more", 404),
        ("GET", "/metadata/v1/interfaces/public/1", 404),
        ("GET", "/metadata/v2.json", 404),
        ("GET", "/", 404),
        ("POST", "/metadata/v1.json", 405),
    ],
)
def test_paths_that_are_or_are_not(method: str, path: str, status: int) -> None:
    """The root lists everything; what is not there is not found."""
    world, me = home()
    assert status == Metadata(world, fixed(me.id)).answer(Request(method, path)).status


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ("10.10.0.5", "web-1"),
        ("203.0.113.7", "web-1"),
        ("10.10.0.2", "other"),
        ("10.10.0.99", None),
        ("", None),
    ],
)
def test_who_asks_is_known_by_the_address(client: str, name: str | None) -> None:
    """The service speaks of the Droplet that asks, and to strangers not at all."""
    world, me = home()
    world.add_droplet("other", vpc=me.vpc)
    service = Metadata(world, by_address(world))
    told = service.answer(Request("GET", "/metadata/v1/hostname", client=client))
    assert (name or "not found") == told.content().decode()
    assert (200 if name else 404) == told.status


def test_it_follows_the_account() -> None:
    """A Droplet that changed is told so; one that is destroyed is a stranger."""
    world, me = home()
    service = Metadata(world, fixed(me.id))
    world.change_droplet(me.id, tags=("db",))
    assert b"db" == service.answer(Request("GET", "/metadata/v1/tags/")).content()
    world.destroy_droplet(me.id)
    assert 404 == service.answer(Request("GET", JSON_PATH)).status


def test_it_is_served_and_can_fail() -> None:
    """The same server serves it, and the same faults strike it."""
    world, me = home()
    server = LabServer(Metadata(world, fixed(me.id), Faults(Fault(Status(500, b"no"), times=1))))
    with serving(server), httpx.Client(base_url=server.url, trust_env=False) as http:
        assert 500 == http.get(JSON_PATH).status_code
        assert me.id == http.get(JSON_PATH).json()["droplet_id"]
