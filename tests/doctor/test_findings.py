"""What each fact means, as a table; that the page tells every id."""

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from droplan_daemon.doctor.facts import Backend, Chain, Firewalls, Node, Rule, Saved, State, Unit, Unlooked
from droplan_daemon.doctor.finding import CATALOGUE, WRONG, Severity, found
from droplan_daemon.doctor.findings import is_wrong, worst_first
from droplan_daemon.errors import (
    Problem,
    RateLimited,
    SourceDenied,
    SourceDoubtful,
    SourceUnavailable,
)
from tests.doctor.sights import API, BUDGET, CLOCK, CONFIGURATION, DAEMON, KERNEL, PLACE, STATE, UNITS, told

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
BAD = Problem("it is wrong", "mode", 3, 1, "write it right")
DROPPING = Chain("table inet filter", "input", "input", 0, "drop")

CASES: list[tuple[str, dict[str, Any], str]] = [
    (
        "config.invalid",
        {"configuration": replace(CONFIGURATION, problems=(BAD,))},
        "droplan.toml:3: it is wrong",
    ),
    ("config.caution", {"configuration": replace(CONFIGURATION, cautions=(BAD,))}, "it is wrong"),
    ("config.caution", {"configuration": replace(CONFIGURATION, token_cautions=(BAD,))}, "it is wrong"),
    (
        "config.writable",
        {"configuration": replace(CONFIGURATION, nodes=(Node("/etc/droplan", 0, 0o775),))},
        "0775",
    ),
    (
        "config.writable",
        {"configuration": replace(CONFIGURATION, nodes=(Node("/etc/droplan", 7, 0o755),))},
        "user 7",
    ),
    ("token.unusable", {"configuration": replace(CONFIGURATION, token=(BAD,))}, "it is wrong"),
    (
        "token.readable",
        {"configuration": replace(CONFIGURATION, token_node=Node("/t", 0, 0o640))},
        "mode 0640",
    ),
    ("token.readable", {"configuration": replace(CONFIGURATION, token_node=Node("/t", 7, 0o600))}, "user 7"),
    (
        "token.elsewhere",
        {"configuration": replace(CONFIGURATION, token_from_variable=True, service_has_token=False)},
        "DO_KEY",
    ),
    ("token.wide", {"api": replace(API, wide=True)}, "account"),
    ("token.rights", {}, "tells nobody"),
    ("api.unreachable", {"api": replace(API, error=SourceUnavailable("gone.", reason="dns"))}, "gone"),
    ("api.doubtful", {"api": replace(API, error=SourceDoubtful("odd.", reason="bad_body"))}, "odd"),
    ("api.unauthorized", {"api": replace(API, error=SourceDenied("no.", status=401))}, "no"),
    ("api.scope", {"api": replace(API, lacking=("vpc:read",))}, "vpc:read"),
    ("api.limited", {"api": replace(API, error=RateLimited("used up.", wait=60))}, "used up"),
    ("api.limited", {"api": replace(API, budget=replace(BUDGET, remaining=499))}, "499 of 5,000"),
    ("api.slow", {"api": replace(API, took=11.0)}, "11 s"),
    ("api.stretched", {"api": replace(API, period=144.0, sharing=40)}, "40 Droplets"),
    ("fleet.refused", {"place": replace(PLACE, refused="not in it")}, "not in it"),
    ("fleet.skipped", {"place": replace(PLACE, skipped=2)}, "2 entries"),
    ("fleet.doubt", {"place": replace(PLACE, doubts=("tag:x fits nobody",))}, "tag:x"),
    ("cloud_firewall.attached", {"api": replace(API, cloud_firewalls=("web",))}, "web"),
    ("metadata.unreachable", {"place": replace(PLACE, metadata="silent")}, "silent"),
    ("host.unknown", {"place": replace(PLACE, unknown="who am I")}, "who am I"),
    ("clock.wrong", {"clock": replace(CLOCK, ahead=-400.0)}, "400 s behind"),
    ("clock.wrong", {"clock": replace(CLOCK, now=3.0, ahead=None)}, "long ago"),
    ("clock.off", {"clock": replace(CLOCK, ahead=40.0)}, "40 s ahead"),
    ("clock.unsynchronised", {"clock": replace(CLOCK, synchronised=False)}, "NTP"),
    ("kernel.unsupported", {"kernel": replace(KERNEL, lacking=("no nf_tables",))}, "no nf_tables"),
    ("kernel.untracked", {"kernel": replace(KERNEL, tracked=None)}, "nf_conntrack"),
    ("kernel.table_full", {"kernel": replace(KERNEL, tracked=900)}, "900 of 1,000"),
    ("kernel.tcp_loose", {"kernel": replace(KERNEL, tcp_loose=True, enforced=False)}, "tcp_loose=1"),
    ("kernel.rp_filter", {"kernel": replace(KERNEL, rp_filter={"eth1": 0})}, "eth1"),
    ("firewall.drops", {"firewalls": Firewalls((DROPPING,))}, "table inet filter, chain input"),
    (
        "firewall.drops_outbound",
        {"firewalls": Firewalls((replace(DROPPING, hook="output"),))},
        "leaves by eth1",
    ),
    ("firewall.drops_forwarded", {"firewalls": Firewalls((replace(DROPPING, hook="forward"),))}, "forwarded"),
    (
        "firewall.ufw",
        {
            "firewalls": Firewalls(
                (replace(DROPPING, holder="iptables-nft"), Chain("iptables-nft", "ufw-user-input"))
            )
        },
        "ufw drops",
    ),
    (
        "firewall.firewalld",
        {"firewalls": Firewalls((replace(DROPPING, holder="table inet firewalld"),))},
        "firewalld",
    ),
    ("firewall.beside", {"firewalls": Firewalls(active=("ufw",))}, "ufw is active"),
    ("firewall.docker", {"firewalls": Firewalls((Chain("iptables-nft", "DOCKER"),))}, "Docker"),
    ("firewall.legacy", {"firewalls": Firewalls(legacy=4)}, "4 rules"),
    ("firewall.flushes", {"firewalls": Firewalls(flushing="it says so")}, "it says so"),
    ("old.droplan", {"old": ("/etc/cron.d/droplan",)}, "/etc/cron.d/droplan"),
    ("backend.caution", {"backend": Backend("iptables", cautions=("rules in both",))}, "rules in both"),
    ("backend.blocked", {"backend": Backend("iptables", "somebody else's chains")}, "somebody else's chains"),
    ("saved.behind", {"saved": Saved(behind=("/etc/iptables/rules.v4",))}, "rules.v4"),
    ("saved.failed", {"saved": Saved(failed=("no ipset",))}, "no ipset"),
    ("state.open", {"state": replace(STATE, folder=Node("/s", 0, 0o755))}, "0755"),
    ("state.owner", {"state": replace(STATE, folder=Node("/s", 1000, 0o700))}, "user 1000"),
    ("state.damaged", {"state": replace(STATE, damaged=("bad checksum",))}, "bad checksum"),
    ("state.none", {"state": State(None)}, "nothing was kept"),
    ("state.old", {"state": replace(STATE, age=200_000.0)}, "2 days"),
    ("state.old", {"state": replace(STATE, age=None)}, "unknown age"),
    ("state.foreign", {"state": replace(STATE, foreign="of Droplet 9")}, "Droplet 9"),
    ("state.script", {"state": replace(STATE, script="it is missing")}, "missing"),
    ("service.missing", {"units": (Unit("droplan.service", "not-found"),)}, "knows no"),
    ("service.disabled", {"units": (replace(UNITS[0], enabled="disabled"), UNITS[1])}, "droplan.service"),
    ("service.disabled", {"units": UNITS[:1]}, "droplan-restore.service"),
    ("service.down", {"units": (replace(UNITS[0], active="failed"), UNITS[1])}, "failed"),
    ("service.down", {"daemon": None}, "no daemon"),
    ("service.down", {"daemon": replace(DAEMON, alive=False)}, "gone"),
    ("service.trouble", {"daemon": replace(DAEMON, well=False, trouble="401")}, "401"),
    ("service.version", {"daemon": replace(DAEMON, version="0.9")}, "0.9"),
    ("unlooked", {"kernel": Unlooked("the kernel", "no right", "sudo")}, "no right"),
]


@pytest.mark.parametrize(("name", "changed", "words"), CASES)
def test_a_fact_is_a_finding(name: str, changed: dict[str, Any], words: str) -> None:
    """One fact that is not well gives its finding, once, with the facts in it and something to do."""
    made = [finding for finding in told(**changed) if finding.id == name]
    assert 1 == len(made)
    assert words in made[0].what
    assert made[0].fix
    assert (made[0].severity in WRONG) == is_wrong(told(**changed))


def test_all_well_is_no_finding_but_what_nobody_can_know() -> None:
    """On a Droplet on which all is well nothing is to be done, and every room says that it looked."""
    made = told()
    assert ["token.rights"] == [finding.id for finding in made if finding.severity is not Severity.FINE]
    assert not is_wrong(made)
    good = {name for name, entry in CATALOGUE.items() if entry.severity is Severity.FINE}
    assert good == {finding.id for finding in made} - {"token.rights"}


def test_every_id_is_made_somewhere() -> None:
    """The catalogue has no id that no fact leads to."""
    named = {name for name, _, _ in CASES} | {finding.id for finding in told()}
    assert set(CATALOGUE) == named


def test_what_is_not_looked_at_is_never_fine() -> None:
    """A part that could not be looked at is named, and none of its findings are made."""
    missed = Unlooked("it", "no right", "sudo")
    parts = ("firewalls", "kernel", "state", "units", "backend", "old", "api", "place", "saved", "daemon")
    for part in parts:
        made = told(**{part: missed})
        assert ["it could not be looked at: no right"] == [one.what for one in made if one.id == "unlooked"]
        lost = {finding.id for finding in told()} - {finding.id for finding in made}
        assert lost or part == "units"


def test_the_worst_comes_first() -> None:
    """Errors, warnings, unknowns, notes, and last what is fine; equals keep their order."""
    made = [found(name, name) for name in CATALOGUE]
    random.Random(5).shuffle(made)
    ordered = worst_first(made)
    assert sorted(map(list(Severity).index, (f.severity for f in made))) == [
        list(Severity).index(f.severity) for f in ordered
    ]
    errors = [f for f in made if f.severity is Severity.ERROR]
    assert errors == list(ordered[: len(errors)])


def test_that_nothing_runs_is_said_once() -> None:
    """Although systemd and the missing status both tell it."""
    made = told(units=(replace(UNITS[0], active="inactive"), UNITS[1]), daemon=None)
    assert 1 == [finding.id for finding in made].count("service.down")


def test_the_page_has_every_id() -> None:
    """docs/doctor.md and the catalogue agree, id by id, in severity and meaning."""
    rows = re.findall(r"^\| `([a-z_.0-9]+)` \| (\w+) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [(name, str(entry.severity), entry.meaning) for name, entry in CATALOGUE.items()] == rows


def test_rules_that_hand_over_in_a_circle_end() -> None:
    """Whatever chains jump to each other, a verdict comes of it: the policy's."""
    looped = Chain("t", "input", "input", 0, "drop", (Rule("jump", "a"),))
    circle = (Chain("t", "a", rules=(Rule("jump", "b"),)), Chain("t", "b", rules=(Rule("jump", "a"),)))
    made = told(firewalls=Firewalls((looped, *circle)))
    assert 1 == [finding.id for finding in made].count("firewall.drops")
