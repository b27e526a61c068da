"""Accounts of any size, for benchmarks and tests.

Law: the same arguments give the same account, Droplet for Droplet.
"""

import random
from typing import TYPE_CHECKING

from .world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST_VPC = 10_000  # resources; DigitalOcean's own limit


def big_fleet(
    droplets: int,
    *,
    vpcs: int = 4,
    regions: "Sequence[str]" = ("nyc3", "fra1", "sgp1"),
    tags: "Sequence[str]" = ("web", "db", "cache", "worker", "env:prod", "env:stage"),
    gpus: int = 0,
    ipv6: bool = True,
    seed: int = 0,
) -> World:
    """An account of so many ordinary and `gpus` GPU Droplets, spread evenly over the VPCs.

    VPC i is `vpc-i` in 10.i.0.0/16; the first two are peered. Droplet n is `tag-n`, named
    after its first tag. ValueError where DigitalOcean would not hold that many either.
    """
    if droplets + gpus > vpcs * _LARGEST_VPC:
        raise ValueError(f"{vpcs} VPCs hold at most {vpcs * _LARGEST_VPC} Droplets.")
    dice, world = random.Random(seed), World()
    homes = [
        world.add_vpc(f"vpc-{i}", region=regions[i % len(regions)], ip_range=f"10.{i}.0.0/16").id
        for i in range(vpcs)
    ]
    for number in range(droplets + gpus):
        chosen = dice.sample(tags, k=min(len(tags), dice.randint(1, 3)))
        world.add_droplet(
            f"{chosen[0]}-{number}",
            vpc=homes[number % vpcs],
            tags=chosen,
            ipv6="auto" if ipv6 else None,
            gpu=number >= droplets,
        )
    if vpcs > 1:
        world.peer(homes[0], homes[1])
    return world
