"""What is planned for which machine."""

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.migrate import chains
from droplan_daemon.migrate.finding import Found
from droplan_daemon.migrate.planning import (
    CONFIG,
    CleanRules,
    Commit,
    DisableFile,
    DisableLines,
    Migration,
    MoveChainsAside,
    RemoveChains,
    SaveRules,
    StopContainer,
    StopTimer,
    WriteConfig,
    WriteToken,
    difference,
    migration,
)
from droplan_daemon.migrate.search import search
from tests.migrate.dumps import PRIVATE, PUBLIC, dump, members
from tests.migrate.machines import CRON, KEY, put, tutorial

if TYPE_CHECKING:
    from collections.abc import Mapping

OLD = chains.leftovers(dump(*PRIVATE, *members()))


def planned(
    root: Path, kernel: "Mapping[str, chains.Leftovers] | None" = None, backend: str = ""
) -> Migration:
    return migration(looked(root), kernel or {}, backend)


def looked(root: Path, environ: "Mapping[str, str] | None" = None) -> Found:
    return search(root, environ or {}, CONFIG)


def config(found: Migration) -> dict[str, object]:
    """What the configuration that is to be written says."""
    [step] = [step for step in found.steps if isinstance(step, WriteConfig)]
    return tomllib.loads(step.text)


def token(found: Migration) -> str:
    [step] = [step for step in found.steps if isinstance(step, WriteToken)]
    return step.token.reveal()


def test_the_tutorials_machine(tmp_path: Path) -> None:
    """Token, configuration, cron, saved rules, new rules, old chains: in this order."""
    tutorial(tmp_path)
    put(tmp_path, "/etc/iptables/rules.v4", dump(*PRIVATE, *members()))
    found = planned(tmp_path, {"iptables-nft": OLD}, "nftables")
    assert [WriteToken, WriteConfig, DisableFile, CleanRules, Commit, RemoveChains] == [
        type(step) for step in found.steps
    ]
    assert KEY == token(found)
    assert {"source": {"token_file": "/etc/droplan/token"}} == config(found)
    assert ("/etc/cron.d/droplan", "/etc/iptables/rules.v4", "droplan-peers of iptables-nft") == found.sources


def test_with_iptables_the_old_chains_make_room_first(tmp_path: Path) -> None:
    """Where the new chains have the old ones' names, those are renamed before and removed after."""
    tutorial(tmp_path)
    found = planned(tmp_path, {"iptables-nft": OLD}, "iptables")
    assert [MoveChainsAside, Commit, RemoveChains, SaveRules] == [type(step) for step in found.steps][-4:]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("DO_TAG=web ", {"peers": {"tag": "web"}}),
        (
            "PUBLIC=true ",
            {"peers": {"scope": "account"}, "public": {"managed": True, "allow_peers": True}},
        ),
        ("PUBLIC=yes ", {}),
        ("DO_INTERVAL=600 ", {}),
        ("DO_TAG='a\"b' ", {"peers": {"tag": 'a"b'}}),
    ],
)
def test_what_the_old_program_was_told_is_configured(
    tmp_path: Path, more: str, said: dict[str, object]
) -> None:
    """Tag, public interface and interval mean what they meant."""
    tutorial(tmp_path, more=more)
    source = {"token_file": "/etc/droplan/token"}
    if "INTERVAL" in more:
        source["interval"] = "600s"
    assert {"source": source, **said} == config(planned(tmp_path))


def test_a_crontab_with_other_jobs_keeps_them(tmp_path: Path) -> None:
    """Root's own crontab and /etc/crontab lose a line; a file of cron's folder with other jobs, too."""
    others = "MAILTO=root\n0 3 * * * root /usr/bin/backup\n"
    put(tmp_path, "/etc/cron.d/all", others + CRON.format(key=KEY, more=""))
    put(tmp_path, "/etc/crontab", CRON.format(key=KEY, more="") + others)
    put(tmp_path, "/var/spool/cron/crontabs/root", CRON.format(key=KEY, more="").replace(" root", ""))
    put(tmp_path, "/opt/droplan/refresh.sh", "#!/bin/sh\n/opt/droplan/droplan\n")
    found = [step for step in planned(tmp_path).steps if isinstance(step, DisableLines)]
    assert [
        ("/etc/cron.d/all", (2,)),
        ("/var/spool/cron/crontabs/root", (0,)),
        ("/etc/crontab", (0,)),
    ] == [(str(step.path), step.lines) for step in found]


def test_units_and_their_timers_are_stopped(tmp_path: Path) -> None:
    """A unit of the administrator that runs the old program goes with its timer; droplan's own stays."""
    unit = (
        '[Service]\nEnvironment="DO_KEY={key}" DO_TAG=web\n'
        "ExecStart=-/usr/bin/docker run --rm \\\n  -e DO_KEY -e DO_TAG tam7t/droplan:latest\n"
    )
    put(tmp_path, "/etc/systemd/system/droplan.service", unit.format(key=KEY))
    put(tmp_path, "/etc/systemd/system/droplan.timer", "[Timer]\nOnCalendar=*:0/5\n")
    put(tmp_path, "/etc/systemd/system/other.service", "[Service]\nExecStart=/usr/bin/droplan run\n")
    found = planned(tmp_path)
    assert (KEY, {"tag": "web"}) == (token(found), config(found)["peers"])
    assert ["droplan.timer"] == [step.unit for step in found.steps if isinstance(step, StopTimer)]
    assert ["droplan.timer", "droplan.service"] == [
        step.path.name for step in found.steps if isinstance(step, DisableFile)
    ]


def test_a_container_is_read_and_stopped(tmp_path: Path) -> None:
    """The variables of Docker's container are those of the old program; other images are not looked at."""
    for name, image, running in (
        ("a", "tam7t/droplan", True),
        ("b", "nginx", True),
        ("c", "tam7t/droplan:1", False),
    ):
        about = {
            "Name": f"/{name}",
            "State": {"Running": running},
            "Config": {"Image": image, "Env": [f"DO_KEY={KEY}", "DO_INTERVAL=300", "PATH=/bin"]},
        }
        put(tmp_path, f"/var/lib/docker/containers/{name}/config.v2.json", json.dumps(about))
        policy = {"RestartPolicy": {"Name": "always" if running else "no"}}
        put(tmp_path, f"/var/lib/docker/containers/{name}/hostconfig.json", json.dumps(policy))
    put(tmp_path, "/var/lib/docker/containers/d/config.v2.json", "{broken")
    found = planned(tmp_path)
    assert (KEY, "300s") == (token(found), tomllib.loads(_text(found))["source"]["interval"])
    assert ["a"] == [step.container.name for step in found.steps if isinstance(step, StopContainer)]


def _text(found: Migration) -> str:
    [step] = [step for step in found.steps if isinstance(step, WriteConfig)]
    return step.text


@pytest.mark.parametrize(
    ("present", "written"),
    [
        ("", True),
        ("# only comments\n", True),
        ('[source]\ntoken_file = "/etc/droplan/token"\n', True),
        ('[source]\ntoken_file = "/etc/droplan/token"\n[peers]\ntag = "web"\n', False),
        ('[source]\ntoken_file = "/elsewhere"\n', False),
        ('mode = "audit"\n', False),
        ("[broken\n", False),
        ('[[allow]]\nfrom = "any"\n', False),
    ],
)
def test_a_configuration_that_says_something_is_not_overwritten(
    tmp_path: Path, present: str, written: bool
) -> None:
    """Only a file that says nothing else than the new one is replaced; else the difference is shown."""
    tutorial(tmp_path, more="DO_TAG=web ")
    put(tmp_path, "/etc/droplan/droplan.toml", present)
    found = looked(tmp_path)
    steps = [step for step in migration(found, {}, "").steps if isinstance(step, WriteConfig)]
    assert [True] * written == [step.replaces for step in steps]
    same = "tag" in present
    assert same == (difference(found) == "")


def test_a_token_that_is_there_stays(tmp_path: Path) -> None:
    """Another token in its file is left alone, and said; the same one is not written again."""
    tutorial(tmp_path)
    path = put(tmp_path, "/etc/droplan/token", f"{KEY}\n", 0o600)
    assert not [step for step in planned(tmp_path).steps if isinstance(step, WriteToken)]
    assert not [text for text in planned(tmp_path).cautions if "is not the token" in text]
    path.write_text("another\n")
    assert not [step for step in planned(tmp_path).steps if isinstance(step, WriteToken)]
    assert [text for text in planned(tmp_path).cautions if "is not the token" in text]


def test_no_secret_is_in_what_is_said(tmp_path: Path) -> None:
    """Steps, cautions, sources, the difference and every repr are without the token."""
    tutorial(tmp_path)
    put(tmp_path, "/etc/crontab", CRON.format(key=KEY, more=""))
    put(tmp_path, "/etc/droplan/droplan.toml", 'mode = "audit"\n')
    found = looked(tmp_path, {"DO_KEY": KEY})
    plan = migration(found, {"iptables-nft": OLD}, "nftables")
    said = "\n".join((*map(str, plan.steps), *plan.cautions, *plan.sources, difference(found)))
    assert KEY not in said + repr(plan) + repr(found)


def test_leftovers_alone_are_migrated(tmp_path: Path) -> None:
    """Chains without any script: new rules, and the chains go; the token of the environment serves."""
    found = migration(looked(tmp_path, {"DO_KEY": KEY}), {"iptables-legacy": OLD}, "nftables")
    assert [WriteToken, WriteConfig, Commit, RemoveChains] == [type(step) for step in found.steps]
    assert any(
        "no token" in text for text in planned(tmp_path, {"iptables-legacy": OLD}, "nftables").cautions
    )


def test_what_the_chains_guard_stays_guarded(tmp_path: Path) -> None:
    """Chains of PUBLIC=true, in the kernel or a file of rules, are migrated as that, whatever cron says."""
    both = dump(*PRIVATE, *PUBLIC, *members(), chains=("droplan-peers", "droplan-peers-public"))
    left = chains.leftovers(both)
    assert {"eth0", "eth1"} == left.guarded
    tutorial(tmp_path)
    found = planned(tmp_path, {"iptables-nft": left}, "nftables")
    assert {"managed": True, "allow_peers": True} == config(found)["public"]
    assert any("guard the public interface" in text for text in found.cautions)
    assert "public" not in config(planned(tmp_path, {"iptables-nft": OLD}, "nftables"))
    put(tmp_path, "/etc/iptables/rules.v4", both)
    assert "public" in config(planned(tmp_path))


def test_a_machine_without_the_old_program_has_nothing_to_do(tmp_path: Path) -> None:
    """No steps where nothing of the old program is, whatever else there is."""
    put(tmp_path, "/etc/cron.d/droplan", "*/5 * * * * root droplan once\n")
    put(tmp_path, "/etc/cron.d/droplan.disabled~", CRON.format(key=KEY, more=""))
    put(tmp_path, "/etc/iptables/rules.v4", dump(chains=()))
    assert not migration(looked(tmp_path, {"DO_KEY": KEY}), {"iptables-nft": chains.Leftovers()}, "nftables")


def test_what_only_a_shell_could_know_is_said(tmp_path: Path) -> None:
    """A key from a command is not guessed; the place is named, and so is what to do."""
    put(tmp_path, "/etc/cron.d/droplan", "* * * * * root DO_KEY=$(vault read x) /opt/droplan/droplan\n")
    found = planned(tmp_path)
    assert not [step for step in found.steps if isinstance(step, WriteToken)]
    assert any("/etc/cron.d/droplan takes DO_KEY from a command" in text for text in found.cautions)


def test_places_that_disagree_are_said(tmp_path: Path) -> None:
    """Two tags: the first place counts, and both are named."""
    tutorial(tmp_path, more="DO_TAG=one ")
    put(tmp_path, "/etc/crontab", CRON.format(key=KEY, more="DO_TAG=two "))
    found = planned(tmp_path)
    assert {"tag": "one"} == config(found)["peers"]
    assert any("DO_TAG" in text and "/etc/crontab" in text for text in found.cautions)


def test_firewalld_is_warned_about_and_never_touched(tmp_path: Path) -> None:
    """An enabled firewalld is a caution; no step has to do with it."""
    tutorial(tmp_path)
    before = planned(tmp_path)
    link = tmp_path / "etc/systemd/system/dbus-org.fedoraproject.FirewallD1.service"
    link.parent.mkdir(parents=True)
    link.symlink_to("/usr/lib/systemd/system/firewalld.service")
    found = planned(tmp_path)
    assert [str(step) for step in before.steps] == [str(step) for step in found.steps]
    assert any("firewalld is enabled" in text for text in found.cautions)
