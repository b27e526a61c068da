"""Two Rulesets in one table: one for as long as a lease runs, the other when it has run out. PURE.

Laws:
1. `split(compose(a, b, lease)) == (a, b, lease)`; of an `a` with nothing in it, None is left.
2. While the lease runs a packet gets b's verdict, after that a's, and no process has to do anything.
3. Nothing of a is renamed or moved: it is complete without b, and counts on.

Whatever stands in b stands under its own names, after the lease's and a dot, which the compiler writes
nowhere. Sets are not shared, though most are equal: a's follow the fleet, b's stay as they were tried.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from droplan_daemon.model.policy import Mode
from droplan_daemon.model.ruleset import (
    Action,
    Armed,
    Chain,
    Dispatch,
    From,
    PortMap,
    Rule,
    Ruleset,
    To,
    Verdict,
    ruleset,
)

from .compile import LOG_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

TRIAL, PAUSE = "trial", "pause"
LEASES = (TRIAL, PAUSE)
"""What a lease is for: a configuration that is tried, and an audit for a while. One at a time."""

LONGEST = 3600.0
"""Seconds that a lease may run: what was forgotten is over within the hour."""

_ALONE = " alone"
"""How the rule of a hook ends, at which nothing judges when the lease has run out."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A Ruleset, what holds before it while the lease runs, and the lease; nothing does: only `base`."""

    base: Ruleset | None
    trial: Ruleset | None = None
    lease: str = ""


def compose(base: Ruleset | None, trial: Ruleset, lease: str) -> Ruleset:
    """Both in one table. Raises ValueError for two that cannot be: with hooks at different places.

    Flags of the base are not kept: a table that is asleep holds nothing.
    """
    own = base or Ruleset()
    chains = {**own.chains, **{f"{lease}.{name}": _under(lease, one) for name, one in trial.chains.items()}}
    for name in own.chains.keys() | trial.chains.keys():
        if entry := _entry(own.chains.get(name), trial.chains.get(name), lease):
            chains[name] = entry
    return ruleset(
        (*own.sets.values(), *(replace(one, name=f"{lease}.{one.name}") for one in trial.sets.values())),
        tuple(chains.values()),
        trial.comment,
        (*own.maps.values(), *(_map_under(lease, one) for one in trial.maps.values())),
        own.leases | {lease},
    )


def _entry(base: Chain | None, trial: Chain | None, lease: str) -> Chain | None:
    """The base chain of both, which enters the trial's while the lease runs; None: it is none."""
    if base and trial and base.hook != trial.hook:
        raise ValueError(f"chain {trial.name} is at another place")
    place = (base or trial or Chain("")).hook
    if place is None:
        return None
    if place.policy is not Action.ACCEPT:
        raise ValueError("a base chain that lets nothing by")
    verdict = Verdict(Action.GOTO, f"{lease}.{trial.name}") if trial else Verdict(Action.ACCEPT)
    first = Rule(lease if base else lease + _ALONE, (Armed(lease),), verdict=verdict)
    name = (base or trial or Chain("")).name
    return Chain(name, place, (first, *(base.rules if base else ())))


def _under(lease: str, chain: Chain) -> Chain:
    rules = tuple(_renamed(rule, lambda name: f"{lease}.{name}") for rule in chain.rules)
    return Chain(f"{lease}.{chain.name}", None, rules)


def _map_under(lease: str, one: PortMap) -> PortMap:
    entries = frozenset((first, last, f"{lease}.{chain}") for first, last, chain in one.entries)
    return PortMap(f"{lease}.{one.name}", entries)


def _renamed(rule: Rule, rename: "Callable[[str], str]") -> Rule:
    """The same about the sets, maps and chains of other names."""
    verdict = rule.verdict
    if isinstance(verdict, Dispatch):
        verdict = Dispatch(rename(verdict.map))
    elif verdict and verdict.chain is not None:
        verdict = Verdict(verdict.action, rename(verdict.chain))
    matches = (
        replace(one, set=rename(one.set)) if isinstance(one, From | To) else one for one in rule.matches
    )
    return replace(rule, matches=tuple(matches), verdict=verdict)


def split(found: Ruleset | None) -> Composed:
    """What was composed. Of a table that somebody changed since: what is left of either."""
    lease = next((name for name in LEASES if found and name in found.leases), "")
    if found is None or not lease:
        return Composed(found)
    under = f"{lease}."
    entries = {name: one for name, one in found.chains.items() if one.hook and _is_entry(one, lease)}
    own = {name for name, one in entries.items() if not _is_alone(one)}
    own |= {name for name in found.chains if name not in entries and not name.startswith(under)}
    base = ruleset(
        _outside(found.sets, under),
        tuple(_without_entry(found.chains[name], lease) for name in own),
        found.comment,
        _outside(found.maps, under),
        found.leases - {lease},
    )
    trial = ruleset(
        tuple(replace(one, name=name) for name, one in _inside(found.sets, under)),
        tuple(_over(under, one, entries) for _, one in _inside(found.chains, under)),
        found.comment,
        tuple(_map_over(under, one) for _, one in _inside(found.maps, under)),
    )
    return Composed(base if base.chains or base.sets or base.maps else None, trial, lease)


def _outside(named: "Mapping[str, T]", under: str) -> "tuple[T, ...]":
    return tuple(one for name, one in named.items() if not name.startswith(under))


def _inside(named: "Mapping[str, T]", under: str) -> "tuple[tuple[str, T], ...]":
    """By the names that they have without it."""
    return tuple((name.removeprefix(under), one) for name, one in named.items() if name.startswith(under))


def _is_entry(chain: Chain, lease: str) -> bool:
    return bool(chain.rules) and chain.rules[0].matches == (Armed(lease),)


def _is_alone(chain: Chain) -> bool:
    return chain.rules[0].name.endswith(_ALONE)


def _without_entry(chain: Chain, lease: str) -> Chain:
    return replace(chain, rules=chain.rules[1:]) if _is_entry(chain, lease) else chain


def _over(under: str, chain: Chain, entries: "Mapping[str, Chain]") -> Chain:
    name = chain.name.removeprefix(under)
    rules = tuple(_renamed(rule, lambda other: other.removeprefix(under)) for rule in chain.rules)
    return Chain(name, entries[name].hook if name in entries else None, rules)


def _map_over(under: str, one: PortMap) -> PortMap:
    entries = frozenset((first, last, chain.removeprefix(under)) for first, last, chain in one.entries)
    return PortMap(one.name.removeprefix(under), entries)


def standing(found: Ruleset | None, running: "Mapping[str, float]") -> Ruleset | None:
    """The one whose verdicts hold now."""
    both = split(found)
    return both.trial if both.lease in running else both.base


def audited(desired: Ruleset) -> Ruleset:
    """The same in audit: what it would drop is counted and logged as such, and passes."""
    chains = (replace(one, rules=tuple(map(_audited, one.rules))) for one in desired.chains.values())
    return replace(desired, chains={one.name: one for one in chains})


def _audited(rule: Rule) -> Rule:
    if rule.verdict == Verdict(Action.DROP):
        return replace(rule, verdict=Verdict(Action.ACCEPT))
    if rule.log and rule.log.prefix == LOG_PREFIX[Mode.ENFORCE]:
        return replace(rule, log=replace(rule.log, prefix=LOG_PREFIX[Mode.AUDIT]))
    return rule
