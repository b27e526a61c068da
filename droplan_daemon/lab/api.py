"""DigitalOcean's API over a World, for one Grant: a Request in, a Response out.

Law: no sockets, no clock, no tokens, no limits; only POST and DELETE change the World. The
endpoints, filters and refusals are those of the published OpenAPI description.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import creation, problems, rendering
from .listing import page_of
from .messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from .account import LabDroplet
    from .scopes import Grant
    from .world import World


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one endpoint: the World, who asks, and the id in the path, if any."""

    world: "World"
    request: Request
    grant: "Grant"
    key: str = ""


def respond(world: "World", request: Request, grant: "Grant") -> Response:
    """The Response to an authenticated request."""
    fitting = [(route, found) for route in ROUTES if (found := route.path.fullmatch(request.path))]
    for route, found in fitting:
        if route.method == request.method:
            if not grant.allows(route.scope):
                return problems.forbidden()
            return route.endpoint(Call(world, request, grant, "".join(found.groups())))
    if fitting:
        return problems.method_not_allowed(", ".join(route.method for route, _ in fitting))
    return problems.not_found()


def _list_droplets(call: Call) -> Response:
    query = call.request.query
    if "tag_name" in query and ("type" in query or "name" in query):
        return problems.unprocessable("tag_name cannot be combined with name or type.")
    if query.get("type", "droplets") not in {"droplets", "gpus"}:
        return problems.unprocessable("type must be droplets or gpus.")
    if "tag_name" in query and not call.grant.allows("tag:read"):
        return problems.forbidden()
    chosen = [d for d in call.world.droplets.values() if _listed(d, query.get("type") == "gpus", call)]
    return page_of(call.request, "droplets", chosen, lambda d: rendering.droplet(d, call.grant))


def _listed(droplet: "LabDroplet", gpus: bool, call: Call) -> bool:
    query = call.request.query
    named = "name" not in query or query["name"].lower() == droplet.name.lower()
    tagged = "tag_name" not in query or query["tag_name"] in droplet.tags
    return droplet.gpu == gpus and named and tagged


def _get_droplet(call: Call) -> Response:
    droplet = call.world.droplets.get(int(call.key))
    if droplet is None:
        return problems.not_found()
    return Response(200, {"droplet": rendering.droplet(droplet, call.grant)})


def _create_droplets(call: Call) -> Response:
    return creation.create(call.world, call.request, call.grant)


def _destroy_droplet(call: Call) -> Response:
    try:
        call.world.destroy_droplet(int(call.key))
    except KeyError:
        return problems.not_found()
    return Response(204)


def _list_vpcs(call: Call) -> Response:
    return page_of(call.request, "vpcs", list(call.world.vpcs.values()), rendering.vpc)


def _get_vpc(call: Call) -> Response:
    vpc = call.world.vpcs.get(call.key)
    return Response(200, {"vpc": rendering.vpc(vpc)}) if vpc else problems.not_found()


def _list_members(call: Call) -> Response:
    if call.key not in call.world.vpcs:
        return problems.not_found()
    wanted = call.request.query.get("resource_type", "droplet") == "droplet"
    visible = wanted and call.grant.allows("droplet:read")
    members = [d for d in call.world.droplets.values() if visible and d.vpc == call.key]
    return page_of(call.request, "members", members, rendering.member)


def _list_vpc_peerings(call: Call) -> Response:
    if call.key not in call.world.vpcs:
        return problems.not_found()
    chosen = [p for p in call.world.peerings.values() if call.key in p.vpcs]
    return page_of(call.request, "peerings", chosen, rendering.peering)


def _list_peerings(call: Call) -> Response:
    region, vpcs = call.request.query.get("region"), call.world.vpcs
    chosen = [
        p
        for p in call.world.peerings.values()
        if region is None or any(vpcs[v].region == region for v in p.vpcs)
    ]
    return page_of(call.request, "vpc_peerings", chosen, rendering.peering)


def _list_actions(call: Call) -> Response:
    newest_first = call.world.actions[::-1]
    return page_of(call.request, "actions", newest_first, lambda a: rendering.action(a, call.grant))


def _list_tags(call: Call) -> Response:
    droplets, base = list(call.world.droplets.values()), call.request.base
    return page_of(
        call.request, "tags", call.world.tags, lambda t: rendering.tag(t, droplets, base, call.grant)
    )


def _get_account(call: Call) -> Response:
    return Response(200, {"account": rendering.account(call.grant)})


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint: method, path (its group is the id), the scope that it needs."""

    method: str
    path: "re.Pattern[str]"
    scope: str
    endpoint: "Callable[[Call], Response]"


_UUID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"

ROUTES = tuple(
    Route(method, re.compile(path), scope, endpoint)
    for method, path, scope, endpoint in (
        ("GET", "/v2/droplets", "droplet:read", _list_droplets),
        ("POST", "/v2/droplets", "droplet:create", _create_droplets),
        ("GET", r"/v2/droplets/(\d{1,19})", "droplet:read", _get_droplet),
        ("DELETE", r"/v2/droplets/(\d{1,19})", "droplet:delete", _destroy_droplet),
        ("GET", "/v2/vpcs", "vpc:read", _list_vpcs),
        ("GET", f"/v2/vpcs/{_UUID}", "vpc:read", _get_vpc),
        ("GET", f"/v2/vpcs/{_UUID}/members", "vpc:read", _list_members),
        ("GET", f"/v2/vpcs/{_UUID}/peerings", "vpc_peering:read", _list_vpc_peerings),
        ("GET", "/v2/vpc_peerings", "vpc_peering:read", _list_peerings),
        ("GET", "/v2/actions", "actions:read", _list_actions),
        ("GET", "/v2/tags", "tag:read", _list_tags),
        ("GET", "/v2/account", "account:read", _get_account),
    )
)
