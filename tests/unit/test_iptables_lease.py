"""What holds for a while, as lines of iptables and entries of ip sets, and back."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.backends import ipset_lease as lent
from droplan_daemon.backends import ipset_wire as wire
from droplan_daemon.backends import iptables_encode
from droplan_daemon.backends.ipset_shape import LONGEST_NAME, kernel_name, ruleset_name
from droplan_daemon.backends.iptables_lease import decode, encode, without_lease
from droplan_daemon.backends.iptables_names import BUILT_IN, LENT, is_ours, lease_of, model_of, owned
from droplan_daemon.backends.iptables_rules import UnfitError
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.policy import InterfacePolicy, Policy
from droplan_daemon.model.ruleset import Ruleset
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.lease import LEASES, TRIAL, audited, compose
from tests.kernel.wires import THE_PEER
from tests.kernel.wires import compiled as built
from tests.worlds import fleets, hosts, own, policies

if TYPE_CHECKING:
    from droplan_daemon.backends.iptables_encode import Table

_FEW = settings(max_examples=20)
compiled = st.builds(
    lambda policy, fleet, host: compile_ruleset(policy, fleet, host, own(fleet)), policies(), fleets(), hosts
)
leases = st.sampled_from(LEASES)


def test_every_lease_has_names() -> None:
    """What the policy knows as leases has chains and sets here."""
    assert set(LEASES) == set(LENT) == {lease for lease, _ in lent.NAMES.values()}


@_FEW
@given(st.none() | compiled, compiled, leases)
def test_what_is_composed_is_read_back(base: Ruleset | None, trial: Ruleset, lease: str) -> None:
    """Both come out of the lines as they went in, also over nothing."""
    whole = compose(base, trial, lease)
    assert whole == decode(encode(whole), whole.sets, whole.leases)


@_FEW
@given(compiled, leases)
def test_a_pause_is_read_back(base: Ruleset, lease: str) -> None:
    """The same in audit stands beside what it audits."""
    whole = compose(base, audited(base), lease)
    assert whole == decode(encode(whole), whole.sets, whole.leases)


@_FEW
@given(compiled, compiled, leases)
def test_the_base_is_whole_without_the_lease(base: Ruleset, trial: Ruleset, lease: str) -> None:
    """Nothing of the base is in another chain, but for what built-in chains enter."""
    plain = iptables_encode.encode(base)
    for family, table in encode(compose(base, trial, lease)).items():
        assert plain[family] == without_lease(table)
        assert plain[family].items() - table.items() <= {(n, plain[family][n]) for n in BUILT_IN}


@_FEW
@given(compiled, compiled, leases)
def test_one_test_decides(base: Ruleset, trial: Ruleset, lease: str) -> None:
    """In each built-in chain the set is asked once, before anything else, and there is no way back."""
    for family, table in encode(compose(base, trial, lease)).items():
        asking = [(name, line) for name, lines in table.items() for line in lines if line and line.goto]
        asking = [(name, line) for name, line in asking if line.set]
        assert {lent.lease_set(lease, family)} == {line.set for _, line in asking}
        for name in BUILT_IN:
            (entered,) = [line.target for line in table[name] if line]
            assert [0] == [place for place, line in enumerate(table[entered]) if line and line.set]
        assert len(BUILT_IN) == len(asking)


@_FEW
@given(compiled, compiled, leases)
def test_the_chains_are_known_as_ours(base: Ruleset, trial: Ruleset, lease: str) -> None:
    """Every name is one of ours, fits the kernel and says which lease it has to do with."""
    plain = iptables_encode.encode(base)
    for family, table in encode(compose(base, trial, lease)).items():
        for name in table.keys() - set(BUILT_IN):
            assert is_ours(name), name
            assert len(name) <= 28
            assert (lease_of(name) or "") == ("" if name in plain[family] else lease)


def test_a_lent_name_says_what_it_stands_for() -> None:
    """A letter more than the chain that it stands in the place of."""
    assert ("trial.private-in", "droplan-peers") == (model_of("droplan-tpeers"), owned("droplan-tpeers"))
    assert "pause.public-in" == model_of("droplan-spubin-tcp-nat")
    assert ("inbound", "outbound") == (model_of("droplan-tinput"), model_of("droplan-toutput-on"))
    assert [""] * 4 == [lease_of(n) for n in ("droplan-tabou", "droplan-", "droplan-tt", "INPUT")]


def test_leftovers_of_a_lease_are_seen() -> None:
    """Sets of a lease that no rule asks are a Ruleset that nobody wants, and so go."""
    plain: dict[Family, Table] = {family: dict.fromkeys(BUILT_IN, ()) for family in Family}
    assert Ruleset(leases=frozenset({TRIAL})) == decode(plain, {}, {TRIAL})
    assert decode(plain, {}, ()) is None


def test_what_was_not_composed_is_refused() -> None:
    """A Ruleset with a lease that is not as droplan composes it is never written in part."""
    both = built(Policy(public=InterfacePolicy(managed=True, allow_peers=True)), THE_PEER)
    whole = compose(both, both, TRIAL)
    first = whole.chains["inbound"]
    moved = replace(first, rules=(*first.rules[1:], first.rules[0]))
    with pytest.raises(UnfitError):
        encode(replace(whole, chains={**whole.chains, "inbound": moved}))


@pytest.mark.parametrize("name", ["private-peers-4", "public-region-abcdefghijklmn-6", "private-" + "x" * 23])
@pytest.mark.parametrize("lease", LEASES)
def test_sets_under_a_lease_have_names(name: str, lease: str) -> None:
    """The longest too; each name is read back as what it was made of, and no other is it."""
    found = kernel_name(f"{lease}.{name}")
    assert len(found) <= LONGEST_NAME
    assert f"{lease}.{name}" == ruleset_name(found)
    assert found != kernel_name(name)
    assert None is ruleset_name(f"dp-{lease}.{name}"[:LONGEST_NAME])


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    ("kept", "seconds", "expected"),
    [((), (), None), ((0, 1), (9, 8), 8.0), ((0,), (1,), 1.0), ((1,), (1,), 1.0)],
)
def test_what_is_left(
    family: Family, kept: tuple[int, ...], seconds: tuple[int, ...], expected: float | None
) -> None:
    """Until the first half ends; a half alone is believed in the last second, between two ticks."""
    entries = {lent.halves(family)[at]: left for at, left in zip(kept, seconds, strict=True)}
    assert expected == lent.left(entries, family)


@pytest.mark.parametrize("family", Family)
def test_what_no_lease_has(family: Family) -> None:
    """Half of the addresses, an element without an end, another one: none is believed."""
    one, other = lent.halves(family)
    wrong = one[:-1] + b"\x02"
    for entries in (
        {one: 2},
        {one: 0, other: 0},
        {one: 9, other: 0},
        {one: 9, other: 9, wrong: 9},
        {wrong: 1},
    ):
        with pytest.raises(lent.OddLeaseError):
            lent.left(entries, family)


def test_both_families_or_none() -> None:
    """A lease of one family alone is none, but in the last second."""
    assert 5.0 == lent.together({Family.IPV4: 6.0, Family.IPV6: 5.0})
    assert None is lent.together({Family.IPV4: None, Family.IPV6: None})
    assert None is lent.together({Family.IPV4: 1.0, Family.IPV6: None})
    assert 7.0 == lent.together({Family.IPV4: 7.0})
    with pytest.raises(lent.OddLeaseError):
        lent.together({Family.IPV4: 7.0, Family.IPV6: None})


@pytest.mark.parametrize(("seconds", "expected"), [(0.05, 1), (59.6, 60), (3600.0, 3600)])
def test_whole_seconds_and_never_for_ever(seconds: float, expected: int) -> None:
    """To the kernel no seconds are no end, so the least is one."""
    (made,) = lent.arming(TRIAL, [Family.IPV4], seconds)
    (same,) = [wire.last("dp-trial", lent.halves(Family.IPV4), 4, expected)]
    assert same == made
