"""Where a distribution restores iptables rules from. Pure.

Law: told which files are there, it says what is restored; it looks at nothing itself.

Sources: the plugins of netfilter-persistent, iptables-persistent and ipset-persistent (Debian, Ubuntu),
the units of iptables-services and ipset-service (CentOS, Rocky, Alma, Fedora).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True, slots=True)
class Layout:
    """A file for each kind of content; None: nobody on this host restores it, so it is not saved."""

    rules_v4: Path | None = None
    rules_v6: Path | None = None
    ipsets: Path | None = None

    def __bool__(self) -> bool:
        return self != Layout()


@dataclass(frozen=True, slots=True)
class Distribution:
    """Its files, and for each the signs of what restores it: one of them is there, and it will be.

    `packages` restore rules and sets.
    """

    name: str
    files: Layout
    v4: tuple[Path, ...]
    v6: tuple[Path, ...]
    sets: tuple[Path, ...]
    own: tuple[Path, ...]
    packages: tuple[str, str]

    @property
    def signs(self) -> tuple[Path, ...]:
        """Every path that tells something."""
        return (*self.v4, *self.v6, *self.sets, *self.own)


_PLUGINS = Path("/usr/share/netfilter-persistent/plugins.d")
_UNITS = Path("/usr/lib/systemd/system")

DEBIAN = Distribution(
    "Debian",
    Layout(*(Path("/etc/iptables", name) for name in ("rules.v4", "rules.v6", "ipsets"))),
    v4=(_PLUGINS / "15-ip4tables",),
    v6=(_PLUGINS / "25-ip6tables",),
    sets=(_PLUGINS / "10-ipset",),
    own=(Path("/etc/debian_version"),),
    packages=("iptables-persistent", "ipset-persistent"),
)
RED_HAT = Distribution(
    "Red Hat",
    Layout(*(Path("/etc/sysconfig", name) for name in ("iptables", "ip6tables", "ipset"))),
    v4=(_UNITS / "iptables.service",),
    v6=(_UNITS / "ip6tables.service",),
    sets=(_UNITS / "ipset.service",),
    own=(Path("/etc/redhat-release"),),
    packages=("iptables-services", "ipset-service"),
)
DISTRIBUTIONS = (DEBIAN, RED_HAT)
SIGNS = tuple(sign for distribution in DISTRIBUTIONS for sign in distribution.signs)
"""What to look for before asking `restored` or `customary`."""


def restored(there: "Collection[Path]") -> Layout:
    """What this host restores at boot, given which of SIGNS are there."""
    for one in DISTRIBUTIONS:
        found = Layout(
            one.files.rules_v4 if any(sign in there for sign in one.v4) else None,
            one.files.rules_v6 if any(sign in there for sign in one.v6) else None,
            one.files.ipsets if any(sign in there for sign in one.sets) else None,
        )
        if found.rules_v4 or found.rules_v6:
            return found
    return Layout()


def customary(there: "Collection[Path]") -> Layout:
    """Where this distribution's users look for the files, whoever restores them."""
    return _distribution(there).files


def packages(there: "Collection[Path]") -> tuple[str, str]:
    """What this distribution's users install to have rules and sets restored."""
    return _distribution(there).packages


def _distribution(there: "Collection[Path]") -> Distribution:
    red_hat = any(sign in there for sign in RED_HAT.own) and not any(sign in there for sign in DEBIAN.own)
    return RED_HAT if red_hat else DEBIAN


def chosen(base: Layout, rules_v4: Path | None, rules_v6: Path | None, ipsets: Path | None) -> Layout:
    """`base` with the paths that the operator named; naming one says that it is restored."""
    return Layout(rules_v4 or base.rules_v4, rules_v6 or base.rules_v6, ipsets or base.ipsets)
