"""`droplan try` and `confirm` on a real kernel, with a real daemon beside them or without."""

import json
import signal
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.lab.delivery import BlackHole
from droplan_daemon.lab.faults import Deliver, Fault, Status
from droplan_daemon.model.stance import Stance
from droplan_daemon.policy.lease import LONGEST
from tests.daemon.machine import PEERS, PROGRAM, until
from tests.leases.street import OPEN

if TYPE_CHECKING:
    from pathlib import Path

    from droplan_daemon.model.checkpoint import Checkpoint
    from tests.daemon.machine import Machine, Running
    from tests.leases.street import Street

pytestmark = pytest.mark.kernel

LONG = "10m"
"""Longer than any test runs."""


def _files(machine: "Machine") -> StateFiles:
    return StateFiles(machine.folder / "state", machine.folder / "run")


def _kept(machine: "Machine") -> "Checkpoint":
    return _files(machine).load()


def _other(machine: "Machine", more: str = OPEN) -> "Path":
    """A second configuration beside the service's."""
    own = machine.config.read_text()
    machine.write(more)
    path = machine.folder / "new.toml"
    path.write_text(machine.config.read_text())
    machine.config.write_text(own)
    return path


def _try(machine: "Machine", *words: str) -> dict[str, object]:
    done = machine.droplan("try", "--json", *words)
    assert 0 == done.returncode, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_trial_holds_until_the_kernel_ends_it(machine: "Machine", street: "Street") -> None:
    """Tried, the new rules judge; when the time is over the old ones do, and no process of ours is there."""
    assert 0 == machine.droplan("once").returncode
    before = machine.observe().ruleset
    street.shut()
    machine.write(OPEN)
    begun = street.now
    done = machine.droplan("try", "--for", "4s")
    assert (0, "") == (done.returncode, done.stderr)
    assert "on trial until" in done.stdout
    street.open(begun)
    until(lambda: not machine.observe().leases)
    street.shut()
    kept = _kept(machine)
    assert before == kept.ruleset  # what boot would restore was never anything else


def test_a_trial_takes_back_too(machine: "Machine", street: "Street") -> None:
    """What is closed for a trial is open again when it is over: the drop is what ends."""
    machine.write(OPEN)
    assert 0 == machine.droplan("once").returncode
    street.open()
    machine.write()
    _try(machine, "--for", LONG)
    street.shut()
    _try(machine, "--for", "1s")
    street.open()
    assert {} == machine.observe().leases


def test_confirmed_it_stays(machine: "Machine", street: "Street") -> None:
    """Without a daemon: the plain rules are committed, kept for boot, and no time ends them."""
    assert 0 == machine.droplan("once").returncode
    machine.write(OPEN)
    _try(machine, "--for", LONG)
    done = machine.droplan("confirm")
    assert (0, "") == (done.returncode, done.stderr)
    street.open()
    seen = machine.observe()
    assert ({}, frozenset()) == (seen.leases, seen.ruleset.leases if seen.ruleset else None)
    assert _kept(machine).ruleset == seen.ruleset
    assert "" == _files(machine).stance().tried
    assert 0 == machine.droplan("once").returncode


def test_too_late_is_an_error(machine: "Machine") -> None:
    """After the end nothing is kept, the old rules hold, and it says when it ended."""
    assert 0 == machine.droplan("once").returncode
    machine.write(OPEN)
    _try(machine, "--for", "1s")
    until(lambda: not machine.observe().leases)
    done = machine.droplan("confirm")
    assert 1 == done.returncode
    assert "it ended at" in done.stderr
    assert "the old rules hold" in done.stderr


def test_nothing_to_confirm(machine: "Machine") -> None:
    """Without a trial `confirm` says how to begin one."""
    done = machine.droplan("confirm")
    assert (1, True) == (done.returncode, "droplan try" in done.stderr)


@pytest.mark.fault("H3")
def test_what_was_not_confirmed_is_not_enforced(machine: "Machine") -> None:
    """Neither `once` nor a start of the daemon takes it; changed, it is a new configuration and is taken."""
    assert 0 == machine.droplan("once").returncode
    machine.write(OPEN)
    _try(machine, "--for", "1s")
    until(lambda: not machine.observe().leases)
    done = machine.droplan("once", "--json")
    assert (1, "unconfirmed") == (done.returncode, json.loads(done.stdout)["reason"])
    running = machine.start()
    running.says("was tried and not confirmed")
    assert [] == running.told("READY")
    assert machine.addresses(*PEERS) == machine.peers
    assert 0 == running.end(signal.SIGTERM)
    machine.write(OPEN + "# now it is meant\n")
    assert 0 == machine.droplan("once").returncode


def test_the_same_again_is_nothing_to_try(machine: "Machine") -> None:
    """What holds already is not put on trial, and so never ends."""
    assert 0 == machine.droplan("once").returncode
    assert 0 == _try(machine)["changes"]
    assert {} == machine.observe().leases
    assert Stance() == _files(machine).stance()
    assert 0 == machine.droplan("once").returncode


def test_what_holds_already_waits_for_no_confirmation(machine: "Machine") -> None:
    """Tried in vain, enforced by another file since: `plan` says that it is refused, `try` that it holds."""
    assert 0 == machine.droplan("once").returncode
    machine.write(OPEN)
    _try(machine, "--for", "1s")
    until(lambda: not machine.observe().leases)
    tried = machine.config.read_text()
    done = machine.droplan("plan")
    assert (1, True) == (done.returncode, "was tried and not confirmed" in done.stdout + done.stderr)
    machine.config.write_text(tried + "# the same in other words\n")
    assert 0 == machine.droplan("once").returncode
    machine.config.write_text(tried)
    assert 1 == machine.droplan("once").returncode
    assert 0 == _try(machine)["changes"]
    assert 0 == machine.droplan("once").returncode


def test_another_file_takes_the_configured_ones_place(machine: "Machine") -> None:
    """Confirmed, it is in place with the old one's rights, that one is beside it, and the daemon has it."""
    machine.config.chmod(0o640)
    running = machine.start()
    running.ready()
    old, new = machine.config.read_text(), _other(machine)
    done = machine.droplan("try", "--for", LONG, config=new)
    assert 0 == done.returncode, done.stderr
    done = machine.droplan("confirm")
    assert (0, "") == (done.returncode, done.stderr)
    assert new.read_text() == machine.config.read_text()
    assert old == (machine.folder / "droplan.toml.before-try").read_text()
    assert 0o640 == stat.S_IMODE(machine.config.stat().st_mode)
    until(lambda: not machine.observe().leases)
    assert frozenset() == _lease_names(machine)
    running.ready(times=2)


def _lease_names(machine: "Machine") -> frozenset[str] | None:
    found = machine.observe().ruleset
    return found.leases if found else None


def test_a_file_that_was_changed_meanwhile_is_not_kept(machine: "Machine") -> None:
    """What is confirmed is what was tried, byte by byte; the trial goes on to its end."""
    assert 0 == machine.droplan("once").returncode
    machine.write(OPEN)
    _try(machine, "--for", LONG)
    machine.write(OPEN + "\n")
    done = machine.droplan("confirm")
    assert 1 == done.returncode
    assert "was changed since it was tried" in done.stderr
    assert ["trial"] == list(machine.observe().leases)


def test_a_daemon_keeps_what_is_on_trial(machine: "Machine", street: "Street") -> None:
    """It repairs nothing of it, says that there is one, and the base follows the fleet."""
    running = machine.start()
    running.ready()
    new = _other(machine)
    assert 0 == machine.droplan("try", "--for", LONG, config=new).returncode
    street.open()
    running.says("on trial for")
    assert {"kind": "trial"}.items() <= _lease(machine).items()
    machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    until(lambda: machine.addresses(*PEERS, "web-3") == machine.peers)
    assert "trial" in machine.observe().leases
    street.open()
    assert not _repairs(running)


def _lease(machine: "Machine") -> dict[str, object]:
    found = machine.status.get("lease")
    return found if isinstance(found, dict) else {}


@pytest.mark.fault("H3")
def test_a_reload_of_what_is_on_trial_is_refused(machine: "Machine", street: "Street") -> None:
    """Edited in place and tried: neither a reload nor a crash makes it hold for good; confirmed, it does."""
    running = machine.start()
    running.ready()
    machine.write(OPEN)
    _try(machine, "--for", LONG)
    running.process.send_signal(signal.SIGHUP)
    running.says("was tried and not confirmed")
    machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    until(lambda: machine.addresses(*PEERS, "web-3") == machine.peers)  # the old one goes on
    street.open()
    running.process.kill()
    running.process.wait(10)
    again = machine.start(log="again")
    again.says("was tried and not confirmed")
    assert "trial" in machine.observe().leases
    assert 0 == machine.droplan("confirm").returncode
    again.ready()
    until(lambda: frozenset() == _lease_names(machine))
    street.open()


@pytest.mark.full
def test_the_end_is_noticed_while_the_api_is_away(machine: "Machine", street: "Street") -> None:
    """Nobody answers: the trial goes on all the same, ends all the same, and is cleaned up."""
    running = machine.start()
    running.ready()
    new = _other(machine)
    begun = street.now
    assert 0 == machine.droplan("try", "--for", "8s", config=new).returncode
    machine.cloud.faults.add(Fault(Status(503)))
    running.says("503")
    street.open(begun)
    running.logs("try.expired")
    until(lambda: frozenset() == _lease_names(machine))
    street.shut()
    assert not _repairs(running)


def _repairs(running: "Running") -> list[str]:
    return [line for line in running.log if "tamper" in line or "ruleset.repaired" in line]


@pytest.mark.full
def test_a_confirmation_bridges_the_time_until_the_reload(machine: "Machine", street: "Street") -> None:
    """While the daemon still asks who is there, the trial's own time runs out, and it holds all the same."""
    running = machine.start()
    running.ready()
    new = _other(machine)
    assert 0 == machine.droplan("try", "--for", "12s", config=new).returncode
    end = time.monotonic() + machine.observe().leases["trial"]
    machine.cloud.faults.add(Fault(Deliver(BlackHole())))
    process = machine.namespace.call(
        subprocess.Popen, [*PROGRAM, "confirm"], env=machine.environ, stdout=subprocess.DEVNULL
    )
    with process:
        try:
            until(lambda: not _files(machine).stance().tried)
            until(lambda: time.monotonic() > end)
            street.open()
            assert machine.observe().leases["trial"] > LONGEST / 2
        finally:
            process.kill()


def test_what_locks_everybody_out_is_not_tried(machine: "Machine") -> None:
    """Nothing changes and nothing is on trial, unless one insists."""
    assert 0 == machine.droplan("once").returncode
    machine.write("[private]\nallow_peers = false\n[public]\nmanaged = true\n")
    before = machine.generation
    done = machine.droplan("try", "--json")
    assert (1, "lock_out") == (done.returncode, json.loads(done.stdout)["reason"])
    assert (before, Stance()) == (machine.generation, _files(machine).stance())
    assert _try(machine, "--for", LONG, "--yes-lock-me-out")["until"]
    assert ["trial"] == list(machine.observe().leases)
