"""Two Rulesets in one table: what is composed comes apart again, and each judges in its time."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from droplan_daemon.apply import apply
from droplan_daemon.diff import diff
from droplan_daemon.model.policy import Mode
from droplan_daemon.model.ruleset import Action, Chain, Hook, HookPoint, Ruleset, ruleset
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.lease import LEASES, TRIAL, audited, compose, split, standing
from tests.leases.judging import Seen, packets, passes
from tests.strategies import rulesets
from tests.worlds import fleets, hosts, own, policies

if TYPE_CHECKING:
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Policy

_COMMENT = "of one writer"
_FEW = settings(max_examples=100)
leases = st.sampled_from(LEASES)


def _whole(found: Ruleset) -> bool:
    """Chains with rules that a kernel could run: entered chains are there."""
    return bool(found.chains)


anything = rulesets(leased=False).map(lambda found: replace(found, comment=_COMMENT))
"""Random Rulesets, of which two may have a chain of one name at different hooks."""

compiled = st.builds(
    lambda policy, fleet, host: compile_ruleset(policy, fleet, host, own(fleet)), policies(), fleets(), hosts
)
pairs = st.one_of(st.tuples(compiled, compiled), st.tuples(anything.filter(_whole), anything))
several = st.lists(packets(("eth0", "eth1", "a-very-long-nam")), min_size=20, max_size=20)


def _composed(base: Ruleset | None, trial: Ruleset, lease: str) -> Ruleset:
    try:
        return compose(base, trial, lease)
    except ValueError:
        assume(False)
        raise


@_FEW
@given(pairs, leases)
def test_what_is_composed_comes_apart_again(pair: tuple[Ruleset, Ruleset], lease: str) -> None:
    """Base, trial and lease come out as they went in."""
    base, trial = pair
    found = split(_composed(base, trial, lease))
    assert (base, trial, lease) == (found.base, found.trial, found.lease)


@_FEW
@given(st.one_of(compiled, anything), leases)
def test_a_trial_where_nothing_was(trial: Ruleset, lease: str) -> None:
    """Without a base the trial comes apart from nothing."""
    found = split(compose(None, trial, lease))
    assert (None, trial, lease) == (found.base, found.trial, found.lease)


@_FEW
@given(st.none() | anything | compiled)
def test_what_is_not_composed_is_a_base(found: Ruleset | None) -> None:
    """A table without a lease is the base, as it is."""
    assert (found, None, "") == (split(found).base, split(found).trial, split(found).lease)


@_FEW
@given(st.one_of(pairs, compiled.map(lambda trial: (None, trial))), leases, several)
def test_the_lease_decides_which_one_judges(
    pair: tuple[Ruleset | None, Ruleset], lease: str, seen: list[Seen]
) -> None:
    """Packet by packet: the trial's verdict while the lease runs, the base's when it has run out."""
    base, trial = pair
    both, nothing = _composed(base, trial, lease), frozenset[str]()
    for packet in seen:
        assert passes(trial, packet, nothing) == passes(both, packet, frozenset({lease}))
        assert passes(base, packet, nothing) == passes(both, packet, nothing)


@_FEW
@given(compiled, compiled, compiled, leases)
def test_from_a_composition_a_plan_leads_to_another_and_back(
    base: Ruleset, trial: Ruleset, later: Ruleset, lease: str
) -> None:
    """Into a lease, along with the fleet, and out of it, each in one transaction."""
    steps = [base, compose(base, trial, lease), compose(later, trial, lease), later]
    current: Ruleset | None = None
    for step in steps:
        current = apply(diff(current, step), current)
        assert step == current


@_FEW
@given(compiled, compiled, leases)
def test_the_rules_of_the_base_stay_in_place(base: Ruleset, trial: Ruleset, lease: str) -> None:
    """A composition adds; it takes nothing of the base away, so that its counters count on."""
    kinds = {type(change).__name__ for change in diff(base, compose(base, trial, lease)).changes}
    back = {type(change).__name__ for change in diff(compose(base, trial, lease), base).changes}
    assert not {name for name in kinds if name.startswith(("Delete", "Remove"))}
    assert not {name for name in back if name.startswith(("Insert", "Create", "Add"))}


@_FEW
@given(policies(), fleets(), hosts)
def test_a_pause_is_the_same_policy_in_audit(policy: "Policy", fleet: "Fleet", host: "Host") -> None:
    """`audited` gives what the compiler gives for the mode `audit`."""
    plain = replace(policy, mode=Mode.ENFORCE, overrides=())
    both = [compile_ruleset(p, fleet, host, own(fleet)) for p in (plain, replace(plain, mode=Mode.AUDIT))]
    assert both[1] == audited(both[0]) == audited(both[1])


@_FEW
@given(compiled, compiled, leases)
def test_what_stands_is_the_one_whose_time_it_is(base: Ruleset, trial: Ruleset, lease: str) -> None:
    """`standing` is the trial while its lease runs, the base before and after."""
    both = compose(base, trial, lease)
    assert trial == standing(both, {lease: 1.0})
    assert base == standing(both, {})
    assert base == standing(base, {})


def _at(name: str, point: HookPoint, policy: Action = Action.ACCEPT) -> Ruleset:
    return ruleset((), (Chain(name, Hook(point, 0, policy)),))


@pytest.mark.parametrize(
    ("base", "trial"),
    [
        (_at("inbound", HookPoint.PREROUTING), _at("inbound", HookPoint.INPUT)),
        (_at("inbound", HookPoint.PREROUTING), ruleset((), (Chain("inbound"),))),
        (_at("inbound", HookPoint.INPUT, Action.DROP), _at("inbound", HookPoint.INPUT, Action.DROP)),
        (None, _at("inbound", HookPoint.INPUT, Action.DROP)),
    ],
)
def test_what_cannot_be_in_one_table(base: Ruleset | None, trial: Ruleset) -> None:
    """A chain at two places, or one that drops at its end, cannot be composed, and is not by half."""
    with pytest.raises(ValueError, match="chain"):
        compose(base, trial, TRIAL)
