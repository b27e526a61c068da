"""What a token is shown: each scope tried with the smallest question that needs it.

Laws:
1. Only GET. What a token may change is not found out, for the API tells nobody without a change.
2. A refusal by scope is an answer, not a failure; whatever else goes wrong ends the probe.
3. Nothing of an answer is kept but names and headers.

Source: https://docs.digitalocean.com/reference/api/ (the scopes that each endpoint requires).
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from droplan_daemon.errors import DroplanError, SourceDenied

from .http import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE = 15.0
"""Seconds for all questions together."""

_CAP = 16 * 1024 * 1024
_ONE = {"page": "1", "per_page": "1"}
_QUESTIONS = {
    "droplet:read": "/v2/droplets",
    "vpc:read": "/v2/vpcs",
    "vpc_peering:read": "/v2/vpc_peerings",
    "tag:read": "/v2/tags",
}


@dataclass(frozen=True, slots=True)
class Probed:
    """`lacking` are scopes; `error` ended the probe. `ahead` is our clock beside the server's, in seconds.

    `wide`: the account is shown, which nobody of ours asks for. `firewalls` are the Cloud Firewalls of the
    Droplet, None where they are not shown.
    """

    lacking: tuple[str, ...] = ()
    error: DroplanError | None = None
    ahead: float | None = None
    took: float = 0.0
    wide: bool = False
    firewalls: tuple[str, ...] | None = None


class Probe:
    """Questions to the API at `url`. `needed` are scopes among those of the listings that we read."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        now: "Callable[[], float]",
        ca_file: "Path | None" = None,
        renewal: str = "",
        deadline: float = DEADLINE,
    ) -> None:
        name = f"The API at {urlsplit(url).hostname}"
        self._endpoint = Endpoint(
            url, name=name, cap=_CAP, now=now, token=token, ca_file=ca_file, renewal=renewal
        )
        self._now = now
        self._deadline = deadline

    async def ask(self, needed: tuple[str, ...], droplet_id: int | None = None) -> Probed:
        """What the token is shown. Raises nothing of `errors`."""
        began = time.monotonic()
        try:
            lacking, ahead = await self._endpoint.within(self._deadline, self._lacking(needed))
            took = time.monotonic() - began
            wide = await self._endpoint.within(self._deadline, self._sees("/v2/account"))
            firewalls = await self._endpoint.within(self._deadline, self._firewalls(droplet_id))
        except DroplanError as error:
            return Probed(error=error, ahead=self._ahead(), took=time.monotonic() - began)
        finally:
            await self._endpoint.aclose()
        return Probed(lacking, None, ahead, took, wide, firewalls)

    async def _lacking(self, needed: tuple[str, ...]) -> tuple[tuple[str, ...], float | None]:
        lacking, ahead = [], None
        for scope in needed:
            try:
                await self._endpoint.get(_QUESTIONS[scope], _ONE, scope=scope)
            except SourceDenied as error:
                if error.scope is None:
                    raise
                lacking.append(scope)
            ahead = self._ahead() if ahead is None else ahead
        return tuple(lacking), ahead

    async def _sees(self, path: str) -> bool:
        with suppress(DroplanError):
            await self._endpoint.get(path, scope="more")
            return True
        return False

    async def _firewalls(self, droplet_id: int | None) -> tuple[str, ...] | None:
        if droplet_id is None:
            return None
        with suppress(DroplanError, ValidationError):
            body = await self._endpoint.get(f"/v2/droplets/{droplet_id}/firewalls", scope="firewall:read")
            return tuple(one.name for one in _Answer.model_validate_json(body).firewalls)
        return None

    def _ahead(self) -> float | None:
        """Our clock beside that of the answer just heard; None where it told no time."""
        with suppress(ValueError, TypeError, OverflowError):
            return self._now() - parsedate_to_datetime(self._endpoint.date).timestamp()
        return None


class _Named(BaseModel):
    name: str


class _Answer(BaseModel):
    firewalls: list[_Named] = []
