"""The daemon before a policy that locks everybody out: at its start, on a reload, after a restart."""

import signal
from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

pytestmark = [pytest.mark.kernel, pytest.mark.fault("H3")]

SHUT = "[public]\nmanaged = true\n[private]\nallow_peers = false\n"
SENTENCE = "nobody could reach 22/tcp of this Droplet (web-1) any more, so nothing is changed"


def test_the_first_enforcement_of_all_is_refused(machine: "Machine") -> None:
    """The kernel stays empty and the daemon is not ready, but says why; the corrected file is enforced."""
    machine.write(SHUT)
    running = machine.start()
    running.says(SENTENCE)
    machine.polled(2)
    assert (None, []) == (machine.observe().ruleset, running.told("READY"))
    assert any("reason=lock_out" in line for line in running.log)
    machine.write()
    running.process.send_signal(signal.SIGHUP)
    running.ready()
    assert machine.addresses(*PEERS) == machine.peers


def test_a_change_is_refused_and_a_restart_is_no_way_around(machine: "Machine") -> None:
    """On a reload, and by a daemon that starts anew with it: the old rules stand. Who insists is believed."""
    running = machine.start()
    running.ready()
    machine.write(SHUT)
    done = machine.droplan("reload")
    assert (1, True) == (done.returncode, SENTENCE in done.stderr), done.stderr
    running.end(signal.SIGTERM)
    generation = machine.generation
    anew = machine.start(log="second")
    anew.says(SENTENCE)
    machine.polled(2)
    assert (generation, machine.addresses(*PEERS)) == (machine.generation, machine.peers)
    assert 0 == machine.droplan("once", "--yes-lock-me-out").returncode
    until(lambda: not machine.peers, what="nobody is let in")
    anew.ready()
