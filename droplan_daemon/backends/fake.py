"""A backend in memory: for `--dry` uses, for tests, and to say what a backend is.

Laws: it is `apply` and a generation, nothing else; the contract suite holds it to the
kernel's answers, errno by errno.
"""

from typing import TYPE_CHECKING

from droplan_daemon.apply import apply
from droplan_daemon.effects import Generation, Observation
from droplan_daemon.errors import CommitConflict

from .nft_text import render

if TYPE_CHECKING:
    from droplan_daemon.model.plan import Plan
    from droplan_daemon.model.ruleset import Ruleset


class FakeBackend:
    """Holds one Ruleset, or none."""

    name = "nftables"

    def __init__(self, ruleset: "Ruleset | None" = None) -> None:
        self._ruleset = ruleset
        self._generation = 1

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
        return Observation(self._ruleset, self._generation, counters)

    def commit(self, plan: "Plan", at: Generation) -> None:
        """All of the Plan or nothing, if the generation is still `at`; an empty Plan writes nothing."""
        if at != self._generation:
            raise CommitConflict("the fake's ruleset changed since it was read")
        if plan:
            self._ruleset = apply(plan, self._ruleset)
            self._generation += 1

    def script(self, ruleset: "Ruleset") -> str:
        """What `nft -f` loads to have this Ruleset."""
        return render(ruleset, "droplan")
