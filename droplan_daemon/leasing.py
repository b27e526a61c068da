"""What holds for a while, for a cycle: a trial, a pause, a panic. PURE.

Laws:
1. Only what the operator put on trial is held as one: what else runs under its lease is not ours.
2. What is over is over by the kernel's clock; here it is only noticed, and cleaned up.
3. A panic ends trial and pause: it is never behind anything.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from .errors import Refusal
from .policy.lease import PAUSE, TRIAL, audited, compose, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from .effects import Observation
    from .model.ruleset import Ruleset
    from .model.stance import Stance
    from .outcomes import World

    Script = Callable[[Ruleset], str]

UNCONFIRMED = "unconfirmed"
_UNCONFIRMED = (
    "this configuration was tried and not confirmed, so it is not enforced: "
    "try it again (droplan try), or change it"
)


@dataclass(frozen=True, slots=True)
class Lasting:
    """`whole`: what the kernel should hold (None: what is desired alone); `lease`: which, and its seconds.

    `ended` is the lease whose leftovers are still there (empty: none are).
    """

    whole: "Ruleset | None" = None
    lease: tuple[str, float] | None = None
    ended: str = ""


def fingerprint(ruleset: "Ruleset", script: "Script") -> str:
    """By which a Ruleset on trial is known again."""
    return sha256(script(ruleset).encode()).hexdigest()


def is_unconfirmed(stance: "Stance", digest: str, last: "World | None") -> bool:
    """Whether a configuration was tried and not confirmed.

    One that was enforced before it was tried (`last`) goes on: then nothing was new about it.
    """
    return stance.bars(digest) and not (last and last.digest == digest)


def refuse_unconfirmed(stance: "Stance", digest: str, last: "World | None") -> None:
    """Raises Refusal for such a configuration, but in a panic, which has to hold whatever the file says."""
    if is_unconfirmed(stance, digest, last) and not stance.panic:
        raise Refusal(_UNCONFIRMED, reason=UNCONFIRMED)


def lasting(
    desired: "Ruleset",
    observation: "Observation",
    stance: "Stance",
    last: "World | None",
    *,
    digest: str,
    script: "Script",
) -> Lasting:
    """What goes on for a while, beside what is desired by the configuration with this digest."""
    running, found = observation.leases, split(observation.ruleset)
    over = found.lease and found.lease not in running and (found.lease == PAUSE or stance.tried)
    ended = found.lease if over else ""
    if stance.panic:
        return Lasting(ended=ended)
    if PAUSE in running:
        return Lasting(compose(desired, audited(desired), PAUSE), (PAUSE, running[PAUSE]))
    if TRIAL not in running or stance.allows(digest):
        return Lasting(ended=ended)
    known = (found.trial, split(last.whole).trial if last else None)
    trial = next((one for one in known if one and fingerprint(one, script) == stance.rules), None)
    if trial is None or trial == desired:
        return Lasting()
    return Lasting(compose(desired, trial, TRIAL), (TRIAL, running[TRIAL]))
