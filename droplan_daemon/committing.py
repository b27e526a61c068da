"""A Plan into the kernel: committed, read back, and tried again where others were in the way.

Laws:
1. What comes out was read back: the desired Ruleset, all of it. Anything else is an error.
2. What hinders for a moment (no memory, others who commit, an answer that is lost, a short read) is
   looked at anew, a few times; a refusal that stays is told.
3. An element that the kernel refuses keeps nobody else out, as long as few are refused: they are left out,
   said so, and tried again when something else is to be changed. Nobody who is in is left out so.
4. Rules that cut us off from whom we reached before are taken back, and not tried again at once. Who is
   not reached then either may be away by himself: they soon get another chance.

What blocks (the kernel) runs in a thread, so that the loop above stays alive.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .diff import diff
from .errors import CommitConflict, CommitRejected, CommitUnknown, CommitUnsent, RolledBack
from .model.plan import AddElements, RemoveElements
from .model.ruleset import Foreign
from .outcomes import Committed, Prospect, Quarantined, Setback, Unchanged, World
from .pacing import backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .effects import Backend, Clock, Kernels, Observation, Probe
    from .errors import Retry
    from .model.addresses import Element
    from .model.plan import Plan
    from .model.ruleset import Chain, Ruleset

ATTEMPTS = 5
"""How often a cycle looks again when others commit at the same time."""

SHORTEST, LONGEST = 0.02, 1.0
"""Seconds between two attempts to send what could not be sent: full jitter, twice as long each time."""

FEW = 100
"""One element in so many may be left out; with more of them it is not the elements that are wrong."""

MOST = 100
"""And never more than so many: each costs an attempt."""

PROBES, BETWEEN = 2, 1.0
"""How often a probe has to fail in a row, and the seconds between."""

BARRED, BARRED_LONGEST = 600.0, 3600.0
"""Seconds for which rules that cut us off are not tried again: twice as long each time, up to an hour."""

BARRED_UNSURE = 30.0
"""The same where it was perhaps not they that cut us off."""


_CUT_OFF = (
    "with the new rules the {probe} can no longer be reached, so those of before are in force again: "
    "see what the policy keeps from going out (outbound, lifelines), change it and reload"
)
_AWAY = (
    "the {probe} could not be reached with the new rules, nor with those of before, which are in force "
    "again: the new ones are tried again soon"
)


@dataclass(frozen=True, slots=True)
class Barred:
    """Rules that cut us off `times` in a row, not to be tried before `until` (monotonic seconds), and why."""

    chains: "dict[str, Chain]"
    until: float
    times: int
    message: str = _CUT_OFF


@dataclass(slots=True)
class Lessons:
    """What earlier commits taught: which elements the kernel refused, and which rules cut us off."""

    quarantined: tuple[Quarantined, ...] = ()
    barred: Barred | None = None


@dataclass(frozen=True, slots=True)
class Committing:
    """Carries out Plans on one Backend; `holder` is the one that was read back last (None: none yet).

    `anew` tells what the World comes to over what is there after somebody else was faster. `standing` is what
    should have been there before (None: whatever was), and is what new rules are taken back to.
    """

    backend: "Backend"
    kernels: "Kernels | None" = None
    clock: "Clock | None" = None
    holder: "Backend | None" = None
    probe: "Probe | None" = None
    lessons: Lessons = field(default_factory=Lessons)
    anew: "Callable[[World, Observation], Awaitable[World]] | None" = None
    standing: "Ruleset | None" = None

    async def run(self, prospect: Prospect, *, reached: bool | None = False) -> Unchanged | Committed:
        """Until the kernel holds it.

        `reached`: whether the probe's other end has just been reached; None: ask it before, if it matters.
        Raises CommitConflict, CommitRejected, CommitUnknown, RolledBack or Fatal.
        """
        prospect = self._sparing(prospect)
        before = prospect.observation.ruleset
        watched = touches_rules(prospect.plan) and self.probe is not None and _ours(before)
        if watched:
            self._refuse_barred(prospect)
            reached = await self._reaches() if reached is None and before else reached
        outcome = await self._persisted(prospect)
        if watched and reached and not await self._reaches():
            raise await self._taken_back(self.standing or before, outcome.world)
        if isinstance(outcome, Committed):
            self.lessons.quarantined = outcome.world.quarantined
        if watched:
            self.lessons.barred = None
        return outcome

    async def _persisted(self, prospect: Prospect) -> Unchanged | Committed:
        setbacks: list[Retry] = []
        while True:
            known = len(setbacks)
            try:
                outcome = await self._carry_out(prospect, setbacks)
            except CommitUnsent as error:
                await self._hindered(error, setbacks)
                await self._pause(len(setbacks))
            except CommitConflict as error:
                await self._hindered(error, setbacks)
                if self.kernels:
                    await asyncio.to_thread(self.kernels.make_way)
            except CommitUnknown:
                # Acknowledged and yet not there: somebody else undid it. Unanswered: it may never have come.
                if len(setbacks) == known or known + 1 >= ATTEMPTS:
                    raise
            except CommitRejected as error:
                prospect = await self._reconsidered(prospect, error, setbacks)
                continue
            else:
                return replace(outcome, setbacks=_counted(setbacks)) if setbacks else outcome
            prospect = await self._look_again(prospect.world)

    async def _hindered(self, error: "Retry", setbacks: "list[Retry]") -> None:
        """Raises the error when it was one too many."""
        setbacks.append(error)
        if len(setbacks) < ATTEMPTS:
            return
        if isinstance(error, CommitConflict):
            message = f"others kept changing the kernel's ruleset; gave up after {ATTEMPTS} attempts"
            raise CommitConflict(message) from error
        raise error

    async def _pause(self, attempt: int) -> None:
        seconds = backoff(attempt, self.clock.random() if self.clock else 0.0, base=SHORTEST, cap=LONGEST)
        await (self.clock.sleep if self.clock else asyncio.sleep)(seconds)

    async def _reconsidered(
        self, prospect: Prospect, error: CommitRejected, setbacks: "list[Retry]"
    ) -> Prospect:
        """What to do about a refusal. Raises it when nothing can be done."""
        again = await self._look_again(prospect.world)
        if again.plan == prospect.plan:
            return _quarantined(again, error)
        # Strict changes fail when a read was short; the second look tells that from a real refusal.
        await self._hindered(error, setbacks)
        return again

    async def _look_again(self, world: World) -> Prospect:
        """What is desired beside what is there now: who was faster may have had the right to be."""
        observation = await asyncio.to_thread(self.backend.observe)
        world = await self.anew(world, observation) if self.anew else world
        return Prospect(world, observation, diff(observation.ruleset, world.enforced))

    async def _carry_out(self, prospect: Prospect, setbacks: "list[Retry]") -> Unchanged | Committed:
        """A lost answer says nothing, and is one of the setbacks; what is read back does."""
        world, plan, before = prospect.world, prospect.plan, prospect.observation
        if not plan:
            return Unchanged(world, _without_copy(before, world))
        begun = self._moment()
        try:
            await asyncio.to_thread(self.backend.commit, plan, before.generation)
        except CommitUnknown as error:
            setbacks.append(error)
        seconds = self._moment() - begun
        moved = self.holder is not None and self.holder is not self.backend
        return Committed(world, await self._verified(world), plan, seconds=seconds, moved=moved)

    def _moment(self) -> float:
        return self.clock.monotonic() if self.clock else 0.0

    async def _verified(self, world: World) -> "Observation":
        """What the kernel holds, which is the desired Ruleset; a short read gets a second chance."""
        for _ in range(2):
            observation = await asyncio.to_thread(self.backend.observe)
            if observation.ruleset == world.enforced:
                return _without_copy(observation, world)
        raise CommitUnknown("the ruleset read back is not the one that was written", reason="mismatch")

    def _sparing(self, prospect: Prospect) -> Prospect:
        """Without those that were refused last, if nothing else is to be changed."""
        if not self.lessons.quarantined or not prospect.plan:
            return prospect
        world = _sparing(prospect.world, self.lessons.quarantined)
        plan = diff(prospect.observation.ruleset, world.enforced)
        return prospect if plan else Prospect(world, prospect.observation, plan)

    def _refuse_barred(self, prospect: Prospect) -> None:
        barred = self.lessons.barred
        if barred and barred.chains == prospect.world.enforced.chains and self._moment() < barred.until:
            raise self._cut_off(barred)

    async def _reaches(self) -> bool:
        """Whether the probe's other end can be reached: it is not before it failed more than once."""
        for left in reversed(range(PROBES)):
            if self.probe and await self.probe.reaches():
                return True
            if left:
                await (self.clock.sleep if self.clock else asyncio.sleep)(BETWEEN)
        return False

    async def _taken_back(self, before: "Ruleset | None", world: World) -> RolledBack:
        """Have the kernel hold what it held before; what is to be told. Raises why that could not be done."""
        last, chains = self.lessons.barred, world.enforced.chains
        times = last.times + 1 if last and last.chains == chains else 1
        self.lessons.barred = Barred(chains, self._until(BARRED, times), times)
        await asyncio.to_thread(put, self.backend, before)
        if not await self._reaches():
            self.lessons.barred = Barred(chains, self._until(BARRED_UNSURE, times), times, _AWAY)
        return self._cut_off(self.lessons.barred)

    def _until(self, wait: float, times: int) -> float:
        return self._moment() + min(BARRED_LONGEST, wait * 2.0 ** min(times - 1, 64))

    def _cut_off(self, barred: Barred) -> RolledBack:
        name = self.probe.name if self.probe else ""
        return RolledBack(barred.message.format(probe=name), probe=name.lower())


def touches_rules(plan: "Plan") -> bool:
    """Whether more than members change."""
    return not all(isinstance(change, AddElements | RemoveElements) for change in plan.changes)


def _ours(observed: "Ruleset | None") -> bool:
    """Whether it could be written again as it is."""
    if observed is None:
        return True
    matches = (match for chain in observed.chains.values() for rule in chain.rules for match in rule.matches)
    return not observed.flags and not any(isinstance(match, Foreign) for match in matches)


def _counted(errors: "list[Retry]") -> tuple[Setback, ...]:
    """How many there were of each kind, and the last of it."""
    last = {type(error): error for error in errors}
    return tuple(
        Setback(_bare(error), sum(type(one) is kind for one in errors)) for kind, error in last.items()
    )


def _bare(error: "Retry") -> "Retry":
    """As a value: an Outcome is kept, and would keep the frames of its cycle."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _quarantined(prospect: Prospect, error: CommitRejected) -> Prospect:
    """The same without the element that the kernel names. Raises the error where that is no answer."""
    world, held = prospect.world, prospect.observation.ruleset
    change = None if error.change is None else prospect.plan.changes[error.change]
    if error.element is None or not isinstance(change, AddElements):
        raise error
    inside = _elements(held, change.set) if held else frozenset()
    bad = (*world.quarantined, Quarantined(change.set, change.family, error.element, error.errno))
    count = sum(len(item.elements) for item in world.enforced.sets.values()) + len(world.quarantined)
    if error.element in inside or len(bad) > min(MOST, count // FEW):
        raise error
    world = _sparing(world, bad)
    return Prospect(world, prospect.observation, diff(held, world.enforced))


def _sparing(world: World, bad: tuple[Quarantined, ...]) -> World:
    """The World with these elements left out of what is desired."""
    found = [one for one in bad if one.element in _elements(world.enforced, one.set)]
    left_out = tuple(dict.fromkeys((*world.quarantined, *found)))
    whole = None if world.whole is None else _without(world.whole, bad)
    return replace(world, desired=_without(world.desired, bad), whole=whole, quarantined=left_out)


def _without(ruleset: "Ruleset", bad: tuple[Quarantined, ...]) -> "Ruleset":
    gone = {name: {one.element for one in bad if one.set == name} for name in {one.set for one in bad}}
    sets = {
        name: replace(item, elements=item.elements - gone[name]) if name in gone else item
        for name, item in ruleset.sets.items()
    }
    return replace(ruleset, sets=sets)


def _elements(ruleset: "Ruleset", name: str) -> "frozenset[Element]":
    found = ruleset.sets.get(name)
    return found.elements if found else frozenset()


def _without_copy(observation: "Observation", world: World) -> "Observation":
    """The observation of the desired Ruleset: an Outcome is kept, and need not hold that twice."""
    return replace(observation, ruleset=world.enforced)


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
        with suppress(CommitConflict, CommitUnknown, CommitUnsent):
            backend.commit(plan, observation.generation)
        done = done or plan
    raise CommitConflict(f"others keep changing the kernel's ruleset; gave up after {ATTEMPTS} attempts")
