"""What DigitalOcean sells, as its API describes it: regions, sizes, images.

Law: values only, made anew at each call, so that nobody can change another's answer.
Source: the examples of the published OpenAPI description. The blocks are complete because
their size is the point: a Droplet costs a client about 3 KB.
"""

from typing import Any

Json = dict[str, Any]

ORDINARY_SIZE = "s-1vcpu-1gb"
GPU_SIZE = "gpu-h100x1-80gb"

_REGION_NAMES = {
    "ams3": "Amsterdam 3",
    "blr1": "Bangalore 1",
    "fra1": "Frankfurt 1",
    "lon1": "London 1",
    "nyc1": "New York 1",
    "nyc3": "New York 3",
    "sfo3": "San Francisco 3",
    "sgp1": "Singapore 1",
    "syd1": "Sydney 1",
    "tor1": "Toronto 1",
}
_REGION_FEATURES = (
    "backups",
    "ipv6",
    "metadata",
    "install_agent",
    "storage",
    "image_transfer",
    "server_id",
    "management_networking",
)
_VCPUS_AND_MEMORY = ((1, 1), (1, 2), (2, 2), (2, 4), (4, 8), (8, 16))
_FAMILIES = (
    "c",
    "c2",
    "g",
    "gd",
    "m",
    "m3",
    "m6",
    "so",
    "so1_5",
    "c-intel",
    "g-intel",
    "gd-intel",
    "m-intel",
)


def region(slug: str) -> Json:
    """The region block of a Droplet or an action; an unknown slug is its own name."""
    return {
        "name": _REGION_NAMES.get(slug, slug),
        "slug": slug,
        "features": list(_REGION_FEATURES),
        "available": True,
        "sizes": _size_slugs(),
    }


def _size_slugs() -> list[str]:
    basic = [
        f"s-{vcpus}vcpu-{memory}gb{variant}"
        for vcpus, memory in _VCPUS_AND_MEMORY
        for variant in ("", "-amd", "-intel", "-120gb-intel")
    ]
    dedicated = [f"{family}-{vcpus}" for family in _FAMILIES for vcpus in (2, 4, 8, 16, 32, 48)]
    return [*basic, *dedicated, GPU_SIZE]


def is_gpu(size_slug: str) -> bool:
    """Whether Droplets of this size are in the list of GPU Droplets only."""
    return size_slug.startswith("gpu-")


def size(slug: str) -> Json:
    """The size block: the GPU size, or the smallest ordinary one under the slug's name."""
    if is_gpu(slug):
        return _gpu_size(slug)
    return {
        "slug": slug,
        "memory": 1024,
        "vcpus": 1,
        "disk": 25,
        "transfer": 1.0,
        "price_monthly": 6.0,
        "price_hourly": 0.00893,
        "regions": list(_REGION_NAMES),
        "available": True,
        "description": "Basic",
        "disk_info": [_disk("local", 25)],
    }


def _gpu_size(slug: str) -> Json:
    return {
        "slug": slug,
        "memory": 245760,
        "vcpus": 20,
        "disk": 720,
        "transfer": 15.0,
        "price_monthly": 4529.3,
        "price_hourly": 6.74,
        "regions": ["tor1"],
        "available": True,
        "description": "H100 GPU - 1X",
        "gpu_info": gpu_info(),
        "disk_info": [_disk("local", 720), _disk("scratch", 5120)],
    }


def gpu_info() -> Json:
    """What a GPU Droplet says of its GPU."""
    return {"count": 1, "vram": {"amount": 80, "unit": "gib"}, "model": "nvidia_h100"}


def _disk(kind: str, amount: int) -> Json:
    return {"type": kind, "size": {"amount": amount, "unit": "gib"}}


def image() -> Json:
    """The image block of every Droplet of the lab."""
    return {
        "id": 194391500,
        "name": "12 x64",
        "distribution": "Debian",
        "slug": "debian-12-x64",
        "public": True,
        "regions": list(_REGION_NAMES),
        "created_at": "2025-07-17T14:11:09Z",
        "min_disk_size": 7,
        "type": "base",
        "size_gigabytes": 2.36,
        "description": "Debian 12 x64",
        "tags": [],
        "status": "available",
    }
