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
from droplan_daemon.model.plan import AddEntries, Plan
from droplan_daemon.model.ruleset import Chain, PortMap, ruleset
from tests.strategies import Step, plan_of, steps

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Ruleset
    from tests.conftest import Namespace

STEPS = 10
WALKS = 5_000 if os.environ.get("DROPLAN_TEST_FULL") else 500


def _outcome(backend: FakeBackend | NftBackend, plan: Plan) -> object:
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
            assert current == namespace.call(kernel.observe).ruleset
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
