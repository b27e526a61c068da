"""A small fleet and sources of it, for cycles without a network."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.errors import HostUnknown, StoreFailed
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.doubt import Absences
from droplan_daemon.model.fleet import Droplet, Fleet, Peering, Skipped, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Policy
from droplan_daemon.model.stance import Stance
from droplan_daemon.reconcile import Cycle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.effects import Backend
    from droplan_daemon.model.budget import Budget
    from droplan_daemon.model.checkpoint import Checkpoint, Heard
    from droplan_daemon.outcomes import Outcome

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
class Cards:
    """A Machine with these network cards, that takes a Checkpoint of its own Droplet."""

    cards: dict[str, str] = field(
        default_factory=lambda: {"eth0": "02:00:00:00:00:00", "eth1": "02:00:00:00:00:01"}
    )
    host: Host = HOST

    def macs(self) -> dict[str, str]:
        return self.cards

    async def recognise(self, checkpoint: "Checkpoint") -> Host:
        if checkpoint.host.droplet_id != self.host.droplet_id:
            raise HostUnknown("what was kept is of another Droplet", reason="another_droplet")
        return self.host


@dataclass
class Shelf:
    """A Store in memory that can be full; what is refused is counted."""

    full_for_state: bool = False
    full_for_status: bool = False
    hosts: "list[Host]" = field(default_factory=list)
    saved: "list[Checkpoint]" = field(default_factory=list)
    bodies: "list[str]" = field(default_factory=list)
    statuses: "list[Mapping[str, Any]]" = field(default_factory=list)
    refused: int = 0
    doubted: Absences = field(default_factory=Absences)
    wanted: frozenset[str] = frozenset()
    last_heard: "Heard | None" = None
    stood: Stance = field(default_factory=Stance)

    def save(self, checkpoint: "Checkpoint", body: str) -> None:
        self._refuse(full=self.full_for_state)
        self.saved.append(checkpoint)
        self.bodies.append(body)

    def load(self) -> "Checkpoint":
        if not self.saved:
            raise StoreFailed("nothing yet", reason="missing")
        return self.saved[-1]

    def latest(self) -> int:
        return self.saved[-1].number if self.saved else 0

    def holds(self, checkpoint: "Checkpoint") -> bool:
        return bool(self.saved) and self.saved[-1].number == checkpoint.number

    def remember(self, host: "Host") -> None:
        self._refuse(full=self.full_for_state)
        self.hosts.append(host)

    def recall(self) -> "Host | None":
        return self.hosts[-1] if self.hosts else None

    def absences(self) -> Absences:
        return self.doubted

    def keep_absences(self, absences: Absences) -> None:
        self._refuse(full=self.full_for_state)
        self.doubted = absences

    def heard(self) -> "Heard | None":
        return self.last_heard

    def keep_heard(self, heard: "Heard") -> None:
        self._refuse(full=self.full_for_state)
        self.last_heard = heard

    def accepted(self) -> frozenset[str]:
        return self.wanted

    def settle(self, accepted: frozenset[str]) -> None:
        self.wanted -= accepted

    def stance(self) -> Stance:
        return self.stood

    def take_stance(self, stance: Stance) -> None:
        self._refuse(full=self.full_for_state)
        self.stood = stance

    def publish(self, status: "Mapping[str, Any]") -> None:
        self._refuse(full=self.full_for_status)
        self.statuses.append(status)

    def _refuse(self, *, full: bool) -> None:
        if full:
            self.refused += 1
            raise StoreFailed("it could not be written: no space left on device", errno=28)


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
