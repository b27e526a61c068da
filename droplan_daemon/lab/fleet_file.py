"""A fleet of one's own for the lab: what `GET /v2/droplets` answers, from a file.

Laws:
1. Foreign JSON ends here: it becomes a World, or a Fatal of one sentence that names the place.
2. Names, tags, VPCs and addresses are kept; ids are the lab's own.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from droplan_daemon.errors import Fatal

from .world import World

if TYPE_CHECKING:
    from pathlib import Path

MOST_DROPLETS = 40
"""A daemon of some 50 MB for each: more would be a benchmark."""


class _V4(BaseModel):
    ip_address: IPv4Address
    netmask: IPv4Address = IPv4Address("255.255.240.0")
    type: Literal["public", "private"]

    @property
    def text(self) -> str:
        return str(IPv4Interface(f"{self.ip_address}/{self.netmask}"))


class _V6(BaseModel):
    ip_address: IPv6Address
    netmask: Annotated[int, Field(ge=1, le=128)] = 64


class _Networks(BaseModel):
    v4: tuple[_V4, ...] = ()
    v6: tuple[_V6, ...] = ()


class _Region(BaseModel):
    slug: str = "nyc3"


class _Droplet(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    tags: tuple[str, ...] = ()
    region: _Region = _Region()
    vpc_uuid: str = ""
    networks: _Networks = _Networks()

    def first(self, kind: str) -> str | None:
        return next((network.text for network in self.networks.v4 if network.type == kind), None)

    @property
    def ipv6(self) -> str | None:
        return next((f"{network.ip_address}/{network.netmask}" for network in self.networks.v6), None)


class _Meta(BaseModel):
    total: int = 0


class _Answer(BaseModel):
    droplets: tuple[_Droplet, ...]
    meta: _Meta = _Meta()


def read_fleet(path: "Path") -> World:
    """The account with the Droplets of the file (also a bare list, as doctl prints it). Raises Fatal."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise Fatal(f"Cannot read the fleet file {path}: {error.strerror}.") from error
    try:
        droplets = _droplets(path, text)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        reason = error.errors()[0]["msg"]
        raise Fatal(
            f"{path} is not what GET /v2/droplets answers: {place or 'the file'}: {reason}."
        ) from error
    if not 1 <= len(droplets) <= MOST_DROPLETS:
        raise Fatal(
            f"{path} has {len(droplets)} Droplets: the lab runs a daemon each for 1 to {MOST_DROPLETS}."
        )
    return _world(droplets)


def _droplets(path: "Path", text: bytes) -> tuple[_Droplet, ...]:
    # Asked for the one that it looks like: an error about a union names no place.
    if text.lstrip().startswith(b"["):
        return TypeAdapter(tuple[_Droplet, ...]).validate_json(text)
    answer = _Answer.model_validate_json(text)
    if answer.meta.total > len(answer.droplets):
        found = f"{len(answer.droplets)} of {answer.meta.total} Droplets, one page of several"
        raise Fatal(f"{path} has {found}: ask for all of them with GET /v2/droplets?per_page=200.")
    return answer.droplets


def _world(droplets: tuple[_Droplet, ...]) -> World:
    world = World()
    vpcs: dict[str, str] = {}
    for droplet in droplets:
        private = droplet.first("private")
        home = droplet.vpc_uuid or droplet.region.slug
        if home not in vpcs:
            ip_range = str(IPv4Interface(private or f"10.{200 + len(vpcs)}.0.0/20").network)
            vpcs[home] = world.add_vpc(home, region=droplet.region.slug, ip_range=ip_range).id
        world.add_droplet(
            droplet.name,
            vpc=vpcs[home],
            tags=droplet.tags,
            private=private,
            public=droplet.first("public"),
            ipv6=droplet.ipv6,
        )
    return world
