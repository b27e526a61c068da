"""The ground rules of every fault, checked around a real daemon while it lasts.

(a) What is enforced stays. (b) One line when it begins, one when it is over, and at most one a minute
between. (c) It shows in STATUS, in the status file and in the metrics. (d) The process lives.
"""

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.daemon.machine import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.daemon.machine import Machine, Running

LONG = 90.0
"""Seconds for what comes after a poll that runs into its deadline, on a busy machine."""


@contextmanager
def enduring(
    machine: "Machine",
    running: "Running",
    event: str,
    mend: "Callable[[], object]",
    *,
    writes: int = 0,
    **fields: object,
) -> "Iterator[None]":
    """Within the block the fault begins; then all of the ground rules are checked, and `mend` ends it.

    `fields` stand in the line of the log; a poll is asked for whenever one is due to show something.
    `writes` is how often the fault itself writes to the kernel's ruleset.
    """
    enforced, begun = (machine.generation + writes, machine.peers), time.monotonic()
    ins, outs = len(running.lines(event)), len(running.lines(f"{event}.over"))
    yield
    _entered(machine, running, event, ins, fields)
    _shows(machine, running, event)
    _goes_on(machine, running)
    assert enforced == (machine.generation, machine.peers), event
    told = len(running.lines(event)) - ins
    assert 1 <= told <= 1 + (time.monotonic() - begun) / 60, event
    mend()
    _nudged(machine, running)
    until(lambda: len(running.lines(f"{event}.over")) > outs, LONG, f"{event}.over")
    assert outs + 1 == len(running.lines(f"{event}.over"))
    until(lambda: not machine.status["error"] and not machine.status["remarks"], LONG, "a good status")
    assert f'{{name="{event}"}}' not in _metrics(machine)
    assert None is running.process.poll()


def _entered(
    machine: "Machine", running: "Running", event: str, before: int, fields: dict[str, object]
) -> None:
    _nudged(machine, running)
    until(lambda: len(running.lines(event)) > before, LONG, f"{event}, not {running.log[-3:]}")
    words = running.lines(event)[before].split()
    assert {f"{name}={value}" for name, value in fields.items()} <= set(words), words


def _shows(machine: "Machine", running: "Running", event: str) -> None:
    """In the metrics, in the status file, and the same sentence of it in STATUS."""
    until(lambda: f'droplan_conditions{{name="{event}"}} 1' in _metrics(machine), LONG, f"{event} in metrics")
    until(lambda: _said(machine), LONG, f"{event} in the status file")
    for sentence in _said(machine):
        running.says(sentence.rstrip("."), LONG)


def _said(machine: "Machine") -> list[str]:
    status = machine.status
    error, remarks = status["error"], status["remarks"]
    assert isinstance(error, dict | None)
    assert isinstance(remarks, list)
    return [error["message"]] if error else [each["message"] for each in remarks]


def _goes_on(machine: "Machine", running: "Running") -> None:
    """One poll more, to the same end."""
    due = machine.status["next_poll_at"]
    _nudged(machine, running)
    until(lambda: machine.status["next_poll_at"] != due, LONG, "another poll")


def _nudged(machine: "Machine", running: "Running") -> None:
    assert None is running.process.poll()
    running.process.send_signal(signal.SIGUSR1)


def _metrics(machine: "Machine") -> str:
    return (machine.folder / "droplan.prom").read_text()
