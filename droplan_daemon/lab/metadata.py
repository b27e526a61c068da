"""The metadata service that a Droplet finds at 169.254.169.254.

Laws:
1. It speaks of the Droplet that asks, and of no other; who asks is decided by who made it
   (`who`: client address to Droplet id, or None), since in a namespace every client may have
   the same address.
2. It speaks as the real one does: IPv6 written out in capitals, no `private` where there is no
   private interface, anchor addresses on the public interface.

Source: https://docs.digitalocean.com/reference/api/metadata/.
"""

from functools import partial
from ipaddress import IPv4Interface, IPv6Address
from typing import TYPE_CHECKING, Any

from .faults import Faults
from .messages import Json, Request, Response
from .rendering import dotted

if TYPE_CHECKING:
    from collections.abc import Callable

    from .account import LabDroplet, Network
    from .world import World

JSON_PATH = "/metadata/v1.json"
_TREE = "/metadata/v1/"
_ANCHOR_PREFIX = 16
_NAMESERVERS = ("67.207.67.3", "67.207.67.2")  # DigitalOcean's resolvers


def fixed(droplet_id: int) -> "Callable[[str], int | None]":
    """Whoever asks is this Droplet: for a service of its own in each namespace."""
    return lambda _: droplet_id


def by_address(world: "World") -> "Callable[[str], int | None]":
    """Who asks is the Droplet with that IPv4 address."""

    def find(client: str) -> int | None:
        return next((d.id for d in world.droplets.values() if client in {n.address for n in d.v4}), None)

    return find


class Metadata:
    """An Application: the metadata of whoever asks. Not found for strangers."""

    def __init__(
        self, world: "World", who: "Callable[[str], int | None]", faults: Faults | None = None
    ) -> None:
        self.world = world
        self.faults = faults or Faults()
        self._who = who

    def answer(self, request: Request) -> Response:
        """The Response, with every fault that is due."""
        return self.faults.around(request, self.world, partial(self._genuine, request))

    def _genuine(self, request: Request, world: "World") -> Response:
        droplet = world.droplets.get(self._who(request.client) or 0)
        if droplet is None:
            return _text(404, "not found")
        if request.method != "GET":
            return _text(405, "method not allowed")
        if request.path == JSON_PATH:
            return Response(200, document(droplet), "application/json")
        if not f"{request.path}/".startswith(_TREE):
            return _text(404, "not found")
        return _leaf(tree(droplet), request.path[len(_TREE) :])


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), "text/plain; charset=utf-8")


def document(droplet: "LabDroplet") -> Json:
    """All of it, as `/metadata/v1.json` has it."""
    reserved: Json = {"active": False}
    if droplet.reserved_ip:
        reserved = {"active": True, "ip_address": droplet.reserved_ip}
    return {
        "droplet_id": droplet.id,
        "hostname": droplet.name,
        "vendor_data": "#cloud-config\n",
        "public_keys": [],
        "auth_key": "",
        "region": droplet.region,
        "interfaces": _interfaces(droplet),
        "floating_ip": {"ipv4": reserved},
        "reserved_ip": {"ipv4": reserved},
        "dns": {"nameservers": list(_NAMESERVERS)},
        "tags": list(droplet.tags),
        "features": {"dhcp_enabled": False},
    }


def _interfaces(droplet: "LabDroplet") -> Json:
    found: Json = {}
    if private := droplet.network("private"):
        found["private"] = [{"ipv4": _ipv4(private), "mac": droplet.private_mac, "type": "private"}]
    public = droplet.network("public")
    if public or droplet.v6:
        found["public"] = [_public(droplet, public)]
    return found


def _public(droplet: "LabDroplet", ipv4: "Network | None") -> Json:
    shown: Json = {"ipv4": _ipv4(ipv4)} if ipv4 else {}
    for network in droplet.v6[:1]:
        shown["ipv6"] = {
            "ip_address": _capital(network.address),
            "cidr": network.prefix,
            "gateway": _capital(network.gateway),
        }
    if droplet.anchor:
        gateway = ".".join((*droplet.anchor.split(".")[:2], "0", "1"))
        shown["anchor_ipv4"] = {
            "ip_address": droplet.anchor,
            "netmask": dotted(_ANCHOR_PREFIX),
            "gateway": gateway,
        }
    return {**shown, "mac": droplet.public_mac, "type": "public"}


def _ipv4(network: "Network") -> Json:
    # Unlike the API, the service names a gateway for private networks too.
    first_host = str(IPv4Interface(f"{network.address}/{network.prefix}").network[1])
    gateway = first_host if network.gateway == "nil" else network.gateway
    return {"ip_address": network.address, "netmask": dotted(network.prefix), "gateway": gateway}


def _capital(address: str) -> str:
    return IPv6Address(address).exploded.upper()


def tree(droplet: "LabDroplet") -> Json:
    """The same as a tree of text, under the names that the paths have."""
    whole = document(droplet)
    renamed = {
        "id": whole["droplet_id"],
        "user-data": "",
        "vendor-data": whole["vendor_data"],
        "public-keys": "\n".join(whole["public_keys"]),
        "interfaces": {
            kind: {str(i): _addresses(nic) for i, nic in enumerate(nics)}
            for kind, nics in whole["interfaces"].items()
        },
        "dns": {"nameservers": "\n".join(whole["dns"]["nameservers"])},
        "tags": dict.fromkeys(droplet.tags, ""),
    }
    kept = {key: whole[key] for key in ("hostname", "region", "floating_ip", "reserved_ip", "features")}
    return {**kept, **renamed}


def _addresses(nic: Json) -> Json:
    """Paths say `address` where the document says `ip_address`."""
    return {
        key: {("address" if k == "ip_address" else k): v for k, v in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in nic.items()
    }


def _leaf(node: Any, path: str) -> Response:
    """The text at a path below the root; for a branch, what is in it."""
    for name in filter(None, path.split("/")):
        if not isinstance(node, dict) or name not in node:
            return _text(404, "not found")
        node = node[name]
    if isinstance(node, dict):
        return _text(200, "\n".join(f"{k}/" if isinstance(v, dict) else k for k, v in node.items()))
    return _text(200, str(node).lower() if isinstance(node, bool) else str(node))
