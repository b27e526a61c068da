"""The account as it truly is, and what it means for us: the oracle of chaos."""

from typing import TYPE_CHECKING

from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.world import World
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, Peering, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.policy.compile import compile_ruleset

if TYPE_CHECKING:
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.model.ruleset import Ruleset

MOST = 14
_PLENTY = Limits(hourly=10_000_000, burst=10_000_000)


class Account:
    """Ourselves, which never change, and others, who come, go and change their tags."""

    def __init__(self) -> None:
        self.world = World()
        self.home = self.world.add_vpc("home", ip_range="10.10.0.0/20")
        self.away = self.world.add_vpc("away", ip_range="10.20.0.0/20")
        own = self.world.add_droplet("us", vpc=self.home.id, tags=("web",))
        self.host = Host(own.id, "eth1", "eth0", "metadata")
        self.cloud = DigitalOcean(self.world, limiter=Limiter(_PLENTY))
        self._peering = self.world.peer(self.home.id, self.away.id, status="PROVISIONING")

    @property
    def others(self) -> list[int]:
        """Everybody else, oldest first."""
        return [number for number in self.world.droplets if number != self.host.droplet_id]

    def create(self, tags: tuple[str, ...], *, at_home: bool) -> None:
        if len(self.others) < MOST:
            vpc = self.home if at_home else self.away
            self.world.add_droplet(f"d-{len(self.world.actions)}", vpc=vpc.id, tags=tags)

    def destroy(self, number: int) -> None:
        self.world.destroy_droplet(number)

    def retag(self, number: int, tags: tuple[str, ...]) -> None:
        self.world.change_droplet(number, tags=tags)

    def fleet(self) -> Fleet:
        """What a complete and honest answer says."""
        droplets = []
        for one in self.world.droplets.values():
            private = tuple(parse_address(n.address) for n in one.v4 if n.kind == "private")
            public = tuple(parse_address(n.address) for n in (*one.v4, *one.v6) if n.kind == "public")
            tags = tuple(sorted(one.tags))
            droplets.append(Droplet(one.id, one.name, tags, one.region, one.vpc, private, public))
        vpcs = tuple(Vpc(vpc.id, vpc.name, vpc.region, vpc.ip_range) for vpc in self.world.vpcs.values())
        peerings = (p for p in self.world.peerings.values() if p.status == "ACTIVE")
        return Fleet(tuple(droplets), vpcs, tuple(Peering(frozenset(p.vpcs)) for p in peerings))

    def meant(self, policy: "Policy") -> "Ruleset":
        """What should be enforced now."""
        fleet = self.fleet()
        own = fleet.droplet(self.host.droplet_id)
        assert own
        return compile_ruleset(policy, fleet, self.host, own)
