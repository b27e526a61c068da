"""The shape of every answer, against key sets written down from the published OpenAPI description.

A shape is a type, a list of one shape, a dictionary of shapes, or a tuple of alternatives.
"""

import json
from typing import Any

import pytest

from droplan_daemon.lab import api
from droplan_daemon.lab.messages import Request
from droplan_daemon.lab.scopes import FULL
from droplan_daemon.lab.world import World

NUMBER = (int, float)
DISK = {"type": str, "size": {"amount": int, "unit": str}}
GPU = {"count": int, "vram": {"amount": int, "unit": str}, "model": str}
REGION = {"name": str, "slug": str, "features": [str], "available": bool, "sizes": [str]}
SIZE = {
    "slug": str,
    "memory": int,
    "vcpus": int,
    "disk": int,
    "transfer": NUMBER,
    "price_monthly": NUMBER,
    "price_hourly": NUMBER,
    "regions": [str],
    "available": bool,
    "description": str,
    "disk_info": [DISK],
}
IMAGE = {
    "id": int,
    "name": str,
    "distribution": str,
    "slug": str,
    "public": bool,
    "regions": [str],
    "created_at": str,
    "min_disk_size": int,
    "type": str,
    "size_gigabytes": NUMBER,
    "description": str,
    "tags": [str],
    "status": str,
}
V4 = {"ip_address": str, "netmask": str, "gateway": str, "type": str}
V6 = {"ip_address": str, "netmask": int, "gateway": str, "type": str}
DROPLET = {
    "id": int,
    "name": str,
    "memory": int,
    "vcpus": int,
    "disk": int,
    "disk_info": [DISK],
    "locked": bool,
    "status": str,
    "kernel": None,
    "created_at": str,
    "features": [str],
    "backup_ids": [int],
    "next_backup_window": None,
    "snapshot_ids": [int],
    "image": IMAGE,
    "volume_ids": [str],
    "size": SIZE,
    "size_slug": str,
    "networks": {"v4": [V4], "v6": [V6]},
    "region": REGION,
    "tags": [str],
    "vpc_uuid": str,
}
GPU_DROPLET = {**DROPLET, "size": {**SIZE, "gpu_info": GPU}, "gpu_info": GPU}
VPC = {
    "id": str,
    "urn": str,
    "name": str,
    "description": str,
    "region": str,
    "ip_range": str,
    "created_at": str,
    "default": bool,
}
PEERING = {"id": str, "name": str, "vpc_ids": [str], "created_at": str, "status": str}
ACTION = {
    "id": int,
    "status": str,
    "type": str,
    "started_at": str,
    "completed_at": str,
    "resource_id": int,
    "resource_type": str,
    "region": REGION,
    "region_slug": str,
}
COUNTED = {"count": int}
TAGGED = {**COUNTED, "last_tagged_uri": str}
TAG = {
    "name": str,
    "resources": {
        **TAGGED,
        "droplets": TAGGED,
        "images": COUNTED,
        "volumes": COUNTED,
        "volume_snapshots": COUNTED,
        "databases": COUNTED,
    },
}
ACCOUNT = {
    "droplet_limit": int,
    "floating_ip_limit": int,
    "email": str,
    "name": str,
    "uuid": str,
    "email_verified": bool,
    "status": str,
    "status_message": str,
    "team": {"uuid": str, "name": str},
}
ONE_PAGE: dict[str, Any] = {"links": {}, "meta": {"total": int}}
NEXT_PAGE: dict[str, Any] = {"links": {"pages": {"next": str, "last": str}}, "meta": {"total": int}}
CREATED = {"actions": [{"id": int, "rel": str, "href": str}]}


def misfit(shape: Any, value: Any, at: str = "$") -> str | None:
    """Where the value first differs from the shape; None: nowhere."""
    match shape:
        case dict():
            if not isinstance(value, dict) or shape.keys() != value.keys():
                return f"{at}: {sorted(shape)} is not {sorted(value) if isinstance(value, dict) else value}"
            return next(filter(None, (misfit(shape[k], value[k], f"{at}.{k}") for k in shape)), None)
        case [item]:
            if not isinstance(value, list):
                return f"{at}: no list"
            return next(filter(None, (misfit(item, v, f"{at}[{i}]") for i, v in enumerate(value))), None)
        case None:
            return None if value is None else f"{at}: not null"
    kinds = shape if isinstance(shape, tuple) else (shape,)
    # bool is an int to isinstance, but not to JSON.
    return None if type(value) in kinds else f"{at}: {type(value).__name__}"


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        ("/v2/droplets", {"droplets": [DROPLET], **NEXT_PAGE}),
        ("/v2/droplets?type=gpus", {"droplets": [GPU_DROPLET], **ONE_PAGE}),
        ("/v2/droplets/{ordinary}", {"droplet": DROPLET}),
        ("/v2/droplets/{gpu}", {"droplet": GPU_DROPLET}),
        ("/v2/vpcs", {"vpcs": [VPC], **ONE_PAGE}),
        ("/v2/vpcs/{vpc}", {"vpc": VPC}),
        ("/v2/vpcs/{vpc}/members", {"members": [{"urn": str, "name": str, "created_at": str}], **NEXT_PAGE}),
        ("/v2/vpcs/{vpc}/peerings", {"peerings": [PEERING], **ONE_PAGE}),
        ("/v2/vpc_peerings", {"vpc_peerings": [PEERING], **ONE_PAGE}),
        ("/v2/actions", {"actions": [ACTION], **NEXT_PAGE}),
        ("/v2/tags", {"tags": [TAG], **ONE_PAGE}),
        ("/v2/account", {"account": ACCOUNT}),
    ],
)
def test_shapes(world: World, target: str, shape: Any) -> None:
    """Every answer has exactly the fields of the description, with its types, and is not empty."""
    droplets = list(world.droplets.values())
    names = {"ordinary": droplets[0].id, "gpu": droplets[-1].id, "vpc": next(iter(world.vpcs))}
    path, _, query = target.format(**names).partition("?")
    parameters = dict([query.split("=")]) if query else {}
    answer = api.respond(world, Request("GET", path, parameters), FULL)
    body = json.loads(answer.content())
    assert 200 == answer.status
    assert next(iter(body.values()))
    assert None is misfit(shape, body)


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [
        ({"name": "one"}, {"droplet": DROPLET, "links": CREATED}),
        ({"names": ["one", "two"]}, {"droplets": [DROPLET], "links": CREATED}),
    ],
)
def test_the_shape_of_a_creation(world: World, wanted: Any, shape: Any) -> None:
    """A created Droplet is shown in full, with a link to the action that makes it."""
    answer = api.respond(world, Request("POST", "/v2/droplets", body=json.dumps(wanted).encode()), FULL)
    assert 202 == answer.status
    assert None is misfit(shape, json.loads(answer.content()))


def test_a_destruction_has_no_body(world: World) -> None:
    """204 and nothing more."""
    answer = api.respond(world, Request("DELETE", f"/v2/droplets/{next(iter(world.droplets))}"), FULL)
    assert (204, b"", {}) == (answer.status, answer.content(), answer.head())


def test_a_droplet_weighs_three_kilobytes(world: World) -> None:
    """A Droplet is about as large as a real one, so that what is measured with it holds."""
    shown = api.respond(world, Request("GET", "/v2/droplets", {"per_page": "40"}), FULL)
    assert 2_700 < len(shown.content()) / 40 < 3_300


def test_private_networks_have_no_gateway(world: World) -> None:
    """The gateway of a private network is the word `nil`, its netmask that of the VPC."""
    droplet = next(iter(world.droplets.values()))
    answer = api.respond(world, Request("GET", f"/v2/droplets/{droplet.id}"), FULL)
    v4 = json.loads(answer.content())["droplet"]["networks"]["v4"]
    private = next(network for network in v4 if network["type"] == "private")
    assert {
        "ip_address": "10.10.0.2",
        "netmask": "255.255.240.0",
        "gateway": "nil",
        "type": "private",
    } == private
