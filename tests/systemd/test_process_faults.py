"""What becomes of the daemon's process, and how soon systemd has another one ready: section G of the faults.

A bar in seconds is met by the best of a few tries: a busy machine is slow, a defect is slow every time.
"""

import time
from typing import TYPE_CHECKING

import pytest

from tests.systemd.container import until
from tests.systemd.server import FEW, spell
from tests.systemd.surroundings import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.systemd.server import Server
    from tests.systemd.surroundings import Record

CRASH_TO_READY = 3.0
HANG_TO_READY = 3.0
"""Seconds beyond the watchdog's."""

TRIES = 5
WATCHDOG = 4.0

# A debugger's way in, in the place where Python looks for one: at SIGUSR2 the loop is in a loop of its own.
_HOOK = """
import signal

def hang(*_):
    while True:
        pass

signal.signal(signal.SIGUSR2, hang)
"""


@pytest.fixture
def enforcing(server: "Server") -> "Server":
    server.enable()
    server.says("enforcing 3 peers")
    return server


@pytest.fixture
def hanging(server: "Server") -> "Server":
    """The same with a watchdog that is soon out of patience, and the hook."""
    server.box.shell("mkdir -p /opt/hook")
    server.box.write("/opt/hook/sitecustomize.py", _HOOK)
    lines = f"[Service]\nWatchdogSec={WATCHDOG:g}s\nEnvironment=PYTHONPATH=/opt/hook\n"
    server.drop_in("hook", lines)
    server.enable()
    server.says("enforcing 3 peers")
    return server


def ready_after(server: "Server", harm: "Callable[[int], object]") -> float:
    """Seconds from what was done to the process until another one is ready."""
    before = server.pid
    begin = time.monotonic()
    harm(before)
    until(lambda: server.pid not in {0, before}, 60, lambda: f"another process\n{server.log}")
    server.ready(60)
    return time.monotonic() - begin


def best(server: "Server", bar: float, harm: "Callable[[int], object]") -> float:
    """The least of a few tries: the first that meets the bar will do."""
    took = [ready_after(server, harm)]
    while min(took) > bar and len(took) < TRIES:
        server.says("enforcing 3 peers")
        took.append(ready_after(server, harm))
    assert min(took) <= bar, took
    return min(took)


def unharmed(record: "Record", begin: float) -> None:
    """From then until now the peer lost nothing and the stranger got nothing."""
    span = Span(begin, spell(record).end)
    for name in ("peer", "peer-udp", "stranger", "stranger-udp"):
        assert len(record.sent(name, span)) >= FEW, name
    assert ([], []) == (record.lost("peer", span), record.lost("peer-udp", span))
    assert ([], []) == (record.answered("stranger", span), record.answered("stranger-udp", span))


@pytest.mark.fault("G1")
def test_a_crash_is_over_soon(enforcing: "Server", figure: "Callable[[str], None]") -> None:
    """SIGKILL: another process is ready within 3 s, over the same rules; no peer notices."""
    rules, record = enforcing.rules(), enforcing.probe()
    begin = spell(record).begin
    kill = ("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "droplan")
    took = best(enforcing, CRASH_TO_READY, lambda _: enforcing.box.run(*kill))
    figure(f"crash to READY under systemd: {took:.1f} s")
    unharmed(record, begin)
    assert rules == enforcing.rules()


@pytest.mark.full
@pytest.mark.fault("G3")
@pytest.mark.parametrize("signal", ["STOP", "USR2"])
def test_a_hang_is_over_soon(hanging: "Server", signal: str, figure: "Callable[[str], None]") -> None:
    """A process that stands still, or a loop that goes round: the watchdog's time and 3 s; nobody notices."""
    rules, record = hanging.rules(), hanging.probe()
    begin = spell(record).begin
    bar = WATCHDOG + HANG_TO_READY
    took = best(hanging, bar, lambda pid: hanging.box.run("kill", f"-{signal}", str(pid)))
    figure(f"hang to READY under systemd, SIG{signal}, watchdog {WATCHDOG:g} s: {took:.1f} s")
    assert "result 'watchdog'" in hanging.log
    unharmed(record, begin)
    assert rules == hanging.rules()


@pytest.mark.full
@pytest.mark.fault("G7")
def test_too_little_memory_to_start(enforcing: "Server") -> None:
    """A process that cannot even start is tried again and again; the rules stand; with memory it is back."""
    rules, record = enforcing.rules(), enforcing.probe()
    begin = spell(record).begin
    enforcing.drop_in("starved", "[Service]\nLimitAS=40M\nRestartSec=200ms\n")
    enforcing.box.attempt("systemctl", "restart", "droplan")
    until(lambda: int(enforcing.show("NRestarts") or 0) >= 6, 60, lambda: enforcing.log)
    unharmed(record, begin)
    assert rules == enforcing.rules()
    enforcing.undo("starved")
    enforcing.ready(60)
    enforcing.says("enforcing 3 peers")


@pytest.mark.full
@pytest.mark.fault("G7")
def test_memory_that_runs_out(enforcing: "Server") -> None:
    """A fleet for which there is no memory: said, and who was known stays; with memory it is enforced."""
    record = enforcing.probe()
    begin = spell(record).begin
    size = int(enforcing.box.shell(f"awk '/^VmSize/ {{ print $2 }}' /proc/{enforcing.pid}/status"))
    enforcing.drop_in("scarce", f"[Service]\nLimitAS={size + 4096}K\n")
    enforcing.systemctl("restart", "droplan")
    enforcing.says("enforcing 3 peers")
    around = enforcing.around
    for number in range(4_000):
        around.world.add_droplet(f"many-{number}", vpc=around.vpc.id)
    until(lambda: "MemoryError" in enforcing.log, 60, lambda: enforcing.log)
    unharmed(record, begin)
    enforcing.undo("scarce")
    enforcing.systemctl("restart", "droplan")
    enforcing.says("enforcing 4,003 peers", 60)
    unharmed(record, begin)
