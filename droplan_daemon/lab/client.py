"""What a person does to the emulated account, through its API, as one would to the real one.

Law: httpx's errors, and answers other than success, become a Fatal of one sentence.
"""

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from droplan_daemon.errors import Fatal

from .program import program
from .scopes import LAB_TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

_DEADLINE = 10.0


class Client:
    """The API at the other end of `http`; made by `connected`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def create(self, name: str, *, vpc: str | None = None, tags: "Sequence[str]" = ()) -> int:
        """A new Droplet, with IPv6; its id."""
        wanted = {
            "name": name,
            "region": "nyc3",
            "size": "s-1vcpu-1gb",
            "image": "debian-12-x64",
            "ipv6": True,
        }
        body = {**wanted, "tags": list(tags), **({"vpc_uuid": vpc} if vpc else {})}
        answer = await self._request("POST", "/v2/droplets", json=body)
        return int(answer.json()["droplet"]["id"])

    async def destroy(self, droplet: int) -> None:
        """It is gone when this returns."""
        await self._request("DELETE", f"/v2/droplets/{droplet}")

    async def named(self, name: str) -> tuple[int, ...]:
        """The ids of all Droplets of this name."""
        answer = await self._request("GET", "/v2/droplets", params={"name": name, "per_page": "200"})
        return tuple(int(droplet["id"]) for droplet in answer.json()["droplets"])

    async def first_vpc(self) -> str | None:
        """The id of the VPC that the account had first; None when it has none."""
        vpcs = (await self._request("GET", "/v2/vpcs")).json()["vpcs"]
        return str(vpcs[0]["id"]) if vpcs else None

    async def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise Fatal(f"The lab's API does not answer: is `{program()} lab up` still running?") from error
        if not answer.is_success:
            raise Fatal(f"The lab's API refused {method} {path} with {answer.status_code}: {_reason(answer)}")
        return answer


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


@asynccontextmanager
async def connected(url: str, ca_file: "Path") -> "AsyncIterator[Client]":
    """A Client of the API at `url`, with the token that may do everything."""
    try:
        trust = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise Fatal(f"The lab's files are gone: start it again with `{program()} lab up`.") from error
    headers = {"authorization": f"Bearer {LAB_TOKEN}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, verify=trust, timeout=_DEADLINE, trust_env=False
    ) as http:
        yield Client(http)
