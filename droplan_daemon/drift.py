"""What the kernel holds, looked at so that drift can be believed. Blocking.

Laws:
1. Drift is what was read twice alike at one generation. A single read lies while others commit: it can
   mix two states or lack elements, and no flag says so.
2. Where the generation is still that of the last read-back, nothing is read: nobody has changed anything.
"""

from typing import TYPE_CHECKING

from .errors import CommitConflict

if TYPE_CHECKING:
    from .effects import Backend, Observation
    from .model.ruleset import Ruleset

READS = 10
"""How often a look is repeated until two agree: who commits ten times a second leaves room for it."""


def look(backend: "Backend", wanted: "Ruleset", seen: "Observation | None") -> "Observation":
    """What is held: what is wanted, else what was read twice. `seen` is the last read-back.

    Raises CommitConflict when it kept changing, CommitUnknown or Fatal.
    """
    if seen is not None and backend.generation() == seen.generation:
        return seen
    before = backend.observe()
    for _ in range(READS):
        if before.ruleset == wanted:
            return before
        again = backend.observe()
        if (again.generation, again.ruleset) == (before.generation, before.ruleset):
            return again
        before = again
    raise CommitConflict("the kernel's ruleset kept changing while it was read; it is looked at again")
