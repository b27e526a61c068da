"""Leases in this machine's kernel: put there, looked at, ended. Blocking.

Laws:
1. One transaction puts a Ruleset before what stands and has its lease run; another takes it away.
2. What is told was read back.
3. From the commit on the kernel alone ends a lease: nothing here has to live on for that.
"""

import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.committing import put
from droplan_daemon.diff import diff
from droplan_daemon.errors import (
    CommitConflict,
    CommitUnknown,
    CommitUnsent,
    KernelUnsupported,
    Refusal,
)
from droplan_daemon.model.plan import Arm, Plan
from droplan_daemon.model.ruleset import Foreign
from droplan_daemon.policy.lease import LONGEST, Composed, compose, split

from .kernels import all_backends, in_its_form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from droplan_daemon.effects import Backend, Observation
    from droplan_daemon.model.ruleset import Ruleset

_ATTEMPTS = 8
_SHORTEST = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What the kernel holds: what was composed, and the seconds that each lease still runs."""

    backend: "Backend"
    observation: "Observation"
    composed: Composed

    @property
    def running(self) -> "Mapping[str, float]":
        """The leases that have not run out."""
        return self.observation.leases


def standing() -> Standing:
    """What holds, by whatever backend holds something. Raises Refusal where none does, Retry or Fatal."""
    for one in all_backends():
        seen = one.observe()
        if seen.ruleset is not None:
            backend, seen = in_its_form(one, seen)
            return Standing(backend, seen, split(seen.ruleset))
        one.close()
    raise Refusal("nothing of droplan's is enforced here; start with: droplan once", reason="not_enforced")


def require_leases(backend: "Backend") -> None:
    """Look that this backend has leases. Raises KernelUnsupported."""
    if not backend.has_leases:
        message = (
            "rules of iptables without ip sets cannot be held for a while: try and pause need ip sets or "
            "nftables; what a change would do says: droplan plan (or set firewall.ipset = true)"
        )
        raise KernelUnsupported(message, feature="leases")


def hold(backend: "Backend", made: "Callable[[Ruleset | None], Ruleset]", lease: str, seconds: float) -> None:
    """Have what is `made` of what stands hold before it, for so many seconds from now.

    Raises Refusal, CommitConflict, CommitRejected or Fatal; then nothing has changed.
    """
    for _ in range(_ATTEMPTS):
        seen = backend.observe()
        base = split(seen.ruleset).base
        _require_ours(base, backend)
        whole = compose(base, made(base), lease)
        plan = Plan((*diff(seen.ruleset, whole).changes, Arm(lease, seconds)))
        with suppress(CommitConflict, CommitUnknown, CommitUnsent):
            backend.commit(plan, seen.generation)
            found = backend.observe()
            if found.ruleset == whole and lease in found.leases:
                return
    raise CommitConflict("others keep changing the kernel's rules, so nothing is changed; try again")


def extend(backend: "Backend", lease: str, seconds: float) -> bool:
    """Have a lease that runs go on for so many seconds from now; False: none does. Raises as `hold` does."""
    for _ in range(_ATTEMPTS):
        seen = backend.observe()
        if lease not in seen.leases:
            return False
        with suppress(CommitConflict, CommitUnknown, CommitUnsent):
            backend.commit(Plan((Arm(lease, seconds),)), seen.generation)
            return True
    raise CommitConflict("others keep changing the kernel's rules; try again")


def release(lease: str, *, running: bool = True) -> bool:
    """Have what stands hold without what a lease puts before it; whether there was any.

    `running`: also before its time. Raises CommitConflict, CommitRejected or Fatal.
    """
    for one in all_backends():
        with closing(one):
            seen = one.observe()
            both = split(seen.ruleset)
            if both.lease == lease and (running or lease not in seen.leases):
                put(one, both.base)
                return True
    return False


def _require_ours(base: "Ruleset | None", backend: "Backend") -> None:
    """What somebody else wrote into the table cannot be written again beside a trial."""
    rules = (rule for chain in base.chains.values() for rule in chain.rules) if base else ()
    unlike = bool(base and base.flags) and backend.name == "iptables"  # it has no flags but for what is odd
    if unlike or any(isinstance(match, Foreign) for rule in rules for match in rule.matches):
        message = "somebody else changed droplan's rules; have them put right first: droplan once"
        raise Refusal(message, reason="tampered")


def seconds(text: str) -> float:
    """Seconds of `60s`, `10m`, `1h`. ValueError or ArgumentTypeError for anything else."""
    import argparse

    from droplan_daemon.settings.forms import duration

    try:
        found = duration(text)
    except ValueError:
        found = 0.0
    if not _SHORTEST <= found <= LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is no time from 1s to 1h, such as 60s or 10m")
    return found


def clock_time(moment: float) -> str:
    """`14:03:20`, on this machine's clock."""
    return time.strftime("%H:%M:%S", time.localtime(moment))
