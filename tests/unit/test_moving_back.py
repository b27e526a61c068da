"""When a cycle has its Kernels look beyond what was chosen."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.errors import CommitConflict
from droplan_daemon.outcomes import Committed
from droplan_daemon.reconcile import flush
from tests.unit.cycles import Bench, droplet, fleet

if TYPE_CHECKING:
    from droplan_daemon.effects import Generation
    from droplan_daemon.model.plan import Plan
    from droplan_daemon.model.policy import Firewall


class Blocked(FakeBackend):
    """A kernel whose sets somebody else's rules hold, until they make way."""

    def __init__(self, *, blocked: bool = False) -> None:
        super().__init__()
        self.blocked = blocked

    def commit(self, plan: "Plan", at: "Generation") -> None:
        if self.blocked:
            raise CommitConflict("the ip set is in use")
        super().commit(plan, at)


@dataclass
class Both:
    """Kernels that note what they are asked."""

    backend: Blocked
    looked: list[bool] = field(default_factory=list)

    def choose(self, firewall: "Firewall") -> Blocked:
        return self.backend

    def make_way(self) -> None:
        self.backend.blocked = False

    def leave_others(self, *, again: bool = False) -> None:
        self.looked.append(again)

    def about(self) -> tuple[str, tuple[str, ...]]:
        return "", ()


def test_others_are_looked_for_again_after_a_change_of_more_than_members() -> None:
    """A table that is gone may stand elsewhere now; a peer that joins is no reason to look."""
    one, two = fleet(droplet(1), droplet(2)), fleet(droplet(1), droplet(2), droplet(3))
    bench = Bench([one, two, two, two], kernel=Blocked())
    assert isinstance(bench.kernel, Blocked)
    kernels = Both(bench.kernel)
    bench.cycle.kernels = kernels
    for _ in range(3):
        asyncio.run(bench.cycle.run())
    flush(bench.kernel)
    asyncio.run(bench.cycle.run())
    assert [True, False, False, True] == kernels.looked


def test_a_conflict_has_the_others_make_way() -> None:
    """Else it would be the same at every attempt, for ever."""
    bench = Bench([fleet(droplet(1), droplet(2))], kernel=Blocked(blocked=True))
    assert isinstance(bench.kernel, Blocked)
    bench.cycle.kernels = Both(bench.kernel)
    assert isinstance(asyncio.run(bench.cycle.run()), Committed)
