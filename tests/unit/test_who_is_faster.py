"""Somebody is faster than a cycle: the operator, a poll, or a new configuration."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.cli import holding
from droplan_daemon.leasing import fingerprint
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Policy
from droplan_daemon.model.stance import Stance
from droplan_daemon.outcomes import Committed, Failed
from droplan_daemon.policy.lease import PAUSE, TRIAL, audited, split
from tests.unit.cycles import HOST, Bench, droplet, fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.plan import Plan
    from droplan_daemon.model.ruleset import Ruleset

TWO = fleet(droplet(1), droplet(2))
THREE = fleet(droplet(1), droplet(2), droplet(3))


class Raced(FakeBackend):
    """A kernel into which somebody else commits just before us, once."""

    def __init__(self) -> None:
        super().__init__()
        self.first: Callable[[], None] | None = None

    def commit(self, plan: "Plan", at: int) -> None:
        first, self.first = self.first, None
        if first:
            first()
        super().commit(plan, at)


def _enforcing(answer: "Fleet") -> tuple[Bench, Raced, list[Stance]]:
    """A Cycle that has enforced two Droplets, its kernel, and what the operator has said last."""
    kernel, said = Raced(), [Stance()]
    bench = Bench([TWO, answer], kernel=kernel)
    bench.cycle.stance = lambda: said[-1]
    assert isinstance(bench.run(), Committed)
    return bench, kernel, said


def _other_rules(base: "Ruleset | None") -> "Ruleset":
    assert base
    return audited(base)


@pytest.mark.fault("D10")
@pytest.mark.parametrize("lease", [TRIAL, PAUSE])
def test_what_the_operator_began_meanwhile_goes_on(lease: str) -> None:
    """`droplan try` or `pause` commits after a cycle's look: it goes on, and newcomers get in."""
    bench, kernel, said = _enforcing(THREE)

    def faster() -> None:
        if lease == TRIAL:
            rules = fingerprint(_other_rules(kernel.observe().ruleset), kernel.script)
            said.append(Stance().trying("/etc/x", "a digest", rules, 1e12))
        holding.hold(kernel, _other_rules, lease, 60.0)

    kernel.first = faster
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    seen = kernel.observe()
    assert [lease] == list(seen.leases)
    assert lease == split(seen.ruleset).lease
    assert (lease, {2, 3}) == ((outcome.world.lease or ("",))[0], bench.held)


@pytest.mark.fault("D10")
def test_a_panic_that_began_meanwhile_is_not_undone() -> None:
    """The cycle leaves the kernel as the panic has it, and the next one goes by the panic."""
    bench, kernel, said = _enforcing(THREE)
    beside = Bench([TWO], kernel=kernel)

    def faster() -> None:
        said.append(Stance().panicking(1.0))
        beside.cycle.stance = bench.cycle.stance
        assert isinstance(beside.run(), Committed)

    kernel.first = faster
    assert isinstance(bench.run(), Failed)
    panicking = _chains(kernel)
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    assert (panicking, {2, 3}) == (_chains(kernel), bench.held)


def _chains(kernel: Raced) -> object:
    found = kernel.observe().ruleset
    return found.chains if found else None


@pytest.mark.parametrize("turn", ["relocate", "expire"])
def test_who_waited_for_the_kernel_goes_by_what_is_believed_by_then(turn: str) -> None:
    """A poll ends while a change of interfaces waits: whom it removed stays removed."""
    bench, _, _ = _enforcing(TWO)
    bench.cycle.previous = THREE
    _believe(bench, THREE)
    moved = Host(1, "ens7", "eth0") if turn == "relocate" else HOST

    class Follows:
        async def follow(self, fleet: "Fleet") -> Host:
            return moved

    async def both() -> None:
        bench.cycle.follower = Follows()
        async with bench.cycle._at_kernel():
            task = asyncio.create_task(getattr(bench.cycle, turn)())
            await asyncio.sleep(0.05)
            _believe(bench, TWO)
        await task

    asyncio.run(both())
    assert bench.cycle.last
    assert TWO == bench.cycle.last.fleet


def _believe(bench: Bench, answer: "Fleet") -> None:
    assert bench.cycle.last
    bench.cycle.last = replace(bench.cycle.last, fleet=answer)


def test_a_configuration_that_was_replaced_writes_nothing() -> None:
    """What it had begun to wait for is left to the one in its place."""
    bench, kernel, _ = _enforcing(THREE)
    fresh = Bench([TWO], Policy(denied_log=None), kernel)
    fresh.cycle.inherit(bench.cycle)
    assert isinstance(fresh.run(), Committed)
    held = kernel.observe().ruleset
    for act in (bench.cycle.run, bench.cycle.relocate, bench.cycle.repair):
        assert not isinstance(asyncio.run(act()), Committed)
    assert held == kernel.observe().ruleset
