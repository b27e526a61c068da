"""The end of a lease, when nobody is there: as late as it may be, and whoever was killed when."""

import os
import pty
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import PROGRAM, until
from tests.leases import holder
from tests.leases.street import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.daemon.machine import Machine
    from tests.leases.street import Street

pytestmark = pytest.mark.kernel

FULL = bool(os.environ.get("DROPLAN_TEST_FULL"))
WHOLE, SMALL = (20, 80) if FULL else (1, 3)
"""How often: with `droplan try` in a terminal and a daemon beside it, and with the kernel's part alone."""

LATEST = 1.0
LASTS = 2.0


def _killed(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait(10)


def _end(machine: "Machine", lease: str) -> float:
    """When the lease that runs will be over (monotonic)."""
    found: list[float] = []

    def seen() -> bool:
        found.extend(machine.observe().leases.values())
        return bool(found)

    until(seen, 60, lease)
    return time.monotonic() + found[0]


def _lateness(machine: "Machine", street: "Street", end: float) -> float:
    """Seconds after the end at which the stranger was let in last, once nobody is let in any more."""
    until(lambda: not machine.observe().leases)
    street.shut()
    return max(0.0, street.last - end)


def _told(figure: "Callable[[str], None]", what: str, found: list[float]) -> None:
    late = max(found)
    figure(f"lease, {what}: {len(found)} of {len(found)} over, at most {late * 1000:.0f} ms late (bar 1,000)")
    assert late <= LATEST


@pytest.mark.fault("H3", "H4")
@pytest.mark.timeout(1200)
def test_a_trial_ends_in_time_whoever_was_killed(
    machine: "Machine", street: "Street", figure: "Callable[[str], None]"
) -> None:
    """The command in its terminal and the daemon are SIGKILLed while it runs: the old verdicts are back."""
    plain, found = machine.config.read_text(), []
    for number in range(WHOLE):
        with ExitStack() as stack:
            machine.config.write_text(plain)
            running = machine.start(log=f"log-{number}")
            running.ready()
            street.shut()
            machine.write(f"{OPEN}# {number}\n")
            begun = street.now
            terminal, end_of_it = pty.openpty()
            stack.callback(os.close, terminal)
            stack.callback(os.close, end_of_it)
            tried = machine.namespace.call(
                subprocess.Popen,
                [*PROGRAM, "try", "--for", "4s", "--config", str(machine.config)],
                env=machine.environ,
                stdin=end_of_it,
                stdout=end_of_it,
                stderr=end_of_it,
            )
            stack.callback(_killed, tried)
            end = _end(machine, "trial")
            _killed(tried)
            running.close()
            found.append(_lateness(machine, street, end))
            assert street.opened(begun)
    _told(figure, "command and daemon killed", found)


@pytest.mark.fault("H4")
@pytest.mark.timeout(1200)
def test_the_kernel_ends_a_lease_in_time(
    machine: "Machine", street: "Street", figure: "Callable[[str], None]"
) -> None:
    """Whoever set it was SIGKILLed at once: each lease is over within a second of its time."""
    assert 0 == machine.droplan("once").returncode
    found = []
    for _ in range(SMALL):
        begun = street.now
        process = machine.namespace.call(
            subprocess.Popen,
            [sys.executable, holder.__file__, str(LASTS)],
            env=machine.environ,
            stdout=subprocess.PIPE,
        )
        with process, ExitStack() as stack:
            stack.callback(_killed, process)
            assert process.stdout
            end = float(process.stdout.readline()) + LASTS
        found.append(_lateness(machine, street, end))
        assert street.opened(begun)
    _told(figure, "whoever set it killed", found)
