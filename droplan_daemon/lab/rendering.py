"""Values of the account as the JSON of DigitalOcean's API, for one Grant.

Law: pure; the key sets and types are those of the published OpenAPI description. What a Grant
hides is emptied if the description requires the field, and left out if it does not (for `tags`
and `vpc_uuid` that is known; for the others it is the same rule applied).
"""

from typing import TYPE_CHECKING

from . import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .account import LabAction, LabDroplet, LabPeering, LabVpc, Network
    from .catalogue import Json
    from .scopes import Grant


def droplet(value: "LabDroplet", grant: "Grant") -> "Json":
    """A Droplet, about 3 KB."""
    size = catalogue.size(value.size)
    shown = {
        "id": value.id,
        "name": value.name,
        "memory": size["memory"],
        "vcpus": size["vcpus"],
        "disk": size["disk"],
        "disk_info": size["disk_info"],
        "locked": False,
        "status": value.status,
        "kernel": None,
        "created_at": value.created_at,
        "features": ["droplet_agent", "private_networking", *(["ipv6"] if value.v6 else [])],
        "backup_ids": [],
        "next_backup_window": None,
        "snapshot_ids": [],
        "image": catalogue.image() if grant.allows("image:read") else {},
        "volume_ids": [],
        "size": size,
        "size_slug": value.size,
        "networks": {"v4": [_network_v4(n) for n in value.v4], "v6": [_network_v6(n) for n in value.v6]},
        "region": region(value.region, grant),
        "tags": list(value.tags) if grant.allows("tag:read") else [],
    }
    if grant.allows("vpc:read"):
        shown["vpc_uuid"] = value.vpc
    if value.gpu:
        shown["gpu_info"] = catalogue.gpu_info()
    return _overridden(shown, value)


def _overridden(shown: "Json", value: "LabDroplet") -> "Json":
    if not value.extra:
        return shown
    return {key: item for key, item in {**shown, **value.extra}.items() if item is not ...}


def _network_v4(network: "Network") -> "Json":
    return {
        "ip_address": network.address,
        "netmask": dotted(network.prefix),
        "gateway": network.gateway,
        "type": network.kind,
    }


def _network_v6(network: "Network") -> "Json":
    return {
        "ip_address": network.address,
        "netmask": network.prefix,
        "gateway": network.gateway,
        "type": network.kind,
    }


def dotted(prefix: int) -> str:
    """A prefix length as an IPv4 netmask (20: `255.255.240.0`)."""
    mask = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    return ".".join(str(byte) for byte in mask.to_bytes(4, "big"))


def region(slug: str, grant: "Grant") -> "Json":
    """A region; its sizes need `sizes:read`."""
    shown = catalogue.region(slug)
    return shown if grant.allows("sizes:read") else {**shown, "sizes": []}


def vpc(value: "LabVpc") -> "Json":
    """A VPC."""
    return {
        "id": value.id,
        "urn": f"do:vpc:{value.id}",
        "name": value.name,
        "description": value.description,
        "region": value.region,
        "ip_range": value.ip_range,
        "created_at": value.created_at,
        "default": value.default,
    }


def member(value: "LabDroplet") -> "Json":
    """A Droplet as a member of its VPC."""
    return {"urn": f"do:droplet:{value.id}", "name": value.name, "created_at": value.created_at}


def peering(value: "LabPeering") -> "Json":
    """A VPC peering."""
    return {
        "id": value.id,
        "name": value.name,
        "vpc_ids": list(value.vpcs),
        "created_at": value.created_at,
        "status": value.status,
    }


def action(value: "LabAction", grant: "Grant") -> "Json":
    """An action on a Droplet, completed."""
    return {
        "id": value.id,
        "status": "completed",
        "type": value.type,
        "started_at": value.at,
        "completed_at": value.at,
        "resource_id": value.droplet,
        "resource_type": "droplet",
        "region": region(value.region, grant),
        "region_slug": value.region,
    }


def tag(name: str, droplets: "Iterable[LabDroplet]", base: str, grant: "Grant") -> "Json":
    """A tag and what carries it; Droplets are counted for a Grant that may see them."""
    seen = [d.id for d in droplets if name in d.tags] if grant.allows("droplet:read") else []
    tagged = {"count": len(seen)} | ({"last_tagged_uri": f"{base}/v2/droplets/{seen[-1]}"} if seen else {})
    nothing = {key: {"count": 0} for key in ("images", "volumes", "volume_snapshots", "databases")}
    return {"name": name, "resources": {**tagged, "droplets": tagged, **nothing}}


def account(grant: "Grant") -> "Json":
    """The account; its limits need the scope of what they limit."""
    shown = {
        "droplet_limit": 10_000,
        "floating_ip_limit": 5,
        "email": "sammy@example.com",
        "name": "Sammy the Shark",
        "uuid": "b6fc48dbf6d9156cace5f3c78dc9851d957381ef",
        "email_verified": True,
        "status": "active",
        "status_message": "",
        "team": {"uuid": "5df3e3004a17e242b7c20ca6c9fc25b701a47ece", "name": "My Team"},
    }
    needs = {"droplet_limit": "droplet:read", "floating_ip_limit": "reserved_ip:read"}
    return {k: v for k, v in shown.items() if k not in needs or grant.allows(needs[k])}
