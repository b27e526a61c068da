"""From one backend to another, under traffic."""

import shutil
import subprocess
import sys
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.cli.kernels import Kernels, all_backends
from droplan_daemon.model.policy import BackendName, Firewall, InterfacePolicy, Outbound, Policy
from droplan_daemon.reconcile import flush, put
from tests.kernel.test_atomic import Echo, Flood
from tests.kernel.wires import THE_PEER, Wires, compiled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.kernel

NFTABLES = Firewall(BackendName.NFTABLES)
SETS, PLAIN = Firewall(BackendName.IPTABLES), Firewall(BackendName.IPTABLES, ipset=False)
POLICY = Policy(private=InterfacePolicy(managed=True, allow_peers=True, outbound=Outbound.ACCEPT))


def _held(wires: Wires) -> set[str]:
    """Which kinds of things of ours there are."""
    texts = {
        "nftables": wires.host.run("nft", "list", "tables"),
        "iptables": wires.host.run("iptables-nft-save"),
        "sets": wires.host.run("ipset", "list", "-n"),
    }
    signs = {"nftables": "inet droplan", "iptables": ":droplan-", "sets": "d"}
    return {name for name, text in texts.items() if signs[name] in text}


@pytest.mark.parametrize("wires", ["nftables"], indirect=True)
def test_a_change_of_the_backend_leaves_no_gap_and_nothing_behind(wires: Wires) -> None:
    """A peer loses no packet and a stranger gets none in, from nftables to iptables, its forms, and back."""
    kernels, desired = Kernels(), compiled(POLICY, THE_PEER)
    path = [NFTABLES, SETS, PLAIN, NFTABLES, PLAIN, SETS, NFTABLES]
    expected = {NFTABLES: {"nftables"}, SETS: {"iptables", "sets"}, PLAIN: {"iptables"}}
    wires.host.call(_enforce, kernels, NFTABLES, desired)
    echo, flood, end = Echo(wires), Flood(wires), threading.Event()
    sender = threading.Thread(target=flood.run, args=(end,))
    sender.start()
    try:
        for _, firewall in pairwise(path):
            wires.host.call(_enforce, kernels, firewall, desired)
            echo()
            assert expected[firewall] == _held(wires)
    finally:
        end.set()
        sender.join()
    assert (flood.sent, 0, 0) == (flood.arrived, flood.strangers, echo.retransmitted())
    echo.near.close()
    wires.host.call(_flush_all)
    wires.host.call(kernels.close)
    assert set() == _held(wires)


@pytest.mark.parametrize(
    ("before", "holder", "after"),
    [
        (NFTABLES, "nftables", PLAIN),
        (NFTABLES, "nftables", SETS),
        (SETS, "iptables (nft)", NFTABLES),
        (PLAIN, "iptables (nft)", NFTABLES),
        (PLAIN, "iptables without ip sets", SETS),
        (SETS, "iptables with ip sets", PLAIN),
    ],
)
@pytest.mark.parametrize("wires", ["nftables"], indirect=True)
def test_what_another_backend_holds_is_known_before_a_move(
    wires: Wires, before: Firewall, holder: str, after: Firewall
) -> None:
    """Or another form: its name and the Ruleset; nothing when all has moved, or nothing was there."""
    kernels, desired = Kernels(), compiled(POLICY, THE_PEER)
    wires.host.call(_flush_all)
    wires.host.call(kernels.choose, after)
    assert None is wires.host.call(kernels.elsewhere)
    wires.host.call(_enforce, kernels, before, desired)
    wires.host.call(kernels.choose, after)
    assert (holder, desired) == wires.host.call(kernels.elsewhere)
    wires.host.call(_enforce, kernels, after, desired)
    assert None is wires.host.call(kernels.elsewhere)
    wires.host.call(_flush_all)
    wires.host.call(kernels.close)


def _enforce(kernels: Kernels, firewall: Firewall, desired: object) -> None:
    backend = kernels.choose(firewall)
    put(backend, desired)  # type: ignore[arg-type]
    kernels.leave_others()
    assert () == kernels.about()[1]


def _flush_all() -> None:
    for backend in all_backends():
        flush(backend)
        backend.close()


_CHOOSE = """
import sys
sys.path[:] = sys.argv[1].split(":")
from droplan_daemon.cli.kernels import Kernels
from droplan_daemon.errors import NotPermitted
from droplan_daemon.model.policy import BackendName, Firewall, Policy
from droplan_daemon.reconcile import put
from tests.kernel.wires import THE_PEER, compiled
kernels = Kernels()
try:
    chosen = kernels.choose(Firewall(BackendName(sys.argv[2])))
    put(chosen, compiled(Policy(), THE_PEER))
    print(chosen.name, *kernels.about()[1])
except NotPermitted as error:
    print(error)
"""


def _chosen_by(capabilities: str, backend: str, etc: "Path") -> str:
    """What a process with these capabilities says, on a host whose iptables rules are restored at boot."""
    (etc / "iptables").mkdir(parents=True)
    (etc / "iptables/rules.v4").write_text("*filter\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n")
    wants = etc / "systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "netfilter-persistent.service").symlink_to("/lib/systemd/system/netfilter-persistent.service")
    shutil.copytree("/etc/alternatives", etc / "alternatives", symlinks=True)
    dropped = f"exec setpriv --inh-caps=-all,{capabilities} --bounding-set=-all,{capabilities}"
    script = f'mount --bind "$1" /etc && shift && {dropped} "$@"'
    words = ["unshare", "-n", "-m", "sh", "-c", script, "sh", str(etc), sys.executable, "-c", _CHOOSE]
    done = subprocess.run(
        [*words, ":".join(sys.path), backend], capture_output=True, text=True, check=False, timeout=60
    )
    assert ("", 0) == (done.stderr, done.returncode)
    return done.stdout


def test_auto_chooses_nothing_that_it_may_not_write(tmp_path: "Path") -> None:
    """The unit as it is installed has no rights for iptables: nftables then, and what to do is told."""
    assert "iptables\n" == _chosen_by("+net_admin,+net_raw", "auto", tmp_path / "with")
    told = _chosen_by("+net_admin", "auto", tmp_path / "without")
    assert told.startswith("nftables this host restores rules of its own from /etc/iptables/rules.v4")
    assert "/usr/lib/droplan/iptables.conf" in told


def test_iptables_without_its_rights_says_what_to_do(tmp_path: "Path") -> None:
    """Where it is configured, nothing is begun, and the drop-in is named that has the rights."""
    told = _chosen_by("+net_admin", "iptables", tmp_path / "without")
    assert told.startswith("rules of iptables need root, or CAP_NET_ADMIN and CAP_NET_RAW; for the service: ")
    assert "/usr/lib/droplan/iptables.conf" in told


_MAKES: "tuple[Callable[[], NftBackend | IptablesBackend], ...]" = (
    NftBackend,
    lambda: IptablesBackend("legacy"),
    lambda: IptablesBackend("nft", ipset=False, alone=False),
)


def test_flush_removes_what_any_backend_holds() -> None:
    """Table, chains in both variants and ip sets all go, whichever is configured."""
    with Wires() as wires:
        for make in _MAKES:
            backend = wires.host.call(make)
            wires.host.call(put, backend, compiled(POLICY, THE_PEER))
            wires.host.call(backend.close)
        wires.host.call(_flush_all)
        assert set() == _held(wires)
        assert ":droplan-" not in wires.host.run("iptables-legacy-save")
