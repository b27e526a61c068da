"""Outcomes as lines, statuses and spans."""

import asyncio
import json
from dataclasses import replace

import pytest

from droplan_daemon import report
from droplan_daemon.errors import (
    CommitConflict,
    CommitRejected,
    CommitUnknown,
    DroplanError,
    HostUnknown,
    RateLimited,
    Refusal,
    SourceDenied,
    SourceDoubtful,
    SourceUnavailable,
    StoreFailed,
)
from droplan_daemon.model.budget import Budget
from droplan_daemon.model.fleet import Skipped
from droplan_daemon.model.policy import InterfacePolicy, Mode, Outbound, Peers, Policy, Scope
from droplan_daemon.outcomes import Failed, Unchanged, World
from droplan_daemon.report import Standing
from tests.unit.cycles import Bench, droplet, fleet

THREE = fleet(droplet(1), droplet(2), droplet(3))
NOW = 10_000.0


def _outcome(policy: Policy | None = None) -> report.Good:
    outcome = asyncio.run(Bench([THREE], policy=policy or Policy()).cycle.run())
    assert isinstance(outcome, report.Good)
    return outcome


def _world(policy: Policy | None = None) -> World:
    return _outcome(policy).world


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_799, "48 h"),
        (172_800, "2 d"),
        (864_000, "10 d"),
    ],
)
def test_spans_are_short(seconds: float, expected: str) -> None:
    """Two units of a size are said in that size."""
    assert expected == report.span(seconds)


@pytest.mark.parametrize(
    ("error", "event", "fields"),
    [
        (SourceUnavailable("m", reason="deadline", page=3), "source.fetch.failed", {"page": 3}),
        (SourceUnavailable("m", reason="http_status", status=502), "source.fetch.failed", {"status": 502}),
        (RateLimited("m", wait=7.0), "api.ratelimited", {"wait": 7.0, "status": 429}),
        (SourceDenied("m", status=401), "api.auth.failed", {"status": 401}),
        (
            SourceDenied("m", status=403, scope="vpc:read"),
            "api.auth.forbidden",
            {"status": 403, "scope": "vpc:read"},
        ),
        (SourceDoubtful("m", reason="bad_body", page=1), "source.snapshot.rejected", {"page": 1}),
        (HostUnknown("m", reason="ambiguous"), "host.unknown", {}),
        (HostUnknown("m", reason="metadata_rejected"), "metadata.rejected", {}),
        (CommitConflict("m"), "commit.conflict", {}),
        (CommitRejected("m", errno=17, change=4), "commit.rejected", {"errno": "EEXIST"}),
        (CommitRejected("m", errno=4103), "commit.rejected", {"errno": 4103}),
        (CommitUnknown("m", reason="no_reply"), "commit.unknown", {}),
        (StoreFailed("m", errno=28), "state.write.failed", {"errno": "ENOSPC"}),
        (Refusal("m", reason="self_missing"), "guard.refused", {}),
        (DroplanError("m"), "cycle.failed", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_error_is_an_event(error: DroplanError, event: str, fields: dict[str, object]) -> None:
    """With its reason, its sentence and what else it carries; the age of the rules where there are any."""
    basic = {"reason": error.reason, "message": "m"}
    assert (event, {**basic, **fields}) == report.trouble(error, None)[1:]
    assert {**basic, **fields, "age": 61, "kept_peers": 7} == report.trouble(error, 61.4, 7)[2]


def _via(error: DroplanError, via: str) -> DroplanError:
    error.via = via  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (SourceUnavailable("m", reason="dns"), "fetch.failed"),
        (SourceDoubtful("m", reason="count_mismatch"), "snapshot.rejected"),
        (Refusal("m", reason="self_missing"), "snapshot.rejected"),
        (Refusal("m", reason="tags_hidden"), "snapshot.rejected"),
        (Refusal("m", reason="vpcs_hidden"), "snapshot.rejected"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_event_says_whose_answer_it_was(error: DroplanError, event: str) -> None:
    """The API's begin with `api`, all others with `source`."""
    assert [f"api.{event}", f"source.{event}"] == [
        report.trouble(_via(error, via), None)[1] for via in ("api", "source")
    ]


def test_what_is_odd_about_a_good_answer_is_told() -> None:
    """Entries left out, a list that was read again, metadata that say nothing: each by its event."""
    world = _world(Policy())
    skipped = (Skipped(7, "name: too long"), Skipped(None, "id: missing"))
    fleet = replace(world.fleet, source="https://api.digitalocean.com", skipped=skipped, relisted=2)
    odd = replace(world, fleet=fleet, host=replace(world.host, silent="deadline", learned="state"))
    told = {event: fields for _, event, fields in report.remarks(odd)}
    assert ["api.peer.skipped", "api.snapshot.unstable", "metadata.failed"] == list(told)
    assert {"id": 7, "reason": "name: too long", "entries": 2}.items() <= told["api.peer.skipped"].items()
    assert 2 == told["api.snapshot.unstable"]["relist"]
    assert {"reason": "deadline", "using": "cache"}.items() <= told["metadata.failed"].items()
    assert [] == list(report.remarks(replace(world, fleet=replace(fleet, skipped=(), relisted=0))))


def test_nobody_expects_metadata_where_a_file_tells_the_fleet() -> None:
    """A machine outside of DigitalOcean has none, and is not told so every minute."""
    world = _world(Policy())
    odd = replace(world, host=replace(world.host, silent="connect"))
    assert [] == list(report.remarks(odd))


def test_the_headline_has_what_is_odd() -> None:
    """In a few words each."""
    world = _world(Policy())
    odd = replace(world, fleet=replace(world.fleet, skipped=(Skipped(7, "x"),)))
    line = report.headline(Standing(Policy(), odd, verified_at=NOW), None, NOW)
    assert "1 entry of the answer cannot be read, and nobody leaves for that" in line


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), "enforcing 2 peers (vpc home)"),
        (Policy(mode=Mode.AUDIT), "auditing 2 peers (vpc home)"),
        (Policy(peers=Peers(Scope.REGION)), "enforcing 2 peers (region)"),
    ],
)
def test_the_headline_says_what_is_enforced(policy: Policy, expected: str) -> None:
    """How many peers of which scope, how old the answer is, what it costs, and when the next is due."""
    standing = Standing(policy, _world(policy), _outcome(policy), NOW - 12, NOW + 30)
    rest = ", last good poll 12 s ago, budget 4,900/5,000, next in 30 s"
    assert expected + rest == report.headline(standing, Budget(5000, 4900, 0.0), NOW)


def test_the_headline_of_a_start_says_so() -> None:
    """Before the first good outcome nothing is enforced, as far as anybody knows."""
    assert "not enforcing yet" == report.headline(Standing(Policy()), None, NOW)
    failing = Standing(Policy(), outcome=Failed(SourceDenied("No token is good.", status=401)))
    assert "not enforcing yet, now failing: No token is good" == report.headline(failing, None, NOW)


def test_denied_packets_are_told_by_interface() -> None:
    """Those of managed interfaces alone, and what was not let out by a name of its own."""
    found = _outcome(Policy(public=InterfacePolicy(managed=True, allow_peers=False, outbound=Outbound.DROP)))
    counters = {
        ("private-in", "denied"): 7,
        ("public-in", "denied"): 9,
        ("public-out", "denied"): 3,
        ("private-in", "peers"): 100,
    }
    seen = type(found.observation)(found.observation.ruleset, 1, counters)
    everywhere = {"eth1": 7, "eth0": 9, "eth0 out": 3}
    assert everywhere == dict(report.denied_counts(Unchanged(found.world, seen)))
    assert (("eth1", 7),) == report.denied_counts(Unchanged(_world(), seen))


def test_the_status_is_plain_json() -> None:
    """Nothing in it is lost or changed by writing and reading it."""
    standing = Standing(Policy(), _world(), _outcome(), NOW, NOW + 30, (("eth1", 7),), "line 3: no")
    status = report.as_dict(standing, Budget(5000, 4900, 0.0, 4), NOW)
    assert status == json.loads(json.dumps(status))
    assert {"limit": 5000, "remaining": 4900, "spent_by_last_poll": 4} == status["budget"]
    assert ({"eth1": 7}, "line 3: no", None) == (status["denied"], status["config_error"], status["error"])
    world = status["world"]
    assert (2, 3, {"private": "eth1", "public": "eth0"}) == (
        world["peers"],
        world["droplets"],
        world["interfaces"],
    )
    assert ["10.10.0.2", "10.10.0.3"] == world["sets"]["private-peers-4"]


def test_the_status_of_a_start_is_json_too() -> None:
    """With nulls for what is not known yet."""
    status = report.as_dict(Standing(Policy()), None, NOW)
    assert [None] * 5 == [
        status[key] for key in ("world", "outcome", "verified_at", "next_poll_at", "budget")
    ]


def test_a_status_stays_small() -> None:
    """However many peers there are, the file holds a sample of their addresses."""
    many = fleet(*(droplet(number) for number in range(1, 250)), skipped=(Skipped(9, "odd"),))
    outcome = asyncio.run(Bench([many]).cycle.run())
    assert isinstance(outcome, report.Good)
    status = report.as_dict(Standing(Policy(), outcome.world), None, NOW)
    assert (20, 248) == (len(status["world"]["sets"]["private-peers-4"]), status["world"]["peers"])
