"""A backend in memory: for `--dry` uses, for tests, and to say what a backend is.

Laws: it is `apply`, a generation, and the ends of leases by a clock; the contract suite holds it to the
kernel's answers, errno by errno.
"""

import time
from typing import TYPE_CHECKING

from droplan_daemon.apply import apply
from droplan_daemon.effects import Generation, Observation
from droplan_daemon.errors import CommitConflict
from droplan_daemon.model.plan import Arm, DeleteLease, DeleteTable, Disarm

from .nft_text import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.model.plan import Change, Plan
    from droplan_daemon.model.ruleset import Ruleset


class FakeBackend:
    """Holds one Ruleset, or none. `now` is the seconds of a clock that never runs backwards."""

    name = "nftables"
    has_leases = True

    def __init__(self, ruleset: "Ruleset | None" = None, now: "Callable[[], float]" = time.monotonic) -> None:
        self._ruleset = ruleset
        self._generation = 1
        self._now = now
        self._ends: dict[str, float] = {}

    def fit(self, ruleset: "Ruleset") -> "Ruleset":
        """All of it."""
        return ruleset

    def generation(self) -> Generation:
        """How many commits there were, plus one."""
        return self._generation

    def observe(self) -> Observation:
        """What was committed last; nothing counts packets here."""
        chains = self._ruleset.chains.values() if self._ruleset else ()
        counters = {(chain.name, rule.name): 0 for chain in chains for rule in chain.rules}
        left = {lease: end - self._now() for lease, end in self._ends.items() if end > self._now()}
        return Observation(self._ruleset, self._generation, counters, left)

    def commit(self, plan: "Plan", at: Generation) -> None:
        """All of the Plan or nothing, if the generation is still `at`; an empty Plan writes nothing."""
        if at != self._generation:
            raise CommitConflict("the fake's ruleset changed since it was read")
        if plan:
            self._ruleset = apply(plan, self._ruleset)
            self._generation += 1
            for change in plan.changes:
                self._run(change)

    def _run(self, change: "Change") -> None:
        match change:
            case Arm(lease, seconds):
                self._ends[lease] = self._now() + seconds
            case Disarm(lease) | DeleteLease(lease):
                self._ends.pop(lease, None)
            case DeleteTable():
                self._ends.clear()

    def script(self, ruleset: "Ruleset") -> str:
        """What `nft -f` loads to have this Ruleset."""
        return render(ruleset, "droplan")
