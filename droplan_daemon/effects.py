"""What a cycle needs from the world, declared by the cycle.

Law: Protocols only. `reconcile` and `daemon` see nothing else of the outside; `cli` picks
what stands behind them.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from .metrics.families import Family
    from .model.budget import Budget
    from .model.checkpoint import Checkpoint, Heard
    from .model.connection import Connection
    from .model.doubt import Absences
    from .model.fleet import Fleet
    from .model.host import Host
    from .model.plan import Plan
    from .model.policy import Firewall
    from .model.ruleset import Ruleset
    from .model.stance import Stance

Generation = int
"""The kernel's counter of committed ruleset changes in this network namespace."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the kernel held at one generation; `ruleset` None: our table is absent.

    `counters` are packets by (chain, rule name), summed over rules that share a name. `leases` are the
    seconds that each lease still runs; one that has run out is not among them. Time alone changes it,
    and no generation tells of that.
    """

    ruleset: "Ruleset | None"
    generation: Generation
    counters: "Mapping[tuple[str, str], int]"
    leases: "Mapping[str, float]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Somebody else changed what is ours: `by` and `pid` name the process, `change` says what was done.

    `overrun`: the kernel had more to say than could be kept, so anything may have changed.
    """

    by: str = ""
    pid: int = 0
    change: str = ""
    overrun: bool = False


class Watcher(Protocol):
    """What tells that somebody else changed what a Backend holds."""

    def disturbances(self) -> "AsyncIterator[Disturbance]":
        """One for each burst of changes, own commits left out. Raises KernelUnsupported or NotPermitted."""


class Source(Protocol):
    """Where a Fleet comes from."""

    async def gather(self) -> "Fleet":
        """One complete Fleet. Raises SourceUnavailable, SourceDenied or SourceDoubtful."""

    @property
    def budget(self) -> "Budget | None":
        """The rate limit as last seen, after a failed gather too; None: there is none."""


class HostFinder(Protocol):
    """Which Droplet of the Fleet this machine is."""

    async def locate(self, fleet: "Fleet") -> "Host":
        """The Host. Raises HostUnknown."""


class Follower(Protocol):
    """Where this machine's interfaces are now."""

    async def follow(self, fleet: "Fleet") -> "Host":
        """The Host, by what is known of it and by its links; nobody is asked. Raises HostUnknown."""


class Machine(Protocol):
    """The machine under us, as far as a Checkpoint is bound to it."""

    def macs(self) -> "Mapping[str, str]":
        """The MAC of each network interface by name. Blocking. Raises HostUnknown."""

    async def recognise(self, checkpoint: "Checkpoint") -> "Host":
        """This machine, if the Checkpoint is of it. Raises HostUnknown(`another_droplet`, `cloned`)."""


class Backend(Protocol):
    """A kernel that holds one Ruleset. Blocking: callers with a loop use a thread."""

    @property
    def name(self) -> str:
        """`nftables` or `iptables`."""

    @property
    def has_leases(self) -> bool:
        """Whether it can hold something for a while; a Ruleset with a lease is refused otherwise."""

    def fit(self, ruleset: "Ruleset") -> "Ruleset":
        """What this kernel can hold of it: all, but for a family that this host has no rules of. Blocking."""

    def generation(self) -> Generation:
        """The current generation; cheap. Equal generations mean that nothing changed."""

    def observe(self) -> Observation:
        """What the kernel holds. Raises NotPermitted or KernelUnsupported."""

    def commit(self, plan: "Plan", at: Generation) -> None:
        """All of the Plan or nothing, if the generation is still `at`.

        Raises CommitConflict, CommitRejected (nothing changed) or CommitUnknown (read back).
        """

    def script(self, ruleset: "Ruleset") -> str:
        """What boot loads to have this Ruleset: the body of a boot script, without its header. PURE."""


class Kernels(Protocol):
    """The Backends of this machine. Blocking; for one thread at a time."""

    def choose(self, firewall: "Firewall") -> Backend:
        """The Backend that this asks for, on this host. Raises KernelUnsupported or NotPermitted."""

    def make_way(self) -> None:
        """After a conflict: keep what is not chosen from standing in the way of what is."""

    def leave_others(self, *, again: bool = False) -> None:
        """Remove what those that are not chosen hold; what cannot be is told by `about`, and tried again.

        Once that is done nobody looks any more, unless `again`.
        """

    def about(self) -> tuple[str, tuple[str, ...]]:
        """What was chosen and why, as the end of a sentence; and what a person should know of it."""


class Connections(Protocol):
    """What the kernel knows of connections that are open."""

    def open_now(self) -> "tuple[Connection, ...]":
        """Those that may still carry something. Blocking. Raises NotPermitted or KernelUnsupported."""


class Probe(Protocol):
    """Whether what we must never cut ourselves off from can be reached."""

    @property
    def name(self) -> str:
        """What is reached, in a word: `API`."""

    async def reaches(self) -> bool:
        """Whether a new connection gets there. Raises nothing of `errors`, and ends in time."""


class Notifier(Protocol):
    """The service manager (sd_notify(3))."""

    def ready(self, status: str) -> None:
        """The observed ruleset is the desired one."""

    def reloading(self, monotonic_usec: int) -> None:
        """A reload began."""

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""

    def watchdog(self) -> None:
        """The loop is alive."""

    def stopping(self) -> None:
        """The loop ends."""


class Store(Protocol):
    """State and runtime files. Blocking."""

    def save(self, checkpoint: "Checkpoint", body: str) -> None:
        """Keep the Checkpoint, and `body` (`Backend.script`) for boot. Raises StoreFailed."""

    def load(self) -> "Checkpoint":
        """The newest that verifies. Raises StoreFailed, which says what was tried (`missing`: none yet)."""

    def latest(self) -> int:
        """The highest number that was saved; 0 when there is nothing."""

    def holds(self, checkpoint: "Checkpoint") -> bool:
        """Whether it and its boot script are kept, whole."""

    def remember(self, host: "Host") -> None:
        """Keep what we learned about ourselves for the next start. Raises StoreFailed."""

    def recall(self) -> "Host | None":
        """The Host remembered last; None when there is none that can be used."""

    def absences(self) -> "Absences":
        """What was held; nothing when none was kept, or none that can be used."""

    def keep_absences(self, absences: "Absences") -> None:
        """Keep what is held for the next cycle, whoever runs it. Raises StoreFailed."""

    def heard(self) -> "Heard | None":
        """When somebody answered last; None when that is not known."""

    def keep_heard(self, heard: "Heard") -> None:
        """Keep when somebody answered last. Raises StoreFailed."""

    def accepted(self) -> frozenset[str]:
        """What the operator accepted and nobody has acted on yet: digests, and words of Refusals."""

    def settle(self, accepted: frozenset[str]) -> None:
        """It was acted on. Raises StoreFailed."""

    def stance(self) -> "Stance":
        """What the operator has said to hold for a while. Raises StoreFailed."""

    def take_stance(self, stance: "Stance") -> None:
        """Keep what the operator says. Raises StoreFailed."""

    def publish(self, status: "Mapping[str, Any]") -> None:
        """What `droplan status` shows. Raises StoreFailed."""


class Keeper(Protocol):
    """Where the host's own iptables rules outlive a reboot, beside the Checkpoint."""

    def keep(self, ruleset: "Ruleset | None") -> None:
        """Save what the host has now, `ruleset` of ours among it. Blocking. Raises StoreFailed.

        A failure changes nothing in the kernel; it is told, and tried again after the next change.
        """


class Exporter(Protocol):
    """A way by which metrics are told. `condition` is the trouble that there is while it fails."""

    condition: str

    def offer(self, families: "tuple[Family, ...]") -> None:
        """What is told from now on. Raises ExportFailed."""

    async def close(self) -> None:
        """Let go of what it holds."""


class Clock(Protocol):
    """Time, randomness and sleep."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""

    def boottime(self) -> float:
        """The same, and those in which the machine slept as well."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds, or earlier when cancelled."""
