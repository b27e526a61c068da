"""What is told, when, and how often."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import LogCapture

from droplan_daemon.daemon import Crashed
from droplan_daemon.errors import (
    ConfigInvalid,
    Problem,
    Refusal,
    Retry,
    SourceDenied,
    SourceDoubtful,
    SourceUnavailable,
)
from droplan_daemon.herald import Herald
from droplan_daemon.keeping import Keeping
from droplan_daemon.logs.conditions import Conditions
from droplan_daemon.model.doubt import AGREEING
from droplan_daemon.model.fleet import Skipped
from droplan_daemon.model.policy import Peers, Policy
from droplan_daemon.outcomes import Failed, Refused
from droplan_daemon.pacing import FREE, Contest
from droplan_daemon.reconcile import flush
from droplan_daemon.vigil import Vigil
from tests.unit.cycles import HOST, Answers, Bench, Cards, Shelf, droplet, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from droplan_daemon.model.fleet import Fleet

THREE = fleet(droplet(1), droplet(2), droplet(3))
DOWN = SourceUnavailable("The API answered 500.", reason="http_status", status=500)
ODD = SourceDoubtful("The answer is odd.", reason="bad_body")


@dataclass
class Wall:
    """A Clock that only a test moves."""

    time: float = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - 999_000.0

    def boottime(self) -> float:
        return self.monotonic()

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Systemd:
    """A Notifier that writes down what it hears."""

    heard: list[str] = field(default_factory=list)
    status_text: str = ""

    def ready(self, status: str) -> None:
        self.heard.append("ready")
        self.status_text = status

    def reloading(self, monotonic_usec: int) -> None:
        self.heard.append(f"reloading {monotonic_usec}")

    def status(self, text: str) -> None:
        self.status_text = text

    def watchdog(self) -> None:
        self.heard.append("watchdog")

    def stopping(self) -> None:
        self.heard.append("stopping")


class Desk:
    """A Herald, the three that it tells, and cycles to tell about."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.clock, self.systemd, self.shelf, self.log = Wall(), Systemd(), Shelf(), LogCapture()
        structlog.configure(processors=[self.log], cache_logger_on_first_use=False)
        self.bench = Bench([THREE], policy=policy or Policy())
        self.bench.cycle.keeping = Keeping(self.shelf, Cards(), self.clock)
        self.herald = Herald(
            self.bench.policy,
            notifier=self.systemd,
            store=self.shelf,
            clock=self.clock,
            conditions=Conditions(self.clock.monotonic),
            about={"version": "test", "pid": 7},
        )

    def good(self, found: "Fleet" = THREE) -> None:
        """A good cycle over this Fleet, 30 seconds after the last thing that happened."""
        self.clock.time += 30
        self.bench.cycle.source = Answers([found])
        self.herald.outcome(self.bench.run(), 30.0, None)

    def bad(self, error: Retry | Refusal, after: float = 5.0) -> None:
        """A bad cycle."""
        self.clock.time += after
        outcome = Refused(error) if isinstance(error, Refusal) else Failed(error)
        self.herald.outcome(outcome, 5.0, None)

    @property
    def events(self) -> list[str]:
        """What is told unless somebody wants to see everything."""
        return [entry["event"] for entry in self.log.entries if entry["log_level"] != "debug"]

    def entry(self, event: str) -> "Mapping[str, Any]":
        return next(entry for entry in self.log.entries if entry["event"] == event)


@pytest.fixture
def desk() -> "Iterator[Desk]":
    yield Desk()
    structlog.reset_defaults()


# READY.


def test_ready_is_told_once(desk: Desk) -> None:
    """After the first good outcome, and never again for the same configuration."""
    desk.bad(DOWN)
    assert [] == desk.systemd.heard
    desk.good()
    desk.bad(DOWN)
    desk.good()
    assert ["ready"] == desk.systemd.heard
    assert "enforcing 2 peers (vpc home), last good poll 0 s ago, next in 30 s" == desk.systemd.status_text


def test_ready_is_told_again_after_a_reload(desk: Desk) -> None:
    """Not when the new configuration was read, but when it is enforced."""
    desk.good()
    desk.herald.reloading()
    desk.herald.reloaded(Policy(peers=Peers(tag="web")))
    desk.bad(DOWN)
    assert ["ready", "reloading 1030000000"] == desk.systemd.heard
    assert False is desk.shelf.statuses[-1]["ready"]
    desk.good()
    assert "ready" == desk.systemd.heard[-1]


def test_a_refused_configuration_is_ready_as_before(desk: Desk) -> None:
    """Told in the log with each mistake, in the status with the first; a later good one takes it back."""
    desk.good()
    desk.herald.reloading()
    mistakes = (
        Problem("unknown key `x`", "x", 3, 1, "did you mean `y`?"),
        Problem("no token", "source.token_file"),
    )
    desk.herald.rejected(ConfigInvalid("droplan.toml", mistakes), None)
    assert ["ready", "reloading 1030000000", "ready"] == desk.systemd.heard
    assert "new configuration refused: line 3: unknown key `x`" in desk.systemd.status_text
    told = [entry for entry in desk.log.entries if entry["event"] == "config.rejected"]
    assert [3, None] == [entry.get("line") for entry in told]
    assert ["error", "error"] == [entry["log_level"] for entry in told]
    assert "line 3: unknown key `x`" == desk.shelf.statuses[-1]["config_error"]
    desk.herald.reloaded(Policy())
    desk.good()
    assert None is desk.shelf.statuses[-1]["config_error"]


def test_systemd_does_not_wait_for_a_reload_that_failed(desk: Desk) -> None:
    """What does not pass by itself ends RELOADING, once; the status file and the line tell what is so."""
    desk.good()
    desk.herald.reloading()
    desk.herald.reloaded(Policy())
    desk.bad(DOWN)
    assert ["ready", "reloading 1030000000"] == desk.systemd.heard
    for _ in range(2):
        desk.bad(Refusal("not so", reason="self_missing"))
    assert ["ready", "reloading 1030000000", "ready"] == desk.systemd.heard
    assert False is desk.shelf.statuses[-1]["ready"]


def test_a_refused_configuration_before_the_first_ready_is_not_ready(desk: Desk) -> None:
    """A daemon that enforces nothing yet does not become ready by a mistake."""
    desk.herald.reloading()
    desk.herald.rejected(ConfigInvalid("droplan.toml", (Problem("no"),)), None)
    assert ["reloading 1000000000"] == desk.systemd.heard


# Trouble.


def test_a_trouble_is_told_when_it_begins_and_ends(desk: Desk) -> None:
    """However often it is met, with how often and for how long, and how old the rules were."""
    desk.good()
    for _ in range(3):
        desk.bad(DOWN)
    desk.good()
    assert ["source.fetch.failed", "source.fetch.failed.over"] == [
        e for e in desk.events if e.startswith("source")
    ]
    assert {"status": 500, "reason": "http_status", "age": 5, "kept_peers": 2}.items() <= desk.entry(
        "source.fetch.failed"
    ).items()
    assert {"after_s": 40, "times": 3}.items() <= desk.entry("source.fetch.failed.over").items()


def test_a_lasting_trouble_is_told_once_a_minute(desk: Desk) -> None:
    """Ten minutes of trouble, met every second, are eleven lines at most."""
    desk.good()
    for _ in range(600):
        desk.bad(DOWN, after=1)
    assert 10 <= desk.events.count("source.fetch.failed") <= 11


def test_troubles_that_alternate_are_told_once_each(desk: Desk) -> None:
    """Nothing is over while cycles fail, whatever they fail of; a good cycle ends all of it."""
    desk.good()
    before = len(desk.events)
    for error in (DOWN, ODD) * 5:
        desk.bad(error, after=2)
    assert ["source.fetch.failed", "source.snapshot.rejected"] == desk.events[before:]
    desk.good()
    assert ["source.fetch.failed.over", "source.snapshot.rejected.over"] == desk.events[before + 2 :]


def test_what_is_odd_about_a_good_answer_lasts_until_an_answer_without_it(desk: Desk) -> None:
    """One line on entering, one on leaving; a failed poll between says nothing about it."""
    odd = replace(THREE, source="https://api", skipped=(Skipped(9, "name: too long"),))
    desk.good()
    desk.good(odd)
    desk.bad(DOWN)
    desk.good(odd)
    assert "cannot be read" in desk.systemd.status_text
    assert ["api.peer.skipped"] == [each["event"] for each in desk.shelf.statuses[-1]["remarks"]]
    desk.good()
    assert ["api.peer.skipped", "api.peer.skipped.over"] == [e for e in desk.events if "skipped" in e]
    assert [] == desk.shelf.statuses[-1]["remarks"]


@pytest.mark.parametrize(
    ("error", "level", "event"),
    [
        (DOWN, "warning", "source.fetch.failed"),
        (SourceDenied("The token is not accepted.", status=401), "error", "api.auth.failed"),
        (SourceDenied("It lacks a scope.", status=403, scope="vpc:read"), "error", "api.auth.forbidden"),
        (Refusal("We are not in it.", reason="self_missing"), "warning", "guard.refused"),
        (Crashed("an error in droplan itself: KeyError"), "warning", "cycle.failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_trouble_shows_everywhere(desk: Desk, error: Retry | Refusal, level: str, event: str) -> None:
    """In the log, in STATUS and in the status file, with the same sentence."""
    desk.good()
    desk.bad(error)
    assert (level, str(error)) == (desk.entry(event)["log_level"], desk.entry(event)["message"])
    assert f"now failing: {str(error).rstrip('.')}" in desk.systemd.status_text
    assert {"reason": error.reason, "message": str(error)} == desk.shelf.statuses[-1]["error"]
    desk.good()
    assert None is desk.shelf.statuses[-1]["error"]
    assert "failing" not in desk.systemd.status_text


def test_a_crash_is_traced_once(desk: Desk) -> None:
    """An unforeseen exception is told in full when it begins, not each time."""
    for _ in range(3):
        desk.herald.crashed()
        desk.bad(Crashed("an error in droplan itself: KeyError"))
    assert 1 == desk.events.count("cycle.crashed")
    assert True is desk.entry("cycle.crashed")["exc_info"]


# State files.


def test_a_host_that_cannot_be_kept_is_tried_again(desk: Desk) -> None:
    """One line on entering, one on leaving, and each good cycle tries."""
    desk.shelf.full_for_state = True
    for _ in range(2):
        desk.good()
    assert (2, ["state.write.failed"]) == (desk.shelf.refused, [e for e in desk.events if "write" in e])
    desk.shelf.full_for_state = False
    for _ in range(2):
        desk.good()
    assert [HOST] == desk.shelf.hosts
    assert ["state.write.failed", "state.write.failed.over"] == [e for e in desk.events if "write" in e]


def test_a_full_disk_is_no_trouble_of_cycles(desk: Desk) -> None:
    """Good cycles do not end it and bad ones do not repeat it."""
    desk.shelf.full_for_status = True
    for _ in range(5):
        desk.good()
        desk.bad(DOWN)
    writes = [event for event in desk.events if "write" in event]
    assert "status.write.failed" == writes[0]
    assert {"status.write.failed"} == set(writes)
    assert len(writes) <= 1 + 175 // 60
    assert "ENOSPC" == desk.entry("status.write.failed")["errno"]


def test_a_moved_interface_is_kept_anew(desk: Desk) -> None:
    """What is remembered is what was last true."""
    desk.good()
    desk.bench.cycle.finder.host = replace(HOST, private="ens4")  # type: ignore[attr-defined]
    desk.good()
    assert [HOST, replace(HOST, private="ens4")] == desk.shelf.hosts


# A normal day.


def test_a_start_is_one_line_and_a_day_without_change_none(desk: Desk) -> None:
    """How many there are, and that it is ready; then silence."""
    desk.good()
    assert ["peers.known", "daemon.ready"] == desk.events
    for _ in range(100):
        desk.good()
    assert 2 == len(desk.events)


def test_members_are_named(desk: Desk) -> None:
    """Who joined and who left, each with name, id, address and tags."""
    desk.good()
    desk.good(fleet(droplet(1), droplet(2), droplet(4, tags=("db", "web"))))
    assert ["peer.joined", "peer.left"] == desk.events[2:]
    joined = {"peer": "d-4", "id": 4, "address": "10.10.0.4", "tags": "db web"}
    assert joined.items() <= desk.entry("peer.joined").items()
    assert "tags" not in desk.entry("peer.left")


def test_many_members_are_counted(desk: Desk) -> None:
    """A fleet that grows by a hundred is one line."""
    desk.good()
    desk.good(fleet(*(droplet(number) for number in range(1, 104))))
    assert ["peer.joined"] == desk.events[2:]
    assert 100 == desk.entry("peer.joined")["peers"]


def test_rules_that_move_to_another_backend_are_no_repair(desk: Desk) -> None:
    """The same ruleset in another kernel is told as that, also after a reload; another round says nothing."""
    desk.good()
    before = desk.bench.cycle
    desk.bench = Bench([THREE], policy=desk.bench.policy)
    desk.bench.cycle.inherit(before)
    desk.good()
    desk.good()
    moved = [entry["log_level"] for entry in desk.log.entries if entry["event"] == "backend.moved"]
    assert (["info"], False) == (moved, "tamper.repaired" in desk.events)


def test_a_ruleset_that_somebody_changed_is_told(desk: Desk) -> None:
    """Writing again what was there already is a repair; writing what is new is none."""
    desk.good()
    desk.good(fleet(droplet(1), droplet(2)))
    assert "tamper.detected" not in desk.events
    flush(desk.bench.kernel)
    desk.good(fleet(droplet(1), droplet(2)))
    assert ("warning", 1) == (
        desk.entry("tamper.detected")["log_level"],
        desk.events.count("tamper.repaired"),
    )


def test_of_a_fight_no_single_deed_is_told(desk: Desk) -> None:
    """While somebody goes on the log has that, once a minute; deeds are counted, and told afterwards."""
    vigil = Vigil(desk.herald, desk.clock, lambda: None)
    desk.good()
    for repairs in range(1, 9):
        flush(desk.bench.kernel)
        desk.good()
        if repairs > FREE:
            vigil.contested(Contest(repairs, desk.clock.monotonic()))
    assert (FREE + 1, FREE + 1) == (
        desk.events.count("tamper.detected"),
        desk.events.count("tamper.repaired"),
    )
    assert 3 == desk.events.count("tamper.contested")  # in the two minutes after the first
    assert 8 == desk.shelf.statuses[-1]["tampering"]["repairs"]
    vigil.calm()
    flush(desk.bench.kernel)
    desk.good()
    assert FREE + 2 == desk.events.count("tamper.detected")


def test_a_warning_is_told_when_it_changes(desk: Desk) -> None:
    """A tag that nobody has is told at the start, and not again until it is another warning."""
    desk.herald.reloaded(Policy(peers=Peers(tag="web")))
    desk.bench.cycle.policy = Policy(peers=Peers(tag="wbe"))
    for _ in range(3):
        desk.good(fleet(droplet(1), droplet(2, tags=("web",))))
    assert 1 == desk.events.count("policy.warning")
    desk.good(fleet(droplet(1), droplet(2, tags=("wbe",))))
    for _ in range(AGREEING):  # that nobody has it any more is believed then
        desk.good(fleet(droplet(1), droplet(2, tags=("web",))))
    assert 2 == desk.events.count("policy.warning")


def test_cautions_of_the_file_are_warnings(desk: Desk) -> None:
    """Each with key, line and what would be better."""
    desk.herald.cautions((Problem("nobody is let in", "private.managed", 2, 1, "set allow_peers"),))
    fields = {"key": "private.managed", "line": 2, "hint": "set allow_peers", "log_level": "warning"}
    assert fields.items() <= desk.entry("config.warning").items()


def test_the_end_says_that_rules_are_kept(desk: Desk) -> None:
    """Whoever reads the log of a stopped daemon knows what the kernel does."""
    desk.herald.started()
    desk.herald.stopped()
    assert ["daemon.started", "daemon.stopped"] == desk.events
    assert ("kept", ["stopping"]) == (desk.entry("daemon.stopped")["rules"], desk.systemd.heard)


def test_a_sign_of_life_renews_the_status(desk: Desk) -> None:
    """The line for systemd gets older by itself."""
    desk.good()
    desk.clock.time += 300
    desk.herald.alive(None)
    assert "watchdog" == desk.systemd.heard[-1]
    assert "last good poll 5 min ago" in desk.systemd.status_text
