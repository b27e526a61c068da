"""Every metric by its name, its meaning and its samples. PURE.

Law: names, units and types as https://prometheus.io/docs/practices/naming/ has them: base units, counters
end in `_total`, points in time are gauges of seconds since the epoch, an age is left to whoever asks.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from droplan_daemon.outcomes import Failed, Refused
from droplan_daemon.plaintext import cut, escape
from droplan_daemon.policy.compile import DENIED

from .tally import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.budget import Budget
    from droplan_daemon.report import Standing

    from .tally import Tally

Labels = tuple[tuple[str, str], ...]

OUTCOMES = ("unchanged", "committed", "refused", "failed")
MOST_WARNINGS = 20
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """One number; `suffix` is what its name has behind the family's (`_bucket`)."""

    value: float
    labels: Labels = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: name, `counter`, `gauge` or `histogram`, a sentence, its samples."""

    name: str
    kind: str
    meaning: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What is to be told beside a Tally. `conditions` are the troubles that hold now, by name."""

    standing: "Standing"
    budget: "Budget | None"
    ready: bool
    conditions: tuple[str, ...]
    version: str


def label_value(text: str) -> str:
    """A label's value: no control characters, and of bounded length. Not quoted yet."""
    return cut(escape(text), _LONGEST)


def families(tally: "Tally", view: View) -> tuple[Family, ...]:
    """All of them, in the order in which they are written."""
    found = (*_state(view), *_world(view), *_polls(tally, view), *_commits(tally), *_packets(tally))
    return tuple(family for family in found if family.samples)


def _gauge(name: str, meaning: str, *samples: Sample) -> Family:
    return Family(name, "gauge", meaning, samples)


def _counter(name: str, meaning: str, samples: "Iterable[Sample]") -> Family:
    return Family(name, "counter", meaning, tuple(samples))


def _time(name: str, meaning: str, moment: float) -> Family:
    return _gauge(name, f"{meaning}, in seconds since the epoch.", *([Sample(moment)] if moment else []))


def _state(view: View) -> "Iterator[Family]":
    standing, outcome = view.standing, view.standing.outcome
    yield _gauge(
        "droplan_build_info", "The version that runs, always 1.", Sample(1, (("version", view.version),))
    )
    yield _gauge(
        "droplan_ready",
        "1 while the ruleset that was read back is the one of the configuration.",
        Sample(view.ready),
    )
    enforcing = standing.policy.mode.value == "enforce"
    yield _gauge(
        "droplan_enforcing", "1 with mode enforce, 0 with audit, which drops nothing.", Sample(enforcing)
    )
    yield _gauge(
        "droplan_config_refused",
        "1 while the file holds a configuration that was refused, and the one before goes on.",
        Sample(bool(standing.config_error)),
    )
    yield _gauge(
        "droplan_conditions",
        "The troubles that hold now, by the name that they have in the journal; always 1.",
        *(Sample(1, (("name", name),)) for name in view.conditions),
    )
    if outcome and not isinstance(outcome, Refused | Failed):
        lost = {one.what for one in outcome.unsaved}
        yield _gauge(
            "droplan_checkpoint_current",
            "1 when what is enforced is on disk, so that a boot restores it.",
            Sample("state" not in lost),
        )


def _world(view: View) -> "Iterator[Family]":
    world = view.standing.world
    if world is None:
        return
    yield _gauge("droplan_peers", "Droplets that count as peers.", Sample(len(world.peers)))
    yield _gauge("droplan_droplets", "Droplets of the fleet.", Sample(len(world.fleet.droplets)))
    yield _gauge(
        "droplan_skipped_droplets",
        "Entries of the answer that are unreadable.",
        Sample(len(world.fleet.skipped)),
    )
    yield _gauge(
        "droplan_held",
        "What the last answer lacks and stays for now, by set (`fleet`: Droplets), until more answers agree.",
        *(Sample(doubt.held, (("set", doubt.group),)) for doubt in world.doubts),
    )
    yield _gauge(
        "droplan_restored",
        "1 while what is enforced is what was kept, and nobody has said yet who is there now.",
        Sample(world.restored is not None),
    )
    yield _gauge("droplan_warnings", "Things of the policy that fit nobody.", Sample(len(world.warnings)))
    yield _gauge(
        "droplan_warning_info",
        "Each of them, as `droplan status` has it; always 1.",
        *(
            Sample(1, (("warning", text),))
            for text in dict.fromkeys(map(label_value, world.warnings[:MOST_WARNINGS]))
        ),
    )


def _polls(tally: "Tally", view: View) -> "Iterator[Family]":
    yield _counter(
        "droplan_polls_total",
        "Polls of the source, by what they came to.",
        (Sample(tally.polls.get(name, 0), (("outcome", name),)) for name in OUTCOMES),
    )
    outcome = type(view.standing.outcome).__name__.lower()
    yield _gauge(
        "droplan_last_outcome",
        "1 for what the last cycle came to.",
        *(Sample(outcome == name, (("outcome", name),)) for name in OUTCOMES),
    )
    yield _time(
        "droplan_last_poll_timestamp_seconds", "When the last poll ended, good or bad", tally.polled_at
    )
    yield _time(
        "droplan_last_good_poll_timestamp_seconds",
        "When a poll last ended with the desired ruleset read back",
        tally.good_at,
    )
    yield _time("droplan_next_poll_timestamp_seconds", "When the next poll is due", view.standing.next_at)
    if view.budget:
        yield _gauge(
            "droplan_api_budget_limit",
            "Requests that the token may make in an hour.",
            Sample(view.budget.limit),
        )
        yield _gauge(
            "droplan_api_budget_remaining", "Requests that are left of them.", Sample(view.budget.remaining)
        )
    yield _counter(
        "droplan_reloads_total",
        "Reloads of the configuration, by what was read.",
        (Sample(tally.reloads.get(name, 0), (("result", name),)) for name in ("accepted", "refused")),
    )


def _commits(tally: "Tally") -> "Iterator[Family]":
    yield _counter("droplan_commits_total", "Transactions written to the kernel.", [Sample(tally.commits)])
    bounds = (*map(str, BUCKETS), "+Inf")
    buckets = (
        Sample(count, (("le", bound),), "_bucket")
        for bound, count in zip(bounds, accumulate(tally.buckets), strict=True)
    )
    sums = Sample(tally.commit_seconds, suffix="_sum"), Sample(tally.commits, suffix="_count")
    meaning = "How long the kernel took for a transaction."
    yield Family("droplan_commit_duration_seconds", "histogram", meaning, (*buckets, *sums))
    yield _counter(
        "droplan_drift_repairs_total",
        "Times that somebody else had changed the ruleset, and it was put right.",
        [Sample(tally.repairs)],
    )


def _packets(tally: "Tally") -> "Iterator[Family]":
    where = ("interface", "direction")
    yield _counter(
        "droplan_denied_packets_total",
        "Packets that no rule allows, by interface; with mode audit they were let through.",
        (
            Sample(packets, tuple(zip(where, spot, strict=True)))
            for (rule, *spot), packets in sorted(tally.packets.items())
            if rule == DENIED
        ),
    )
    yield _counter(
        "droplan_rule_packets_total",
        "Packets that a rule let through, as of the last poll.",
        (
            Sample(packets, (("rule", rule), *zip(where, spot, strict=True)))
            for (rule, *spot), packets in sorted(tally.packets.items())
            if rule != DENIED
        ),
    )
