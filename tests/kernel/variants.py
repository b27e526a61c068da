"""The backends that a test runs over: every one judges alike."""

from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.backends.nft import NftBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[float], NftBackend | IptablesBackend]


def _nftables(deadline: float) -> NftBackend:
    return NftBackend(deadline=deadline)


def _iptables(variant: str, *, ipset: bool) -> "Callable[[float], IptablesBackend]":
    return lambda deadline: IptablesBackend(variant, ipset=ipset, deadline=deadline)


IPTABLES: "dict[str, Make]" = {
    "iptables-nft": _iptables("nft", ipset=True),
    "iptables-nft, no ipset": _iptables("nft", ipset=False),
    "iptables-legacy": _iptables("legacy", ipset=True),
    "iptables-legacy, no ipset": _iptables("legacy", ipset=False),
}
BACKENDS: "dict[str, Make]" = {"nftables": _nftables, **IPTABLES}

_OFTEN = ("nftables", "iptables-nft")
EACH = [pytest.param(name, marks=() if name in _OFTEN else pytest.mark.full) for name in BACKENDS]
"""For fixtures: the two that people use in every run, all of them in a full one."""
EACH_IPTABLES = [item for item in EACH if item.values[0] in IPTABLES]
