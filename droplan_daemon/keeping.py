"""What a cycle keeps for the next start, and what this machine takes of it.

Laws:
1. Keeping never decides how a cycle ended. What could not be kept is told and tried again in the
   next cycle, also when nothing changed; a disk that does not answer holds up nobody for long.
2. What is on disk already is not written again. A Fleet is the same when its Droplets, VPCs and
   peerings are; when and from where it came does not count.
3. A Checkpoint is taken only where it was made: same Droplet, same network cards.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .errors import HostUnknown, StoreFailed
from .model.checkpoint import Checkpoint, Heard, age, since
from .model.doubt import Absences
from .model.fleet import InterfaceKind
from .policy.compile import managed_interface

if TYPE_CHECKING:
    from .effects import Backend, Clock, Keeper, Machine, Store
    from .model.host import Host
    from .outcomes import World

PATIENCE = 5.0
"""Seconds for which a cycle waits until its state is on disk; a slower disk goes on by itself."""

LOOKED_FOR = 600.0
"""Seconds after which what is on disk is looked for again: somebody may have cleaned up."""


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Something that is not kept: `what` is `state` or `iptables` (the host's own saved rules)."""

    what: str
    error: StoreFailed


@dataclass(slots=True)
class Keeping:
    """Writes Checkpoints. `boot` is the kernel's boot id; `kept` what is (or should be) on disk."""

    store: "Store"
    machine: "Machine"
    clock: "Clock"
    boot: str = ""
    keeper: "Keeper | None" = None
    kept: Checkpoint | None = None
    absences: Absences = field(default_factory=Absences)
    _sound: bool = False
    _looked: float = 0.0
    _owed: bool = False
    _accepted: frozenset[str] = frozenset()
    _heard: float | None = None
    _heard_kept: float | None = None
    _every: float | None = None
    _remembered: "Host | None" = None
    _due: float = 0.0
    _writing: "asyncio.Future[tuple[Unsaved, ...]] | None" = field(default=None)

    async def take(self, checkpoint: Checkpoint) -> "Host":
        """This machine as a Host, if the Checkpoint is of it. Raises HostUnknown."""
        host = await self.machine.recognise(checkpoint)
        self.kept, self._sound = checkpoint, False
        self.absences = await asyncio.to_thread(self.store.absences)
        if self._heard is None and (heard := await asyncio.to_thread(self.store.heard)):
            age = since(heard, boot=self.boot, uptime=self.clock.monotonic(), now=self.clock.now())
            self._heard = None if age is None else self.clock.monotonic() - age
        return host

    def hear(self, every: float | None) -> None:
        """Somebody has answered. With `every` that is kept, when it was not for so many seconds."""
        self._heard = self.clock.monotonic()
        self._every = every

    @property
    def silence(self) -> float | None:
        """Seconds since somebody answered, this process or one before it; None: not known."""
        return None if self._heard is None else self.clock.monotonic() - self._heard

    def accepted(self) -> frozenset[str]:
        """What the operator accepts (see `safety.believe`), until something has been kept with it."""
        self._accepted = self.store.accepted()
        return self._accepted

    async def count_anew(self) -> None:
        """An answer came to nothing: those before it and those after it are none in a row."""
        fresh = self.absences.anew
        if fresh != self.absences:
            self.absences = fresh
            writing = asyncio.ensure_future(asyncio.to_thread(self._keep_counts, fresh))
            await asyncio.wait({writing}, timeout=PATIENCE)

    def _keep_counts(self, fresh: Absences) -> None:
        with suppress(StoreFailed):  # the next cycle that comes to a good end tells it
            self.store.keep_absences(fresh)

    def came_to_nothing(self) -> None:
        """What was accepted was not acted on: it waits for the next answer."""
        self._accepted = frozenset()

    def inherit(self, other: "Keeping") -> None:
        """Go on where another Keeping of this machine stopped."""
        self.kept, self._sound, self._writing = other.kept, other._sound, other._writing  # noqa: SLF001 - one of us
        self._looked, self._due = other._looked, other._due  # noqa: SLF001 - one of us
        self._remembered, self._owed = other._remembered, other._owed  # noqa: SLF001 - one of us
        self.absences = other.absences
        self._heard, self._heard_kept = other._heard, other._heard_kept  # noqa: SLF001 - one of us

    def age(self, checkpoint: Checkpoint) -> float | None:
        """Seconds since it was saved; None where no clock can tell."""
        return age(checkpoint, boot=self.boot, uptime=self.clock.monotonic(), now=self.clock.now())

    async def keep(self, now: "World", backend: "Backend", *, committed: bool) -> tuple[Unsaved, ...]:
        """Have it on disk; what is not. `committed`: the kernel was written to."""
        self._owed |= committed and self.keeper is not None
        self._sound &= not committed
        left = self._due - self.clock.monotonic()
        if self._writing and not self._writing.done() and left > 0:
            await asyncio.wait({self._writing}, timeout=left)  # for a cycle that ended just before
        if self._writing is None or self._writing.done():
            self._due = self.clock.monotonic() + PATIENCE
            writing = asyncio.ensure_future(asyncio.to_thread(self._write, now, backend))
            self._writing = writing
            await asyncio.wait({writing}, timeout=PATIENCE)
            if writing.done():
                return writing.result()
        message = f"the state is not on disk after {PATIENCE:g} s: the disk does not answer"
        return (Unsaved("state", StoreFailed(message, reason="slow")),)

    def _write(self, now: "World", backend: "Backend") -> tuple[Unsaved, ...]:
        found = []
        try:
            self._save_absences(now)
            self._save(now, backend)
        except StoreFailed as error:
            found.append(Unsaved("state", error))
        if self.keeper and self._owed:
            try:
                self.keeper.keep(now.desired)
                self._owed = False
            except StoreFailed as error:
                found.append(Unsaved("iptables", error))
        return tuple(found)

    def _save(self, now: "World", backend: "Backend") -> None:
        if self._remembered != now.host:
            self.store.remember(now.host)
            self._remembered = now.host
        fresh = self._checkpoint(now, backend.name)
        if self.kept and _alike(self.kept, fresh) and self._is_sound(self.kept):
            # Equal values, of which the cycle has its own: those that were read are let go.
            self.kept = replace(self.kept, fleet=now.fleet, ruleset=now.desired)
            return
        self._sound = False
        numbered = replace(fresh, number=self.store.latest() + 1)
        self.store.save(numbered, backend.script(now.desired))
        self.kept, self._sound, self._looked = numbered, True, self.clock.monotonic()

    def _is_sound(self, kept: Checkpoint) -> bool:
        """Whether it is on disk, whole; asked of the disk now and then."""
        now = self.clock.monotonic()
        if not self._sound or now - self._looked >= LOOKED_FOR:
            self._sound, self._looked = self.store.holds(kept), now
        return self._sound

    def _save_absences(self, now: "World") -> None:
        """Keep what is held, and that what was accepted is done."""
        if self.absences != now.absences:
            self.store.keep_absences(now.absences)
            self.absences = now.absences
        if self._accepted:
            self.store.settle(self._accepted)
            self._accepted = frozenset()
        if self._every is not None and self._heard is not None:
            self._save_heard(self._heard, self._every)

    def _save_heard(self, heard: float, every: float) -> None:
        if self._heard_kept is None or heard - self._heard_kept >= every:
            at = self.clock.now() - (self.clock.monotonic() - heard)
            self.store.keep_heard(Heard(at, self.boot, heard))
            self._heard_kept = heard

    def _checkpoint(self, now: "World", backend: str) -> Checkpoint:
        return Checkpoint(
            host=now.host,
            links=self._links(now),
            fleet=now.fleet,
            ruleset=now.desired,
            backend=backend,
            number=0,
            saved_at=self.clock.now(),
            boot=self.boot,
            uptime=self.clock.monotonic(),
        )

    def _links(self, now: "World") -> tuple[tuple[str, str], ...]:
        """The managed interfaces that have a MAC; those of before while the kernel does not say."""
        try:
            macs = self.machine.macs()
        except HostUnknown:
            return self.kept.links if self.kept else ()
        names = (managed_interface(now.policy, now.host, kind) for kind in InterfaceKind)
        return tuple((name, macs[name]) for name in names if name and macs.get(name))


def _alike(kept: Checkpoint, fresh: Checkpoint) -> bool:
    """Whether both would be enforced alike after a start."""
    return (
        (kept.backend, kept.links, replace(kept.host, learned=""))
        == (fresh.backend, fresh.links, replace(fresh.host, learned=""))
        and kept.ruleset == fresh.ruleset
        and kept.fleet.droplets == fresh.fleet.droplets
        and (kept.fleet.vpcs, kept.fleet.peerings) == (fresh.fleet.vpcs, fresh.fleet.peerings)
    )
