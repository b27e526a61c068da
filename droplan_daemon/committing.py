"""A Plan into the kernel: committed, read back, and tried again where others were in the way.

Laws:
1. What comes out was read back: the desired Ruleset, all of it. Anything else is an error.
2. A conflict or a short read is looked at anew, a few times; a refusal that stays is told.

What blocks (the kernel) runs in a thread, so that the loop above stays alive.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .diff import diff
from .errors import CommitConflict, CommitRejected, CommitUnknown
from .outcomes import Committed, Prospect, Unchanged, World

if TYPE_CHECKING:
    from .effects import Backend, Clock, Kernels, Observation

ATTEMPTS = 5
"""How often a cycle looks again when others commit at the same time."""


@dataclass(frozen=True, slots=True)
class Committing:
    """Carries out Plans on one Backend; `holder` is the one that was read back last (None: none yet)."""

    backend: "Backend"
    kernels: "Kernels | None" = None
    clock: "Clock | None" = None
    holder: "Backend | None" = None

    async def run(self, prospect: Prospect) -> Unchanged | Committed:
        """Until the kernel holds it. Raises CommitConflict, CommitRejected, CommitUnknown or Fatal."""
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


def _without_copy(observation: "Observation", world: World) -> "Observation":
    """The observation of the desired Ruleset: an Outcome is kept, and need not hold that twice."""
    return replace(observation, ruleset=world.desired)
