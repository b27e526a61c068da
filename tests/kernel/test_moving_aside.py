"""Moving over where somebody else has moved in between, or stands in the way."""

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.cli.kernels import Kernels
from droplan_daemon.errors import CommitConflict
from droplan_daemon.model.policy import BackendName, Firewall, Policy
from droplan_daemon.reconcile import put
from tests.kernel.wires import THE_OTHER, THE_PEER, compiled

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Ruleset
    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

NFTABLES = Firewall(BackendName.NFTABLES)
SETS, PLAIN = Firewall(BackendName.IPTABLES), Firewall(BackendName.IPTABLES, ipset=False)
POLICY = Policy()
DIFFERENT = {
    "fewer peers": compiled(POLICY, THE_PEER),
    "nobody": compiled(replace(POLICY, private=replace(POLICY.private, allow_peers=False)), THE_PEER),
    "another policy": compiled(replace(POLICY, public=POLICY.private), THE_PEER),
}


@pytest.mark.parametrize("desired", DIFFERENT.values(), ids=DIFFERENT)
def test_another_variant_with_other_members_is_no_endless_conflict(
    namespace: "Namespace", desired: "Ruleset"
) -> None:
    """Rules of one variant, as boot may load them, hold sets that the other is to change: it moves over."""
    for program in ("iptables-nft-save", "iptables-legacy-save", "ipset"):
        if shutil.which(program, path="/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is not installed")
    old, new = (namespace.call(IptablesBackend, variant) for variant in ("nft", "legacy"))
    namespace.call(put, old, compiled(POLICY, THE_PEER, THE_OTHER))
    namespace.run("iptables-legacy", "-A", "INPUT", "-s", "192.0.2.1", "-j", "ACCEPT")
    kernels = Kernels()
    assert "legacy" in str(namespace.call(_chosen, kernels, SETS))
    with pytest.raises(CommitConflict):
        namespace.call(put, new, desired)
    namespace.call(kernels.make_way)
    assert "match-set" not in namespace.run("iptables-nft-save")
    assert "-j droplan-peers" in namespace.run("iptables-nft-save")
    namespace.call(put, new, desired)
    namespace.call(kernels.leave_others)
    assert desired == namespace.call(new.observe).ruleset
    assert "droplan" not in namespace.run("iptables-nft-save")
    for backend in (old, new, kernels):
        backend.close()


def test_rules_of_others_that_come_and_go_change_nothing(namespace: "Namespace") -> None:
    """With rules in both variants the backend is made once, and what is told of it stays the same."""
    for variant in ("nft", "legacy"):
        if shutil.which(f"iptables-{variant}", path="/usr/sbin:/sbin") is None:
            pytest.skip(f"iptables-{variant} is not installed")
        namespace.run(f"iptables-{variant}", "-A", "INPUT", "-s", "192.0.2.1", "-j", "ACCEPT")
    kernels = Kernels()
    first, told = namespace.call(kernels.choose, SETS), kernels.about()
    assert any("both variants" in caution for caution in told[1])
    namespace.run("iptables-nft", "-A", "INPUT", "-s", "192.0.2.2", "-j", "DROP")
    assert first is namespace.call(kernels.choose, SETS)
    assert told == kernels.about()
    kernels.close()


def _enforce(kernels: Kernels, firewall: Firewall, desired: "Ruleset") -> None:
    put(kernels.choose(firewall), desired)
    kernels.leave_others()


def _chosen(kernels: Kernels, firewall: Firewall) -> str:
    kernels.choose(firewall)
    return kernels.about()[0]


def test_what_somebody_moved_elsewhere_is_looked_for_again(namespace: "Namespace") -> None:
    """`droplan once` by root may choose iptables and take the table away: the daemon takes it back."""
    if shutil.which("iptables-save", path="/usr/sbin:/sbin") is None:
        pytest.skip("iptables is not installed")
    kernels, others, desired = Kernels(), Kernels(), compiled(POLICY, THE_PEER)
    namespace.call(_enforce, kernels, NFTABLES, desired)
    namespace.call(_enforce, others, PLAIN, desired)
    namespace.call(_enforce, kernels, NFTABLES, desired)
    assert "-j droplan-peers" in namespace.run("iptables-save")
    namespace.call(lambda: kernels.leave_others(again=True))
    assert "droplan" not in namespace.run("iptables-save")
    kernels.close()
    others.close()
