"""Which backend holds the rules, and in which variant of iptables. PURE.

Laws:
1. What the Policy names is taken. `auto` is nftables, unless the host's own rules are kept by
   iptables: a service that restores them is switched on and has rules, other than ours, to restore.
   A daemon without the rights for iptables goes on with nftables, which judges beside it, and says so.
2. iptables is used in the variant in which the host's rules already are; without any, or with rules
   in both, in the one that `iptables` is. Rules in both is told.
"""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from droplan_daemon.model.policy import BackendName

from .iptables_names import is_ours

if TYPE_CHECKING:
    from droplan_daemon.model.policy import Firewall

VARIANTS = ("nft", "legacy")
_CHAIN = re.compile(r"(?:\[\d+:\d+\] )?-A (\S+)")
_TARGET = re.compile(r" -[jg] (\S+)")


@dataclass(frozen=True, slots=True)
class Choice:
    """`variant` is None for what `iptables` is on this machine; `why` ends the sentence "rules by …".

    What is said of a choice is no part of it: a Backend is made for each that differs, and kept.
    """

    backend: BackendName
    variant: str | None = None
    ipset: bool = True
    why: str = field(default="", compare=False)
    caution: str = field(default="", compare=False)

    def __str__(self) -> str:
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.backend}{variant}, {self.why}"


def backend_of(firewall: "Firewall", restored: tuple[str, ...]) -> tuple[BackendName, str]:
    """The backend, and why; `restored` are the files of rules that the host restores at boot."""
    if firewall.backend is not BackendName.AUTO:
        return firewall.backend, "as configured"
    if restored:
        return BackendName.IPTABLES, f"since this host restores rules of its own from {restored[0]}"
    return BackendName.NFTABLES, "since this host restores no rules of iptables at boot"


def without_rights(restored: str, remedy: str) -> Choice:
    """What `auto` comes to where iptables would be taken, and this process may not write its rules."""
    return Choice(
        BackendName.NFTABLES,
        why="since droplan has no right to write rules of iptables",
        caution=(
            f"this host restores rules of its own from {restored}, and droplan's stand beside them in "
            f'nftables: to have them there, {remedy}; or set firewall.backend = "nftables"'
        ),
    )


def variant_of(rules: "dict[str, int]") -> tuple[str | None, str]:
    """The variant, and a caution; `rules` are the numbers of rules, not ours, by variant that is there."""
    used = [variant for variant in VARIANTS if rules.get(variant)]
    if len(used) == 1:
        return used[0], ""
    if not used:
        return None, ""
    return None, (
        "this host has rules in both variants of iptables (iptables-nft and iptables-legacy): "
        "both judge every packet, so a packet must be let through by both"
    )


def rules_of_others(text: str) -> int:
    """How many rules, in the form of iptables-save, are not ours; policies do not count."""
    return sum(1 for row in text.splitlines() if (found := _CHAIN.match(row)) and not _is_ours(row, found[1]))


def _is_ours(row: str, chain: str) -> bool:
    if is_ours(chain):
        return "droplan " in row
    target = _TARGET.search(row)
    return target is not None and is_ours(target[1]) and '--comment "droplan ' in row
