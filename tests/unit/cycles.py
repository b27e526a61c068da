"""A small fleet and sources of it, for cycles without a network."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, Peering, Skipped, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Policy
from droplan_daemon.reconcile import Cycle

if TYPE_CHECKING:
    from droplan_daemon.effects import Backend
    from droplan_daemon.model.budget import Budget
    from droplan_daemon.reconcile import Outcome

HOST = Host(1, "eth1", "eth0")
VPCS = (
    Vpc("home", "home", "nyc3", "10.10.0.0/20"),
    Vpc("away", "away", "nyc3", "10.20.0.0/20"),
    Vpc("far", "far", "fra1", "10.30.0.0/20"),
)


def droplet(
    number: int, *, vpc: str | None = "home", region: str = "nyc3", tags: tuple[str, ...] = ()
) -> Droplet:
    """Droplet d-N with 10.10.0.N and 203.0.113.N."""
    private, public = (parse_address(f"{net}.{number}") for net in ("10.10.0", "203.0.113"))
    return Droplet(number, f"d-{number}", tags, region, vpc, (private,), (public,))


def fleet(*droplets: Droplet, skipped: tuple[Skipped, ...] = (), peerings: tuple[Peering, ...] = ()) -> Fleet:
    """A Fleet of these Droplets."""
    return Fleet(droplets, VPCS, peerings, "test", 1000.0, skipped)


@dataclass
class Answers:
    """A Source that gives one prepared answer after another, and the last one for ever."""

    answers: list[Fleet | Exception]
    asked: int = 0
    budget: "Budget | None" = None

    async def gather(self) -> Fleet:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Known:
    """A HostFinder that knows."""

    host: Host = HOST

    async def locate(self, fleet: Fleet) -> Host:
        return self.host


@dataclass
class Bench:
    """A Cycle over prepared answers and a fake kernel."""

    answers: list[Fleet | Exception]
    policy: Policy = field(default_factory=Policy)
    kernel: "Backend" = field(default_factory=FakeBackend)
    host: Host = HOST

    def __post_init__(self) -> None:
        self.cycle = Cycle(self.policy, Answers(self.answers), Known(self.host), self.kernel)

    def run(self) -> "Outcome":
        return asyncio.run(self.cycle.run())

    @property
    def held(self) -> set[int]:
        """The Droplets that the kernel lets in, by the last byte of their private addresses."""
        ruleset = self.kernel.observe().ruleset
        return {element[-1] for element in ruleset.sets["private-peers-4"].elements} if ruleset else set()
