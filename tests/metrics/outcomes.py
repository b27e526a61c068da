"""Outcomes to count, and Views to show."""

from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.errors import Refusal, SourceUnavailable
from droplan_daemon.metrics.families import View
from droplan_daemon.metrics.tally import Tally, counted
from droplan_daemon.model.budget import Budget
from droplan_daemon.model.policy import Policy
from droplan_daemon.outcomes import Committed, Failed, Refused, Restored, Unchanged
from droplan_daemon.report import Standing
from tests.unit.cycles import Bench, droplet, fleet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.outcomes import Outcome

THREE = fleet(droplet(1), droplet(2), droplet(3))
DOWN = Failed(SourceUnavailable("The API answered 500.", reason="http_status", status=500))
REFUSED = Refused(Refusal("no", reason="self_missing"))


def committed(
    found: "Fleet" = THREE, policy: Policy | None = None, *, seconds: float = 0.0, restored: bool = False
) -> Committed:
    """What a first cycle over this Fleet came to."""
    outcome = Bench([found], policy=policy or Policy()).run()
    assert isinstance(outcome, Committed)
    world = replace(outcome.world, restored=Restored(60.0)) if restored else outcome.world
    return replace(outcome, seconds=seconds, world=world)


def counting(packets: "Mapping[tuple[str, str], int]", outcome: Committed | None = None) -> Unchanged:
    """A cycle that changed nothing and read these counters, by chain and rule."""
    found = outcome or committed()
    return Unchanged(found.world, replace(found.observation, counters=packets))


def view(
    outcome: Committed | Unchanged | Failed | Refused | None = None,
    *,
    world: Committed | None = None,
    conditions: tuple[str, ...] = (),
    ready: bool = True,
) -> View:
    """A daemon at this point, which verified `world` before."""
    standing = Standing(
        Policy(),
        world.world if world else None,
        outcome,
        verified_at=1_000_000.0,
        next_at=1_000_030.0,
    )
    return View(standing, Budget(5000, 4310, 0.0, 2), ready, conditions, "1.2.3")


def full() -> tuple[Tally, View]:
    """Everything that can be told, at once."""
    first = committed(seconds=0.004)
    awkward = {("private-in", 'a "b" \\ c'): 1, ("private-in", "denied"): 7, ("private-in-0a1b", "peers"): 5}
    last = counting(awkward, first)
    tally = Tally()
    outcomes: tuple[Outcome, ...] = first, DOWN, REFUSED, last
    for moment, outcome in enumerate(outcomes, start=1_000_000):
        tally = counted(tally, outcome, first.world, float(moment))
    told = view(last, world=first, conditions=("metrics.listen.failed",))
    world = replace(first.world, warnings=('allow "x": nobody has\nthe tag', "another"))
    return tally, replace(told, standing=replace(told.standing, world=world))
