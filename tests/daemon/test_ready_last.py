"""The order of things at a start, as the kernel was asked for them, slowed down."""

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.machine import Machine

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("strace") is None or os.geteuid() != 0, reason="strace, as root"),
]

SLOWLY = "inject=recvfrom:delay_enter=20000"
"""20 ms for each answer: what does not wait for one overtakes it."""


@pytest.mark.fault("G10")
def test_ready_comes_after_the_commit_and_what_is_read_of_it(machine: "Machine") -> None:
    """One batch, then its rules and elements are asked for and answered, then READY, and never before."""
    trace = machine.folder / "trace"  # -D: the daemon is our child, and ends with the test
    calls = ("-e", "trace=sendto,recvfrom", "-e", "signal=none", "-e", SLOWLY)
    machine.start(prefix=("strace", "-D", "-f", "-s", "40", *calls, "-o", str(trace))).ready(seconds=120)
    until(lambda: any(_READY in line for line in _lines(trace)), what="the call that told READY")
    order = [word for line in _lines(trace) for word in _WORDS if word in line]
    assert 1 == order.count(_BATCH) == order.count(_READY)
    before, after = order[: order.index(_BATCH)], order[order.index(_BATCH) : order.index(_READY)]
    assert [] == [word for word in before if word in _ANSWERS]
    assert {*_ANSWERS} <= {*after}


_BATCH, _READY = "NFNL_MSG_BATCH_BEGIN", '"READY=1'
_ANSWERS = ("NFT_MSG_NEWRULE, nlmsg_flags=NLM_F_MULTI", "NFT_MSG_NEWSETELEM, nlmsg_flags=NLM_F_MULTI")
_WORDS = (_BATCH, _READY, *_ANSWERS)


def _lines(trace: "Path") -> list[str]:
    """Calls in the order of their ends."""
    return [line for line in trace.read_text(errors="replace").splitlines() if "<unfinished" not in line]
