"""What DigitalOcean's metadata service says of this Droplet.

Laws:
1. Any local process can answer on that address: the answer is foreign input, bounded and strict
   like every other, and no token is sent.
2. Silence (SourceUnavailable) and nonsense (HostUnknown, `metadata_rejected`) are different: the
   first lets the caller look elsewhere.

Source: https://docs.digitalocean.com/reference/api/metadata-api/
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from droplan_daemon.errors import HostUnknown, SourceDenied, SourceDoubtful, SourceUnavailable
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import InterfaceKind

from .http import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.model.addresses import Address

DEADLINE = 2.0
"""Seconds: the service is on the hypervisor, one hop away, or there is none."""

CAP = 1024 * 1024
"""Bytes: a few KB as a rule, but user data may stand in it (64 KiB)."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One interface as the metadata tell it: MAC (lower case), addresses."""

    mac: str
    addresses: "frozenset[Address]" = frozenset()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this machine is. `private` and `public` are None where there is no such interface."""

    droplet_id: int
    hostname: str
    region: str
    private: Nic | None = None
    public: Nic | None = None

    def nic(self, kind: InterfaceKind) -> Nic | None:
        """The interface of this kind."""
        return self.private if kind is InterfaceKind.PRIVATE else self.public


class Metadata:
    """The metadata service at a base URL. `now` gives seconds since the epoch."""

    def __init__(self, url: str, *, now: "Callable[[], float]", deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._endpoint = Endpoint(url, name="The metadata service", cap=CAP, now=now)

    async def identity(self) -> Identity:
        """Who we are. Raises SourceUnavailable (no answer), HostUnknown (one that cannot be believed)."""
        try:
            asked = self._endpoint.get("/metadata/v1.json", json_only=False)
            body = await self._endpoint.within(self._deadline, asked)
        except SourceDenied as error:
            raise SourceUnavailable(str(error), reason="http_status", status=error.status) from error
        except SourceDoubtful as error:
            raise _rejected(str(error)) from error
        return read_identity(body)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._endpoint.aclose()


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class _Held(_Shape):
    ip_address: Annotated[str, Field(max_length=64)]


class _Interface(_Shape):
    mac: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$")]
    ipv4: _Held | None = None
    ipv6: _Held | None = None
    anchor_ipv4: _Held | None = None

    def nic(self) -> Nic:
        held = (self.ipv4, self.ipv6, self.anchor_ipv4)
        return Nic(self.mac.lower(), frozenset(parse_address(each.ip_address) for each in held if each))


class _Interfaces(_Shape):
    private: list[_Interface] | None = None
    public: list[_Interface] | None = None


class _Metadata(_Shape):
    droplet_id: Annotated[int, Field(gt=0, lt=2**63)]
    hostname: Annotated[str, Field(max_length=255)] = ""
    region: Annotated[str, Field(max_length=255)] = ""
    interfaces: _Interfaces


def read_identity(body: bytes) -> Identity:
    """The Identity in an answer to `/metadata/v1.json`. Raises HostUnknown(reason="metadata_rejected")."""
    try:
        shape = _Metadata.model_validate_json(body)
        private, public = (_first(nics) for nics in (shape.interfaces.private, shape.interfaces.public))
        return Identity(shape.droplet_id, shape.hostname, shape.region, private, public)
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, mistake["loc"])) or "the whole"
        raise _rejected(f"it is wrong at {place} ({mistake['type']}).") from None
    except ValueError as error:
        raise _rejected(f"it holds {error}.") from error


def _first(interfaces: list[_Interface] | None) -> Nic | None:
    # A Droplet has at most one interface of a kind.
    return interfaces[0].nic() if interfaces else None


def _rejected(why: str) -> HostUnknown:
    return HostUnknown(
        f"What the metadata service says of this machine cannot be believed. {why}",
        reason="metadata_rejected",
    )
