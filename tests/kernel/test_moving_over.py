"""From one backend to another, under traffic."""

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


def _enforce(kernels: Kernels, firewall: Firewall, desired: object) -> None:
    backend = kernels.choose(firewall)
    put(backend, desired)  # type: ignore[arg-type]
    kernels.leave_others()
    assert () == kernels.about()[1]


def _flush_all() -> None:
    for backend in all_backends():
        flush(backend)
        backend.close()


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
