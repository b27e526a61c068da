"""Saved rules as a person and a daemon meet them: `droplan save`, and after each change."""

import json
from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import PEERS, Machine, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

RULE = "-A INPUT -s 192.0.2.7/32 -j ACCEPT\n"


@pytest.fixture
def machine(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Machine]":
    """web-1 of the lab, with a rule of its operator's."""
    with Machine(namespace, tmp_path) as made:
        try:
            operators_rule(made, RULE)
        except FileNotFoundError:
            pytest.skip("iptables is not installed")
        yield made


def operators_rule(machine: Machine, rule: str) -> None:
    machine.namespace.run("iptables-restore", "--noflush", text=f"*filter\n{rule}COMMIT\n")


def kept_below(machine: Machine, folder: "Path", *, mode: str = "always") -> str:
    """The lines of [persist] that keep everything in a folder of the test's."""
    files = {"rules_v4": "rules.v4", "rules_v6": "rules.v6", "ipsets": "ipsets"}
    return f'[persist]\niptables_save = "{mode}"\n' + "".join(
        f'{key} = "{folder / name}"\n' for key, name in files.items()
    )


def test_save_saves_and_says_so(machine: Machine, tmp_path: "Path") -> None:
    """`save` on request: a line for each file, the operator's rule in it; the second time it is unchanged."""
    machine.write(kept_below(machine, tmp_path / "saved"))
    done = machine.droplan("save")
    assert 0 == done.returncode, done.stderr
    assert f"{tmp_path / 'saved' / 'rules.v4'}: saved\n" in done.stdout
    assert RULE in (tmp_path / "saved" / "rules.v4").read_text()
    assert f"{tmp_path / 'saved' / 'rules.v4'}: unchanged\n" in machine.droplan("save").stdout


def test_save_takes_the_rules_from_where_they_are(namespace: "Namespace", tmp_path: "Path") -> None:
    """Rules in one variant of iptables are what is saved, whichever of them is called iptables here."""
    with Machine(namespace, tmp_path) as made:
        made.write(kept_below(made, tmp_path / "saved"))
        for variant in ("nft", "legacy"):
            program = f"iptables-{variant}-restore"
            try:
                namespace.run(program, "--noflush", text=f"*filter\n{RULE}COMMIT\n")
            except FileNotFoundError:
                pytest.skip(f"{program} is not installed")
            assert 0 == made.droplan("save").returncode
            assert RULE in (tmp_path / "saved" / "rules.v4").read_text(), variant
            namespace.run(program, text="*filter\nCOMMIT\n")


def test_a_dry_run_of_save_writes_nothing(machine: Machine, tmp_path: "Path") -> None:
    """`--dry-run` says what would be saved, and makes no file."""
    machine.write(kept_below(machine, tmp_path / "saved"))
    assert "would be saved" in machine.droplan("save", "--dry-run").stdout
    assert not (tmp_path / "saved").exists()


def test_save_for_programs(machine: Machine, tmp_path: "Path") -> None:
    """`--json`: what became of each file; what failed makes the exit code 1, and names the reason."""
    machine.write(kept_below(machine, tmp_path / "saved"))
    (tmp_path / "saved" / "rules.v4").mkdir(parents=True)
    done = machine.droplan("save", "--json")
    told = json.loads(done.stdout)
    by_name = {file["path"].rpartition("/")[2]: file for file in told["files"]}
    assert (1, False) == (done.returncode, told["ok"])
    assert ("failed", "saved") == (by_name["rules.v4"]["result"], by_name["rules.v6"]["result"])
    assert "not a regular file" in by_name["rules.v4"]["note"]


def test_the_daemon_saves_after_its_changes(machine: Machine, tmp_path: "Path") -> None:
    """With "always" the host's rules are on disk when the daemon's first change is done."""
    machine.write(kept_below(machine, tmp_path / "saved"))
    machine.start().ready()
    path = tmp_path / "saved" / "rules.v4"
    until(lambda: path.exists() and RULE in path.read_text(), 30, "the rules on disk")


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_with_nftables_nothing_is_saved_unasked(machine: Machine, tmp_path: "Path", mode: str) -> None:
    """With the backend nftables, "auto" saves nothing, and "off" never does."""
    firewall = '[firewall]\nbackend = "nftables"\n'
    machine.write(kept_below(machine, tmp_path / "saved", mode=mode) + firewall)
    assert 0 == machine.droplan("once").returncode
    assert not (tmp_path / "saved").exists()


def test_a_place_that_cannot_be_written_breaks_nothing(machine: Machine, tmp_path: "Path") -> None:
    """A folder that is none: it is said, the peers are in all the same, and later changes are enforced."""
    (tmp_path / "saved").write_text("not a folder")
    machine.write(kept_below(machine, tmp_path / "saved"))
    running = machine.start()
    running.ready()
    assert machine.addresses(*PEERS) == machine.peers
    until(lambda: any("rules.v4" in line for line in running.log), 30, "the file's name in the log")
    added = machine.world.add_droplet("late-1", vpc=machine.vpc.id)
    until(lambda: str(added.address("private")) in machine.peers, 30, "the new peer")
    (tmp_path / "saved").unlink()
    until((tmp_path / "saved" / "rules.v4").exists, 30, "the rules on disk")


def test_with_iptables_a_new_peer_is_in_the_saved_rules(machine: Machine, tmp_path: "Path") -> None:
    """With the backend iptables "auto" saves after each change, sets included, beside the operator's rule."""
    machine.write(kept_below(machine, tmp_path / "saved", mode="auto") + '[firewall]\nbackend = "iptables"\n')
    machine.start().ready()
    rules, sets = tmp_path / "saved" / "rules.v4", tmp_path / "saved" / "ipsets"
    until(lambda: rules.exists() and "-j droplan-peers" in rules.read_text(), 30, "the rules on disk")
    assert RULE in rules.read_text()
    added = str(machine.world.add_droplet("late-1", vpc=machine.vpc.id).address("private"))
    until(lambda: f" {added}\n" in sets.read_text(), 30, "the new peer on disk")


def _without_ours(folder: "Path") -> bool:
    """The operator's rule is saved, and nothing of droplan's."""
    texts = [path.read_text() for path in sorted(folder.glob("*")) if "droplan-bak" not in path.name]
    assert any(RULE in text for text in texts)
    return not any("droplan" in text or "dp-" in text for text in texts)


@pytest.mark.parametrize("ipset", ["true", "false"])
def test_flush_leaves_nothing_that_comes_back(machine: Machine, tmp_path: "Path", ipset: str) -> None:
    """What was saved with droplan's chains is without them after `flush`: no boot brings them back."""
    saved = tmp_path / "saved"
    firewall = f'[firewall]\nbackend = "iptables"\nipset = {ipset}\n'
    machine.write(kept_below(machine, saved, mode="auto") + firewall)
    assert 0 == machine.droplan("once").returncode
    assert not _without_ours(saved)
    done = machine.droplan("flush")
    assert 0 == done.returncode, done.stderr
    assert f"removed: droplan's rules in {saved / 'rules.v4'}, which is restored at boot\n" in done.stdout
    assert _without_ours(saved)
    for family in ("iptables", "ip6tables"):
        text = (saved / f"rules.v{4 if family == 'iptables' else 6}").read_text()
        machine.namespace.run(f"{family}-restore", text=text)
    assert "saved" not in machine.droplan("flush").stdout


def test_moving_to_nftables_leaves_nothing_that_comes_back(machine: Machine, tmp_path: "Path") -> None:
    """Saved chains of the backend before would shut out new peers at each boot: they go with the kernel's."""
    saved = tmp_path / "saved"
    kept = kept_below(machine, saved, mode="auto")
    machine.write(kept + '[firewall]\nbackend = "iptables"\n')
    assert 0 == machine.droplan("once").returncode
    assert not _without_ours(saved)
    machine.write(kept + '[firewall]\nbackend = "nftables"\n')
    done = machine.droplan("once")
    assert (0, "") == (done.returncode, done.stderr)
    assert _without_ours(saved)
