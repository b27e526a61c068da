"""Where which distribution restores what."""

from pathlib import Path

import pytest

from droplan_daemon.persist.layout import Layout, chosen, customary, packages, restored

PLUGINS = "/usr/share/netfilter-persistent/plugins.d"
UNITS = "/usr/lib/systemd/system"


@pytest.mark.parametrize(
    ("there", "files"),
    [
        ((), (None, None, None)),
        (("/etc/debian_version",), (None, None, None)),
        ((f"{PLUGINS}/10-ipset",), (None, None, None)),
        (
            (f"{PLUGINS}/15-ip4tables", f"{PLUGINS}/25-ip6tables"),
            ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6", None),
        ),
        (
            (f"{PLUGINS}/15-ip4tables", f"{PLUGINS}/25-ip6tables", f"{PLUGINS}/10-ipset"),
            ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6", "/etc/iptables/ipsets"),
        ),
        ((f"{UNITS}/iptables.service",), ("/etc/sysconfig/iptables", None, None)),
        (
            (f"{UNITS}/iptables.service", f"{UNITS}/ip6tables.service", f"{UNITS}/ipset.service"),
            ("/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables", "/etc/sysconfig/ipset"),
        ),
    ],
)
def test_what_is_restored_follows_from_what_is_installed(
    there: tuple[str, ...], files: tuple[str | None, ...]
) -> None:
    """Each file is saved where the package that restores it is there, and not otherwise."""
    wanted = Layout(*(Path(name) if name else None for name in files))
    assert wanted == restored({Path(name) for name in there})


@pytest.mark.parametrize(
    ("there", "folder"),
    [
        ((), "/etc/iptables"),
        (("/etc/debian_version",), "/etc/iptables"),
        (("/etc/redhat-release",), "/etc/sysconfig"),
        (("/etc/redhat-release", "/etc/debian_version"), "/etc/iptables"),
    ],
)
def test_the_custom_of_a_distribution(there: tuple[str, ...], folder: str) -> None:
    """Without anything that restores, the files are where the distribution's users look for them."""
    found = customary({Path(name) for name in there})
    assert {Path(folder)} == {path.parent for path in (found.rules_v4, found.rules_v6, found.ipsets) if path}


def test_what_would_restore_is_named_as_the_distribution_does() -> None:
    """Debian's packages, unless the host says that it is of the other kin."""
    assert (
        ("iptables-persistent", "ipset-persistent") == packages(()) == packages({Path("/etc/debian_version")})
    )
    assert ("iptables-services", "ipset-service") == packages({Path("/etc/redhat-release")})


def test_a_named_path_wins() -> None:
    """A path that the operator named replaces the distribution's, and only that."""
    base = Layout(Path("/a"), Path("/b"))
    assert Layout(Path("/x"), Path("/b"), Path("/y")) == chosen(base, Path("/x"), None, Path("/y"))
