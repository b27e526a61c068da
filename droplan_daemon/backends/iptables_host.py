"""What this host does with iptables: which rules it restores at boot, where rules are now.

Laws: nothing is changed, and no table is made by looking: a legacy table is asked for its rules
only where the kernel says that it is there.

Sources: netfilter-persistent(8) with iptables-persistent (Debian, Ubuntu), iptables-services (CentOS and
its kin); /proc/net/ip_tables_names lists the legacy tables of this network namespace.
"""

from contextlib import suppress
from pathlib import Path

from droplan_daemon.errors import CommitUnknown
from droplan_daemon.model.addresses import Family

from .choice import VARIANTS, rules_of_others
from .iptables_names import ABOUT, LENT, lent
from .iptables_program import Program, where

_RESTORED = (
    ("netfilter-persistent.service", ("etc/iptables/rules.v4", "etc/iptables/rules.v6")),
    ("iptables.service", ("etc/sysconfig/iptables",)),
    ("ip6tables.service", ("etc/sysconfig/ip6tables",)),
)
_UNITS = "etc/systemd/system"
_LEGACY_TABLES = {
    Family.IPV4: "/proc/thread-self/net/ip_tables_names",
    Family.IPV6: "/proc/thread-self/net/ip6_tables_names",
}
_WAIT = 5.0


def restored_rules(root: Path = Path("/")) -> tuple[str, ...]:
    """Files with rules of the host's own that a service which is switched on restores at boot."""
    return tuple(
        f"/{path}"
        for unit, paths in _RESTORED
        if any((wants / unit).is_symlink() for wants in (root / _UNITS).glob("*.wants"))
        for path in paths
        if _has_rules(root / path)
    )


def _has_rules(path: Path) -> bool:
    """Who may not read the file is told that there are some: whoever may write them may read it, too."""
    try:
        return rules_of_others(path.read_text(encoding="utf-8", errors="replace")) > 0
    except PermissionError:
        return True
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def dumps() -> dict[str, str]:
    """What iptables-save says in each variant that is there, both families together."""
    return {variant: "".join(dumped(variant, family) for family in Family) for variant in VARIANTS}


def dumped(variant: str, family: Family) -> str:
    """What iptables-save says of one family in one variant; empty where either is not there."""
    program = Program(family, variant, _WAIT)
    if not program.present or (variant == "legacy" and "filter" not in _text(Path(_LEGACY_TABLES[family]))):
        return ""
    with suppress(CommitUnknown):
        return program.save()
    return ""


def own_variant() -> str:
    """Which variant `iptables` is here; empty where that cannot be told."""
    path = where("iptables-restore") or where("ip6tables-restore")
    name = Path(path).resolve().name if path else ""
    return next((variant for variant in VARIANTS if f"-{variant}-" in name), "")


def variants_in_use() -> tuple[str, ...]:
    """The variants in which there are chains of ours."""
    names = (ABOUT, *(lent(ABOUT, lease) for lease in LENT))
    return tuple(v for v, text in dumps().items() if any(f"\n:{name} " in text for name in names))
