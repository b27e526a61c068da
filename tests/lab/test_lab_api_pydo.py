"""The emulated API in the hands of DigitalOcean's own client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydo
import pytest
from azure.core.exceptions import HttpResponseError

from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.scopes import Tokens, scoped
from droplan_daemon.lab.server import LabServer, serving
from droplan_daemon.lab.world import World


class Desk:
    """Makes official clients for one server over TLS."""

    def __init__(self, url: str, ca_file: Path) -> None:
        self.url = url
        self.ca_file = ca_file
        self.made: list[Any] = []

    def client(self, token: str = DigitalOcean.token) -> Any:
        made = pydo.Client(
            token=token,
            endpoint=self.url,
            connection_verify=str(self.ca_file),
            retry_total=0,
            use_env_settings=False,
        )
        self.made.append(made)
        return made


@pytest.fixture
def desk(cloud: DigitalOcean, authority: tuple[Authority, Path]) -> Iterator[Desk]:
    ca, ca_file = authority
    server = LabServer(cloud, tls=ca.server())
    with serving(server):
        opened = Desk(server.url, ca_file)
        yield opened
        for client in opened.made:
            client.close()


def test_the_client_walks_every_page_by_its_own_links(desk: Desk, world: World) -> None:
    """Following `links.pages.next` from page to page yields every ordinary Droplet once."""
    client, page, seen = desk.client(), 1, []
    while page:
        answer = client.droplets.list(per_page=20, page=page)
        assert answer["meta"]["total"] == 47
        seen += [droplet["id"] for droplet in answer["droplets"]]
        following = answer["links"].get("pages", {}).get("next")
        page = int(following.rpartition("page=")[2]) if following else 0
    assert [d.id for d in world.droplets.values() if not d.gpu] == seen


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"tag_name": "db"}, ["db-1"]),
        ({"name": "WEB-7"}, ["web-7"]),
        ({"name": "web"}, []),
        ({"type": "gpus"}, ["trainer"]),
        ({"type": "gpus", "name": "trainer"}, ["trainer"]),
        ({"type": "droplets", "name": "trainer"}, []),
    ],
)
def test_the_client_filters(desk: Desk, filters: dict[str, str], names: list[str]) -> None:
    """Tag, name (in any case, but whole) and type filter as the description says."""
    assert names == [d["name"] for d in desk.client().droplets.list(**filters)["droplets"]]


def test_the_client_reads_one_droplet(desk: Desk, world: World) -> None:
    """A Droplet by id is what the list has of it; an id that is not there is 404."""
    client, first = desk.client(), next(iter(world.droplets))
    assert client.droplets.list()["droplets"][0] == client.droplets.get(droplet_id=first)["droplet"]
    assert "not_found" == client.droplets.get(droplet_id=1)["id"]


def test_the_client_creates_and_destroys(desk: Desk, world: World) -> None:
    """A created Droplet is shown as new and without addresses; it is in the account until it is destroyed."""
    client, vpc = desk.client(), next(iter(world.vpcs))
    order = {"name": "new-1", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64"}
    answer = client.droplets.create({**order, "tags": ["WEB", "fresh"], "vpc_uuid": vpc, "ipv6": True})
    made = world.droplets[answer["droplet"]["id"]]
    assert ("new", {"v4": [], "v6": []}) == (answer["droplet"]["status"], answer["droplet"]["networks"])
    assert ("new-1", vpc, ("web", "fresh")) == (made.name, made.vpc, made.tags)
    assert made.address("private")
    assert made.v6
    assert world.actions[-1].id == answer["links"]["actions"][0]["id"]
    client.droplets.destroy(droplet_id=made.id)
    assert made.id not in world.droplets


def test_the_client_creates_several(desk: Desk, world: World) -> None:
    """`names` makes one Droplet for each name."""
    order = {"names": ["a", "b"], "region": "sgp1", "size": "gpu-h100x1-80gb", "image": "debian-12-x64"}
    answer = desk.client().droplets.create(order)
    assert ["a", "b"] == [d["name"] for d in answer["droplets"]]
    assert [True, True] == [world.droplets[d["id"]].gpu for d in answer["droplets"]]


def test_the_client_reads_vpcs(desk: Desk, world: World) -> None:
    """VPCs, one VPC, its members and its peerings are what the account has."""
    client, home = desk.client(), next(iter(world.vpcs.values()))
    listed = client.vpcs.list()["vpcs"]
    assert ["10.10.0.0/20", "10.20.0.0/20"] == [vpc["ip_range"] for vpc in listed]
    assert listed[0] == client.vpcs.get(vpc_id=home.id)["vpc"]
    members = client.vpcs.list_members(vpc_id=home.id, per_page=200)
    assert {f"do:droplet:{d.id}" for d in world.droplets.values() if d.vpc == home.id} == {
        member["urn"] for member in members["members"]
    }
    assert 1 == client.vpcs.list_peerings(vpc_id=home.id)["meta"]["total"]
    assert 0 == client.vpcs.list_members(vpc_id=home.id, resource_type="loadbalancer")["meta"]["total"]


def test_the_client_reads_peerings(desk: Desk, world: World) -> None:
    """Peerings come with both VPCs and their status, and can be filtered by region."""
    client, home = desk.client(), next(iter(world.vpcs))
    third = world.add_vpc("third", region="sgp1", ip_range="10.30.0.0/20")
    world.peer(home, third.id, status="PROVISIONING")
    listed = client.vpc_peerings.list()["vpc_peerings"]
    assert [("ACTIVE", list(world.vpcs)[:2]), ("PROVISIONING", [home, third.id])] == [
        (peering["status"], peering["vpc_ids"]) for peering in listed
    ]
    assert [third.id] == [p["vpc_ids"][1] for p in client.vpc_peerings.list(region="sgp1")["vpc_peerings"]]


def test_the_client_reads_actions_tags_and_account(desk: Desk, world: World) -> None:
    """Actions come newest first, tags with what carries them, the account with its limits."""
    client, last = desk.client(), list(world.droplets)[-1]
    world.destroy_droplet(last)
    actions = client.actions.list(per_page=1)
    assert ("destroy", last, "completed") == tuple(
        actions["actions"][0][key] for key in ("type", "resource_id", "status")
    )
    tags = {tag["name"]: tag["resources"]["droplets"]["count"] for tag in client.tags.list()["tags"]}
    assert {"web": 45, "env:prod": 45, "db": 1} == tags
    assert "active" == client.account.get()["account"]["status"]


@pytest.mark.parametrize(("scopes", "status"), [(("droplet:read",), None), (("vpc:read",), 403), (None, 401)])
def test_the_client_is_told_who_may_not(
    desk: Desk, cloud: DigitalOcean, scopes: tuple[str, ...] | None, status: int | None
) -> None:
    """A token without the scope gets 403, one that nobody knows 401, as the client's own errors."""
    cloud.tokens = Tokens({"known": scoped(*scopes)} if scopes else {})
    client = desk.client("known")
    if status is None:
        assert client.droplets.list()["droplets"]
    else:
        with pytest.raises(HttpResponseError) as caught:
            client.droplets.list()
        assert status == caught.value.status_code


def test_the_client_sees_the_rate_limit(desk: Desk, cloud: DigitalOcean) -> None:
    """The rate limit is in the headers, and 429 is the client's own error."""
    cloud.limiter = Limiter(Limits(hourly=1))
    client = desk.client()
    assert {"ratelimit-limit": "1", "ratelimit-remaining": "0"} == client.account.get(
        cls=lambda response, _body, _headers: {
            name: response.http_response.headers[name] for name in ("ratelimit-limit", "ratelimit-remaining")
        }
    )
    with pytest.raises(HttpResponseError) as caught:
        client.account.get()
    assert 429 == caught.value.status_code
