"""One cycle, no loop: gather, compile, observe, diff, review, commit, observe again, persist.

Laws:
1. One Fleet per cycle; nothing is asked twice while deciding.
2. An error anywhere before the commit changes nothing. After it, only what the kernel says
   when it is read back counts.
3. Committed and Unchanged mean: the ruleset read back is the desired one.
4. A second cycle over the same world writes nothing.
5. After a start the Checkpoint stands in for the first answer: the current Policy over the Fleet
   that was last believed, on the machine where it was. It ends like any cycle.

What blocks (the kernel) runs in a thread, so that the loop above stays alive.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .diff import diff
from .errors import CommitConflict, CommitRejected, CommitUnknown, HostUnknown, Refusal, Retry
from .model.checkpoint import is_stale
from .model.fleet import InterfaceKind
from .model.plan import AddElements, RemoveElements
from .policy.compile import compile_ruleset, managed_interface
from .policy.effective import effective
from .policy.peers import peer_droplets
from .policy.uses import needs_networks
from .policy.warnings import warnings
from .safety import examine, held, unread

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .effects import Backend, Clock, HostFinder, Kernels, Observation, Source
    from .keeping import Keeping, Unsaved
    from .model.checkpoint import Checkpoint
    from .model.fleet import Droplet, Fleet
    from .model.host import Host
    from .model.plan import Plan
    from .model.policy import Policy
    from .model.ruleset import Ruleset
    from .safety import Evidence

ATTEMPTS = 5
"""How often a cycle looks again when others commit at the same time."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A World that a Checkpoint tells of: its age in seconds (None: no clock can tell)."""

    age: float | None

    @property
    def stale(self) -> bool:
        """Whether it may well be of another world by now."""
        return is_stale(self.age)


@dataclass(frozen=True, slots=True)
class World:
    """What a cycle knew when it decided; `policy` is what this Droplet enforces, overrides applied.

    `held`: an entry of the answer could not be read, so nobody was taken out of any set.
    `restored`: nobody has answered yet, this is what was kept. `backend`: what was chosen, and why.
    """

    fleet: "Fleet"
    host: "Host"
    own: "Droplet"
    peers: "tuple[Droplet, ...]"
    desired: "Ruleset"
    policy: "Policy"
    warnings: tuple[str, ...] = ()
    held: bool = False
    restored: Restored | None = None
    backend: str = ""


@dataclass(frozen=True, slots=True)
class Prospect:
    """A World, what the kernel holds, and the Plan between them."""

    world: World
    observation: "Observation"
    plan: "Plan"


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The kernel held the desired Ruleset already; `unsaved` is what the disk does not."""

    world: World
    observation: "Observation"
    unsaved: "tuple[Unsaved, ...]" = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """The Plan was carried out, and read back; `unsaved` is what the disk does not hold of it.

    `seconds` are those that the kernel took to commit, 0.0 without a clock. `moved`: the rules were
    held by another Backend before.
    """

    world: World
    observation: "Observation"
    plan: "Plan"
    unsaved: "tuple[Unsaved, ...]" = ()
    seconds: float = 0.0
    moved: bool = False

    def repairs(self, before: World | None) -> bool:
        """Whether what held in the World before had to be written again: somebody else had changed it."""
        return before is not None and before.desired == self.world.desired and not self.moved


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, because the evidence does not carry it."""

    error: Refusal


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing was done, or nobody knows; the next cycle finds out."""

    error: Retry


Outcome = Unchanged | Committed | Refused | Failed


@dataclass(slots=True)
class Cycle:
    """The parts of a cycle. `previous` is the last Fleet that was acted on.

    Without `keeping` nothing is kept. With `kernels` the `backend` is what the Droplet's own Policy asks
    for, chosen anew in each cycle; what others hold goes when it has been read back. `recallable`: what
    another Cycle learned says enough for this Policy. `holder` is what was read back last.
    """

    policy: "Policy"
    source: "Source"
    finder: "HostFinder"
    backend: "Backend"
    previous: "Fleet | None" = field(default=None)
    keeping: "Keeping | None" = None
    kernels: "Kernels | None" = None
    recallable: bool = False
    clock: "Clock | None" = None
    holder: "Backend | None" = None

    async def run(self) -> Outcome:
        """One cycle. Raises Fatal alone; everything else is an Outcome."""
        return await self._ended(self._run())

    async def take(self, checkpoint: "Checkpoint") -> "Host":
        """Go on from this Checkpoint, if it is of this machine; writes nothing. Raises HostUnknown."""
        if self.keeping is None:
            raise HostUnknown("nothing is kept here", reason="not_kept")
        host = await self.keeping.take(checkpoint)
        self.previous = checkpoint.fleet
        return host

    async def resume(self, checkpoint: "Checkpoint") -> Outcome:
        """Enforce the current Policy over what the Checkpoint tells. Neither API nor metadata are needed."""
        return await self._ended(self._resumed(checkpoint))

    async def recall(self) -> Outcome:
        """Enforce a changed Policy over the Fleet that was believed last, if that says what it asks for."""
        return await self._ended(self._recalled())

    def inherit(self, other: "Cycle") -> None:
        """Know what a Cycle of another configuration knew."""
        self.previous, self.holder = other.previous, other.holder
        self.recallable = needs_networks(other.policy) or not needs_networks(self.policy)
        if self.keeping and other.keeping:
            self.keeping.inherit(other.keeping)

    async def _ended(self, work: "Awaitable[Unchanged | Committed]") -> Outcome:
        try:
            outcome = await work
        except Refusal as error:
            return Refused(error)
        except Retry as error:
            return Failed(error)
        self.previous, self.holder = outcome.world.fleet, self.backend
        if self.kernels:
            await asyncio.to_thread(self.kernels.leave_others, again=_rebuilt(outcome))
        return await self._kept(outcome)

    async def _kept(self, outcome: Unchanged | Committed) -> Outcome:
        if self.keeping is None:
            return outcome
        committed = isinstance(outcome, Committed)
        unsaved = await self.keeping.keep(outcome.world, self.backend, committed=committed)
        return replace(outcome, unsaved=unsaved) if unsaved else outcome

    async def _run(self) -> Unchanged | Committed:
        return await self._committed(await self.prospect())

    async def _resumed(self, checkpoint: "Checkpoint") -> Unchanged | Committed:
        host = await self.take(checkpoint)
        if not _says_enough(self.policy, checkpoint.fleet):
            raise HostUnknown(
                "it was kept without VPCs, which the configuration asks for now", reason="no_vpcs"
            )
        restored = Restored(self.keeping.age(checkpoint) if self.keeping else None)
        return await self._committed(await self._prospect(checkpoint.fleet, host, restored))

    async def _recalled(self) -> Unchanged | Committed:
        keeping = self.keeping
        if keeping is None or keeping.kept is None or not self.recallable:
            raise HostUnknown("nothing is known that says enough for this policy", reason="not_kept")
        fleet = keeping.kept.fleet
        host = await keeping.take(keeping.kept)
        age = max(0.0, keeping.clock.now() - fleet.taken) if fleet.taken else None
        return await self._committed(await self._prospect(fleet, host, Restored(age)))

    async def _committed(self, prospect: Prospect) -> Unchanged | Committed:
        for _ in range(ATTEMPTS):
            try:
                return await self._carry_out(prospect)
            except CommitConflict:
                if self.kernels:
                    await asyncio.to_thread(self.kernels.make_way)
                prospect = await self._look_again(prospect.world)
            except CommitRejected:
                # Strict changes fail when a read was short; a second look tells that from a real refusal.
                again = await self._look_again(prospect.world)
                if again.plan == prospect.plan:
                    raise
                prospect = again
        raise CommitConflict(f"others kept changing the kernel's ruleset; gave up after {ATTEMPTS} attempts")

    async def prospect(self) -> Prospect:
        """Everything up to the Plan; changes nothing. Raises Retry, Refusal or Fatal."""
        fleet = await self.source.gather()
        return await self._prospect(fleet, await self.finder.locate(fleet))

    async def _prospect(self, fleet: "Fleet", host: "Host", restored: Restored | None = None) -> Prospect:
        evidence = examine(self.policy, fleet, host, self.previous)
        desired = compile_ruleset(self.policy, evidence.fleet, host, evidence.own)
        mine = effective(self.policy, evidence.scene)
        if self.kernels:
            self.backend = await asyncio.to_thread(self.kernels.choose, mine.firewall)
        desired = await asyncio.to_thread(self.backend.fit, desired)
        observation = await asyncio.to_thread(self.backend.observe)
        if evidence.hold_removals:
            kept = self.keeping.kept if self.keeping else None
            desired = held(desired, observation.ruleset, kept.ruleset if kept else None)
        chosen, cautions = self.kernels.about() if self.kernels else ("", ())
        world = World(
            evidence.fleet,
            host,
            evidence.own,
            peer_droplets(self.policy.peers, evidence.fleet, evidence.own),
            desired,
            mine,
            (*warnings(self.policy, evidence.scene), *_unguarded(mine, host), *_holding(evidence), *cautions),
            evidence.hold_removals,
            restored,
            chosen,
        )
        return Prospect(world, observation, diff(observation.ruleset, desired))

    async def _look_again(self, world: World) -> Prospect:
        observation = await asyncio.to_thread(self.backend.observe)
        return Prospect(world, observation, diff(observation.ruleset, world.desired))

    async def _carry_out(self, prospect: Prospect) -> Unchanged | Committed:
        world, plan, before = prospect.world, prospect.plan, prospect.observation
        if not plan:
            return Unchanged(world, _without_copy(before, world))
        begun = self._moment()
        with suppress(CommitUnknown):  # a lost answer says nothing; what is read back does
            await asyncio.to_thread(self.backend.commit, plan, before.generation)
        seconds = self._moment() - begun
        moved = self.holder is not None and self.holder is not self.backend
        return Committed(world, await self._verified(world), plan, seconds=seconds, moved=moved)

    def _moment(self) -> float:
        return self.clock.monotonic() if self.clock else 0.0

    async def _verified(self, world: World) -> "Observation":
        """What the kernel holds, which is the desired Ruleset; a short read gets a second chance."""
        for _ in range(2):
            observation = await asyncio.to_thread(self.backend.observe)
            if observation.ruleset == world.desired:
                return _without_copy(observation, world)
        raise CommitUnknown("the ruleset read back is not the one that was written", reason="mismatch")


def _rebuilt(outcome: Unchanged | Committed) -> bool:
    """Whether more than members changed: somebody may have moved everything to another backend."""
    return isinstance(outcome, Committed) and not all(
        isinstance(change, AddElements | RemoveElements) for change in outcome.plan.changes
    )


def _without_copy(observation: "Observation", world: World) -> "Observation":
    """The observation of the desired Ruleset: an Outcome is kept, and need not hold that twice."""
    return replace(observation, ruleset=world.desired)


def flush(backend: "Backend") -> bool:
    """Remove our table, and look that it is gone; whether there was one. Blocking.

    Raises CommitConflict when others keep committing or putting it back, CommitRejected, Fatal.
    """
    return bool(put(backend, None))


def put(backend: "Backend", desired: "Ruleset | None") -> "Plan":
    """Have the kernel hold exactly this, and look that it does; what was to do for it. Blocking.

    Raises CommitConflict when others keep committing or undoing it, CommitRejected, Fatal.
    """
    done, desired = None, backend.fit(desired) if desired else None
    for _ in range(ATTEMPTS):
        observation = backend.observe()
        plan = diff(observation.ruleset, desired)
        if not plan:
            return done or plan
        with suppress(CommitConflict, CommitUnknown):
            backend.commit(plan, observation.generation)
        done = done or plan
    raise CommitConflict(f"others keep changing the kernel's ruleset; gave up after {ATTEMPTS} attempts")


def _says_enough(policy: "Policy", fleet: "Fleet") -> bool:
    """Whether VPCs were gathered, if the Policy asks for any; a file never tells any."""
    return bool(fleet.vpcs) or not fleet.source.startswith("http") or not needs_networks(policy)


def _holding(evidence: "Evidence") -> tuple[str, ...]:
    """Entries that could not be read, and whether removals wait for them."""
    if not evidence.fleet.skipped:
        return ()
    held_back = "nobody is removed for now" if evidence.hold_removals else "the answer is not whole"
    return (f"{held_back}{unread(evidence.fleet)}",)


def _unguarded(policy: "Policy", host: "Host") -> "tuple[str, ...]":
    return tuple(
        f"{kind}: this Droplet has no {kind} interface, so there is nothing to manage"
        for kind in InterfaceKind
        if policy.on(kind).managed and managed_interface(policy, host, kind) is None
    )
