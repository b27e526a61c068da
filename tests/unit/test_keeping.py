"""What is kept for the next start, when, and what of it is taken again."""

import asyncio
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon import keeping as room
from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.clock import SystemClock
from droplan_daemon.diff import diff
from droplan_daemon.errors import HostUnknown, SourceUnavailable, StoreFailed
from droplan_daemon.keeping import Keeping
from droplan_daemon.model.fleet import Skipped
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Allow, Policy
from droplan_daemon.outcomes import Committed, Failed, Refused, Restored, Unchanged
from droplan_daemon.policy.selector import parse
from tests.unit.cycles import Bench, Cards, Shelf, droplet, fleet

if TYPE_CHECKING:
    from droplan_daemon.effects import Backend
    from droplan_daemon.model.checkpoint import Checkpoint
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.plan import Plan
    from droplan_daemon.model.ruleset import Ruleset
    from droplan_daemon.outcomes import Outcome

TWO, THREE = fleet(droplet(1), droplet(2)), fleet(droplet(1), droplet(2), droplet(3))
DOWN = SourceUnavailable("The API answered 500.", reason="http_status", status=500)


@dataclass
class Distribution:
    """A Keeper that can be full."""

    full: bool = False
    kept: "list[Ruleset | None]" = field(default_factory=list)

    def keep(self, ruleset: "Ruleset | None") -> None:
        if self.full:
            raise StoreFailed("no space left on device", errno=28)
        self.kept.append(ruleset)


def _bench(
    *answers: "Fleet | Exception", shelf: Shelf | None = None, kernel: "Backend | None" = None
) -> Bench:
    """A Cycle that keeps, over these answers."""
    made = Bench(list(answers), kernel=kernel or FakeBackend())
    made.cycle.keeping = Keeping(shelf or Shelf(), Cards(), SystemClock(), "boot")
    return made


def _shelf(bench: Bench) -> Shelf:
    assert bench.cycle.keeping
    assert isinstance(bench.cycle.keeping.store, Shelf)
    return bench.cycle.keeping.store


def _resumed(bench: Bench, checkpoint: "Checkpoint") -> "Outcome":
    return asyncio.run(bench.cycle.resume(checkpoint))


def _saved(answer: "Fleet" = TWO) -> "tuple[Shelf, Checkpoint]":
    """A shelf after a first good cycle, and what is on it."""
    bench = _bench(answer)
    assert isinstance(bench.run(), Committed)
    return _shelf(bench), _shelf(bench).saved[-1]


def test_what_was_committed_is_kept() -> None:
    """Host, cards of the managed interfaces, Fleet, Ruleset, boot script, numbered from 1."""
    shelf, kept = _saved()
    assert (Host(1, "eth1", "eth0"), (("eth1", "02:00:00:00:00:01"),), TWO) == (
        kept.host,
        kept.links,
        kept.fleet,
    )
    assert (1, "nftables", "boot") == (kept.number, kept.backend, kept.boot)
    assert [FakeBackend().script(kept.ruleset)] == shelf.bodies
    assert [kept.host] == shelf.hosts


def test_the_same_world_is_not_written_again() -> None:
    """Neither the next cycle nor the next start writes; a change of the Fleet does."""
    later = replace(TWO, taken=2000.0, source="elsewhere")
    bench = _bench(TWO, later, THREE)
    for expected in (1, 1, 2):
        bench.run()
        assert expected == len(_shelf(bench).saved)
    shelf = _shelf(bench)
    again = _bench(THREE, shelf=shelf, kernel=bench.kernel)
    assert isinstance(_resumed(again, shelf.saved[-1]), Unchanged)
    assert isinstance(again.run(), Unchanged)
    assert [1, 2] == [kept.number for kept in shelf.saved]


def test_an_unchanged_kernel_is_kept_if_the_disk_is_not_of_it() -> None:
    """The kernel held it all, the state folder is empty: it is saved all the same."""
    bench = _bench(TWO)
    bench.run()
    fresh = _bench(TWO, kernel=bench.kernel)
    assert isinstance(fresh.run(), Unchanged)
    assert 1 == len(_shelf(fresh).saved)


@pytest.mark.fault("E1", "E3")
def test_a_failing_disk_fails_no_cycle_and_is_tried_again() -> None:
    """Committed and Unchanged say what is not on disk, until it is."""
    bench = _bench(TWO)
    shelf = _shelf(bench)
    shelf.full_for_state = True
    for expected in (Committed, Unchanged):
        outcome = bench.run()
        assert isinstance(outcome, expected)
        assert isinstance(outcome, Committed | Unchanged)
        assert [("state", 28)] == [(one.what, one.error.errno) for one in outcome.unsaved]
    shelf.full_for_state = False
    outcome = bench.run()
    assert isinstance(outcome, Unchanged)
    assert ((), 1) == (outcome.unsaved, len(shelf.saved))


def test_a_full_disk_brings_nobody_back() -> None:
    """Who left since the last save stays out, though the API is away when a new configuration comes."""
    bench = _bench(THREE, TWO)
    bench.run()
    _shelf(bench).full_for_state = True
    bench.run()
    before = bench.kernel.observe().ruleset
    fresh = _bench(TWO, shelf=_shelf(bench), kernel=bench.kernel)
    fresh.cycle.inherit(bench.cycle)
    outcome = asyncio.run(fresh.cycle.recall())
    assert isinstance(outcome, Unchanged)
    assert before == fresh.kernel.observe().ruleset


class Dead(FakeBackend):
    """A kernel that forgets what it is told, while it is `dead`."""

    dead = False

    def commit(self, plan: "Plan", at: int) -> None:
        if not self.dead:
            super().commit(plan, at)


def test_what_was_accepted_waits_for_a_cycle_that_acts_on_it() -> None:
    """The kernel takes nothing, then interfaces are looked at: the operator need not say it again."""
    many = fleet(*map(droplet, range(1, 12)))
    kernel = Dead()
    bench = _bench(many, TWO, kernel=kernel)
    bench.run()
    bench.run()
    shelf = _shelf(bench)
    shelf.wanted = frozenset({shelf.doubted.digest})
    kernel.dead = True
    assert isinstance(bench.run(), Failed)
    assert isinstance(asyncio.run(bench.cycle.relocate()), Unchanged)
    kernel.dead = False
    bench.run()
    assert ({2}, frozenset()) == (bench.held, shelf.wanted)


def test_counting_begins_anew_after_a_restart_too() -> None:
    """What is on disk agrees with nobody any more, when an answer came that nothing came of."""
    many = fleet(*map(droplet, range(1, 12)))
    kernel = Dead()
    bench = _bench(many, TWO, TWO, fleet(*many.droplets, droplet(12)), kernel=kernel)
    for _ in range(3):
        bench.run()
    shelf = _shelf(bench)
    assert {2} == {n for found in shelf.doubted.groups.values() for n in found.values()}
    kernel.dead = True
    assert isinstance(bench.run(), Failed)
    assert {0} == {n for found in shelf.doubted.groups.values() for n in found.values()}


def test_after_a_commit_the_disk_is_looked_at() -> None:
    """`flush` takes the boot script away; who then writes the same rules again writes the script too."""
    bench = _bench(TWO)
    bench.run()
    shelf = _shelf(bench)
    observation = bench.kernel.observe()
    bench.kernel.commit(diff(observation.ruleset, None), observation.generation)
    shelf.saved.append(replace(shelf.saved[-1], number=9))  # what is on disk is not what was saved
    assert isinstance(bench.run(), Committed)
    assert 10 == shelf.saved[-1].number


def test_who_cleans_up_on_disk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are gone while nothing changes are written again, though not looked for in each cycle."""
    bench = _bench(TWO)
    bench.run()
    _shelf(bench).saved.clear()
    bench.run()
    assert [] == _shelf(bench).saved
    monkeypatch.setattr(room, "LOOKED_FOR", 0.0)
    assert isinstance(bench.run(), Unchanged)
    assert 1 == len(_shelf(bench).saved)


def test_the_distribution_keeps_what_was_committed() -> None:
    """After each commit, and again while it fails; an unchanged kernel is not saved anew."""
    bench = _bench(TWO, TWO, THREE)
    assert bench.cycle.keeping
    bench.cycle.keeping.keeper = keeper = Distribution(full=True)
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    assert ["iptables"] == [one.what for one in outcome.unsaved]
    keeper.full = False
    for expected in (1, 2, 2):
        bench.run()
        assert expected == len(keeper.kept)


def test_what_could_not_be_saved_is_owed_after_a_reload_too() -> None:
    """A new configuration, with other places perhaps, saves what the one before could not."""
    bench, after = _bench(TWO), _bench(TWO)
    assert bench.cycle.keeping
    assert after.cycle.keeping
    bench.cycle.keeping.keeper = Distribution(full=True)
    bench.run()
    after.cycle.keeping.keeper = keeper = Distribution()
    after.cycle.backend = bench.kernel
    after.cycle.inherit(bench.cycle)
    assert isinstance(after.run(), Unchanged)
    assert 1 == len(keeper.kept)


@pytest.mark.fault("E2")
def test_a_disk_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cycle goes on and says so; the write goes on by itself, and only one at a time."""
    monkeypatch.setattr(room, "PATIENCE", 0.05)
    gate, saved, writes = threading.Event(), threading.Event(), []

    class Hung(Shelf):
        def save(self, checkpoint: "Checkpoint", body: str) -> None:
            writes.append(checkpoint.number)
            gate.wait(30)
            super().save(checkpoint, body)
            saved.set()

    bench = _bench(TWO, shelf=Hung())

    async def life() -> list[tuple[str, ...]]:
        found = []
        for _ in range(2):
            outcome = await bench.cycle.run()
            assert isinstance(outcome, Committed | Unchanged)
            found.append(tuple(one.error.reason for one in outcome.unsaved))
        gate.set()
        await asyncio.to_thread(saved.wait, 30)
        monkeypatch.setattr(room, "PATIENCE", 30.0)
        outcome = await bench.cycle.run()
        assert isinstance(outcome, Unchanged)
        return [*found, tuple(one.error.reason for one in outcome.unsaved)]

    assert [("slow",), ("slow",), ()] == asyncio.run(life())
    assert [1] == writes


def test_two_cycles_that_end_together_are_both_kept() -> None:
    """A poll and a change of interfaces: the second write waits for the first, and none is lost."""
    begun, gate = threading.Event(), threading.Event()

    class Slow(Shelf):
        def save(self, checkpoint: "Checkpoint", body: str) -> None:
            begun.set()
            gate.wait(30)
            super().save(checkpoint, body)

    bench = _bench(TWO, THREE, shelf=Slow())

    async def life() -> list[tuple[object, ...]]:
        first = asyncio.create_task(bench.cycle.run())
        await asyncio.to_thread(begun.wait, 30)
        second = asyncio.create_task(bench.cycle.run())
        asyncio.get_running_loop().call_later(0.1, gate.set)
        outcomes = await asyncio.gather(first, second)
        return [one.unsaved for one in outcomes if isinstance(one, Committed)]

    assert [(), ()] == asyncio.run(life())
    assert [2, 3] == [len(one.fleet.droplets) for one in _shelf(bench).saved]


def test_a_start_enforces_what_was_kept_without_asking_anybody() -> None:
    """An empty kernel gets the Ruleset of the last Fleet, and the World says that it is restored."""
    shelf, kept = _saved()
    bench = _bench(DOWN, shelf=shelf)
    outcome = _resumed(bench, kept)
    assert isinstance(outcome, Committed)
    assert {2} == bench.held
    assert kept.ruleset == bench.kernel.observe().ruleset
    assert isinstance(outcome.world.restored, Restored)
    assert not outcome.world.restored.stale
    assert isinstance(bench.run(), Failed)
    assert kept.ruleset == bench.kernel.observe().ruleset


def test_who_came_after_what_was_kept_stays_in() -> None:
    """The disk was full, the process died: what is kept is older than the kernel, and it is no answer."""
    bench = _bench(TWO, THREE)
    bench.run()
    _shelf(bench).full_for_state = True
    bench.run()
    again = _bench(DOWN, shelf=_shelf(bench), kernel=bench.kernel)
    assert isinstance(asyncio.run(again.cycle.resume(_shelf(bench).load())), Unchanged)
    assert {2, 3} == again.held


def test_who_came_after_what_was_kept_is_not_let_in_by_another_policy() -> None:
    """Nothing tells whether it would let them in; the next answer does."""
    bench = _bench(TWO, THREE)
    bench.run()
    _shelf(bench).full_for_state = True
    bench.run()
    again = _bench(DOWN, shelf=_shelf(bench), kernel=bench.kernel)
    again.cycle.policy = Policy(denied_log=None)
    assert isinstance(asyncio.run(again.cycle.resume(_shelf(bench).load())), Committed)
    assert {2} == again.held


def test_a_start_uses_the_current_policy() -> None:
    """What the operator changed meanwhile holds, over the Fleet that was kept."""
    shelf, kept = _saved(fleet(droplet(1), droplet(2, tags=("web",)), droplet(3)))
    bench = _bench(DOWN, shelf=shelf)
    bench.cycle.policy = Policy(peers=replace(Policy().peers, tag="web"))
    assert isinstance(_resumed(bench, kept), Committed)
    assert {2} == bench.held


def test_a_kernel_that_holds_it_already_is_adopted() -> None:
    """No write after a restart of the daemon."""
    bench = _bench(TWO)
    bench.run()
    generation = bench.kernel.generation()
    shelf = _shelf(bench)
    outcome = _resumed(_bench(DOWN, shelf=shelf, kernel=bench.kernel), shelf.saved[-1])
    assert isinstance(outcome, Unchanged)
    assert (generation, 1) == (bench.kernel.generation(), len(shelf.saved))


def test_a_checkpoint_of_another_machine_is_not_enforced() -> None:
    """Failed with the reason, nothing written, and nobody of that Fleet is known."""
    shelf, kept = _saved()
    bench = _bench(DOWN, shelf=shelf)
    outcome = _resumed(bench, replace(kept, host=Host(77, "eth1")))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, HostUnknown)
    assert "another_droplet" == outcome.error.reason
    assert (None, None) == (bench.kernel.observe().ruleset, bench.cycle.previous)


def test_a_checkpoint_that_the_policy_cannot_be_read_with_is_refused() -> None:
    """The new policy asks about tags and the kept Fleet shows none: refused, as an answer would be."""
    shelf, kept = _saved()
    bench = _bench(DOWN, shelf=shelf)
    bench.cycle.policy = Policy(peers=replace(Policy().peers, tag="web"))
    assert isinstance(_resumed(bench, kept), Refused)
    assert bench.kernel.observe().ruleset is None


COMPLEMENT = Policy(
    allows=(Allow("all but the blocked", parse("all"), parse("any and not tag:blocked"), ports=()),),
)


def test_an_unreadable_entry_right_after_a_start_is_as_it_was() -> None:
    """The blocked Droplet's entry cannot be read in the first answer: the door stays closed for it."""
    blocked = droplet(3, tags=("blocked",))
    shelf, kept = _saved(fleet(droplet(1), droplet(2), blocked))
    bench = _bench(
        fleet(droplet(1), droplet(2, tags=("blocked",)), skipped=(Skipped(3, "odd"),)), shelf=shelf
    )
    bench.cycle.policy = COMPLEMENT
    assert isinstance(_resumed(bench, kept), Committed)
    before = _open_to(bench, blocked.private[0])
    assert isinstance(bench.run(), Committed)
    assert (False, False) == (before, _open_to(bench, blocked.private[0]))


def test_a_reload_knows_what_was_known() -> None:
    """The Fleet and what is on disk pass from one configuration's Cycle to the next one's."""
    bench = _bench(TWO)
    bench.run()
    shelf = _shelf(bench)
    fresh = _bench(TWO, shelf=shelf, kernel=bench.kernel)
    fresh.cycle.inherit(bench.cycle)
    assert TWO is fresh.cycle.previous
    assert isinstance(fresh.run(), Unchanged)
    assert (1, 1) == (len(shelf.saved), len(shelf.hosts))


def _open_to(bench: Bench, address: bytes) -> bool:
    """Whether any range that is let in holds the address."""
    ruleset = bench.kernel.observe().ruleset
    assert ruleset
    ranges = [e for one in ruleset.sets.values() for e in one.elements if len(e) == 8]
    assert ranges
    return any(element[:4] <= address <= element[4:] for element in ranges)


def test_one_cycle_alone_goes_on_from_what_was_kept() -> None:
    """`once` writes nothing before its own answer, but knows who was there."""
    blocked = droplet(3, tags=("blocked",))
    shelf, kept = _saved(fleet(droplet(1), droplet(2), blocked))
    bench = _bench(
        fleet(droplet(1), droplet(2, tags=("blocked",)), skipped=(Skipped(3, "odd"),)), shelf=shelf
    )
    bench.cycle.policy = COMPLEMENT
    asyncio.run(bench.cycle.take(kept))
    assert bench.kernel.observe().ruleset is None
    outcome = bench.run()
    assert isinstance(outcome, Committed)
    assert not _open_to(bench, blocked.private[0])
    assert not outcome.world.held


def test_a_set_that_the_kernel_lost_is_held_as_it_was_kept() -> None:
    """An entry that nobody ever read holds removals, and what the kernel lost is not opened by that."""
    shelf, kept = _saved(fleet(droplet(1), droplet(2), droplet(3)))
    bench = _bench(fleet(droplet(1), droplet(2), skipped=(Skipped(9, "odd"),)), shelf=shelf)
    asyncio.run(bench.cycle.take(kept))
    assert isinstance(bench.run(), Committed)
    assert {2, 3} == bench.held
