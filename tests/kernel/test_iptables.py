"""The iptables backend beside other people's rules, locks and mistakes."""

import fcntl
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.backends.iptables_program import LOCK
from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitConflict, CommitRejected, KernelUnsupported, Refusal
from droplan_daemon.model.policy import InterfacePolicy, Mode, Outbound, Policy
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.reconcile import flush, put
from tests.kernel import absent
from tests.kernel.ground import Kernel
from tests.kernel.variants import EACH_IPTABLES, IPTABLES
from tests.kernel.wires import THE_OTHER, THE_PEER, compiled
from tests.worlds import fleets, hosts, own, policies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import Ruleset
    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

BOTH = Policy(
    private=InterfacePolicy(managed=True, allow_peers=True, outbound=Outbound.DROP),
    public=InterfacePolicy(managed=True, allow_peers=True),
)
_FOREIGN = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "droplan is not mine" -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A DOCKER -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
"""


@pytest.fixture(params=EACH_IPTABLES)
def kernel(request: pytest.FixtureRequest, namespace: "Namespace") -> "Iterator[Kernel]":
    namespace.run("ip", "link", "set", "lo", "up")
    made = Kernel(namespace, make=IPTABLES[request.param])
    yield made
    made.close()


def _variant(kernel: Kernel) -> str:
    assert isinstance(kernel.backend, IptablesBackend)
    return kernel.backend.variant


def _saved(kernel: Kernel, family: str = "iptables") -> list[str]:
    """Everything in the filter table, but for the time of saving."""
    text = kernel.namespace.run(f"{family}-{_variant(kernel)}-save", "-c", "-t", "filter")
    rows = [row for row in text.splitlines() if not row.startswith("#")]
    # Any change by iptables-legacy, whoever makes it, begins the count of a built-in chain's policy anew.
    legacy = _variant(kernel) == "legacy"
    return [row.split(" [")[0] if legacy and row.startswith(":") else row for row in rows]


def _theirs(kernel: Kernel) -> list[str]:
    return [row for row in _saved(kernel) if "droplan-" not in row]


def _restore(kernel: Kernel, text: str, *options: str) -> None:
    kernel.namespace.run(f"iptables-{_variant(kernel)}-restore", *options, text=text)


def _program(kernel: Kernel, *words: str) -> None:
    kernel.namespace.run(f"iptables-{_variant(kernel)}", *words)


@settings(max_examples=8)
@given(st.lists(st.tuples(policies(), fleets(), hosts), min_size=2, max_size=3))
def test_what_is_committed_is_observed(kernel: Kernel, path: "list[tuple[object, object, object]]") -> None:
    """From any ruleset of the compiler to any other: what is read back is what was wanted."""
    for policy, fleet, host in path:
        desired = compile_ruleset(policy, fleet, host, own(fleet))  # type: ignore[arg-type]
        kernel.become(desired)
        assert desired == kernel.holds()
        assert not diff(kernel.holds(), desired)


def test_others_rules_counters_and_policies_are_untouched(kernel: Kernel) -> None:
    """Through commits and a flush every line that is not ours stays, counters and policies included."""
    _restore(kernel, _FOREIGN)
    kernel.namespace.run("ping", "-c", "3", "-i", "0.01", "127.0.0.1")
    before = _saved(kernel)
    assert "[0:0] -A INPUT -i lo" not in "\n".join(before)
    for desired in (compiled(BOTH, THE_PEER), compiled(Policy(), THE_PEER, THE_OTHER), compiled(BOTH)):
        kernel.become(desired)
        assert before == _theirs(kernel)
    kernel.become(None)
    assert before == _saved(kernel)
    assert "" == kernel.namespace.run("ipset", "list", "-n")


def test_our_jumps_are_put_back_at_the_top(kernel: Kernel) -> None:
    """A rule that somebody inserted above ours is seen, and stands below after the next commit."""
    desired = compiled(BOTH, THE_PEER)
    kernel.become(desired)
    _program(kernel, "-I", "INPUT", "1", "-i", "eth1", "-j", "ACCEPT")
    assert desired != kernel.holds()
    kernel.become(desired)
    assert desired == kernel.holds()
    rows = [row for row in _saved(kernel) if " -A INPUT " in row]
    assert ["droplan-peers", "droplan-peers-public", "ACCEPT"] == [row.split()[-1] for row in rows]


@pytest.mark.parametrize(
    "words",
    [
        ("-I", "droplan-peers", "1", "-s", "10.9.9.9", "-j", "ACCEPT"),
        ("-D", "droplan-peers", "1"),
        ("-F", "droplan-peers-fwd"),
        ("-F", "droplan-about"),
        ("-D", "FORWARD", "1"),
    ],
)
def test_what_is_done_by_hand_is_undone(kernel: Kernel, words: tuple[str, ...]) -> None:
    """Whoever changes our chains, or the way into them, finds it as it was after the next cycle."""
    desired = compiled(BOTH, THE_PEER)
    kernel.become(desired)
    before = kernel.generation()
    _program(kernel, *words)
    assert before != kernel.generation()
    assert desired != kernel.holds()
    kernel.become(desired)
    assert desired == kernel.holds()


def test_a_strangers_chain_is_refused(kernel: Kernel) -> None:
    """A chain called droplan-peers that droplan did not write is neither used nor changed."""
    _restore(kernel, "*filter\n:droplan-peers - [0:0]\n-A droplan-peers -s 10.0.0.9 -j ACCEPT\nCOMMIT\n")
    before = _saved(kernel)
    with pytest.raises(Refusal, match="droplan migrate"):
        kernel.holds()
    assert before == _saved(kernel)


def test_what_moved_since_the_look_is_a_conflict(kernel: Kernel) -> None:
    """A commit over a state that somebody has changed meanwhile writes nothing."""
    kernel.become(compiled(Policy(), THE_PEER))
    found = kernel.observation()
    _program(kernel, "-F", "droplan-peers")
    before = _saved(kernel)
    with pytest.raises(CommitConflict):
        kernel.commit(diff(found.ruleset, compiled(BOTH, THE_PEER)), found.generation)
    assert before == _saved(kernel)


def test_members_alone_run_no_program(namespace: "Namespace") -> None:
    """With ip sets a change of the fleet changes no rule: the kernel's own count of rulesets stands still."""
    kernel, nft = Kernel(namespace, make=IPTABLES["iptables-nft"]), namespace.call(NftBackend)
    kernel.become(compiled(Policy(), THE_PEER))
    before = namespace.call(nft.generation)
    kernel.become(compiled(Policy(), THE_PEER, THE_OTHER))
    assert before == namespace.call(nft.generation)
    kernel.become(compiled(Policy(mode=Mode.AUDIT), THE_PEER, THE_OTHER))
    assert before + 2 == namespace.call(nft.generation)
    kernel.close()
    namespace.call(nft.close)


def test_counters_survive_a_change_of_the_rules(kernel: Kernel) -> None:
    """A rule that stays keeps what it has counted, though the chain around it is another."""
    kernel.become(compiled(Policy(), THE_PEER))
    text = next(row for row in _saved(kernel) if "-A droplan-peers " in row and row.endswith("-j DROP"))
    rule = text.split("] ", 1)[1].replace("-A droplan-peers", "-R droplan-peers 99")
    place = sum("-A droplan-peers " in row for row in _saved(kernel))
    rule = rule.replace(" 99 ", f" {place} ")
    _restore(kernel, f"*filter\n[12:720] {rule}\nCOMMIT\n", "--noflush", "--counters")
    assert 12 == kernel.observation().counters["private-in", "denied"]
    kernel.become(compiled(Policy(denied_log=None), THE_PEER))
    assert 12 == kernel.observation().counters["private-in", "denied"]


def test_the_boot_script_gives_what_the_daemon_writes(kernel: Kernel, tmp_path: Path) -> None:
    """Loaded with the programs of iptables and ipset, the script is read as the ruleset; twice is no harm."""
    desired = compiled(BOTH, THE_PEER, THE_OTHER)
    _load(kernel, desired)
    assert desired == kernel.holds()
    _load(kernel, desired)
    kernel.become(desired)
    assert desired == kernel.holds()


def _load(kernel: Kernel, desired: "Ruleset") -> None:
    parts = dict(part.split("\n", 1) for part in kernel.backend.script(desired).split("#: ")[1:])
    variant = _variant(kernel)
    kernel.namespace.run("ipset", "-exist", "restore", text=parts["ipset"])
    for family in ("iptables", "ip6tables"):
        kernel.namespace.run(f"{family}-{variant}-restore", "--noflush", "-w", text=parts[family])


def test_from_ip_sets_to_none_and_back(namespace: "Namespace") -> None:
    """Either form is taken over by the other in one commit, and nothing of it is left."""
    desired = compiled(BOTH, THE_PEER)
    for name in ("iptables-nft", "iptables-nft, no ipset", "iptables-nft"):
        kernel = Kernel(namespace, make=IPTABLES[name])
        namespace.call(put, kernel.backend, desired)
        assert desired == kernel.holds()
        assert ("no ipset" in name) is ("" == namespace.run("ipset", "list", "-n"))
        kernel.close()


def test_a_held_lock_is_told_and_ends(namespace: "Namespace", tmp_path: Path) -> None:
    """While another program holds the lock of iptables a commit fails in time, by the holder's name."""
    _own_run(namespace, tmp_path)
    backend = namespace.call(IptablesBackend, "legacy", ipset=False, deadline=1.0)
    observed = namespace.call(backend.observe)
    with namespace.call(Path(LOCK).open, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CommitRejected, match=r"\(process \d+\) has held the lock of iptables"):
            namespace.call(backend.commit, diff(None, compiled(Policy())), observed.generation)
    assert namespace.call(flush, backend) is False
    namespace.call(backend.close)


def _own_run(namespace: "Namespace", folder: Path) -> None:
    """The lock is the whole machine's; this one is seen by the namespace alone."""
    try:
        namespace.call(absent.own_mounts)
    except PermissionError as error:
        pytest.skip(f"no mounts of our own: {error.strerror}; run as root, or with unshare -Urnm")
    namespace.call(absent.bind, folder, Path(LOCK).parent)


def test_a_missing_program_is_named(namespace: "Namespace") -> None:
    """Without iptables the package that has it is named, and what to set instead."""
    backend = namespace.call(IptablesBackend, "of-nobody", ipset=False)
    with pytest.raises(KernelUnsupported, match="install the package iptables") as caught:
        namespace.call(backend.observe)
    assert "iptables" == caught.value.feature


_UNPRIVILEGED = """
import sys
sys.path[:] = sys.argv[1].split(":")
from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.errors import NotPermitted
import encodings.ascii, os  # what Python loads late may lie in a folder that others cannot read
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    IptablesBackend(sys.argv[2], ipset=False).observe()
except NotPermitted as error:
    print(error)
"""


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_who_may_not_is_told(variant: str) -> None:
    """Without privileges the answer is what would be needed, not what iptables says."""
    done = subprocess.run(
        [sys.executable, "-c", _UNPRIVILEGED, ":".join(sys.path), variant],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (f"iptables-{variant} needs root, or CAP_NET_ADMIN and CAP_NET_RAW\n", "") == (
        done.stdout,
        done.stderr,
    )


def test_two_programs_at_once_lose_nothing(kernel: Kernel) -> None:
    """While somebody else adds and removes rules of his own, every commit of ours is read back whole."""
    end = threading.Event()
    variant = _variant(kernel)

    def busy() -> None:
        text = "*filter\n-A INPUT -s 192.0.2.1 -j ACCEPT\n-D INPUT -s 192.0.2.1 -j ACCEPT\nCOMMIT\n"
        while not end.is_set():
            kernel.namespace.run(f"iptables-{variant}-restore", "--noflush", "-w", "10", text=text)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for desired in (compiled(BOTH, THE_PEER), compiled(Policy(), THE_OTHER), compiled(BOTH)):
            kernel.become(desired)
            assert desired == kernel.holds()
    finally:
        end.set()
        thread.join()
