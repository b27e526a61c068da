"""The backend, as the command line shows it."""

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import until
from tests.kernel import absent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Droplan
    from tests.daemon.machine import Machine


@pytest.mark.parametrize(
    ("ipset", "sign"), [("true", "--match-set dp-private-peers-4 src"), ("false", "-s 10.10.0.2/32")]
)
def test_show_prints_what_iptables_would_hold(
    droplan: "Droplan", fleet_file: "Path", tmp_path: "Path", ipset: str, sign: str
) -> None:
    """Offline and for any Droplet: three parts, each for its own program."""
    config = tmp_path / "droplan.toml"
    config.write_text(f"[firewall]\nbackend = 'iptables'\nipset = {ipset}\n")
    words = ("--config", str(config), "--fleet", str(fleet_file), "--as", "web-1", "--format", "iptables")
    done = droplan("show", *words)
    assert (0, "") == (done.returncode, done.stderr)
    assert ["#: ipset", "#: iptables", "#: ip6tables"] == [
        row for row in done.stdout.splitlines() if row.startswith("#: ")
    ]
    assert sign in done.stdout


@pytest.mark.kernel
def test_once_moves_over_and_flush_removes_all(machine: "Machine") -> None:
    """A change of the backend in the configuration takes one cycle; plan says what holds the rules."""
    machine.droplan("once")
    assert "inet droplan" in machine.namespace.run("nft", "list", "tables")
    machine.write('[firewall]\nbackend = "iptables"')
    planned = machine.droplan("plan").stdout
    assert "rules by iptables, as configured\nnftables holds droplan's rules now; they go when" in planned
    assert planned.startswith("nobody gains or loses anything\n")
    done = machine.droplan("once", "--json")
    assert "iptables, as configured" == json.loads(done.stdout)["backend"]
    assert "inet droplan" not in machine.namespace.run("nft", "list", "tables")
    assert "-A INPUT -i eth1" in machine.namespace.run("iptables-save")
    assert "nothing to change" in machine.droplan("plan").stdout
    daemon = machine.start()
    daemon.ready()
    assert "iptables, as configured" in machine.droplan("status").stdout
    machine.write('[firewall]\nbackend = "nftables"')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.ready(2)
    until(lambda: "droplan" not in machine.namespace.run("iptables-save"), what="nothing in iptables")
    assert "inet droplan" in machine.namespace.run("nft", "list", "tables")
    assert 0 == daemon.end(signal.SIGTERM)
    machine.write('[firewall]\nbackend = "iptables"')
    machine.droplan("once")
    removed = machine.droplan("flush").stdout
    assert "removed: droplan's chains in iptables, and its ip sets" in removed
    assert "droplan" not in machine.namespace.run("iptables-save")


@pytest.mark.kernel
@pytest.mark.parametrize(("now", "then"), [("true", "false"), ("false", "true")])
def test_ip_sets_come_and_go_without_anybody(machine: "Machine", now: str, then: str) -> None:
    """`plan` says that nobody gains or loses anything, and what holds the members until then."""
    machine.write(f'[firewall]\nbackend = "iptables"\nipset = {now}')
    assert 0 == machine.droplan("once").returncode
    machine.write(f'[firewall]\nbackend = "iptables"\nipset = {then}')
    done = machine.droplan("plan", "--exit-code")
    form = "with" if now == "true" else "without"
    assert (3, "") == (done.returncode, done.stderr)
    assert f"iptables {form} ip sets holds droplan's rules now; they go when" in done.stdout
    assert done.stdout.startswith("nobody gains or loses anything\n")


@pytest.mark.kernel
def test_a_family_without_programs_is_said_once(machine: "Machine", tmp_path: "Path") -> None:
    """`once`, `plan`, status and the journal caution of it; a second process has nothing to write."""
    place = tmp_path / "programs"
    place.mkdir()
    machine.namespace.call(absent.programs, place, "ip6tables")
    machine.write('[firewall]\nbackend = "iptables"')
    assert "committed and read back" in machine.droplan("once").stdout
    before = machine.namespace.run("nft", "-j", "list", "ruleset")
    assert "nothing to change" in machine.droplan("once").stdout
    plan = machine.droplan("plan")
    assert "nothing to change" in plan.stdout
    assert 1 == (plan.stdout + plan.stderr).count("IPv6: there is no ip6tables-restore")
    daemon = machine.start()
    daemon.ready()
    cycles = len(daemon.told("STATUS"))
    until(lambda: len(daemon.told("STATUS")) > cycles + 3, what="more cycles")
    assert 1 == sum("there is no ip6tables-restore" in line for line in daemon.log), daemon.log
    assert "there is no ip6tables-restore" in machine.droplan("status").stdout
    assert 0 == daemon.end(signal.SIGTERM)
    assert before.count('"rule"') == machine.namespace.run("nft", "-j", "list", "ruleset").count('"rule"')


@pytest.mark.kernel
def test_without_the_program_ipset_the_next_boot_is_cautioned_of(
    machine: "Machine", tmp_path: "Path"
) -> None:
    """The rules are enforced all the same, for sets go over netlink; without sets there is nothing to say."""
    place = tmp_path / "programs"
    place.mkdir()
    machine.namespace.call(absent.programs, place, "ipset")
    machine.write('[firewall]\nbackend = "iptables"')
    done = machine.droplan("once")
    assert (0, 1) == (done.returncode, done.stderr.count("install the package ipset, or set firewall.ipset"))
    machine.write('[firewall]\nbackend = "iptables"\nipset = false')
    done = machine.droplan("once")
    assert (0, "") == (done.returncode, done.stderr)
