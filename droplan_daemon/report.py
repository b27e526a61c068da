"""What a cycle came to, as log events, a status and a line for systemd. PURE.

Laws: events are `noun.verb` with fields; a normal day's log says who joined, who left and
why, and nothing else. Nothing here decides anything.
"""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from errno import errorcode
from typing import TYPE_CHECKING, Any

from . import commits, doubts, interim
from .errors import (
    CommitConflict,
    CommitRejected,
    CommitUnknown,
    CommitUnsent,
    ConfigInvalid,
    DroplanError,
    ExportFailed,
    HostUnknown,
    KernelUnsupported,
    NotPermitted,
    RateLimited,
    Refusal,
    RolledBack,
    SourceDenied,
    SourceDoubtful,
    SourceUnavailable,
    StoreFailed,
)
from .model.addresses import format_address, format_element
from .model.fleet import InterfaceKind
from .model.policy import Direction
from .outcomes import Committed, Failed, Outcome, Refused, Unchanged, World
from .policy.compile import DENIED, places
from .tampering import Tampering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model.budget import Budget
    from .model.fleet import Droplet
    from .model.policy import Policy

Event = tuple[str, str, dict[str, Any]]
"""(level, event, fields), as structlog takes them."""

UNSAVED = {"state": "state.write.failed", "iptables": "iptables.save.failed"}
"""The condition while something of this kind cannot be kept."""

Good = Unchanged | Committed

_EVENTS: tuple[tuple[type[DroplanError], str], ...] = (
    (RateLimited, "api.ratelimited"),
    (SourceDenied, "api.auth.failed"),
    (SourceUnavailable, "fetch.failed"),
    (SourceDoubtful, "snapshot.rejected"),
    (HostUnknown, "host.unknown"),
    (CommitConflict, "commit.conflict"),
    (CommitUnsent, "commit.retry"),
    (CommitRejected, "commit.rejected"),
    (CommitUnknown, "commit.unknown"),
    (StoreFailed, "state.write.failed"),
    (ExportFailed, "metrics.failed"),
    (RolledBack, "commit.rolled_back"),
    (Refusal, "guard.refused"),
    (ConfigInvalid, "config.rejected"),
    (NotPermitted, "kernel.denied"),
    (KernelUnsupported, "kernel.unsupported"),
    (DroplanError, "cycle.failed"),
)

_MANY = 20  # beyond so many members, one line with a count says more than a page of names


class ReloadState(StrEnum):
    """How far a reload has come; enforced, failed and refused are its ends.

    failed: the configuration is in order, and something else than a Source or a kernel that is busy
    keeps it from being enforced. It goes on being tried; who waits is told.
    """

    READING = "reading"
    WAITING = "waiting"
    ENFORCED = "enforced"
    FAILED = "failed"
    REFUSED = "refused"


_PASSING = (SourceUnavailable, SourceDoubtful, CommitConflict, CommitUnknown)
"""What goes away by itself, most of the time."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The last reload: what was read at `begun` (seconds of CLOCK_MONOTONIC) or later, and what came of it.

    `message` says why it is refused or still waits, or what is to be known of an enforced one.
    """

    begun: float
    state: ReloadState = ReloadState.READING
    message: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the daemon is: the last World that was verified, and what has happened since.

    Times are seconds since the epoch; 0: never. `busy` is for how many seconds the kernel has not come to
    an end with a change, once that is worth a word.
    """

    policy: "Policy"
    world: World | None = None
    outcome: Outcome | None = None
    verified_at: float = 0.0
    next_at: float = 0.0
    denied: tuple[tuple[str, int], ...] = ()
    config_error: str = ""
    reload: Reload | None = None
    busy: float = 0.0
    tampering: Tampering | None = None
    stale: str = ""


def membership(before: World | None, after: World) -> "Iterator[Event]":
    """Who joined and who left between two Worlds; after a start, how many there are."""
    now = {d.id: d for d in after.peers}
    if before is None:
        yield "info", "peers.known", {"peers": len(now), "droplets": len(after.fleet.droplets)}
        return
    then = {d.id: d for d in before.peers}
    yield from _told("peer.joined", [now[i] for i in now.keys() - then.keys()])
    yield from _told("peer.left", [then[i] for i in then.keys() - now.keys()])


def _told(event: str, droplets: "list[Droplet]") -> "Iterator[Event]":
    if len(droplets) > _MANY:
        yield "info", event, {"peers": len(droplets)}
        return
    for droplet in sorted(droplets, key=lambda d: d.id):
        address = next(iter((*droplet.private, *droplet.public)), None)
        yield (
            "info",
            event,
            {
                "peer": droplet.name,
                "id": droplet.id,
                "address": format_address(address) if address else None,
                "tags": " ".join(droplet.tags) or None,
            },
        )


def restored(world: World) -> Event:
    """That a Checkpoint is enforced, how old it is, and whether it may be of another world by now."""
    found = world.restored
    known = found.age if found else None
    stale = bool(found and found.stale)
    fields: dict[str, Any] = {"peers": len(world.peers), "droplets": len(world.fleet.droplets)}
    fields |= {"age": "unknown" if known is None else round(known), "stale": int(stale)}
    return "warning" if stale else "info", "boot.restored", fields


def recalled(world: World) -> Event:
    """That a new configuration is enforced over the Fleet that was believed last, of this age."""
    fields: dict[str, Any] = {"peers": len(world.peers), "message": since_when(world)}
    return "warning", "config.recalled", fields


def since_when(world: World) -> str:
    """What is to be known of a World that nobody has confirmed; empty for one that was gathered."""
    if world.restored is None:
        return ""
    age = world.restored.age
    known = "" if age is None else f" {span(age)} ago"
    return f"nobody answers now, so it is enforced for the Droplets that were known{known}"


def reloaded(standing: Standing) -> Reload | None:
    """What a reload has come to with this outcome."""
    found, outcome = standing.reload, standing.outcome
    if found is None or found.state not in {ReloadState.WAITING, ReloadState.FAILED} or outcome is None:
        return found
    if isinstance(outcome, Refused | Failed):
        state = found.state if isinstance(outcome.error, _PASSING) else ReloadState.FAILED
        return replace(found, state=state, message=str(outcome.error))
    return replace(found, state=ReloadState.ENFORCED, message=since_when(outcome.world))


def unsaved(outcome: Good) -> "Iterator[Event]":
    """What is not on disk."""
    for one in outcome.unsaved:
        level, _, fields = trouble(one.error, None)
        yield level, UNSAVED[one.what], fields


def changes(outcome: Committed) -> Event:
    """That rules or members were written, or that they are by another Backend now.

    Which, is in `droplan plan` and the debug log.
    """
    count = len(outcome.plan.changes)
    if outcome.moved:
        message = f"the rules are now by {outcome.world.backend}; what held them before lets go of them"
        return "info", "backend.moved", {"changes": count, "message": message}
    return "debug", "ruleset.committed", {"changes": count, "plan": str(outcome.plan)}


def remarks(world: World, elapsed: float = 0.0) -> "Iterator[Event]":
    """What is worth knowing of a World that is enforced all the same, each with a few words as message.

    `elapsed` are the seconds since it was looked at.
    """
    fleet, host = world.fleet, world.host
    yield from interim.lasting(world, elapsed)
    if fleet.skipped:
        first, words = fleet.skipped[0], "of the answer cannot be read, and nobody leaves for that"
        fields = {"id": first.id, "reason": first.reason, "entries": len(fleet.skipped)}
        count = _count(len(fleet.skipped), "entry", "entries")
        yield "warning", f"{fleet.via}.peer.skipped", {**fields, "message": f"{count} {words}"}
    if fleet.relisted:
        message = "the list contradicted itself and was read again"
        yield "info", f"{fleet.via}.snapshot.unstable", {"relist": fleet.relisted, "message": message}
    # With a file nobody has said that this machine is one that has metadata.
    if host.silent and fleet.via == "api":
        using = "cache" if host.learned == "state" else host.learned
        message = "the metadata service does not answer"
        yield "warning", "metadata.failed", {"reason": host.silent, "using": using, "message": message}
    yield from doubts.remarks(world)
    yield from commits.rejected(world)


def trouble(error: DroplanError, age: float | None, peers: int | None = None) -> Event:
    """An error as an event: the name says what failed, the fields why and what still holds.

    `age` is that of the last good answer in seconds, `peers` how many are still let in.
    """
    fields: dict[str, Any] = {"reason": error.reason, "message": str(error)}
    for name in ("status", "page", "scope", "errno", "wait", "relist", "feature", "probe"):
        if getattr(error, name, None) is not None:
            fields[name] = getattr(error, name)
    if "errno" in fields:
        fields["errno"] = errorcode.get(fields["errno"], fields["errno"])  # a subsystem may have its own
    if age is not None:
        fields |= {"kept_peers": peers, "age": round(age)}
    return _level(error), _name(error), fields


_UNBELIEVED = frozenset({"self_missing", "tags_hidden", "vpcs_hidden"})
"""Refusals of an answer as a whole, whatever the Policy asks for."""


def _name(error: DroplanError) -> str:
    """The event; what an answer is to blame for begins with whose answer it was."""
    if isinstance(error, SourceDenied) and error.scope:
        return "api.auth.forbidden"
    if isinstance(error, HostUnknown) and error.reason == "metadata_rejected":
        return "metadata.rejected"
    if isinstance(error, Refusal) and error.via and error.reason in _UNBELIEVED:
        return f"{error.via}.snapshot.rejected"
    name = next(event for kind, event in _EVENTS if isinstance(error, kind))
    prefix = f"{error.via}." if isinstance(error, SourceUnavailable | SourceDoubtful) else ""
    return name if isinstance(error, RateLimited) else prefix + name


def _level(error: DroplanError) -> str:
    return "error" if isinstance(error, SourceDenied) else "warning"


def headline(standing: Standing, budget: "Budget | None", now: float) -> str:
    """One line for `systemctl status`."""
    return ", ".join(_headline(standing, budget, now))


def _headline(standing: Standing, budget: "Budget | None", now: float) -> "Iterator[str]":
    world = standing.world
    if world is None:
        yield "not enforcing yet"
    elif world.restored:
        yield f"restored: {_count(len(world.peers), 'peer')} as of {_ago(standing, now)}"
        if not isinstance(standing.outcome, Refused | Failed):
            yield "asking who is there now"
    else:
        peers = _count(len(world.peers), "peer")
        yield f"{verb(world.policy)} {peers} ({_scope(world.policy, world)})"
        yield f"last good poll {span(now - standing.verified_at)} ago"
    if isinstance(standing.outcome, Refused | Failed):
        yield f"now failing: {str(standing.outcome.error).rstrip('.')}"
    elif standing.outcome and standing.outcome.unsaved:
        yield f"not saved: {standing.outcome.unsaved[0].error}"
    if world:
        yield from (fields["message"] for _, _, fields in remarks(world, now - standing.verified_at))
    yield from _worries(standing)
    if budget:
        yield f"budget {budget.remaining:,}/{budget.limit:,}"
    if standing.next_at:
        yield f"next in {span(max(0.0, standing.next_at - now))}"


def _worries(standing: Standing) -> "Iterator[str]":
    """What is wrong beside the last cycle."""
    if standing.busy:
        yield f"degraded: the kernel has not come to an end with a change for {span(standing.busy)}"
    if standing.tampering and standing.tampering.contested:
        yield f"contested: {standing.tampering} changes droplan's rules again and again"
    if standing.stale:
        yield doubts.stale(standing.stale)
    if standing.config_error:
        yield f"new configuration refused: {standing.config_error}"


def _ago(standing: Standing, now: float) -> str:
    found = standing.world.restored if standing.world else None
    if found is None or found.age is None:
        return "an unknown time"
    stale = ", which is long" if found.stale else ""
    return f"{span(found.age + max(0.0, now - standing.verified_at))} ago{stale}"


def verb(policy: "Policy") -> str:
    """What is done to packets of strangers: `enforcing` or `auditing`."""
    return "enforcing" if policy.mode.value == "enforce" else "auditing"


def _scope(policy: "Policy", world: World) -> str:
    scope = policy.peers.scope.value
    if scope == "vpc":
        named = next((vpc.name for vpc in world.fleet.vpcs if vpc.id == world.own.vpc), world.own.vpc)
        scope = f"vpc {named}"
    return f"{scope}, tag {policy.peers.tag}" if policy.peers.tag else scope


def _count(number: int, noun: str, several: str = "") -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {several or noun + 's'}"


def span(seconds: float) -> str:
    """Seconds as a person says them: `12 s`, `5 min`, `3 h`, `2 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def denied_counts(outcome: Good) -> tuple[tuple[str, int], ...]:
    """Packets denied so far, by interface name; ` out` is added for what was not let out."""
    world, counters = outcome.world, outcome.observation.counters
    return tuple(
        (
            place.interface if place.direction is Direction.INBOUND else f"{place.interface} out",
            counters.get((place.chain, DENIED), 0),
        )
        for place in places(world.policy, world.host)
    )


def as_dict(standing: Standing, budget: "Budget | None", now: float) -> dict[str, Any]:
    """The whole status, for `droplan status --json`."""
    world, elapsed = standing.world, now - standing.verified_at
    return {
        "headline": headline(standing, budget, now),
        "time": now,
        "mode": (world.policy if world else standing.policy).mode.value,
        "outcome": type(standing.outcome).__name__.lower() if standing.outcome else None,
        "error": _error(standing.outcome),
        "unsaved": _unsaved(standing.outcome),
        "config_error": standing.config_error or None,
        "reload": asdict(standing.reload) if standing.reload else None,
        "kernel_busy_s": standing.busy or None,
        "tampering": asdict(standing.tampering) if standing.tampering else None,
        "verified_at": standing.verified_at or None,
        "next_poll_at": standing.next_at or None,
        "budget": _budget(budget),
        "denied": dict(standing.denied),
        "remarks": [{"event": name, **fields} for _, name, fields in remarks(world, elapsed)]
        if world
        else [],
        "doubts": doubts.plain(world) if world else [],
        "stale": standing.stale or None,
        **interim.plain(world, elapsed),
        "warnings": list(world.warnings) if world else [],
        "world": _world(world) if world else None,
    }


def _error(outcome: Outcome | None) -> dict[str, Any] | None:
    if not isinstance(outcome, Refused | Failed):
        return None
    found = {"reason": outcome.error.reason, "message": str(outcome.error)}
    if isinstance(outcome.error, Refusal) and outcome.error.accept:
        found["accept"] = outcome.error.accept
    return found


def _unsaved(outcome: Outcome | None) -> list[dict[str, Any]]:
    found = () if outcome is None or isinstance(outcome, Refused | Failed) else outcome.unsaved
    return [{"what": one.what, "reason": one.error.reason, "message": str(one.error)} for one in found]


def _budget(budget: "Budget | None") -> dict[str, Any] | None:
    if budget is None:
        return None
    return {"limit": budget.limit, "remaining": budget.remaining, "spent_by_last_poll": budget.spent}


def _world(world: World) -> dict[str, Any]:
    return {
        "droplet": {
            "id": world.own.id,
            "name": world.own.name,
            "region": world.own.region,
            "vpc": world.own.vpc,
        },
        "interfaces": {kind.value: world.host.interface(kind) for kind in InterfaceKind},
        "host_known_by": world.host.learned,
        "backend": world.backend,
        "config_sha256": world.digest or None,
        "droplets": len(world.fleet.droplets),
        "skipped": len(world.fleet.skipped),
        "peers": len(world.peers),
        "taken": world.fleet.taken,
        "restored": {"age_s": world.restored.age, "stale": world.restored.stale} if world.restored else None,
        "sets": {
            item.name: [format_element(e, item.family) for e in sorted(item.elements)[:_MANY]]
            for item in world.desired.sets.values()
        },
    }
