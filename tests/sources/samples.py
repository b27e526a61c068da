"""Answers of the API to feed to sources: one small Droplet, and whole fleets in real size."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

from droplan_daemon.lab.digitalocean import DigitalOcean as Cloud
from droplan_daemon.lab.messages import Request
from droplan_daemon.lab.scopes import LAB_TOKEN
from droplan_daemon.lab.server import LabServer
from droplan_daemon.sources.digitalocean import DigitalOcean

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from droplan_daemon.lab.messages import Application
    from droplan_daemon.lab.world import World
    from droplan_daemon.model.fleet import Fleet

Json = dict[str, Any]

NOW = 1_800_000_000.0


def droplet(number: int = 7, **changes: Any) -> Json:
    """The keys of a Droplet that droplan reads, and one that it does not."""
    return {
        "id": number,
        "name": f"web-{number}",
        "memory": 1024,
        "networks": {
            "v4": [
                {"ip_address": f"10.10.0.{number % 250}", "netmask": "255.255.240.0", "type": "private"},
                {"ip_address": f"203.0.113.{number % 250}", "netmask": "255.255.255.0", "type": "public"},
            ],
            "v6": [{"ip_address": f"2001:db8::{number:x}", "netmask": 64, "type": "public"}],
        },
        "region": {"slug": "nyc3", "name": "New York 3"},
        "tags": ["web", "env:prod"],
        "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000",
        **changes,
    }


def networks(*v4: tuple[str, object], v6: tuple[object, ...] = ()) -> Json:
    """Networks of (type, address) for IPv4 and public addresses for IPv6."""
    return {
        "v4": [{"type": kind, "ip_address": address} for kind, address in v4],
        "v6": [{"type": "public", "ip_address": address} for address in v6],
    }


def body(*droplets: object, **more: Any) -> bytes:
    """One page with these Droplets."""
    return json.dumps({"droplets": droplets, "links": {}, "meta": {"total": len(droplets)}, **more}).encode()


def api_pages(world: "World", path: str = "/v2/droplets", per_page: int = 200) -> list[bytes]:
    """Every page of a listing as the emulated API serves it: about 3 KB a Droplet."""
    cloud, pages = Cloud(world), list[bytes]()
    while True:
        query = {"page": str(len(pages) + 1), "per_page": str(per_page)}
        answer = cloud.answer(Request("GET", path, query, {"authorization": f"Bearer {LAB_TOKEN}"}))
        assert isinstance(answer.body, dict)
        pages.append(json.dumps(answer.body).encode())
        if "next" not in answer.body["links"].get("pages", {}):
            return pages


def polling(
    cloud: "Application",
    poll: "Callable[[DigitalOcean, LabServer], Coroutine[Any, Any, None]]",
    *,
    tls: "ssl.SSLContext | None" = None,
    latency: float = 0.0,
    token: str = LAB_TOKEN,
    url: str | None = None,
    ca_file: "Path | None" = None,
    want_networks: bool = True,
    deadline: float = 30.0,
    page_cap: int = 4 * 2**20,
) -> None:
    """Run `poll` against a Source whose API is the emulated one."""

    async def run() -> None:
        async with LabServer(cloud, tls=tls, latency=latency) as server:
            source = DigitalOcean(
                url or server.url,
                token,
                now=lambda: NOW,
                ca_file=ca_file,
                want_networks=want_networks,
                deadline=deadline,
                page_cap=page_cap,
            )
            try:
                await poll(source, server)
            finally:
                await source.aclose()

    asyncio.run(run())


def gathered(cloud: "Application", **options: Any) -> "Fleet":
    """The Fleet of one poll of the emulated API."""
    fleets: list[Fleet] = []

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        fleets.append(await source.gather())

    polling(cloud, poll, **options)
    return fleets[0]
