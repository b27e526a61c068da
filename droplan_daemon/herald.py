"""What the daemon tells: systemd, the log, the status file.

Laws:
1. READY is told once for each configuration, after an outcome whose ruleset was read back.
2. A lasting trouble is told when it begins, when it ends, and once a minute between. Troubles
   of cycles end with a good cycle, those of a state file when it can be written.
3. Telling never fails the daemon: a state file that cannot be written is one more trouble.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import commits, doubts, interim, report, tampering
from .errors import ConfigInvalid, Problem, StoreFailed
from .logs import structlog
from .outcomes import Committed, Failed, Refused
from .report import Reload, ReloadState, Standing
from .safety import stale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from .effects import Clock, Disturbance, Notifier, Store
    from .errors import DroplanError, ExportFailed, Fatal, Refusal
    from .logs.conditions import Conditions
    from .metrics.meter import Meter
    from .model.budget import Budget
    from .model.policy import Policy
    from .outcomes import Outcome, World


# What `report` calls an error of no kind that anybody foresaw.
_CRASHED = "cycle.failed"

_LATELY = 10.0
"""Seconds for which a poll is about somebody whom the kernel named before."""


class Herald:
    """Keeps the Standing, and tells it."""

    def __init__(
        self,
        policy: "Policy",
        *,
        notifier: "Notifier",
        store: "Store",
        clock: "Clock",
        conditions: "Conditions",
        about: dict[str, Any],
    ) -> None:
        self._notifier = notifier
        self._store = store
        self._clock = clock
        self._conditions = conditions
        self._about = about
        self._log = structlog.get_logger()
        self.standing = Standing(policy)
        self._heard: Disturbance | None = None
        self._heard_at = 0.0
        self._ready = False
        self._was_ready = False
        self._troubles: frozenset[str] = frozenset()
        self._remarked: frozenset[str] = frozenset()
        self._meter: Meter | None = None
        self._untold: list[tuple[str, ExportFailed]] = []

    def metered(self, meter: "Meter | None") -> None:
        """What is told from now on goes to this Meter too, which goes on where the one before stopped."""
        if meter and self._meter:
            meter.inherit(self._meter)
        self._meter = meter

    def cautions(self, warnings: "tuple[Problem, ...]") -> None:
        """Mistakes of the configuration that one can run with."""
        for problem in warnings:
            fields = {"key": problem.key or None, "line": problem.line, "hint": problem.hint or None}
            self.say(("warning", "config.warning", {**fields, "message": problem.message}))

    def started(self) -> None:
        """The loop begins."""
        self._log.info("daemon.started", **self._about)
        self._publish(None)

    def stopped(self) -> None:
        """The loop ends; nothing in the kernel does."""
        self._notifier.stopping()
        self._log.info("daemon.stopped", rules="kept")

    def alive(self, budget: "Budget | None") -> None:
        """The loop goes round; the line for systemd gets older."""
        self._notifier.watchdog()
        self._notifier.status(self._line(budget))

    def reloading(self) -> None:
        """A reload begins: what is read from now on counts."""
        self.standing = replace(self.standing, reload=Reload(self._clock.monotonic()))
        self._notifier.reloading(int(self._clock.monotonic() * 1_000_000))

    def reloaded(self, policy: "Policy") -> None:
        """A new configuration is to be enforced: not ready until it is."""
        self.standing = replace(self.standing, policy=policy, config_error="")
        self._reload_is(ReloadState.WAITING)
        if self._meter:
            self._meter.reload("accepted")
        self._ready, self._was_ready = False, self._ready
        self._log.info("config.reloaded")

    def rejected(self, error: "ConfigInvalid", budget: "Budget | None") -> None:
        """The new configuration is refused, the old one goes on."""
        self.standing = replace(self.standing, config_error=_first(error))
        self._reload_is(ReloadState.REFUSED, _all(error))
        if self._meter:
            self._meter.reload("refused")
        invalid_configuration(error, "config.rejected")
        if self._ready:
            self._notifier.ready(self._line(budget))
        self._publish(budget)

    def objected(self, error: "Refusal", budget: "Budget | None") -> None:
        """The same for one that has no mistake."""
        self.rejected(ConfigInvalid(str(self._about.get("config", "")), (Problem(str(error)),)), budget)

    def rejected_state(self, errors: "tuple[DroplanError, ...]", used: str) -> None:
        """What was kept is not used; `used` is what is instead: `previous` (generation) or `none`."""
        for error in errors:
            level, _, fields = report.trouble(error, None)
            self.say((level, "state.rejected", {**fields, "used": used}))

    def outcome(self, outcome: "Outcome", wait: float, budget: "Budget | None") -> None:
        """A cycle ended; the next one begins in `wait` seconds."""
        now = self._clock.now()
        if self._meter:
            self._meter.count(outcome, self.standing.world, now)
        self.standing = replace(self.standing, outcome=outcome, next_at=now + wait if wait else 0.0)
        self.standing = replace(self.standing, reload=report.reloaded(self.standing))
        if isinstance(outcome, Refused | Failed):
            verified = self.standing.verified_at
            self._trouble(outcome.error, now - verified if verified else None)
            self._given_up(budget)
            self._notifier.status(self._line(budget))
        else:
            self._good(outcome, now, budget)
        self._publish(budget)

    def _given_up(self, budget: "Budget | None") -> None:
        """End what systemd takes for a reload that goes on: as after a refused one, the old rules stand."""
        found = self.standing.reload
        if self._was_ready and found and found.state is ReloadState.FAILED:
            self._was_ready = False
            self._notifier.ready(self._line(budget))

    def crashed(self) -> None:
        """An exception that nobody foresaw is being handled: tell all of it, once."""
        if _CRASHED not in self._troubles:
            self._log.exception("cycle.crashed")

    def tampered(self, outcome: Committed, heard: "Disturbance | None", seconds: float | None) -> None:
        """What somebody else (`heard`, where he was) had changed was put right, after so many seconds.

        Of somebody who goes on, that he does is told, once a minute, and no single deed.
        """
        heard = heard or self._lately()
        found = tampering.tampered(self.standing.tampering, heard, self._clock.now())
        self.standing = replace(self.standing, tampering=found)
        if not found.contested:
            self.say(*tampering.told(found, outcome, seconds))
        if self._meter and seconds is not None:
            self._meter.repaired(outcome)

    def hear(self, by: "Disturbance") -> None:
        """Somebody did something; should a poll be the first to see what, it was him."""
        self._heard, self._heard_at = by, self._clock.monotonic()

    def _lately(self) -> "Disturbance | None":
        return self._heard if self._clock.monotonic() - self._heard_at < _LATELY else None

    def meanwhile(self, outcome: "report.Good", budget: "Budget | None") -> None:
        """Something holds for a while from now on, or does no more; nobody was asked for that."""
        self.say(*interim.over(outcome))
        self.amend(budget, world=outcome.world, verified_at=self._clock.now())
        self._remarks(tuple(report.remarks(outcome.world)))

    def expired(self, outcome: "report.Good", budget: "Budget | None") -> None:
        """Nobody has answered for so long that no Droplet is let in any more."""
        self.say(*report.membership(self.standing.world, outcome.world))
        self.amend(budget, world=outcome.world)
        self._remarks(tuple(report.remarks(outcome.world)))

    def silence(self, seconds: float, budget: "Budget | None") -> None:
        """For so long there has been no complete answer; each level of alarm is told when it is reached."""
        level, before = stale.level(seconds), self.standing.stale
        if level != before:
            self.amend(budget, stale=level)
        if not level:
            self.relieve({doubts.ALARM})
        elif before and level != before:
            self.say(doubts.alarm(level))
        else:
            self.enter(*doubts.alarm(level))

    def amend(self, budget: "Budget | None", **changes: Any) -> None:
        """Something of the Standing is otherwise now."""
        self.standing = replace(self.standing, **changes)
        self._notifier.status(self._line(budget))
        self._publish(budget)

    def failed(self, event: str, **fields: Any) -> None:
        """An exception that nobody foresaw is being handled: tell all of it."""
        self._log.exception(event, **fields)

    def _good(self, outcome: "report.Good", now: float, budget: "Budget | None") -> None:
        self.relieve(self._troubles)
        self._troubles = frozenset()
        before, world = self.standing.world, outcome.world
        self.standing = replace(
            self.standing,
            world=world,
            verified_at=now,
            denied=report.denied_counts(outcome),
        )
        self.say(*_arrival(before, world))
        if before is None or before.warnings != world.warnings:
            self.say(*(("warning", "policy.warning", {"message": text}) for text in world.warnings))
        if isinstance(outcome, Committed) and outcome.repairs(before):
            self.tampered(outcome, None, None)
        elif isinstance(outcome, Committed) and not world.restored:
            self.say(report.changes(outcome))
        self.say(*interim.over(outcome))
        self.say(*commits.setbacks(outcome))
        self._unsaved(outcome)
        self._remarks(tuple(report.remarks(world)))
        if not self._ready:
            self._ready = True
            self._notifier.ready(self._line(budget))
            self._log.info("daemon.ready", status=self._line(budget))
        self._notifier.status(self._line(budget))

    def _unsaved(self, outcome: "report.Good") -> None:
        """What could not be kept is a trouble of its own, which ends when it can."""
        now = tuple(report.unsaved(outcome))
        self.relieve(frozenset(report.UNSAVED.values()) - {event for _, event, _ in now})
        for level, event, fields in now:
            self.enter(level, event, fields)

    def _remarks(self, now: "tuple[report.Event, ...]") -> None:
        """What is odd about a good answer lasts until an answer comes of which it is not true."""
        names = frozenset(event for _, event, _ in now)
        self.relieve(self._remarked - names)
        self._remarked = names
        for level, event, fields in now:
            self.enter(level, event, fields)

    def _trouble(self, error: "DroplanError", age: float | None) -> None:
        world = self.standing.world
        level, event, fields = report.trouble(error, age, len(world.peers) if world else None)
        self._troubles |= {event}
        self.enter(level, event, fields)

    def enter(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """A trouble holds (still)."""
        if spell := self._conditions.enter(event):
            self.say((level, event, {**fields, "times": spell.times if spell.times > 1 else None}))

    def relieve(self, names: "AbstractSet[str]") -> None:
        """These troubles are over, those of them that there were."""
        for name in sorted(names):
            if spell := self._conditions.leave(name):
                self.say(("info", f"{name}.over", {"after_s": round(spell.seconds), "times": spell.times}))

    def say(self, *events: report.Event) -> None:
        """Write them down."""
        for level, event, fields in events:
            present = {key: value for key, value in fields.items() if value is not None}
            getattr(self._log, level)(event, **present)

    def _reload_is(self, state: ReloadState, message: str = "") -> None:
        if found := self.standing.reload:
            self.standing = replace(self.standing, reload=replace(found, state=state, message=message))

    def _line(self, budget: "Budget | None") -> str:
        return report.headline(self.standing, budget, self._clock.now())

    def _publish(self, budget: "Budget | None") -> None:
        ready = self._ready and not self.standing.busy
        self._measure(budget, ready=ready)
        status = report.as_dict(self.standing, budget, self._clock.now())
        untold = [{"reason": error.reason, "message": str(error)} for _, error in self._untold]
        self._kept(
            "status.write.failed",
            lambda: self._store.publish({**self._about, **status, "ready": ready, "untold": untold}),
        )

    def _measure(self, budget: "Budget | None", *, ready: bool) -> None:
        """Offer the metrics; a way by which they cannot be told is a trouble of its own."""
        before = {condition for condition, _ in self._untold}
        meter, holding = self._meter, self._conditions.holding()
        self._untold = meter.offer(self.standing, budget, holding, ready=ready) if meter else []
        self.relieve(frozenset(before - {condition for condition, _ in self._untold}))
        for condition, error in self._untold:
            level, _, fields = report.trouble(error, None)
            self.enter(level, condition, fields)

    def _kept(self, condition: str, write: "Callable[[], None]") -> bool:
        try:
            write()
        except StoreFailed as error:
            level, _, fields = report.trouble(error, None)
            self.enter(level, condition, fields)
            return False
        self.relieve(frozenset({condition}))
        return True


def ended_by(error: "Fatal") -> None:
    """What keeps the daemon from going on, as an event; each mistake of a configuration is one."""
    if isinstance(error, ConfigInvalid):
        invalid_configuration(error)
        return
    _, event, fields = report.trouble(error, None)
    structlog.get_logger().error(event, **fields)


def invalid_configuration(error: "ConfigInvalid", event: str = "config.invalid") -> None:
    """Each mistake of a configuration as an event."""
    log = structlog.get_logger()
    for problem in error.problems:
        where = {"key": problem.key or None, "line": problem.line, "column": problem.column}
        fields = {"file": error.path, **where, "message": problem.message, "hint": problem.hint or None}
        log.error(event, **{name: value for name, value in fields.items() if value is not None})


def _arrival(before: "World | None", world: "World") -> "Iterable[report.Event]":
    """Who is there now, and how that is known."""
    if world.restored is None:
        return report.membership(before, world)
    return [report.restored(world) if before is None else report.recalled(world)]


def _all(error: "ConfigInvalid") -> str:
    more = len(error.problems) - 1
    rest = f" (and {more} more: droplan check)" if more else ""
    return f"{error.path}: {_first(error)}{rest}"


def _first(error: "ConfigInvalid") -> str:
    problem = error.problems[0]
    where = f"line {problem.line}: " if problem.line else ""
    return f"{where}{problem.message}"
