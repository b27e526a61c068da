"""POST /v2/droplets: new Droplets from a request's body.

Law: a body that cannot be carried out changes nothing; several names are one answer with
several Droplets. The Droplets are there at once, but the answer shows them as the real one
does: `new`, without addresses.
"""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import problems, rendering
from .catalogue import ORDINARY_SIZE, is_gpu
from .messages import Json, Request, Response

if TYPE_CHECKING:
    from .account import LabDroplet
    from .scopes import Grant
    from .world import World

_MOST_NAMES = 10


def create(world: "World", request: Request, grant: "Grant") -> Response:
    """202 with what was made, 400 or 422 with the reason why nothing was."""
    wanted = _body(request)
    if wanted is None:
        return problems.bad_request("The body must be a JSON object.")
    names = wanted.get("names", [wanted.get("name")])
    complaint = _complaint(wanted, names, world)
    if complaint:
        return problems.unprocessable(complaint)
    made = [_add(world, name, wanted) for name in names]
    shown = [rendering.droplet(replace(d, status="new", v4=(), v6=()), grant) for d in made]
    links = {"actions": [_action_link(world, d, request.base) for d in made]}
    body = {"droplets": shown} if "names" in wanted else {"droplet": shown[0]}
    return Response(202, {**body, "links": links})


def _body(request: Request) -> Json | None:
    try:
        wanted = json.loads(request.body)
    except ValueError:
        return None
    return wanted if isinstance(wanted, dict) else None


def _complaint(wanted: Json, names: Any, world: "World") -> str | None:
    if not isinstance(names, list) or not 1 <= len(names) <= _MOST_NAMES:
        return f"names must be a list of 1 to {_MOST_NAMES} names."
    if not all(isinstance(name, str) and name for name in names):
        return "Name is required."
    if not _strings(wanted.get("tags") or []):
        return "tags must be a list of names."
    if wanted.get("vpc_uuid") is not None and wanted["vpc_uuid"] not in world.vpcs:
        return "vpc_uuid names no VPC of this account."
    return (
        None
        if _strings([wanted.get(k, "") for k in ("region", "size")])
        else "region and size must be slugs."
    )


def _strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _add(world: "World", name: str, wanted: Json) -> "LabDroplet":
    size = wanted.get("size") or ORDINARY_SIZE
    return world.add_droplet(
        name,
        region=wanted.get("region") or "nyc3",
        vpc=wanted.get("vpc_uuid"),
        tags=wanted.get("tags") or (),
        public="auto" if wanted.get("public_networking", True) else None,
        ipv6="auto" if wanted.get("ipv6") else None,
        gpu=is_gpu(size),
        size=size,
    )


def _action_link(world: "World", droplet: "LabDroplet", base: str) -> Json:
    number = next(a.id for a in reversed(world.actions) if a.droplet == droplet.id)
    return {"id": number, "rel": "create", "href": f"{base}/v2/actions/{number}"}
