"""Reading while others commit: what is read wrong is not believed, and nothing is mended that was whole."""

import os
import time
from contextlib import suppress
from dataclasses import replace
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.drift import look
from droplan_daemon.errors import CommitConflict, CommitRejected
from droplan_daemon.model.plan import AddElements, Plan, RemoveElements
from tests.kernel.ground import SMALL, Kernel, host_set, hosts

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.model.addresses import Element
    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

READS = 10_000 if os.environ.get("DROPLAN_TEST_FULL") else 2_000
PACE = 0.05  # a writer commits 20 times a second

MEMBERS = hosts("10.20.0.0", 2000)
WANTED = replace(SMALL, sets=SMALL.sets | {"peers": host_set("peers", MEMBERS, 4096)})


def _commits(namespace: "Namespace", there: Event, over: Event) -> None:
    """Take a hundred members out and put them back in one commit each; at rest all of them are in."""
    backend = namespace.call(NftBackend)
    part: frozenset[Element] = frozenset(sorted(MEMBERS)[:100])
    family = WANTED.sets["peers"].family
    swap = Plan((RemoveElements("peers", family, part), AddElements("peers", family, part)))
    while not over.is_set():
        with suppress(CommitConflict, CommitRejected):
            backend.commit(swap, backend.generation())
        there.set()
        over.wait(PACE)
    backend.close()


@pytest.mark.fault("D11")
@pytest.mark.timeout(1200)
def test_no_read_under_a_writer_is_taken_for_drift(kernel: Kernel, figure: "Callable[[str], None]") -> None:
    """Somebody commits the same members out and in, 20 times a second: what is believed is never short."""
    kernel.become(WANTED)
    there, over = Event(), Event()
    writer = Thread(target=_commits, args=(kernel.namespace, there, over), daemon=True)
    kernel.namespace.call(writer.start)
    assert there.wait(10)
    false, unsettled, begun = 0, 0, time.monotonic()
    try:
        for _ in range(READS):
            try:
                false += kernel.namespace.call(look, kernel.backend, WANTED, None).ruleset != WANTED
            except CommitConflict:
                unsettled += 1
    finally:
        over.set()
        writer.join(30)
    figure(
        f"reads while another process commits 20 times a second: {false} of {READS:,} taken for drift, "
        f"{unsettled} put off ({time.monotonic() - begun:.0f} s)"
    )
    assert 0 == false
    assert unsettled < READS / 2
