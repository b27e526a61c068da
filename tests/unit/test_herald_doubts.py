"""What is told of what is held, and of nobody answering."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import structlog

from droplan_daemon.doubts import ALARM, EXPIRED, HELD
from droplan_daemon.metrics.families import View, families
from droplan_daemon.metrics.tally import Tally
from droplan_daemon.outcomes import Unchanged
from droplan_daemon.report import as_dict
from tests.unit.cycles import droplet, fleet
from tests.unit.test_herald import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

TEN = fleet(*map(droplet, range(1, 12)))
FEW = fleet(*map(droplet, range(1, 4)))
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.fixture
def desk() -> "Iterator[Desk]":
    yield Desk()
    structlog.reset_defaults()


def test_a_hold_is_one_line_on_entering_and_one_on_leaving(desk: Desk) -> None:
    """It says how much is held of what; and those who are held have not left until it is over."""
    for found in (TEN, FEW, FEW, FEW, FEW):
        desk.good(found)
    told = [event for event in desk.events if event.startswith(("guard", "peer."))]
    assert [HELD, "peer.left", f"{HELD}.over"] == sorted(set(told), key=told.index)
    assert (1, 8) == (told.count(HELD), told.count("peer.left"))
    entry = desk.entry(HELD)
    assert {"removed": 8, "of": 10, "polls": 1, "sets": 2}.items() <= entry.items()


def test_a_hold_is_seen_everywhere(desk: Desk) -> None:
    """In STATUS, in the status, in the metrics; peers are counted as they are enforced."""
    desk.good(TEN)
    desk.good(FEW)
    assert "8 of 10 Droplets are missing in the answer and stay for now" in desk.systemd.status_text
    assert "enforcing 10 peers" in desk.systemd.status_text
    status = desk.shelf.statuses[-1]
    assert [8, 8] == [doubt["held"] for doubt in status["doubts"]]
    view = View(desk.herald.standing, None, ready=True, conditions=(), version="test")
    (found,) = (family for family in families(Tally(), view) if family.name == "droplan_held")
    assert {(("set", "fleet"),): 8, (("set", "private-peers-4"),): 8} == {
        s.labels: s.value for s in found.samples
    }


@pytest.mark.fault("J6")
@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0.0, None), (9 * MINUTE, None), (10 * MINUTE, "10m"), (HOUR, "1h"), (DAY - 1, "1h"), (30 * DAY, "1d")],
)
def test_how_long_nobody_has_answered_is_a_level(desk: Desk, seconds: float, level: str | None) -> None:
    """In the journal, in STATUS and in the status; below ten minutes there is none."""
    desk.good()
    desk.herald.silence(seconds, None)
    told = [entry["level"] for entry in desk.log.entries if entry["event"] == ALARM]
    assert [level] * bool(level) == told
    assert level == as_dict(desk.herald.standing, None, desk.clock.time)["stale"]
    assert bool(level) == ("no complete answer for more than" in desk.systemd.status_text)


@pytest.mark.fault("J6")
def test_each_level_is_told_when_it_is_reached_and_all_end_with_one_line(desk: Desk) -> None:
    """Between them a reminder a minute at most."""
    desk.good()
    for seconds in (11 * MINUTE, 12 * MINUTE, 2 * HOUR, 2 * HOUR + 1, 2 * DAY, 0.0, 1.0):
        desk.herald.silence(seconds, None)
    told = [(e["event"], e.get("level")) for e in desk.log.entries if e["event"].startswith(ALARM)]
    assert [(ALARM, "10m"), (ALARM, "1h"), (ALARM, "1d"), (f"{ALARM}.over", None)] == told
    assert "error" == [e["log_level"] for e in desk.log.entries if e["event"] == ALARM][-1]
    assert as_dict(desk.herald.standing, None, desk.clock.time)["stale"] is None


def test_that_nobody_is_let_in_any_more_is_an_error_of_its_own(desk: Desk) -> None:
    """`peers.expired`, beside the trouble that goes on; everybody has left."""
    desk.good()
    world = desk.herald.standing.world
    assert world
    outcome = desk.bench.run()
    assert isinstance(outcome, Unchanged)
    desk.herald.expired(replace(outcome, world=replace(world, peers=(), expired=True)), None)
    assert ("error", 2) == (desk.entry(EXPIRED)["log_level"], desk.events.count("peer.left"))
    assert "no Droplet is let in any more" in desk.systemd.status_text
    desk.good()
    assert f"{EXPIRED}.over" in desk.events
