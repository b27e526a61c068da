"""What has happened since the daemon started, added up. PURE.

Laws:
1. Nothing here ever goes down. The kernel's counters begin anew when rules are rewritten; what they
   had counted before is kept.
2. A packet counter is known by what an operator calls it: the rule's name, the interface, the direction.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from droplan_daemon.outcomes import Committed, Failed, Refused
from droplan_daemon.policy.compile import DENIED, places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.outcomes import Outcome, Unchanged, World
    from droplan_daemon.policy.compile import Place

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds, in seconds, of the histogram of commits."""

MOST_RULES = 200
"""Beyond so many different rules, those that come later are counted together as OTHERS."""

OTHERS = "(others)"

Spot = tuple[str, str, str]
"""Rule, interface, direction (`inbound`, `outbound`)."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums since the start. `polls` by outcome; `buckets` as BUCKETS, not cumulated, the last one open.

    `packets` by Spot, `seen` what the kernel's counters said last. Times are seconds since the epoch (0:
    never).
    """

    polls: "Mapping[str, int]" = field(default_factory=dict)
    polled_at: float = 0.0
    good_at: float = 0.0
    commits: int = 0
    commit_seconds: float = 0.0
    buckets: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    repairs: int = 0
    reloads: "Mapping[str, int]" = field(default_factory=dict)
    packets: "Mapping[Spot, int]" = field(default_factory=dict)
    seen: "Mapping[Spot, int]" = field(default_factory=dict)


def counted(tally: Tally, outcome: "Outcome", before: "World | None", now: float) -> Tally:
    """With one more outcome; `before` is the World that was verified before it."""
    if isinstance(outcome, Refused | Failed):
        return _polled(tally, outcome, now)
    if outcome.world.restored is None:
        tally = replace(_polled(tally, outcome, now), good_at=now)
    if isinstance(outcome, Committed):
        tally = _committed(tally, outcome, before)
    found = _packets(outcome, places(outcome.world.policy, outcome.world.host))
    return replace(tally, packets=_grown(tally, found), seen=found)


def repaired(tally: Tally, outcome: Committed) -> Tally:
    """With one more repair that no poll was there for."""
    found = _packets(outcome, places(outcome.world.policy, outcome.world.host))
    tally = _committed(tally, outcome, outcome.world)
    return replace(tally, packets=_grown(tally, found), seen=found)


def reloaded(tally: Tally, result: str) -> Tally:
    """With one more reload."""
    return replace(tally, reloads={**tally.reloads, result: tally.reloads.get(result, 0) + 1})


def _polled(tally: Tally, outcome: "Outcome", now: float) -> Tally:
    name = type(outcome).__name__.lower()
    return replace(tally, polls={**tally.polls, name: tally.polls.get(name, 0) + 1}, polled_at=now)


def _committed(tally: Tally, outcome: Committed, before: "World | None") -> Tally:
    bucket = sum(outcome.seconds > bound for bound in BUCKETS)
    return replace(
        tally,
        commits=tally.commits + 1,
        commit_seconds=tally.commit_seconds + outcome.seconds,
        buckets=tuple(count + (number == bucket) for number, count in enumerate(tally.buckets)),
        repairs=tally.repairs + outcome.repairs(before),
    )


def _packets(outcome: "Unchanged | Committed", judged: "list[Place]") -> dict[Spot, int]:
    """What the kernel's counters say now."""
    found = {(DENIED, place.interface, str(place.direction)): 0 for place in judged}
    for (chain, rule), packets in outcome.observation.counters.items():
        for place in judged:
            if chain == place.chain or chain.startswith(f"{place.chain}-"):
                spot = rule, place.interface, str(place.direction)
                found[spot] = found.get(spot, 0) + packets
    return found


def _grown(tally: Tally, found: "Mapping[Spot, int]") -> dict[Spot, int]:
    sums = dict(tally.packets)
    for spot, packets in found.items():
        before = tally.seen.get(spot, 0)
        more = packets - before if packets >= before else packets
        kept = spot if spot in sums or len(sums) < MOST_RULES else (OTHERS, *spot[1:])
        sums[kept] = sums.get(kept, 0) + more
    return sums
