"""The account of the emulated DigitalOcean, and the one place where it changes.

Laws:
1. `World` is the only thing here that changes; what it hands out are values and copies, so a
   reader in another thread never sees half a change.
2. Everything is reproducible: ids, UUIDs, MACs and addresses follow from the order of calls.
3. It knows nothing of HTTP, of tokens or of JSON.

A wrong id is a KeyError, a malformed address a ValueError: both are mistakes of the caller.
"""

import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Network
from itertools import count
from typing import TYPE_CHECKING, Any

from .account import LabAction, LabDroplet, LabPeering, LabVpc
from .allocation import AUTO, Allocation
from .catalogue import GPU_SIZE, ORDINARY_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class World:
    """One account. `clock` gives seconds since the epoch, for the times that the API shows."""

    def __init__(self, clock: "Callable[[], float]" = time.time) -> None:
        self._clock = clock
        self._ids = count(3_164_444)
        self._action_ids = count(36_804_636)
        self._droplets: dict[int, LabDroplet] = {}
        self._vpcs: dict[str, LabVpc] = {}
        self._peerings: dict[str, LabPeering] = {}
        self._actions: list[LabAction] = []
        self._tags: dict[str, str] = {}
        self._addresses = Allocation()

    @property
    def droplets(self) -> dict[int, LabDroplet]:
        """Every Droplet by id, GPU Droplets included, in the order of creation."""
        return dict(self._droplets)

    @property
    def vpcs(self) -> dict[str, LabVpc]:
        """Every VPC by UUID."""
        return dict(self._vpcs)

    @property
    def peerings(self) -> dict[str, LabPeering]:
        """Every peering by UUID, whatever its status."""
        return dict(self._peerings)

    @property
    def actions(self) -> tuple[LabAction, ...]:
        """What was done to Droplets, oldest first."""
        return tuple(self._actions)

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag ever used, as it was first written (DigitalOcean keeps that spelling)."""
        return tuple(self._tags.values())

    def add_vpc(self, name: str, *, ip_range: str, region: str = "nyc3", default: bool = False) -> LabVpc:
        """A new VPC."""
        normal = str(IPv4Network(ip_range))
        vpc = LabVpc(_uuid("vpc", name), name, region, normal, self._now(), default)
        self._vpcs[vpc.id] = vpc
        return vpc

    def add_droplet(
        self,
        name: str,
        *,
        region: str = "nyc3",
        vpc: str | None = None,
        tags: "Collection[str]" = (),
        private: str | None = AUTO,
        public: str | None = AUTO,
        ipv6: str | None = None,
        gpu: bool = False,
        **more: Any,
    ) -> LabDroplet:
        """A new Droplet in a VPC (a UUID; None: the region's default one, made if there is none).

        `private`, `public`, `ipv6` are addresses with a prefix if it matters
        (`203.0.113.7/24`), AUTO, or None for none. `more` are further fields of LabDroplet.
        """
        home = self._vpcs[vpc] if vpc else self._default_vpc(region)
        number = next(self._ids)
        v4 = self._addresses.public(public), self._addresses.private(private, home)
        given = {
            "size": GPU_SIZE if gpu else ORDINARY_SIZE,
            "tags": self._canonical(tags),
            # The API promises no order of public and private, so the lab keeps none.
            "v4": v4[0] + v4[1] if number % 2 else v4[1] + v4[0],
            "v6": self._addresses.ipv6(ipv6, number),
            **_macs(number),
            **more,
        }
        droplet = LabDroplet(number, name, home.region, home.id, created_at=self._now(), **given)
        self._droplets[number] = droplet
        self._record("create", droplet)
        return droplet

    def change_droplet(self, droplet_id: int, **changes: Any) -> LabDroplet:
        """Give fields of a Droplet other values (`status="off"`, `tags=()`, `vpc=…`, `extra=…`)."""
        changed = replace(self._droplets[droplet_id], **changes)
        self._droplets[droplet_id] = changed
        return changed

    def tag(self, droplet_id: int, *names: str) -> LabDroplet:
        """Tag a Droplet; a tag that it has stays once."""
        tags = dict.fromkeys((*self._droplets[droplet_id].tags, *self._canonical(names)))
        return self.change_droplet(droplet_id, tags=tuple(tags))

    def destroy_droplet(self, droplet_id: int) -> None:
        """It is gone, from the lists and by id."""
        self._record("destroy", self._droplets.pop(droplet_id))

    def peer(self, one: str, other: str, *, name: str = "peering", status: str = "ACTIVE") -> LabPeering:
        """Join two VPCs. Peering the same two again gives the peering another name and status."""
        pair = self._vpcs[one].id, self._vpcs[other].id
        peering = LabPeering(_uuid("peering", *sorted(pair)), name, pair, self._now(), status)
        self._peerings[peering.id] = peering
        return peering

    def unpeer(self, peering_id: str) -> None:
        """The peering is gone."""
        del self._peerings[peering_id]

    def without(self, droplet_ids: "Collection[int]") -> "World":
        """A copy in which these Droplets are not; made for reading."""
        other = World(self._clock)
        other._droplets = {k: v for k, v in self.droplets.items() if k not in droplet_ids}
        other._vpcs, other._peerings = self.vpcs, self.peerings
        other._actions, other._tags = list(self._actions), dict(self._tags)
        return other

    def _default_vpc(self, region: str) -> LabVpc:
        found = next((v for v in self._vpcs.values() if v.region == region and v.default), None)
        ip_range = f"10.{100 + len(self._vpcs)}.0.0/20"
        return found or self.add_vpc(f"default-{region}", region=region, ip_range=ip_range, default=True)

    def _canonical(self, tags: "Collection[str]") -> tuple[str, ...]:
        return tuple(self._tags.setdefault(tag.lower(), tag) for tag in tags)

    def _record(self, kind: str, droplet: LabDroplet) -> None:
        action = LabAction(next(self._action_ids), kind, self._now(), droplet.id, droplet.region)
        self._actions.append(action)

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _uuid(*words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(words)))


def _macs(number: int) -> dict[str, str]:
    tail = (number & 0xFFFFFF).to_bytes(3, "big").hex(":")
    return {"public_mac": f"04:01:{tail}:01", "private_mac": f"04:01:{tail}:02"}
