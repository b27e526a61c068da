"""Reading while others write."""

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pytest

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitConflict
from tests.kernel.ground import SMALL, host_set, hosts

if TYPE_CHECKING:
    from tests.kernel.ground import Kernel

pytestmark = pytest.mark.kernel

READS = 300
ONE = replace(SMALL, sets=SMALL.sets | {"peers": host_set("peers", hosts("10.0.0.0", 2_000), 16_384)})
OTHER = replace(SMALL, sets=SMALL.sets | {"peers": host_set("peers", hosts("10.0.4.0", 2_000), 16_384)})


class Writer:
    """Somebody else's process, as far as the kernel can tell: goes to and fro between two Rulesets."""

    def __init__(self, kernel: "Kernel") -> None:
        self._backend = kernel.namespace.call(NftBackend)
        kernel.namespace.call(self._backend.generation)  # opens its socket in the namespace
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.written = 0

    def _write(self) -> None:
        while not self._end.wait(0.002):
            found = self._backend.observe()
            wanted = OTHER if found.ruleset == ONE else ONE
            self._backend.commit(diff(found.ruleset, wanted), found.generation)
            self.written += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._backend.close()


def test_a_read_is_of_one_moment(kernel: "Kernel") -> None:
    """While another process commits all the time, what we observe is never a mixture of its Rulesets."""
    kernel.become(ONE)
    read = mixed = 0
    with Writer(kernel) as writer:
        while read < READS:
            try:
                found = kernel.holds()
            except CommitConflict:
                continue
            read += 1
            mixed += found not in (ONE, OTHER)
    assert 0 == mixed
    assert writer.written > READS // 30


def test_a_read_counts_packets_by_rule(kernel: "Kernel") -> None:
    """Counters of a fresh ruleset are nought, one for each rule name of each chain."""
    kernel.become(SMALL)
    names = {(chain.name, rule.name): 0 for chain in SMALL.chains.values() for rule in chain.rules}
    assert names == kernel.observation().counters


def test_the_table_removed_while_reading_is_no_error(kernel: "Kernel") -> None:
    """Somebody who makes and removes our table all the time makes reads conflict at worst."""
    with Remover(kernel):
        for _ in range(100):
            try:
                assert kernel.holds() in (None, SMALL)
            except CommitConflict:
                continue


class Remover(Writer):
    """Makes the table and removes it, over and over."""

    def _write(self) -> None:
        while not self._end.wait(0.001):
            found = self._backend.observe()
            wanted = None if found.ruleset else SMALL
            self._backend.commit(diff(found.ruleset, wanted), found.generation)
