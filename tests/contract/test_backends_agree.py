"""One contract for every backend: the model, the fake and the kernel do the same."""

import errno
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.apply import apply
from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitRejected
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.plan import AddElements, AddEntries, Arm, DeleteSet, Disarm, Plan, RemoveElements
from droplan_daemon.model.ruleset import Chain, PortMap, ruleset
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.lease import LEASES, compose
from tests.kernel.variants import EACH_IPTABLES, IPTABLES
from tests.strategies import LASTING, Step, plan_of, steps
from tests.worlds import fleets, hosts, own, policies

if TYPE_CHECKING:
    from droplan_daemon.backends.iptables import IptablesBackend
    from droplan_daemon.effects import Observation
    from droplan_daemon.model.ruleset import Ruleset
    from tests.conftest import Namespace

STEPS = 10
WALKS = 5_000 if os.environ.get("DROPLAN_TEST_FULL") else 250


def _outcome(backend: "FakeBackend | NftBackend | IptablesBackend", plan: Plan) -> object:
    """What a commit came to: an errno and the Change that it names, or None."""
    try:
        backend.commit(plan, backend.generation())
    except CommitRejected as error:
        return error.errno, error.change
    return None


def _model(plan: Plan, current: "Ruleset | None") -> tuple[object, "Ruleset | None"]:
    try:
        return None, apply(plan, current)
    except CommitRejected as error:
        return (error.errno, error.change), current


def _lasting(seen: "Observation") -> dict[str, bool]:
    """The leases that run, and whether for an hour or for ten minutes: no test takes the difference."""
    return {lease: left > min(LASTING) for lease, left in seen.leases.items()}


@pytest.mark.kernel
@pytest.mark.timeout(1200)
def test_random_walks_end_alike(namespace: "Namespace") -> None:
    """After each of 5,000 random transactions model, fake and kernel hold the same, or refused alike."""
    kernel, fake, count = namespace.call(NftBackend), FakeBackend(), 0

    @settings(max_examples=WALKS)
    @given(st.lists(steps, min_size=STEPS, max_size=STEPS))
    def walk(path: list[Step]) -> None:
        nonlocal count
        current = fake.observe().ruleset
        for step in path:
            plan = plan_of(step, current)
            expected, current = _model(plan, current)
            assert expected == _outcome(fake, plan)
            assert expected == namespace.call(_outcome, kernel, plan)
            assert current == fake.observe().ruleset
            seen = namespace.call(kernel.observe)
            assert current == seen.ruleset
            assert _lasting(fake.observe()) == _lasting(seen)
            count += 1

    walk()
    namespace.call(kernel.close)
    assert count >= WALKS * STEPS


@pytest.mark.kernel
def test_of_two_wrong_entries_the_first_is_complained_of(namespace: "Namespace") -> None:
    """A port that is taken, then a chain that is missing, and the other way round: all three say which."""
    kernel, fake = namespace.call(NftBackend), FakeBackend()
    chain, here = Chain("chain-c"), PortMap("tcp-ports", frozenset({(2, 5, "chain-c")}))
    first = diff(None, ruleset((), (chain,), "", (here,)))
    there, nowhere = (2, 5, "chain-c"), (6, 6, "chain-b")
    plans = [
        Plan((AddEntries("tcp-ports", frozenset(e)),)) for e in ({there, nowhere}, {there, (1, 1, "chain-b")})
    ]
    _, current = _model(first, None)
    for backend in (fake, kernel):
        assert None is namespace.call(_outcome, backend, first)
    for plan, expected in zip(plans, (errno.EEXIST, errno.ENOENT), strict=True):
        assert [(expected, 0)] * 3 == [
            _model(plan, current)[0],
            _outcome(fake, plan),
            namespace.call(_outcome, kernel, plan),
        ]
    namespace.call(kernel.close)


# iptables has neither our hooks nor verdict maps of any shape: it holds what the compiler gives, and refuses
# the rest as a whole. So here rulesets are compiled ones, and nonsense is about their sets.
_members = st.frozensets(st.sampled_from([bytes([10, 10, 0, n]) for n in range(8, 14)]), min_size=1)
_nonsense = st.one_of(
    st.builds(AddElements, st.just("private-peers-4"), st.just(Family.IPV4), _members),
    st.builds(RemoveElements, st.just("private-peers-4"), st.just(Family.IPV4), _members),
    st.builds(DeleteSet, st.sampled_from(["private-peers-4", "nobody-4"])),
).map(lambda change: Plan((change,)))
_compiled = st.builds(
    lambda policy, fleet, host: compile_ruleset(policy, fleet, host, own(fleet)), policies(), fleets(), hosts
)
_policy_steps: st.SearchStrategy[Step] = st.one_of(_compiled, _nonsense, _nonsense, st.none())
_leases = st.sampled_from(LEASES)
_armed = st.one_of(st.builds(Arm, _leases, st.sampled_from(LASTING)), st.builds(Disarm, _leases))
_lasting_steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(compose, st.none() | _compiled, _compiled, _leases),
    _policy_steps,
    _armed.map(lambda change: Plan((change,))),
    _armed.map(lambda change: Plan((change,))),
)


@pytest.mark.kernel
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", EACH_IPTABLES)
def test_random_walks_over_iptables_end_alike(namespace: "Namespace", name: str) -> None:
    """Model and iptables hold the same after each step, or refuse it with the same errno and Change.

    With ip sets there are leases, and those that run are the fake's.
    """
    kernel, fake = namespace.call(IPTABLES[name], 5.0), FakeBackend()
    kinds = _lasting_steps if kernel.has_leases else _policy_steps
    namespace.call(kernel.commit, plan_of(None, None), namespace.call(kernel.generation))

    @settings(max_examples=WALKS // 25)
    @given(st.lists(kinds, min_size=5, max_size=5))
    def walk(path: list[Step]) -> None:
        current = fake.observe().ruleset
        for step in path:
            plan = plan_of(step, current)
            expected, current = _model(plan, current)
            assert expected == _outcome(fake, plan)
            assert expected == namespace.call(_outcome, kernel, plan)
            seen = namespace.call(kernel.observe)
            assert current == seen.ruleset
            assert _lasting(fake.observe()) == _lasting(seen)

    walk()
    namespace.call(kernel.close)
