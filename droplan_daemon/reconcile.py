"""One cycle, no loop: gather, compile, observe, diff, review, commit, observe again.

Laws:
1. One Fleet per cycle; nothing is asked twice while deciding.
2. An error anywhere before the commit changes nothing. After it, only what the kernel says
   when it is read back counts.
3. Committed and Unchanged mean: the ruleset read back is the desired one.
4. A second cycle over the same world writes nothing.

What blocks (the kernel) runs in a thread, so that the loop above stays alive.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .diff import diff
from .errors import CommitConflict, CommitRejected, CommitUnknown, Refusal, Retry
from .model.fleet import InterfaceKind
from .policy.compile import compile_ruleset, managed_interface
from .policy.effective import effective
from .policy.peers import peer_droplets
from .policy.warnings import warnings
from .safety import examine, held, unread

if TYPE_CHECKING:
    from .effects import Backend, HostFinder, Observation, Source
    from .model.fleet import Droplet, Fleet
    from .model.host import Host
    from .model.plan import Plan
    from .model.policy import Policy
    from .model.ruleset import Ruleset
    from .safety import Evidence

ATTEMPTS = 5
"""How often a cycle looks again when others commit at the same time."""


@dataclass(frozen=True, slots=True)
class World:
    """What a cycle knew when it decided; `policy` is what this Droplet enforces, overrides applied.

    `held`: an entry of the answer could not be read, so nobody was taken out of any set.
    """

    fleet: "Fleet"
    host: "Host"
    own: "Droplet"
    peers: "tuple[Droplet, ...]"
    desired: "Ruleset"
    policy: "Policy"
    warnings: tuple[str, ...] = ()
    held: bool = False


@dataclass(frozen=True, slots=True)
class Prospect:
    """A World, what the kernel holds, and the Plan between them."""

    world: World
    observation: "Observation"
    plan: "Plan"


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The kernel held the desired Ruleset already."""

    world: World
    observation: "Observation"


@dataclass(frozen=True, slots=True)
class Committed:
    """The Plan was carried out, and read back."""

    world: World
    observation: "Observation"
    plan: "Plan"


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
    """The parts of a cycle. `previous` is the last Fleet that was acted on."""

    policy: "Policy"
    source: "Source"
    finder: "HostFinder"
    backend: "Backend"
    previous: "Fleet | None" = field(default=None)

    async def run(self) -> Outcome:
        """One cycle. Raises Fatal alone; everything else is an Outcome."""
        try:
            outcome = await self._run()
        except Refusal as error:
            return Refused(error)
        except Retry as error:
            return Failed(error)
        self.previous = outcome.world.fleet
        return outcome

    async def _run(self) -> Unchanged | Committed:
        prospect = await self.prospect()
        for _ in range(ATTEMPTS):
            try:
                return await self._carry_out(prospect)
            except CommitConflict:
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
        host = await self.finder.locate(fleet)
        evidence = examine(self.policy, fleet, host, self.previous)
        desired = compile_ruleset(self.policy, evidence.fleet, host, evidence.own)
        observation = await asyncio.to_thread(self.backend.observe)
        if evidence.hold_removals:
            desired = held(desired, observation.ruleset)
        mine = effective(self.policy, evidence.scene)
        world = World(
            evidence.fleet,
            host,
            evidence.own,
            peer_droplets(self.policy.peers, evidence.fleet, evidence.own),
            desired,
            mine,
            (*warnings(self.policy, evidence.scene), *_unguarded(mine, host), *_holding(evidence)),
            evidence.hold_removals,
        )
        return Prospect(world, observation, diff(observation.ruleset, desired))

    async def _look_again(self, world: World) -> Prospect:
        observation = await asyncio.to_thread(self.backend.observe)
        return Prospect(world, observation, diff(observation.ruleset, world.desired))

    async def _carry_out(self, prospect: Prospect) -> Unchanged | Committed:
        world, plan, before = prospect.world, prospect.plan, prospect.observation
        if not plan:
            return Unchanged(world, _without_copy(before, world))
        with suppress(CommitUnknown):  # a lost answer says nothing; what is read back does
            await asyncio.to_thread(self.backend.commit, plan, before.generation)
        return Committed(world, await self._verified(world), plan)

    async def _verified(self, world: World) -> "Observation":
        """What the kernel holds, which is the desired Ruleset; a short read gets a second chance."""
        for _ in range(2):
            observation = await asyncio.to_thread(self.backend.observe)
            if observation.ruleset == world.desired:
                return _without_copy(observation, world)
        raise CommitUnknown("the ruleset read back is not the one that was written", reason="mismatch")


def _without_copy(observation: "Observation", world: World) -> "Observation":
    """The observation of the desired Ruleset: an Outcome is kept, and need not hold that twice."""
    return replace(observation, ruleset=world.desired)


def flush(backend: "Backend") -> bool:
    """Remove our table, and look that it is gone; whether there was one. Blocking.

    Raises CommitConflict when others keep committing or putting it back, CommitRejected, Fatal.
    """
    for attempt in range(ATTEMPTS):
        observation = backend.observe()
        removal = diff(observation.ruleset, None)
        if not removal:
            return attempt > 0
        with suppress(CommitConflict, CommitUnknown):
            backend.commit(removal, observation.generation)
    raise CommitConflict("the table could not be removed, since others keep changing the kernel's ruleset")


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
