"""Reading while others write."""

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

import pytest

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitConflict
from tests.kernel.ground import SMALL, host_set, hosts

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Ruleset
    from tests.kernel.ground import Kernel

pytestmark = pytest.mark.kernel

READS = 300


def _world(first: str) -> "Ruleset":
    """Two sets whose members are always from the same block."""
    members = hosts(first, 2_000)
    both = {name: host_set(name, members, 16_384) for name in ("also", "peers")}
    return replace(SMALL, sets=both | {"nets": SMALL.sets["nets"]})


ONE, OTHER = _world("10.0.0.0"), _world("10.0.16.0")


class Writer:
    """Somebody else's process, as far as the kernel can tell: goes to and fro between two Rulesets."""

    between: "ClassVar[tuple[Ruleset | None, Ruleset | None]]" = (ONE, OTHER)

    def __init__(self, kernel: "Kernel") -> None:
        self._backend = kernel.namespace.call(NftBackend)
        self._at = kernel.namespace.call(self._backend.generation)  # opens its socket in the namespace
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.written = 0

    def _write(self) -> None:
        """Begins at the first of the two."""
        there, back = (diff(a, b) for a, b in (self.between, self.between[::-1]))
        while not self._end.wait(0.001):
            self._backend.commit(back if self.written % 2 else there, self._at + self.written)
            self.written += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._backend.close()


class Remover(Writer):
    """Makes the table and removes it, over and over."""

    between = (SMALL, None)


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


def test_the_table_removed_while_reading_is_no_error(kernel: "Kernel") -> None:
    """Somebody who makes and removes our table all the time makes reads conflict at worst."""
    kernel.become(SMALL)
    with Remover(kernel):
        for _ in range(100):
            try:
                assert kernel.holds() in (None, SMALL)
            except CommitConflict:
                continue


def test_a_read_counts_packets_by_rule(kernel: "Kernel") -> None:
    """Counters of a fresh ruleset are nought, one for each rule name of each chain."""
    kernel.become(SMALL)
    names = {(chain.name, rule.name): 0 for chain in SMALL.chains.values() for rule in chain.rules}
    assert names == kernel.observation().counters
