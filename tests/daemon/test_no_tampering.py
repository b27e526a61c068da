"""What droplan's own commands change beside the daemon is no tampering."""

import json
from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import until

if TYPE_CHECKING:
    from tests.daemon.machine import Machine, Running

pytestmark = pytest.mark.kernel

WAYS_IN = "[management]\nrequired = false\n"


@pytest.fixture
def running(machine: "Machine") -> "Running":
    machine.write(WAYS_IN, interval="1h")
    made = machine.start()
    made.ready()
    return made


def _nothing_said(machine: "Machine", running: "Running") -> bool:
    """Whether a change by a stranger, made last, is the only one that is told."""
    machine.namespace.run("nft", "add", "rule", "inet", "droplan", "inbound", "accept")
    running.logs("tamper.repaired")
    return ["by=nft"] == [
        word for line in running.lines("tamper.detected") for word in line.split() if "by=" in word
    ]


def _status(machine: "Machine", key: str) -> object:
    return json.loads(machine.droplan("status", "--json").stdout)[key]


def test_a_trial_is_no_tampering(machine: "Machine", running: "Running") -> None:
    """What `try` commits stays for as long as it was given, and nobody says a word."""
    trial = machine.folder / "trial.toml"
    trial.write_text(machine.config.read_text().replace("[source]", '[peers]\ntag = "web"\n[source]', 1))
    config, machine.config = machine.config, trial
    done = machine.droplan("try", "--for", "10m")
    machine.config = config
    assert 0 == done.returncode, done.stderr
    until(lambda: _status(machine, "lease"), what="the daemon knows of the trial")
    assert _nothing_said(machine, running)
    assert _status(machine, "lease")


def test_a_pause_is_no_tampering(machine: "Machine", running: "Running") -> None:
    """The daemon leaves what `pause` does as it is."""
    done = machine.droplan("pause", "--for", "10m")
    assert 0 == done.returncode, done.stderr
    until(lambda: _status(machine, "lease"), what="the daemon knows of the pause")
    assert _nothing_said(machine, running)
    assert _status(machine, "lease")


def test_a_panic_is_no_tampering(machine: "Machine", running: "Running") -> None:
    """And what a stranger does to it is put right to what the panic wants."""
    before = machine.observe().ruleset
    done = machine.droplan("panic")
    assert 0 == done.returncode, done.stderr
    until(lambda: _status(machine, "panic"), what="the daemon knows of the panic")
    closed = machine.observe().ruleset
    assert before != closed
    assert _nothing_said(machine, running)
    assert closed == machine.observe().ruleset


def test_once_beside_the_daemon_is_no_tampering(machine: "Machine", running: "Running") -> None:
    """Both want the same."""
    assert 0 == machine.droplan("once").returncode
    assert _nothing_said(machine, running)
