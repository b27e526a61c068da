"""One cycle, no loop: gather, compile, observe, diff, review, commit, observe again, persist.

Laws:
1. One Fleet per cycle; nothing is asked twice while deciding.
2. An error anywhere before the commit changes nothing. After it, only what the kernel says
   when it is read back counts.
3. Committed and Unchanged mean: the ruleset read back is the desired one.
4. A second cycle over the same world writes nothing.
5. After a start the Checkpoint stands in for the first answer: the current Policy over the Fleet
   that was last believed, on the machine where it was. It ends like any cycle.
6. One thing at a time is done to the kernel; while a Source lets us wait, nothing else does.
7. A repair and a change of interfaces ask no Source: they go by the World that was read back last.

What blocks (the kernel) runs in a thread, so that the loop above stays alive.
"""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from .caveats import held_back, unguarded, unheard
from .committing import Committing, Lessons, touches_rules
from .committing import flush as flush  # noqa: PLC0414 - asked for here
from .committing import put as put  # noqa: PLC0414 - asked for here
from .diff import diff
from .drift import look
from .errors import CommitConflict, HostUnknown, Refusal, Retry
from .gate import Gate, Standing
from .leasing import is_unconfirmed, lasting, refuse_unconfirmed
from .model.stance import Stance
from .outcomes import Committed, Failed, Outcome, Prospect, Refused, Restored, Unchanged, World
from .policy.effective import effective
from .policy.lease import split
from .policy.uses import needs_networks
from .policy.warnings import warnings
from .safety import Enforced, believe, examine, overdue, with_newer, without_droplets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .effects import Backend, Clock, Follower, HostFinder, Kernels, Observation, Probe, Source
    from .keeping import Keeping
    from .model.checkpoint import Checkpoint
    from .model.fleet import Fleet
    from .model.host import Host
    from .model.policy import Policy

T = TypeVar("T")

_SHARE = 0.1
"""Of `max_stale`: how much longer it may be than the operator said, after a restart at the wrong moment."""


@dataclass(slots=True)
class Cycle:
    """The parts of a cycle. `previous` is the last Fleet that was acted on.

    Without `keeping` nothing is kept. With `kernels` the `backend` is what the Droplet's own Policy asks
    for, chosen anew in each cycle; what others hold goes when it has been read back. `recallable`: what
    another Cycle learned says enough for this Policy. `holder` is what was read back last, and `last` the
    World that it was read back for. `follower` finds this machine's interfaces without asking anybody.
    `probe` is what no new rules may cut us off from, `lessons` what earlier commits taught. `stance` tells
    what the operator has said to hold for a while (None: nothing ever), `digest` is the configuration's.
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
    gate: Gate = field(default_factory=Gate)
    follower: "Follower | None" = None
    last: World | None = None
    probe: "Probe | None" = None
    lessons: Lessons = field(default_factory=Lessons)
    stance: "Callable[[], Stance] | None" = None
    digest: str = ""
    _asked_at: float | None = None
    _ruled: "Policy | None" = None
    _ruling: "Policy | None" = None
    _seen: "Observation | None" = None
    _kernel: asyncio.Lock = field(default_factory=asyncio.Lock)
    _since: float = 0.0
    _replaced: bool = False

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

    async def expire(self) -> Outcome:
        """Let no Droplet in any more, where nobody has answered for longer than the configuration allows."""
        return await self._ended(self._enforced_anew())

    @property
    def overdue(self) -> bool:
        """Whether that is due."""
        return self.last is not None and not self.last.expired and self._is_overdue()

    @property
    def silence(self) -> float:
        """Seconds since there was a complete answer that counted; since the first was asked for, at least."""
        now = self.clock.monotonic() if self.clock else 0.0
        heard = self.keeping.silence if self.keeping else None
        return heard if heard is not None else now - (self._asked_at if self._asked_at is not None else now)

    def _is_overdue(self) -> bool:
        return overdue(self.policy, self.silence)

    async def repair(self) -> Outcome:
        """Have the kernel hold what it held last. Nothing is kept anew: it is as it was."""
        return await self._ended(self._repaired(), keep=False)

    async def relocate(self) -> Outcome:
        """Follow this machine's interfaces, for the Fleet that was believed last."""
        return await self._ended(self._relocated())

    @property
    def busy(self) -> float:
        """Seconds for which the kernel has been read and written by now; 0.0 while it is not."""
        return self.clock.monotonic() - self._since if self.clock and self._kernel.locked() else 0.0

    def inherit(self, other: "Cycle") -> None:
        """Know what a Cycle of another configuration knew, and take its place: it writes nothing any more."""
        other._replaced, self._since = True, other._since  # noqa: SLF001 - one of us
        self.previous, self.holder = other.previous, other.holder
        self.lessons.quarantined = other.lessons.quarantined
        self.last, self._seen, self._kernel = other.last, other._seen, other._kernel  # noqa: SLF001 - one of us
        self._ruled, self._asked_at = other._ruled, other._asked_at  # noqa: SLF001 - one of us
        self.recallable = needs_networks(other.policy) or not needs_networks(self.policy)
        if self.keeping and other.keeping:
            self.keeping.inherit(other.keeping)

    async def objection(self, other: "Cycle") -> Refusal | None:
        """Why this configuration does not take another Cycle's place: it was tried, and not confirmed."""
        try:
            refuse_unconfirmed((await self._stance()).calm(), self.digest, other.last)
        except Refusal as error:
            return error
        except Retry:
            pass  # the next cycle says what cannot be read
        return None

    async def _ended(self, work: "Awaitable[Unchanged | Committed]", *, keep: bool = True) -> Outcome:
        try:
            outcome = await work
        except (Refusal, Retry) as error:
            if self.keeping:
                self.keeping.came_to_nothing()
            return Refused(error) if isinstance(error, Refusal) else Failed(error)
        return await self._kept(outcome) if keep else outcome

    async def _kept(self, outcome: Unchanged | Committed) -> Outcome:
        if self.keeping is None:
            return outcome
        committed = isinstance(outcome, Committed)
        unsaved = await self.keeping.keep(outcome.world, self.backend, committed=committed)
        return replace(outcome, unsaved=unsaved) if unsaved else outcome

    async def _run(self) -> Unchanged | Committed:
        if self._asked_at is None and self.clock:
            self._asked_at = self.clock.monotonic()
        outcome = await self._asked(self._answered)
        if self.keeping:
            most = self.policy.peers.max_stale
            self.keeping.hear(None if most is None else most * _SHARE)
        return outcome

    async def _answered(self, fleet: "Fleet", host: "Host") -> Unchanged | Committed:
        """What comes of an answer; of one that nothing comes of nobody knows whether others agree with it."""
        try:
            return await self._enforced(fleet, host, reached=True)
        except (Refusal, Retry):
            with suppress(Refusal, Retry):
                examine(self.policy, fleet, host, self.previous)
                await self._count_anew()
            raise

    async def _count_anew(self) -> None:
        if self.last:
            self.last = replace(self.last, absences=self.last.absences.anew)
        if self.keeping:
            await self.keeping.count_anew()

    async def _resumed(self, checkpoint: "Checkpoint") -> Unchanged | Committed:
        host = await self.take(checkpoint)
        if not _says_enough(self.policy, checkpoint.fleet):
            raise HostUnknown(
                "it was kept without VPCs, which the configuration asks for now", reason="no_vpcs"
            )
        restored = Restored(self.keeping.age(checkpoint) if self.keeping else None)
        return await self._enforced(checkpoint.fleet, host, restored, reached=None)

    async def _recalled(self) -> Unchanged | Committed:
        keeping = self.keeping
        if keeping is None or keeping.kept is None or not self.recallable:
            raise HostUnknown("nothing is known that says enough for this policy", reason="not_kept")
        # What is kept may be older than what was believed last: a full disk brings nobody back.
        fleet = self.last.fleet if self.last else keeping.kept.fleet
        host = await keeping.take(keeping.kept)
        age = max(0.0, keeping.clock.now() - fleet.taken) if fleet.taken else None
        return await self._enforced(fleet, host, Restored(age))

    async def _enforced(
        self,
        fleet: "Fleet",
        host: "Host",
        restored: Restored | None = None,
        *,
        reached: bool | None = False,
    ) -> Unchanged | Committed:
        """`reached`: whether somebody out there has just answered; None: to be found out, if it matters."""
        refuse_unconfirmed(await self._stance(), self.digest, self.last)
        async with self._at_kernel():
            return await self._written(fleet, host, restored, reached=reached)

    async def _enforced_anew(self, host: "Host | None" = None) -> Unchanged | Committed:
        """For whom was believed last: by now, for a poll may have ended while this waited for the kernel."""
        refuse_unconfirmed(await self._stance(), self.digest, self.last)
        async with self._at_kernel():
            world = self._known()
            return await self._written(world.fleet, host or world.host, world.restored, reached=False)

    async def _written(
        self, fleet: "Fleet", host: "Host", restored: Restored | None, *, reached: bool | None
    ) -> Unchanged | Committed:
        prospect = await self._prospect(fleet, host, restored, answered=reached is True)
        self.admit(prospect)
        standing = self.last.enforced if self.last and self.holder is self.backend else None
        parts = (self.backend, self.kernels, self.clock, self.holder, self.probe, self.lessons)
        committing = Committing(*parts, anew=self._anew, standing=standing)
        outcome = await self._settled(await committing.run(prospect, reached=reached))
        self._ruled = self._ruling
        return outcome

    async def _anew(self, world: World, observation: "Observation") -> World:
        """The World over what is there now: who was faster may be the operator. Raises CommitConflict."""
        stance = await self._stance()
        if stance.panic != (world.panic is not None):
            raise CommitConflict("a panic began or ended meanwhile; what follows from it is looked at again")
        return self._for_a_while(world, observation, stance)

    def admit(self, prospect: Prospect) -> None:
        """Look that what is to be enforced locks nobody out. Raises Refusal."""
        world, kept = self.last, self.keeping.kept if self.keeping else None
        host = world.host if world else kept.host if kept else prospect.world.host
        ruleset = world.desired if world else kept.ruleset if kept else prospect.observation.ruleset
        if prospect.plan:
            self.gate.review(self.policy, prospect.world, Standing(ruleset, host, self.previous))

    async def _repaired(self) -> Unchanged | Committed:
        async with self._at_kernel():
            world, holder = self._known(), self.holder or self.backend
            seen = None if world.lease else self._seen  # time alone ends a lease, and no generation tells
            stance, found = await asyncio.to_thread(self._looked, holder, world, seen)
            if stance.panic == (world.panic is not None):
                world = self._for_a_while(world, found, stance)
                prospect = Prospect(world, found, diff(found.ruleset, world.enforced))
                self.backend = holder
                committing = Committing(holder, self.kernels, self.clock, anew=self._anew)
                return await self._settled(await committing.run(prospect))
        return await self._enforced_anew()

    def _looked(
        self, holder: "Backend", world: World, seen: "Observation | None"
    ) -> "tuple[Stance, Observation]":
        """What the operator wants for a while, and what is there: one thread for both is sooner done."""
        return self.stance() if self.stance else Stance(), look(holder, world.enforced, seen)

    async def _relocated(self) -> Unchanged | Committed:
        world, seen = self._known(), self._seen
        if seen and world.digest != self.digest and world.panic is None:
            return Unchanged(world, seen)  # a new configuration is enforced by a poll, not by the way
        host = await self.follower.follow(world.fleet) if self.follower else world.host
        same = replace(host, learned=world.host.learned) == world.host and host.lost == world.host.lost
        if same and seen:
            return Unchanged(world, seen)
        return await self._enforced_anew(host)

    async def _stance(self) -> Stance:
        """What the operator has said to hold for a while. Raises StoreFailed."""
        return await asyncio.to_thread(self.stance) if self.stance else Stance()

    def _for_a_while(self, world: World, observation: "Observation", stance: Stance) -> World:
        """The World with what goes on beside it for now."""
        digest, script = self.digest, self.backend.script
        found = lasting(world.desired, observation, stance, self.last, digest=digest, script=script)
        return replace(world, whole=found.whole, lease=found.lease, ended=found.ended)

    def _known(self) -> World:
        if self.last is None:
            raise HostUnknown("nothing has been enforced yet", reason="not_enforced")
        return self.last

    @asynccontextmanager
    async def _at_kernel(self) -> "AsyncIterator[None]":
        async with self._kernel:
            if self._replaced:
                raise CommitConflict("a new configuration is enforced in the place of this one")
            self._since = self.clock.monotonic() if self.clock else 0.0
            yield

    async def _settled(self, outcome: Unchanged | Committed) -> Unchanged | Committed:
        """What was read back is known from now on, and who is not chosen lets go of what he holds."""
        self.previous, self.holder = outcome.world.fleet, self.backend
        self.last, self._seen = outcome.world, outcome.observation
        if self.kernels:
            await asyncio.to_thread(self.kernels.leave_others, again=_rebuilt(outcome))
        return outcome

    async def prospect(self) -> Prospect:
        """Everything up to the Plan; changes nothing. Raises Retry, Refusal or Fatal."""
        return await self._asked(self._prospect)

    async def _asked(self, then: "Callable[[Fleet, Host], Awaitable[T]]") -> "T":
        """What is made of the answer to who is there."""
        fleet = await self.source.gather()
        try:
            return await then(fleet, await self.finder.locate(fleet))
        except Refusal as error:
            error.via = fleet.via
            raise

    async def _prospect(
        self, fleet: "Fleet", host: "Host", restored: Restored | None = None, *, answered: bool = True
    ) -> Prospect:
        evidence = examine(self.policy, fleet, host, self.previous)
        if self.kernels:
            firewall = effective(self.policy, evidence.scene).firewall
            self.backend = await asyncio.to_thread(self.kernels.choose, firewall)
        observation, stance = await asyncio.to_thread(self.backend.observe), await self._stance()
        policy = _panicking(effective(self.policy, evidence.scene), host) if stance.panic else self.policy
        before, self._ruling = self._enforced_before(observation), policy
        accepted = self.keeping.accepted() if self.keeping and answered else frozenset[str]()
        found = believe(policy, evidence, host, before, answered=answered, accepted=accepted)
        expired = not answered and self._is_overdue()
        if expired:
            found = replace(found, ruleset=without_droplets(policy, found), doubts=())
        elif restored and self.last is None:
            found = with_newer(found, before.ruleset, split(observation.ruleset).base)
        mine = effective(policy, found.scene)
        chosen, cautions = self.kernels.about() if self.kernels else ("", ())
        world = World(
            found.fleet,
            found.host,
            found.scene.own,
            tuple(d for d in found.fleet.droplets if d.id in found.scene.peers and not expired),
            await asyncio.to_thread(self.backend.fit, found.ruleset),
            mine,
            (
                *warnings(self.policy, found.scene),
                *unguarded(mine, host),
                *held_back(evidence),
                *unheard(
                    self.policy, restored, known=self.keeping is None or self.keeping.silence is not None
                ),
                *cautions,
            ),
            restored=restored,
            backend=chosen,
            doubts=found.doubts,
            absences=found.absences,
            expired=expired,
            panic=stance.since if stance.panic else None,
            digest="" if is_unconfirmed(stance, self.digest, self.last) else self.digest,
        )
        world = self._for_a_while(world, observation, stance)
        return Prospect(world, observation, diff(observation.ruleset, world.enforced))

    def _enforced_before(self, observation: "Observation") -> Enforced:
        """What was enforced last: by us, by whom we take over from, or else what the kernel holds."""
        if self.last:
            ruleset = None if self.last.expired else self.last.desired
            return Enforced(ruleset, self.last.fleet, self.last.host, self._ruled, self.last.absences)
        if self.keeping and self.keeping.kept:
            kept = self.keeping.kept
            return Enforced(kept.ruleset, kept.fleet, kept.host, absences=self.keeping.absences)
        return Enforced(split(observation.ruleset).base)


def _panicking(policy: "Policy", host: "Host") -> "Policy":
    from .policy.panic import in_panic  # noqa: PLC0415 - there is none on most days

    return in_panic(policy, host)


def _rebuilt(outcome: Unchanged | Committed) -> bool:
    """Whether more than members changed: somebody may have moved everything to another backend."""
    return isinstance(outcome, Committed) and touches_rules(outcome.plan)


def _says_enough(policy: "Policy", fleet: "Fleet") -> bool:
    """Whether VPCs were gathered, if the Policy asks for any; a file never tells any."""
    return bool(fleet.vpcs) or not fleet.source.startswith("http") or not needs_networks(policy)
