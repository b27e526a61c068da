"""The laws of `diff` and `apply`, over random Rulesets."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.apply import apply
from droplan_daemon.diff import diff
from droplan_daemon.model.plan import AddElements, InsertRule, Plan, RemoveElements
from droplan_daemon.model.ruleset import Rule, Ruleset
from tests.strategies import address_set, rulesets

worlds = st.none() | rulesets()


@given(worlds, worlds)
def test_a_plan_leads_from_one_ruleset_to_the_other(a: Ruleset | None, b: Ruleset | None) -> None:
    """apply(diff(a, b), a) == b."""
    assert b == apply(diff(a, b), a)


@given(worlds)
def test_nothing_to_do_is_an_empty_plan(a: Ruleset | None) -> None:
    """diff(a, a) has no Change."""
    assert Plan() == diff(a, a)


@given(rulesets(), st.data())
def test_a_change_of_members_touches_elements_only(a: Ruleset, data: st.DataObject) -> None:
    """When only elements differ, a Plan adds and removes elements, and only those that differ."""
    sets = {name: data.draw(address_set(name)) for name in a.sets}
    plan = diff(a, replace(a, sets=sets))
    assert {AddElements, RemoveElements} >= {type(change) for change in plan.changes}
    for change in plan.changes:
        assert isinstance(change, AddElements | RemoveElements)
        before, after = a.sets[change.set].elements, sets[change.set].elements
        assert change.elements == (after - before if isinstance(change, AddElements) else before - after)


@given(rulesets().filter(lambda found: "chain-a" in found.chains), st.integers(0, 5))
def test_rules_in_common_are_not_touched(a: Ruleset, index: int) -> None:
    """One new rule among others is one InsertRule and nothing else, so the others keep their counters."""
    chain = a.chains["chain-a"]
    rules = (*chain.rules[:index], Rule("new", counter=True), *chain.rules[index:])
    target = replace(a, chains=a.chains | {"chain-a": replace(chain, rules=rules)})
    plan = diff(a, target)
    assert [InsertRule] == [type(change) for change in plan.changes]
    assert target == apply(plan, a)
