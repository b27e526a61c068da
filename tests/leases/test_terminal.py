"""`droplan try` in a terminal: Enter keeps, Ctrl-C ends, a terminal that goes away decides nothing."""

import os
import pty
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.checkpoint import StateFiles
from tests.daemon.machine import PROGRAM, until
from tests.leases.street import OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel


class Terminal:
    """A terminal, and `droplan try` in it; `close` takes the terminal away."""

    def __init__(self, machine: "Machine") -> None:
        self._outer, inner = pty.openpty()
        self._open = True
        self.process = machine.namespace.call(
            subprocess.Popen,
            [*PROGRAM, "try", "--for", "10m", "--config", str(machine.config)],
            env=machine.environ,
            stdin=inner,
            stdout=inner,
            stderr=inner,
        )
        os.close(inner)
        self.text = ""

    def says(self, word: str) -> None:
        """Read until it has said this, or is over."""
        while word not in self.text:
            try:
                data = os.read(self._outer, 4096)
            except OSError:
                break
            self.text += data.decode()
        assert word in self.text, self.text

    def types(self, text: str) -> None:
        os.write(self._outer, text.encode())

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._outer)


@pytest.fixture
def terminal(machine: "Machine") -> "Iterator[Terminal]":
    """Beside a daemon: without one, what is kept takes the place of the service's own file in /etc."""
    machine.start().ready()
    machine.write(OPEN)
    made = Terminal(machine)
    yield made
    with suppress(ProcessLookupError):
        made.process.kill()
    made.process.wait(10)
    made.close()


def _leases(machine: "Machine") -> tuple[frozenset[str] | None, dict[str, float]]:
    seen = machine.observe()
    return (seen.ruleset.leases if seen.ruleset else None), dict(seen.leases)


def test_enter_keeps_it(machine: "Machine", terminal: Terminal) -> None:
    """It counts down, and after Enter the new rules hold without a lease; exit code 0."""
    terminal.says("s left; Enter keeps it")
    terminal.types("\n")
    terminal.says("no trial ends it any more")
    assert 0 == terminal.process.wait(30)
    assert (frozenset(), {}) == _leases(machine)
    files, found = StateFiles(machine.folder / "state", machine.folder / "run"), machine.observe().ruleset
    assert found
    until(lambda: found == files.load().ruleset, what="what boot would restore")


def test_ctrl_c_ends_it(machine: "Machine", terminal: Terminal) -> None:
    """The rules of before hold at once, exit code 1, and nothing is left of the trial."""
    terminal.says("s left; Enter keeps it")
    terminal.process.send_signal(signal.SIGINT)
    terminal.says("ended: the rules of before hold")
    assert 1 == terminal.process.wait(30)
    assert (frozenset(), {}) == _leases(machine)
    assert 1 == machine.droplan("once").returncode


def test_somebody_else_confirms_it(machine: "Machine", terminal: Terminal) -> None:
    """`droplan confirm` in another terminal is seen in this one."""
    terminal.says("s left; Enter keeps it")
    assert 0 == machine.droplan("confirm").returncode
    terminal.says("kept: somebody confirmed it")
    assert 0 == terminal.process.wait(30)


def test_ctrl_d_decides_nothing(machine: "Machine", terminal: Terminal) -> None:
    """It is told until when the trial goes on, and what keeps it."""
    terminal.says("s left; Enter keeps it")
    terminal.types("\x04")
    terminal.says("still on trial until")
    assert 1 == terminal.process.wait(30)
    assert ["trial"] == list(machine.observe().leases)


def test_a_terminal_that_goes_away_decides_nothing(machine: "Machine", terminal: Terminal) -> None:
    """The command ends with its connection; the lease goes on, and can be confirmed from another one."""
    terminal.says("s left; Enter keeps it")
    terminal.close()
    until(lambda: terminal.process.poll() is not None)
    assert ["trial"] == list(machine.observe().leases)
    assert 0 == machine.droplan("confirm").returncode
    assert (frozenset(), {}) == _leases(machine)
