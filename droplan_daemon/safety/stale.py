"""Nobody has answered for long: how long that is, and what is enforced then. PURE.

Laws:
1. By itself nothing is ever taken away for it. Where the operator set `[peers] max_stale`, all that is
   let in because of Droplets goes; what rules name as addresses and prefixes stays.
2. Who was kept out because of a Droplet stays out: `any and not tag:x` opens to nobody.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.ruleset import SetKind
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.space import intersection, ranges, space

if TYPE_CHECKING:
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.model.ruleset import AddressSet, Ruleset
    from droplan_daemon.policy.space import Space

    from .guard import Believed

ALARMS = ((600.0, "10m"), (3600.0, "1h"), (86_400.0, "1d"))
"""Seconds without a complete answer, and what the alarm is called then."""


def level(seconds: float) -> str:
    """The alarm for so many seconds without a complete answer; empty: none yet."""
    return next((name for least, name in reversed(ALARMS) if seconds >= least), "")


def overdue(policy: "Policy", seconds: float | None) -> bool:
    """Whether nobody has answered for longer than the operator lets Droplets stay; unknown is not long."""
    most = policy.peers.max_stale
    return most is not None and seconds is not None and seconds >= most


def without_droplets(policy: "Policy", found: "Believed") -> "Ruleset":
    """What is enforced then: the same rules, and in their sets no Droplet."""
    own = found.scene.own
    alone = compile_ruleset(policy, replace(found.fleet, droplets=(own,)), found.host, own)
    sets = {name: _common(item, alone.sets.get(name)) for name, item in found.ruleset.sets.items()}
    return replace(found.ruleset, sets=sets)


def _common(item: "AddressSet", alone: "AddressSet | None") -> "AddressSet":
    if alone is None:
        return replace(item, elements=frozenset())
    if item.kind is SetKind.HOSTS:
        return replace(item, elements=item.elements & alone.elements)
    return replace(item, elements=ranges(intersection(_space(item), _space(alone)), item.family))


def _space(item: "AddressSet") -> "Space":
    width = item.family.width
    spans = ((element[:width], element[-width:]) for element in item.elements)
    return space((int.from_bytes(first, "big"), int.from_bytes(last, "big")) for first, last in spans)
