"""Leases as iptables and ip sets hold them: armed, ended, gone, and changed by somebody else."""

from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.cli import holding
from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitConflict, CommitRejected, Refusal
from droplan_daemon.model.plan import Arm, Disarm, Plan
from droplan_daemon.model.policy import InterfacePolicy, Policy
from droplan_daemon.policy.lease import PAUSE, TRIAL, audited, compose, split
from tests.daemon.machine import until
from tests.kernel.ground import Kernel
from tests.kernel.variants import IPTABLES
from tests.kernel.wires import THE_OTHER, THE_PEER, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import Ruleset
    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

BASE = compiled(Policy(), THE_PEER)
TRIED = compiled(Policy(public=InterfacePolicy(managed=True, allow_peers=True)), THE_PEER, THE_OTHER)
WHOLE = compose(BASE, TRIED, TRIAL)


@pytest.fixture(params=["nft", pytest.param("legacy", marks=pytest.mark.full)])
def kernel(request: pytest.FixtureRequest, namespace: "Namespace") -> "Iterator[Kernel]":
    namespace.run("ip", "link", "set", "lo", "up")
    made = Kernel(namespace, make=IPTABLES[f"iptables-{request.param}"])
    yield made
    made.close()


def _become(kernel: Kernel, whole: "Ruleset", *changes: Arm | Disarm) -> None:
    kernel.commit(Plan((*diff(kernel.holds(), whole).changes, *changes)))


def _variant(kernel: Kernel) -> str:
    assert isinstance(kernel.backend, IptablesBackend)
    return kernel.backend.variant


def _program(kernel: Kernel, *words: str, name: str = "") -> str:
    return kernel.namespace.run("-".join(filter(None, ("iptables", _variant(kernel), name))), *words)


def _sets(kernel: Kernel) -> set[str]:
    return set(kernel.namespace.run("ipset", "list", "-n").split())


def test_one_commit_composes_and_arms(kernel: Kernel) -> None:
    """After it the whole is there and its lease runs; without it nothing of it is left."""
    kernel.become(BASE)
    before = _sets(kernel)
    _become(kernel, WHOLE, Arm(TRIAL, 600.0))
    seen = kernel.observation()
    assert seen.ruleset == WHOLE
    assert 590.0 < seen.leases[TRIAL] <= 600.0
    assert kernel.become(BASE)
    assert (BASE, {}, before) == (kernel.holds(), kernel.observation().leases, _sets(kernel))


@pytest.mark.parametrize("seconds", [10.0, 3600.0])
def test_armed_again_it_runs_from_now_on(kernel: Kernel, seconds: float) -> None:
    """Sooner or later than before, and nobody who looks arms it."""
    _become(kernel, WHOLE, Arm(TRIAL, 600.0))
    kernel.commit(Plan((Arm(TRIAL, seconds),)))
    assert seconds - 9 < kernel.observation().leases[TRIAL] <= seconds
    assert not kernel.become(WHOLE)
    assert kernel.observation().leases[TRIAL] <= seconds


def test_to_end_what_is_over_is_no_error(kernel: Kernel) -> None:
    """A lease that runs, one that was ended, and one that ran out: each may be ended."""
    _become(kernel, WHOLE, Arm(TRIAL, 600.0))
    kernel.commit(Plan((Disarm(TRIAL), Disarm(TRIAL))))
    assert {} == kernel.observation().leases
    kernel.commit(Plan((Arm(TRIAL, 0.05),)))
    until(lambda: not kernel.observation().leases)
    kernel.commit(Plan((Disarm(TRIAL),)))
    assert kernel.holds() == WHOLE
    kernel.commit(Plan((Arm(TRIAL, 600.0),)))
    assert kernel.become(None)
    assert (None, set()) == (kernel.holds(), _sets(kernel))


def test_the_base_follows_the_fleet_and_the_lease_runs_on(kernel: Kernel) -> None:
    """A member more behind the trial: nothing of the trial changes, its end neither."""
    _become(kernel, WHOLE, Arm(TRIAL, 600.0))
    later = compose(compiled(Policy(), THE_PEER, THE_OTHER), TRIED, TRIAL)
    kernel.become(later)
    assert kernel.holds() == later
    assert 500.0 < kernel.observation().leases[TRIAL] <= 600.0


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
    assert kernel.holds() == BASE
    assert not kernel.namespace.call(holding.release, PAUSE)


def test_the_rules_count_on(kernel: Kernel) -> None:
    """The base's packets are not counted anew when a lease comes and goes."""
    kernel.become(BASE)
    text = _program(kernel, "-c", name="save").replace("[0:0] -A droplan-peers", "[5:500] -A droplan-peers")
    kernel.namespace.run("iptables-" + _variant(kernel) + "-restore", "-c", text=text)
    expected = text.count("[5:500]")
    for whole in (WHOLE, BASE):
        kernel.become(whole)
        assert expected == _program(kernel, "-c", name="save").count("[5:500] -A droplan-peers")


def test_what_somebody_else_wrote_is_not_held(kernel: Kernel) -> None:
    """A rule that is none of ours in the base: a trial begins only when that was put right."""
    kernel.become(BASE)
    _program(kernel, "-A", "droplan-peers", "-m", "mark", "--mark", "7", "-j", "ACCEPT")
    before = kernel.generation()
    with pytest.raises(Refusal, match="droplan once"):
        kernel.namespace.call(holding.hold, kernel.backend, lambda _: TRIED, TRIAL, 600.0)
    assert before == kernel.generation()


def test_a_trial_over_nothing(kernel: Kernel) -> None:
    """Where no rules are the trial is all there is; when it is gone so is everything."""
    kernel.namespace.call(holding.hold, kernel.backend, lambda _: TRIED, TRIAL, 600.0)
    seen = kernel.observation()
    assert (None, TRIED) == (split(seen.ruleset).base, split(seen.ruleset).trial)
    assert kernel.namespace.call(holding.release, TRIAL)
    assert (None, set()) == (kernel.holds(), _sets(kernel))


def test_boot_never_has_a_lease(kernel: Kernel) -> None:
    """The script is that of the base, to the byte."""
    assert kernel.backend.script(BASE) == kernel.backend.script(WHOLE)


ODD = {
    "an element without an end": "flush dp-trial\nadd dp-trial 0.0.0.0/1\nadd dp-trial 128.0.0.0/1",
    "half of the addresses": "flush dp-trial\nadd dp-trial 0.0.0.0/1 timeout 900",
    "somebody's element": "add dp-trial 10.0.0.0/8 timeout 900",
    "one family alone": "flush dp-trial6",
}


@pytest.mark.parametrize("what", ODD)
def test_elements_that_nobody_arms_are_not_believed(kernel: Kernel, what: str) -> None:
    """Somebody else's element in a lease: it does not run, is not wanted, and is made anew."""
    _become(kernel, WHOLE, Arm(TRIAL, 600.0))
    kernel.namespace.run("ipset", "restore", text=f"{ODD[what]}\n")
    seen = kernel.observation()
    assert seen.ruleset != WHOLE
    assert {} == seen.leases
    kernel.become(BASE)
    assert (BASE, {}) == (kernel.holds(), kernel.observation().leases)
    kernel.namespace.call(holding.hold, kernel.backend, lambda _: TRIED, TRIAL, 600.0)
    assert kernel.holds() == WHOLE


@pytest.mark.parametrize("made", ["hash:ip", "hash:net", "hash:net timeout 60"])
def test_sets_of_another_kind_are_not_believed(kernel: Kernel, made: str) -> None:
    """A set with a lease's name that droplan did not make so begins no lease, and gives way to one."""
    kernel.become(BASE)
    kernel.namespace.run(
        "ipset", "restore", text=f"create dp-trial {made}\ncreate dp-trial6 {made} family inet6\n"
    )
    seen = kernel.observation()
    assert seen.ruleset != BASE
    assert {} == seen.leases
    kernel.become(BASE)
    assert kernel.holds() == BASE
    kernel.namespace.run(
        "ipset", "restore", text=f"create dp-trial {made}\ncreate dp-trial6 {made} family inet6\n"
    )
    kernel.become(WHOLE)
    assert (WHOLE, {}) == (kernel.holds(), kernel.observation().leases)
    kernel.commit(Plan((Arm(TRIAL, 600.0),)))
    assert {TRIAL} == kernel.observation().leases.keys()


def test_what_was_armed_before_the_rules_came_does_not_run(kernel: Kernel) -> None:
    """Sets that a crash left, armed by somebody: rules that come to ask them find nothing in them."""
    _become(kernel, WHOLE, Arm(TRIAL, 600.0))
    saved = kernel.namespace.run("ipset", "save").splitlines()
    kernel.become(BASE)
    text = "\n".join(line for line in saved if line.split()[1] in {"dp-trial", "dp-trial6"})
    kernel.namespace.run("ipset", "restore", text=f"{text}\n")
    assert kernel.holds() != BASE
    kernel.become(WHOLE)
    assert (WHOLE, {}) == (kernel.holds(), kernel.observation().leases)


def test_a_lease_that_is_gone_is_a_conflict(kernel: Kernel) -> None:
    """Somebody removed it between a look and the arming: look again."""
    kernel.become(BASE)
    with pytest.raises((CommitConflict, CommitRejected)):
        kernel.commit(Plan((Arm(TRIAL, 600.0),)))
    assert kernel.holds() == BASE


def test_hosts_own_rules_judge_on(kernel: Kernel) -> None:
    """What neither of both is about goes on to the rules below ours, while the lease runs and after it."""
    kernel.become(BASE)
    _program(kernel, "-A", "INPUT", "-i", "lo", "-p", "icmp", "-j", "DROP")
    for changes in ((), (Arm(TRIAL, 600.0),), (Disarm(TRIAL),)):
        _become(kernel, WHOLE, *changes)
        gone = kernel.namespace.run("ping", "-c", "1", "-W", "0.3", "127.0.0.1", check=False)
        assert "100% packet loss" in gone
