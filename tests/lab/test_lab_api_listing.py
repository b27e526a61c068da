"""Pages, filters, refusals and shapes of the emulated API, without a socket."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.lab import api
from droplan_daemon.lab.messages import Request, Response
from droplan_daemon.lab.scopes import FULL
from droplan_daemon.lab.world import World

BASE = "https://api.example"


def ask(world: World, target: str, method: str = "GET", body: bytes = b"") -> Response:
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return api.respond(world, Request(method, parts.path, query, body=body, base=BASE), FULL)


def body_of(response: Response) -> dict[str, Any]:
    loaded = json.loads(response.content())
    assert isinstance(loaded, dict)
    return loaded


@given(count=st.integers(0, 60), per_page=st.integers(1, 30))
def test_following_next_yields_everything_once(count: int, per_page: int) -> None:
    """From page to page by `next`, each Droplet comes once and in order, and every page has the total."""
    world = World()
    for number in range(count):
        world.add_droplet(f"d-{number}")
    seen, target = [], f"/v2/droplets?per_page={per_page}"
    while target:
        page = body_of(ask(world, target))
        assert count == page["meta"]["total"]
        assert min(1, count) <= len(page["droplets"]) <= per_page
        seen += [d["id"] for d in page["droplets"]]
        target = page["links"].get("pages", {}).get("next", "").removeprefix(BASE)
    assert list(world.droplets) == seen


@pytest.mark.parametrize(
    ("page", "pages"),
    [
        (1, {"next": 2, "last": 3}),
        (2, {"first": 1, "prev": 1, "next": 3, "last": 3}),
        (3, {"first": 1, "prev": 2}),
        (9, {"first": 1, "prev": 3}),
    ],
)
def test_links_point_where_there_are_pages(world: World, page: int, pages: dict[str, int]) -> None:
    """First and previous from the second page on, next and last up to the last but one."""
    links = body_of(ask(world, f"/v2/droplets?per_page=20&page={page}"))["links"]
    wanted = {name: f"{BASE}/v2/droplets?per_page=20&page={number}" for name, number in pages.items()}
    assert {"pages": wanted} == links


def test_one_page_has_no_links(world: World) -> None:
    """When one page suffices there is no `pages` at all, not an empty one."""
    assert {} == body_of(ask(world, "/v2/droplets?per_page=200"))["links"]


def test_a_page_holds_twenty_unless_told_otherwise(world: World) -> None:
    """The default page has 20 items."""
    assert 20 == len(body_of(ask(world, "/v2/droplets"))["droplets"])


def test_gpus_are_a_list_of_their_own(world: World) -> None:
    """Ordinary and GPU Droplets are two lists that share nothing and together are the account."""
    ordinary, gpus = (
        {d["id"] for d in body_of(ask(world, f"/v2/droplets?per_page=200{more}"))["droplets"]}
        for more in ("", "&type=gpus")
    )
    assert set() == ordinary & gpus
    assert set(world.droplets) == ordinary | gpus


@pytest.mark.parametrize(
    ("method", "target", "status", "identifier"),
    [
        ("GET", "/v2/droplets?per_page=0", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets?per_page=201", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets?per_page=ten", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets?per_page=", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets?page=0", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets?page=-1", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets?type=gpus&tag_name=web", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets?name=web-1&tag_name=web", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets?type=tpus", 422, "unprocessable_entity"),
        ("GET", "/v2/droplets/1", 404, "not_found"),
        ("GET", "/v2/droplets/one", 404, "not_found"),
        ("DELETE", "/v2/droplets/1", 404, "not_found"),
        ("GET", "/v2/vpcs/00000000-0000-0000-0000-000000000000", 404, "not_found"),
        ("GET", "/v2/vpcs/00000000-0000-0000-0000-000000000000/members", 404, "not_found"),
        ("GET", "/v2/vpcs/00000000-0000-0000-0000-000000000000/peerings", 404, "not_found"),
        ("GET", "/v2/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("PUT", "/v2/droplets", 405, "method_not_allowed"),
        ("DELETE", "/v2/account", 405, "method_not_allowed"),
    ],
)
def test_refusals(world: World, method: str, target: str, status: int, identifier: str) -> None:
    """What cannot be answered is refused with the usual status and a body that says why."""
    before = world.droplets
    refusal = ask(world, target, method)
    told = body_of(refusal)
    assert (status, identifier) == (refusal.status, told["id"])
    assert {"id", "message", "request_id"} == set(told)
    assert before == world.droplets


def test_405_says_what_is_allowed(world: World) -> None:
    """A wrong method is told the right ones."""
    assert "GET, POST" == ask(world, "/v2/droplets", "PUT").headers["allow"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"{}", 422),
        (b'{"name": ""}', 422),
        (b'{"name": 7}', 422),
        (b'{"names": []}', 422),
        (b'{"names": "a"}', 422),
        (b'{"names": ["a","b","c","d","e","f","g","h","i","j","k"]}', 422),
        (b'{"name": "a", "tags": "web"}', 422),
        (b'{"name": "a", "tags": [1]}', 422),
        (b'{"name": "a", "region": 1}', 422),
        (b'{"name": "a", "vpc_uuid": "none"}', 422),
    ],
)
def test_an_impossible_creation_changes_nothing(world: World, body: bytes, status: int) -> None:
    """A body that cannot be carried out is refused before anything is made."""
    before = world.droplets
    assert status == ask(world, "/v2/droplets", "POST", body).status
    assert before == world.droplets


def test_extra_fields_replace_what_the_api_says(world: World) -> None:
    """`extra` puts any value into a Droplet's JSON, and `...` takes a field out."""
    first = next(iter(world.droplets))
    world.change_droplet(first, extra={"networks": {}, "id": None, "tags": ...})
    shown = body_of(ask(world, "/v2/droplets?per_page=1"))["droplets"][0]
    assert ({}, None) == (shown["networks"], shown["id"])
    assert "tags" not in shown
