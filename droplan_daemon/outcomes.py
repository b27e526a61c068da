"""How a cycle ends, and what it knew: values. PURE.

Laws:
1. Committed and Unchanged carry the World whose ruleset was read back; Refused and Failed carry an error.
2. Nothing here asks, writes or decides.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .model.checkpoint import is_stale
from .model.doubt import Absences

if TYPE_CHECKING:
    from .effects import Observation
    from .errors import Refusal, Retry
    from .keeping import Unsaved
    from .model.addresses import Element, Family
    from .model.doubt import Doubt
    from .model.fleet import Droplet, Fleet
    from .model.host import Host
    from .model.plan import Plan
    from .model.policy import Policy
    from .model.ruleset import Ruleset


@dataclass(frozen=True, slots=True)
class Restored:
    """A World that a Checkpoint tells of: its age in seconds (None: no clock can tell)."""

    age: float | None

    @property
    def stale(self) -> bool:
        """Whether it may well be of another world by now."""
        return is_stale(self.age)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An element that the kernel refuses (`errno`), while all others are in: it is left out of its set."""

    set: str
    family: "Family"
    element: "Element"
    errno: int


@dataclass(frozen=True, slots=True)
class Setback:
    """What was in the way of a commit that came to a good end: the last error of its kind, and how many."""

    error: "Retry"
    times: int


@dataclass(frozen=True, slots=True)
class World:
    """What a cycle knew when it decided; `policy` is what this Droplet enforces, overrides applied.

    `restored`: nobody has answered yet, this is what was kept. `backend`: what was chosen, and why.
    `doubts`: what the answer says and is not believed yet; `fleet`, `peers` and `desired` are as if it had
    not said so, and `absences` is what to remember of it. `expired`: nobody has answered for longer than
    the configuration lets Droplets stay, so `desired` has none. `whole`: while a lease runs, what the
    kernel should hold: `desired`, and what holds before it until the lease is over (None: `desired`
    alone). `lease`: which one runs (`trial`, `pause`), and for how many seconds still. `quarantined` are
    elements that the kernel refused; they are in neither ruleset. `ended`: a lease that has run out, and is
    cleaned up now. `panic`: since when (seconds since the epoch) everything but management is closed.
    `digest` is the configuration's (empty: of one that was tried and not confirmed, which a panic holds for).
    """

    fleet: "Fleet"
    host: "Host"
    own: "Droplet"
    peers: "tuple[Droplet, ...]"
    desired: "Ruleset"
    policy: "Policy"
    warnings: tuple[str, ...] = ()
    restored: Restored | None = None
    backend: str = ""
    doubts: "tuple[Doubt, ...]" = ()
    absences: Absences = Absences()  # noqa: RUF009 - a frozen value
    expired: bool = False
    whole: "Ruleset | None" = None
    lease: "tuple[str, float] | None" = None
    quarantined: tuple[Quarantined, ...] = ()
    ended: str = ""
    panic: float | None = None
    digest: str = ""

    @property
    def enforced(self) -> "Ruleset":
        """What the kernel should hold now: `whole` while something holds for a time, else `desired`."""
        return self.desired if self.whole is None else self.whole

    @property
    def held(self) -> bool:
        """Whether somebody stays who is not in the answer."""
        return bool(self.doubts)


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
    setbacks: tuple[Setback, ...] = ()


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
    setbacks: tuple[Setback, ...] = ()

    def repairs(self, before: World | None) -> bool:
        """Whether what held in the World before had to be written again: somebody else had changed it."""
        if before is None or self.moved or self.world.ended:
            return False
        return before.enforced == self.world.enforced


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, because the evidence does not carry it."""

    error: "Refusal"


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing was done, or nobody knows; the next cycle finds out."""

    error: "Retry"


Outcome = Unchanged | Committed | Refused | Failed
