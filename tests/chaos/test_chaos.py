"""Laws of DESIGN under everything at once: see `machine`."""

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import rule, run_state_machine_as_test

from droplan_daemon.checkpoint import script
from droplan_daemon.errors import StoreFailed
from tests.chaos.kernels import RealKernel
from tests.chaos.machine import Chaos

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from tests.conftest import Namespace

pytestmark = pytest.mark.timeout(2_400)

FULL = bool(os.environ.get("DROPLAN_TEST_FULL"))
_THEIRS = """table inet theirs {
    set s { type ipv4_addr; elements = { 192.0.2.1 }; }
    chain c { tcp dport 22 accept; }
}
"""


class ChaosInAKernel(Chaos):
    """The same in a network namespace, where somebody else has a table, and which reboots."""

    namespace: "ClassVar[Namespace]"

    def make_kernel(self) -> RealKernel:
        self.namespace.run("nft", "delete", "table", "inet", "theirs", check=False)
        self.namespace.run("nft", "-f", "-", text=_THEIRS)
        self.theirs = self._table_of_theirs()
        kernel = RealKernel(self.namespace)
        kernel.write(None)
        return kernel

    def teardown(self) -> None:
        assert self.theirs == self._table_of_theirs()  # 7
        super().teardown()

    def _table_of_theirs(self) -> str:
        return self.namespace.run("nft", "-a", "list", "table", "inet", "theirs")

    @rule()
    def reboots(self) -> None:
        """5. What boot loads is what was kept, before any process of ours is there; then we go on from it."""
        self.kernel.write(None)
        path = self._files().scripts("nftables")[0]
        try:
            kept, body = self._files().load(), script.parse(path.read_bytes())
        except (OSError, StoreFailed):
            self.enforced = None  # boot closes what it can; what was in, nobody knows any more
        else:
            self.namespace.run("nft", "-f", "-", text=body.body)
            assert kept.number != body.number or kept.ruleset == self.kernel.observe().ruleset
            self.enforced = None if kept.number != body.number else self.kernel.observe().ruleset
        self._starts_again()
        self._resumed()


@pytest.mark.fault("E1", "E3", "E5", "G1")
def test_the_laws_hold_whatever_happens(figure: "Callable[[str], None]") -> None:
    """Random histories of account, API, process, disk, clock, policy and kernel: no step breaks a law."""
    examples, steps = (1_500, 40) if FULL else (40, 25)
    _let_loose(Chaos, examples, steps)
    figure(f"chaos: {examples:,} histories of {steps} steps, in memory")


@pytest.mark.kernel
def test_the_laws_hold_in_a_real_kernel(namespace: "Namespace", figure: "Callable[[str], None]") -> None:
    """The same over netlink, with reboots, and with somebody else's table that must stay as it is."""
    examples, steps = (150, 30) if FULL else (8, 20)
    ChaosInAKernel.namespace = namespace
    _let_loose(ChaosInAKernel, examples, steps)
    figure(f"chaos: {examples:,} histories of {steps} steps, in a kernel")


def _let_loose(machine: type[Chaos], examples: int, steps: int) -> None:
    chosen = settings(max_examples=examples, stateful_step_count=steps, derandomize=not FULL)
    run_state_machine_as_test(machine, settings=chosen)
