"""The kernel says no, or somebody was faster: what a whole commit makes of it, in a real kernel."""

import asyncio
import errno
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.committing import ATTEMPTS, Committing
from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitConflict, CommitRejected
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.fleet import Droplet, Fleet
from droplan_daemon.model.plan import AddElements, Plan, RemoveElements
from droplan_daemon.model.policy import Policy
from droplan_daemon.model.ruleset import AddressSet, SetKind, ruleset
from droplan_daemon.outcomes import Committed, Prospect, Unchanged, World
from tests.kernel.committer import HOST, OWN
from tests.kernel.ground import SMALL, Kernel, address, host_set, hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.effects import Observation
    from droplan_daemon.model.ruleset import Ruleset

pytestmark = pytest.mark.kernel

MANY = hosts("10.0.0.0", 20_000)


def _world(wanted: "Ruleset") -> World:
    return World(Fleet((OWN, *_owners())), HOST, OWN, (), wanted, Policy())


def _owners() -> tuple[Droplet, ...]:
    """Two of the addresses belong to Droplets."""
    return tuple(Droplet(n, f"d{n}", private=(address(f"10.0.0.{n}"),)) for n in (7, 9))


def _commit(kernel: Kernel, backend: NftBackend, wanted: "Ruleset") -> Committed | Unchanged:
    """One commit as a cycle makes it."""

    async def commit() -> Committed | Unchanged:
        observation = backend.observe()
        prospect = Prospect(_world(wanted), observation, diff(observation.ruleset, wanted))
        return await Committing(backend).run(prospect)

    return kernel.namespace.call(asyncio.run, commit())


class Blind(NftBackend):
    """Sees certain elements never, so that it goes on to add them, and the kernel to refuse them."""

    unseen: frozenset[bytes] = frozenset()

    def observe(self) -> "Observation":
        found = super().observe()
        if found.ruleset is None:
            return found
        sets = {
            name: replace(item, elements=item.elements - self.unseen)
            for name, item in found.ruleset.sets.items()
        }
        return replace(found, ruleset=replace(found.ruleset, sets=sets))


@pytest.fixture
def blind(kernel: Kernel) -> "Iterator[Blind]":
    made: Blind = kernel.namespace.call(Blind)
    yield made
    kernel.namespace.call(made.close)


@pytest.mark.fault("D7")
def test_bad_elements_among_many_are_left_out(kernel: Kernel, blind: Blind) -> None:
    """Of 20,000 the kernel refuses two, each by its name: the others go in, in one transaction."""
    bad = frozenset(map(address, ("10.0.0.7", "10.0.0.9")))
    kernel.become(ruleset((host_set("peers", bad, 65_536),), ()))
    blind.unseen = bad
    generation = kernel.generation()
    outcome = _commit(kernel, blind, ruleset((host_set("peers", MANY, 65_536),), ()))
    assert isinstance(outcome, Committed)
    assert bad == {one.element for one in outcome.world.quarantined}
    assert {errno.EEXIST} == {one.errno for one in outcome.world.quarantined}
    assert generation + 1 == kernel.generation()
    assert MANY == _members(kernel)


@pytest.mark.fault("D7")
def test_too_many_bad_elements_change_nothing(kernel: Kernel, blind: Blind) -> None:
    """Two of a hundred are refused: none of the others goes in."""
    bad = frozenset(map(address, ("10.0.0.7", "10.0.0.9")))
    kernel.become(ruleset((host_set("peers", bad, 65_536),), ()))
    blind.unseen = bad
    with pytest.raises(CommitRejected) as refused:
        _commit(kernel, blind, ruleset((host_set("peers", hosts("10.0.0.0", 100), 65_536),), ()))
    assert errno.EEXIST == refused.value.errno
    assert bad == _members(kernel)


@pytest.mark.fault("D7", "D8")
def test_a_bad_range_is_left_out(kernel: Kernel, blind: Blind) -> None:
    """A range that the kernel takes for an overlap is left out; all others are in."""
    ranges = frozenset(address(f"10.1.{n}.0") + address(f"10.1.{n}.99") for n in range(200))
    bad = min(ranges)
    kernel.become(_ranges(frozenset({bad})))
    blind.unseen = frozenset({bad})
    outcome = _commit(kernel, blind, _ranges(ranges))
    assert isinstance(outcome, Committed)
    assert [bad] == [one.element for one in outcome.world.quarantined]
    assert _ranges(ranges) == kernel.holds()


def _ranges(members: frozenset[bytes]) -> "Ruleset":
    return ruleset((AddressSet("nets", Family.IPV4, SetKind.RANGES, 0, members),), ())


def _members(kernel: Kernel) -> frozenset[bytes]:
    found = kernel.holds()
    assert found
    return found.sets["peers"].elements


@pytest.mark.fault("D19")
def test_a_set_that_a_stranger_filled_up_is_put_right(kernel: Kernel) -> None:
    """Somebody fills our set to its size: what is not ours goes before what is comes, in one transaction."""
    kernel.become(SMALL)
    kernel.nft("add element inet droplan peers { 10.9.0.0, 10.9.0.1 }")
    kernel.commit(Plan((AddElements("peers", Family.IPV4, hosts("10.9.1.0", 12)),)))
    assert 16 == len(_members(kernel))
    wanted = replace(SMALL, sets=SMALL.sets | {"peers": host_set("peers", hosts("10.0.0.1", 16))})
    generation = kernel.generation()
    kernel.become(wanted)
    assert (wanted, generation + 1) == (kernel.holds(), kernel.generation())


class Overtaken(NftBackend):
    """Just before each of its commits somebody else makes one, so many times."""

    left = 0

    def commit(self, plan: Plan, at: int) -> None:
        if self.left:
            self.left -= 1
            other = NftBackend("somebody")
            wanted = None if other.observe().ruleset else SMALL
            other.commit(diff(other.observe().ruleset, wanted), other.generation())
            other.close()
        super().commit(plan, at)


@pytest.mark.fault("D10")
@pytest.mark.parametrize("times", [1, ATTEMPTS - 1, ATTEMPTS])
def test_who_is_overtaken_looks_again(kernel: Kernel, times: int) -> None:
    """ERESTART from the kernel: looked at anew, at most five times; after that nothing has changed."""
    backend: Overtaken = kernel.namespace.call(Overtaken)
    backend.left = times
    try:
        if times == ATTEMPTS:
            with pytest.raises(CommitConflict):
                _commit(kernel, backend, SMALL)
            assert None is kernel.holds()
            return
        outcome = _commit(kernel, backend, SMALL)
    finally:
        kernel.namespace.call(backend.close)
    assert [(CommitConflict, times)] == [(type(one.error), one.times) for one in outcome.setbacks]
    assert SMALL == kernel.holds()


@pytest.mark.fault("D10")
def test_a_busy_neighbour_does_not_keep_us_out(kernel: Kernel) -> None:
    """Beside somebody who commits all the time each commit of ours is whole or a conflict, and gets in."""
    end, neighbour = threading.Event(), kernel.namespace.call(NftBackend, "somebody")
    kernel.namespace.call(neighbour.generation)

    def disturb() -> None:
        while not end.wait(0.002):
            with suppress(CommitConflict):
                found = neighbour.observe()
                neighbour.commit(diff(found.ruleset, None if found.ruleset else SMALL), found.generation)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for count in range(1, 16):
            assert _insist(kernel, _small(count)), "not in fifty cycles"
    finally:
        end.set()
        thread.join()
        neighbour.close()
    assert _small(15) == kernel.holds()


def _small(count: int) -> "Ruleset":
    return replace(SMALL, sets=SMALL.sets | {"peers": host_set("peers", hosts("10.0.0.1", count))})


def _insist(kernel: Kernel, wanted: "Ruleset") -> bool:
    """Cycle after cycle, as the daemon does it."""
    backend = kernel.backend
    assert isinstance(backend, NftBackend)
    for _ in range(50):
        try:
            _commit(kernel, backend, wanted)
        except CommitConflict:
            continue
        return True
    return False


@pytest.mark.fault("D24")
def test_a_newcomer_among_many_is_one_element(kernel: Kernel) -> None:
    """One Droplet more or less beside 20,000 sends one element, and takes a fraction of a whole commit."""
    wanted = ruleset((host_set("peers", MANY, 65_536),), ())
    kernel.become(wanted)
    one = address("10.200.0.1")
    with_one = replace(wanted, sets={"peers": replace(wanted.sets["peers"], elements=MANY | {one})})
    changes = frozenset({one})
    assert Plan((AddElements("peers", Family.IPV4, changes),)) == kernel.become(with_one)
    assert Plan((RemoveElements("peers", Family.IPV4, changes),)) == kernel.become(wanted)
