"""Tokens, and what their scopes hide."""

import json
from typing import Any

import pytest

from droplan_daemon.lab import api
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.messages import Request
from droplan_daemon.lab.scopes import FULL, READ_ONLY, Tokens, scoped
from droplan_daemon.lab.world import World

ENDPOINTS = {
    "/v2/droplets": "droplet:read",
    "/v2/droplets?type=gpus": "droplet:read",
    "/v2/droplets/{droplet}": "droplet:read",
    "/v2/vpcs": "vpc:read",
    "/v2/vpcs/{vpc}": "vpc:read",
    "/v2/vpcs/{vpc}/members": "vpc:read",
    "/v2/vpcs/{vpc}/peerings": "vpc_peering:read",
    "/v2/vpc_peerings": "vpc_peering:read",
    "/v2/actions": "actions:read",
    "/v2/tags": "tag:read",
    "/v2/account": "account:read",
}


def request_for(world: World, target: str, method: str = "GET", body: bytes = b"") -> Request:
    path, _, query = target.format(droplet=next(iter(world.droplets)), vpc=next(iter(world.vpcs))).partition(
        "?"
    )
    return Request(method, path, dict([query.split("=")]) if query else {}, body=body)


def first_droplet(world: World, *scopes: str) -> Any:
    answer = api.respond(world, request_for(world, "/v2/droplets"), scoped(*scopes))
    return json.loads(answer.content())["droplets"][0]


@pytest.mark.parametrize(("target", "scope"), ENDPOINTS.items())
def test_an_endpoint_needs_its_scope_and_no_other(world: World, target: str, scope: str) -> None:
    """With its one scope an endpoint answers 200; with all the others 403."""
    asked = request_for(world, target)
    others = scoped(*(set(ENDPOINTS.values()) - {scope}))
    assert (200, 403) == (
        api.respond(world, asked, scoped(scope)).status,
        api.respond(world, asked, others).status,
    )


@pytest.mark.parametrize(
    ("target", "method"), [("/v2/droplets", "POST"), ("/v2/droplets/{droplet}", "DELETE")]
)
def test_reading_is_not_writing(world: World, target: str, method: str) -> None:
    """A read-only token may neither create nor destroy, and nothing happens."""
    before = world.droplets
    asked = request_for(world, target, method, b'{"name": "x"}')
    assert 403 == api.respond(world, asked, READ_ONLY).status
    assert before == world.droplets
    assert 200 <= api.respond(world, asked, FULL).status < 300


@pytest.mark.parametrize(
    ("scope", "field", "hidden"),
    [("tag:read", "tags", []), ("vpc:read", "vpc_uuid", ...), ("image:read", "image", {})],
)
def test_a_scope_fills_its_field(world: World, scope: str, field: str, hidden: Any) -> None:
    """Without the scope the Droplet is 200 all the same: the field is emptied, or missing if it may be."""
    assert hidden == first_droplet(world, "droplet:read").get(field, ...)
    full = first_droplet(world, "droplet:read", scope)
    assert full[field]
    assert {"droplet:read"} != full.keys()


def test_a_read_only_token_sees_every_field(world: World) -> None:
    """What full access shows of a Droplet, all read scopes together show too."""
    asked = request_for(world, "/v2/droplets/{droplet}")
    assert api.respond(world, asked, FULL) == api.respond(world, asked, READ_ONLY)


def test_filtering_by_tag_needs_to_see_tags(world: World) -> None:
    """`tag_name` is refused without tag:read instead of finding nothing."""
    asked = request_for(world, "/v2/droplets?tag_name=web")
    assert 403 == api.respond(world, asked, scoped("droplet:read")).status


@pytest.mark.parametrize(("scopes", "total"), [((), 0), (("droplet:read",), 46)])
def test_members_and_tags_show_only_what_may_be_seen(
    world: World, scopes: tuple[str, ...], total: int
) -> None:
    """Without droplet:read a VPC has no members and a tag counts nothing."""
    grant = scoped("vpc:read", "tag:read", *scopes)
    members = api.respond(world, request_for(world, "/v2/vpcs/{vpc}/members"), grant)
    tags = api.respond(world, request_for(world, "/v2/tags"), grant)
    assert total == json.loads(members.content())["meta"]["total"]
    assert total == json.loads(tags.content())["tags"][0]["resources"]["count"]


def test_account_limits_need_their_scopes(world: World) -> None:
    """The account hides the limits of what the token may not read."""
    asked = request_for(world, "/v2/account")
    hidden = json.loads(api.respond(world, asked, scoped("account:read")).content())["account"]
    shown = json.loads(api.respond(world, asked, FULL).content())["account"]
    assert {"droplet_limit", "floating_ip_limit"} == shown.keys() - hidden.keys()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer one", 200),
        ("bearer one", 200),
        ("Bearer  one", 401),
        ("Bearer one ", 401),
        ("Bearer two", 401),
        ("Bearer", 401),
        ("Basic one", 401),
        ("one", 401),
        ("", 401),
    ],
)
def test_only_a_known_bearer_token_is_let_in(world: World, authorization: str, status: int) -> None:
    """Anything but `Bearer` and a known token is 401, with the usual body."""
    cloud = DigitalOcean(world, tokens=Tokens({"one": FULL}))
    answer = cloud.answer(Request("GET", "/v2/account", headers={"authorization": authorization}))
    assert status == answer.status
    if status == 401:
        body = json.loads(answer.content())
        assert ("unauthorized", "Unable to authenticate you.") == (body["id"], body["message"])


def test_tokens_are_not_shown() -> None:
    """The representation of Tokens has no token in it."""
    assert "secret" not in repr(Tokens({"secret": FULL}))
