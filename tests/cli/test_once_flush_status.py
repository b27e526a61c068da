"""once, flush, check and status on a Droplet."""

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.faults import Fault, Status
from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel


def test_once_does_it_and_once_more_does_nothing(machine: "Machine") -> None:
    """The first run commits and names who gets in, the second writes nothing."""
    first = machine.droplan("once")
    assert (0, "") == (first.returncode, first.stderr)
    assert first.stdout.endswith(
        "committed and read back: 3 addresses in, 15 changes to the table and its rules"
        " (--verbose lists them); enforcing 3 peers on eth1\n"
    )
    generation = machine.generation
    assert machine.addresses(*PEERS) == machine.peers
    second = machine.droplan("once")
    assert (0, "nothing to change; enforcing 3 peers on eth1\n") == (second.returncode, second.stdout)
    assert generation == machine.generation


def test_plan_says_what_once_does(machine: "Machine") -> None:
    """What plan printed is what once does then; plan itself changes nothing."""
    planned = machine.droplan("plan", "--exit-code")
    assert (3, None) == (planned.returncode, machine.observe().ruleset)
    machine.droplan("once")
    again = machine.droplan("plan", "--exit-code")
    assert (0, "nothing to change: 3 peers on eth1") == (again.returncode, again.stdout.splitlines()[-1])
    gone = machine.droplet("web-2")
    machine.world.destroy_droplet(gone.id)
    made = machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    generation = machine.generation
    left, come = gone.address("private"), made.address("private")
    assert [
        f"- {left} may no longer reach anything on eth1",
        "+ web-3 may reach everything on eth1",
        "in the kernel:",
        f"  -  (no Droplet)  {left}  private-peers-4",
        f"  +  web-3         {come}  private-peers-4",
        "to do: 1 address in, 1 out",
    ] == [line for line in machine.droplan("plan").stdout.splitlines() if not line.startswith("log in by")]
    assert generation == machine.generation
    done = json.loads(machine.droplan("once", "--json").stdout)
    assert ["RemoveElements", "AddElements"] == [change["kind"] for change in done["changes"]]
    assert {"ok", "droplet", "peers", "backend", "changes", "warnings", "doubts"} == done.keys()
    assert machine.addresses("tunnel-1", "mysql-1", "web-3") == machine.peers


def test_once_without_folders_warns_and_works(machine: "Machine") -> None:
    """State that cannot be kept is told; the rules are in force all the same."""
    (machine.folder / "file").touch()
    done = machine.droplan("once", environ={"STATE_DIRECTORY": str(machine.folder / "file" / "x")})
    assert (0, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "the rules are in force, and the next boot will restore older ones or none" in done.stderr
    assert machine.addresses(*PEERS) == machine.peers


def test_flush_removes_ours_and_nothing_else(machine: "Machine") -> None:
    """Other tables, even of a like name, stand as they did, element by element."""
    foreign = (
        "add table ip droplan\n"
        "add chain ip droplan c\n"
        "add rule ip droplan c counter drop\n"
        "add table inet other\n"
        "add set inet other s { type ipv4_addr; }\n"
        "add element inet other s { 192.0.2.1 }\n"
        "add table inet droplan-x\n"
    )
    machine.namespace.run("nft", "-f", "-", text=foreign)
    before = machine.namespace.run("nft", "list", "ruleset")
    machine.droplan("once")
    done = machine.droplan("flush")
    assert (0, "removed: table inet droplan") == (done.returncode, done.stdout.splitlines()[0])
    assert before == machine.namespace.run("nft", "list", "ruleset")
    again = machine.droplan("flush", "--json")
    assert {"ok": True, "removed": False, "retired": False, "cleared": []} == json.loads(again.stdout)


def test_check_judges_the_file(machine: "Machine") -> None:
    """Good below who gets in, warnings with a hint, every mistake at once with line and column."""
    good = machine.droplan("check")
    said = (
        "log in by 22/tcp: from peers by private; from anybody by public (not managed)\n"
        f"{machine.config}: good; mode enforce, peers of scope vpc, managing private\n"
    )
    assert (0, said, "") == (good.returncode, good.stdout, good.stderr)
    told = json.loads(machine.droplan("check", "--json").stdout)
    assert {"ok", "warnings", "fleet_warnings", "management"} == told.keys()
    assert (True, [], [], False) == (
        told["ok"],
        told["warnings"],
        told["fleet_warnings"],
        told["management"]["closed"],
    )
    machine.write('mode = "audti"\n[private]\nalow_peers = 1\nmanaged = 3')
    bad = machine.droplan("check")
    assert (78, "") == (bad.returncode, bad.stdout)
    for where in (":1:8: ", ":3:1: ", ":4:11: "):
        assert f"{machine.config}{where}" in bad.stderr
    told = json.loads(machine.droplan("check", "--json").stdout)
    assert (False, 3) == (told["ok"], len(told["problems"]))
    assert {"file", "key", "line", "column", "message", "hint"} == told["problems"][0].keys()


# status.


def test_status_without_a_daemon(machine: "Machine") -> None:
    """Exit 1, and how to start one."""
    done = machine.droplan("status")
    assert (1, "") == (done.returncode, done.stdout)
    assert (
        "droplan: no daemon has told its status since boot; start it with: systemctl start droplan\n"
        == done.stderr
    )
    told = json.loads(machine.droplan("status", "--json").stdout)
    assert (False, "store") == (told["ok"], told["reason"])


def test_status_of_a_daemon_that_is_well(machine: "Machine") -> None:
    """Exit 0; who we are, how many peers, how old, what it costs: each on a line."""
    machine.start().ready()
    done = machine.droplan("status")
    assert (0, "") == (done.returncode, done.stderr)
    rows = dict(line.split(":", 1) for line in done.stdout.splitlines())
    expected = [
        "daemon",
        "droplet",
        "interfaces",
        "peers",
        "backend",
        "rules",
        "denied",
        "budget",
        "next poll",
    ]
    assert expected == list(rows)
    assert rows["backend"].strip().startswith("nftables, since ")
    assert f"web-1 (id {machine.own.id}, nyc3)" == rows["droplet"].strip()
    assert "private eth1, public eth0 (known by metadata)" == rows["interfaces"].strip()
    assert "3 of 5 Droplets, mode enforce" == rows["peers"].strip()
    assert rows["rules"].strip().startswith("as desired, read back ")
    assert [] == [line for line in done.stdout.splitlines() if len(line) > 100]


def test_status_as_json_has_the_documented_keys(machine: "Machine") -> None:
    """Each key of the document is named by the help."""
    machine.start().ready()
    told = json.loads(machine.droplan("status", "--json").stdout)
    documented = machine.droplan("status", "--help").stdout.partition("json:")[2].replace(",", " ").split()
    assert set(documented) == told.keys()
    assert (True, False, True) == (told["alive"], told["overdue"], told["ready"])


def test_status_of_a_daemon_in_trouble(machine: "Machine") -> None:
    """Exit 1, the rules that stand, and the trouble in one sentence."""
    running = machine.start()
    running.ready()
    machine.cloud.faults.add(Fault(Status(502)))
    running.logs("api.fetch.failed")
    done = machine.droplan("status")
    rows = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert (1, "The API at 127.0.0.1 answered 502: the trouble is on its side.") == (
        done.returncode,
        rows["trouble"].strip(),
    )
    assert "3 of 5 Droplets" in rows["peers"]


def test_status_of_a_refused_configuration(machine: "Machine") -> None:
    """It is shown until the file is right."""
    running = machine.start()
    running.ready()
    machine.config.write_text("x = 1\n")
    running.process.send_signal(signal.SIGHUP)
    running.logs("config.rejected")
    until(lambda: "unknown key `x`" in machine.droplan("status").stdout)


def test_status_of_a_dead_daemon(machine: "Machine") -> None:
    """Exit 1: it runs no more, and its rules stand."""
    running = machine.start()
    running.ready()
    running.end(signal.SIGKILL)
    done = machine.droplan("status")
    assert (1, True) == (done.returncode, "NOT running; the rules stand as it left them" in done.stdout)


def test_status_of_a_silent_daemon(machine: "Machine") -> None:
    """A process that lives but has told nothing since long after its poll was due is not well."""
    _publish(machine, pid=os.getpid(), next_poll_at=time.time() - 600)
    done = machine.droplan("status")
    assert (1, True) == (done.returncode, "SILENT: a poll is overdue by 10 min" in done.stdout)
    assert True is json.loads(machine.droplan("status", "--json").stdout)["overdue"]


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"pid": 1, "world": {"x": 1}}', '{"next_poll_at": "x"}', "\x00" * 9]
)
def test_status_of_something_else(machine: "Machine", content: str) -> None:
    """A status file that is damaged, or of another version, is one sentence."""
    (machine.folder / "run").mkdir()
    (machine.folder / "run" / "status.json").write_text(content)
    done = machine.droplan("status")
    assert (1, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
    assert "systemctl restart droplan" in done.stderr


def _publish(machine: "Machine", **fields: object) -> None:
    running = machine.start()
    running.ready()
    told = machine.status
    running.end(signal.SIGKILL)
    (machine.folder / "run" / "status.json").write_text(json.dumps({**told, **fields}))
