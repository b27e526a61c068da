"""Leases as the kernel holds them: armed, armed again, ended, gone, and changed by somebody else."""

import errno
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.apply import apply
from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.backends.nft_text import render
from droplan_daemon.cli import holding
from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitRejected, Refusal
from droplan_daemon.model.plan import Arm, CreateLease, DeleteLease, Disarm, InsertRule, Plan
from droplan_daemon.model.policy import InterfacePolicy, Policy
from droplan_daemon.model.ruleset import Action, Armed, Rule, Verdict
from droplan_daemon.policy.lease import PAUSE, TRIAL, audited, compose, split
from tests.daemon.machine import until
from tests.kernel.ground import SMALL, Kernel
from tests.kernel.wires import THE_OTHER, THE_PEER, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import Ruleset
    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

BASE = compiled(Policy(), THE_PEER)
TRIED = compiled(Policy(public=InterfacePolicy(managed=True, allow_peers=True)), THE_PEER, THE_OTHER)


@pytest.fixture
def kernel(namespace: "Namespace") -> "Iterator[Kernel]":
    made = Kernel(namespace)
    yield made
    made.close()


def _become(kernel: Kernel, whole: "Ruleset", *changes: Arm | Disarm) -> None:
    kernel.commit(Plan((*diff(kernel.holds(), whole).changes, *changes)))


def test_one_transaction_composes_and_arms(kernel: Kernel) -> None:
    """After one commit the whole is there and its lease runs."""
    kernel.become(BASE)
    before = kernel.generation()
    _become(kernel, compose(BASE, TRIED, TRIAL), Arm(TRIAL, 600.0))
    seen = kernel.observation()
    assert before + 1 == seen.generation
    assert (BASE, TRIED) == (split(seen.ruleset).base, split(seen.ruleset).trial)
    assert 590.0 < seen.leases[TRIAL] <= 600.0


@pytest.mark.parametrize("seconds", [10.0, 3600.0])
def test_armed_again_it_runs_from_now_on(kernel: Kernel, seconds: float) -> None:
    """Sooner or later than before: some kernels keep the end of an element that is added again."""
    _become(kernel, compose(BASE, TRIED, TRIAL), Arm(TRIAL, 600.0))
    kernel.commit(Plan((Arm(TRIAL, seconds),)))
    assert seconds - 9 < kernel.observation().leases[TRIAL] <= seconds


def test_to_end_what_is_over_is_no_error(kernel: Kernel) -> None:
    """A lease that runs, one that was ended, and one that ran out: `Disarm` and `DeleteLease` take each."""
    whole = compose(BASE, TRIED, TRIAL)
    _become(kernel, whole, Arm(TRIAL, 600.0))
    kernel.commit(Plan((Disarm(TRIAL), Disarm(TRIAL))))
    assert {} == kernel.observation().leases
    kernel.commit(Plan((Arm(TRIAL, 0.05),)))
    until(lambda: not kernel.observation().leases)
    kernel.commit(Plan((Disarm(TRIAL),)))
    assert whole == kernel.holds()
    kernel.commit(Plan((Arm(TRIAL, 600.0),)))
    assert kernel.become(BASE)
    assert BASE == kernel.holds()


def test_a_script_of_both_arms_nothing(kernel: Kernel) -> None:
    """Loaded as text it is the same table to nft(8) and to us, and what is before the lease does not run."""
    whole = compose(BASE, TRIED, PAUSE)
    kernel.nft(render(whole, "droplan"))
    by_text = kernel.dump()
    assert (whole, {}) == (kernel.holds(), kernel.observation().leases)
    kernel.become(None)
    kernel.become(whole)
    assert by_text == kernel.dump()


@pytest.mark.parametrize(
    "words",
    [
        "add element inet droplan trial { 9 timeout 1h }",
        "add element inet droplan trial { ipv4 timeout 1h, 9 timeout 1h }",
    ],
)
def test_elements_that_nobody_arms_are_none_of_ours(kernel: Kernel, words: str) -> None:
    """Somebody else's element in a lease: the table is not what is wanted, and is made anew."""
    whole = compose(BASE, TRIED, TRIAL)
    kernel.become(whole)
    kernel.nft(words)
    assert whole != kernel.holds()
    kernel.become(BASE)
    assert BASE == kernel.holds()


def test_a_lease_without_an_end_is_none(kernel: Kernel) -> None:
    """An element that never times out does not make a trial that never ends: the table is made anew."""
    whole = compose(BASE, TRIED, TRIAL)
    kernel.become(whole)
    kernel.nft("add element inet droplan trial { ipv4, ipv6 }")
    assert {} == kernel.observation().leases
    assert whole != kernel.holds()


def test_what_a_rule_asks_for_is_in_use(kernel: Kernel) -> None:
    """Model, fake and kernel refuse alike: to remove it, to make it twice, and a rule that asks for none."""
    whole = compose(BASE, TRIED, TRIAL)
    asking = InsertRule("inbound", 0, Rule("x", (Armed("nobody's"),), verdict=Verdict(Action.ACCEPT)))
    kernel.become(whole)
    fake = FakeBackend(whole)
    expected = (
        (DeleteLease(TRIAL), errno.EBUSY),
        (CreateLease(TRIAL), errno.EEXIST),
        (CreateLease("private-peers-4"), errno.EEXIST),
        (DeleteLease("nobody's"), errno.ENOENT),
        (Arm("nobody's", 9.0), errno.ENOENT),
        (Disarm("nobody's"), errno.ENOENT),
        (asking, errno.ENOENT),
    )
    for change, number in expected:
        plan = Plan((change,))
        for commit in (lambda p: apply(p, whole), lambda p: fake.commit(p, 1), kernel.commit):
            with pytest.raises(CommitRejected) as refused:
                commit(plan)
            assert number == refused.value.errno, change


def test_hold_and_release_are_what_the_commands_do(kernel: Kernel) -> None:
    """Over what stands, again over itself, and back to what stood: the base is never touched."""
    kernel.become(BASE)
    for seconds in (600.0, 300.0):
        kernel.namespace.call(
            holding.hold, kernel.backend, lambda base: audited(base or BASE), PAUSE, seconds
        )
        seen = kernel.observation()
        assert compose(BASE, audited(BASE), PAUSE) == seen.ruleset
        assert seconds - 9 < seen.leases[PAUSE] <= seconds
    assert kernel.namespace.call(holding.release, PAUSE)
    assert BASE == kernel.holds()
    assert not kernel.namespace.call(holding.release, PAUSE)


def test_what_somebody_else_wrote_is_not_held(kernel: Kernel) -> None:
    """A rule that is none of ours in the base: a trial begins only when that was put right."""
    kernel.become(BASE)
    kernel.nft("add rule inet droplan private-in meta mark 7 accept")
    before = kernel.generation()
    with pytest.raises(Refusal, match="droplan once"):
        kernel.namespace.call(holding.hold, kernel.backend, lambda _: TRIED, TRIAL, 600.0)
    assert before == kernel.generation()


def test_a_trial_over_nothing(kernel: Kernel) -> None:
    """Where no table is, the trial is all there is; when it is over everything passes as before."""
    kernel.namespace.call(holding.hold, kernel.backend, lambda _: TRIED, TRIAL, 600.0)
    seen = kernel.observation()
    assert (None, TRIED) == (split(seen.ruleset).base, split(seen.ruleset).trial)


def test_a_rule_of_a_lease_is_read_as_it_was_written(kernel: Kernel) -> None:
    """`meta nfproto @trial` comes back as Armed."""
    kernel.become(compose(SMALL, SMALL, TRIAL))
    found = kernel.holds()
    assert found
    assert (Armed(TRIAL),) == found.chains["inbound"].rules[0].matches
