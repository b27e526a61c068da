"""`nudge`: a command that changed something has the daemon look at once."""

import signal
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.cli.nudge import nudge
from tests.daemon.machine import until

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel


def test_a_nudge_wakes_the_daemon_that_runs_and_nobody_else(machine: "Machine") -> None:
    """It polls long before it would have; without a daemon nothing happens, and that is said."""
    files = StateFiles(machine.folder / "state", machine.folder / "run")
    assert nudge(files) is False
    machine.write(interval="1h")
    running = machine.start()
    running.ready()
    before = len(machine.api.paths)
    assert nudge(files) is True
    until(lambda: len(machine.api.paths) > before, what="a poll")
    assert 0 == running.end(signal.SIGTERM)
    assert nudge(files) is False
