"""Which backend, and which variant of iptables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from droplan_daemon.backends.choice import backend_of, rules_of_others, variant_of
from droplan_daemon.backends.iptables_host import restored_rules
from droplan_daemon.model.policy import BackendName, Firewall

TOP = Path(__file__).parents[2]
AUTO, NFTABLES, IPTABLES = BackendName.AUTO, BackendName.NFTABLES, BackendName.IPTABLES
_RULES = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n"
_POLICIES = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
_OURS = """\
*filter
:droplan-about - [0:0]
:droplan-peers - [0:0]
-A INPUT -i eth1 -m comment --comment "droplan 0 private" -j droplan-peers
-A droplan-peers -m comment --comment "droplan 9 denied" -j DROP
COMMIT
"""
_OLD = """\
*filter
:droplan-peers - [0:0]
-A INPUT -i eth1 -j droplan-peers
-A droplan-peers -s 10.0.0.1 -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize(
    ("wanted", "restored", "expected"),
    [
        (AUTO, (), NFTABLES),
        (AUTO, ("/etc/iptables/rules.v4",), IPTABLES),
        (NFTABLES, ("/etc/iptables/rules.v4",), NFTABLES),
        (IPTABLES, (), IPTABLES),
    ],
)
def test_auto_follows_what_the_host_restores(
    wanted: BackendName, restored: tuple[str, ...], expected: BackendName
) -> None:
    """What is configured holds; auto is iptables exactly where the host restores rules of its own."""
    found, why = backend_of(Firewall(wanted), restored)
    assert expected is found
    assert (wanted is not AUTO) is (why == "as configured")


@pytest.mark.parametrize(
    ("text", "count"), [(_RULES, 1), (_POLICIES, 0), (_OURS, 0), (_OLD, 2), (_OURS + _RULES, 1), ("", 0)]
)
def test_rules_of_ours_and_policies_do_not_count(text: str, count: int) -> None:
    """What droplan saved there itself is no reason to stay with iptables; the old droplan's rules are."""
    assert count == rules_of_others(text)


@pytest.mark.parametrize(
    ("rules", "variant", "warned"),
    [
        ({"nft": 3, "legacy": 0}, "nft", False),
        ({"nft": 0, "legacy": 2}, "legacy", False),
        ({"nft": 0, "legacy": 0}, None, False),
        ({"nft": 4, "legacy": 1}, None, True),
    ],
)
def test_the_variant_is_where_the_rules_are(rules: dict[str, int], variant: str | None, warned: bool) -> None:
    """Ours go where the host's are; rules in both variants are told."""
    found, caution = variant_of(rules)
    assert (variant, warned) == (found, bool(caution))


def _host(root: Path, unit: str, path: str, text: str, *, enabled: bool) -> None:
    rules = root / path
    rules.parent.mkdir(parents=True)
    rules.write_text(text)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    if enabled:
        (wants / unit).symlink_to(f"/lib/systemd/system/{unit}")


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        ("netfilter-persistent.service", "etc/iptables/rules.v4"),
        ("netfilter-persistent.service", "etc/iptables/rules.v6"),
        ("iptables.service", "etc/sysconfig/iptables"),
        ("ip6tables.service", "etc/sysconfig/ip6tables"),
    ],
)
@pytest.mark.parametrize(
    ("text", "enabled"), [(_RULES, True), (_RULES, False), (_POLICIES, True), (_OURS, True)]
)
def test_only_a_service_that_is_switched_on_restores(
    tmp_path: Path, unit: str, path: str, text: str, enabled: bool
) -> None:
    """A file counts when its service is enabled and it has rules of somebody's but ours."""
    _host(tmp_path, unit, path, text, enabled=enabled)
    expected = (f"/{path}",) if enabled and text == _RULES else ()
    assert expected == restored_rules(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving up a right takes root")
def test_a_file_that_may_not_be_read_counts(tmp_path: Path) -> None:
    """Debian's is for root alone: a daemon that is not root is not told that there are no rules."""
    _host(tmp_path, "netfilter-persistent.service", "etc/iptables/rules.v4", _POLICIES, enabled=True)
    (tmp_path / "etc/iptables/rules.v4").chmod(0)
    code = (
        "import sys; from pathlib import Path\n"
        "from droplan_daemon.backends.iptables_host import restored_rules\n"
        "print(restored_rules(Path(sys.argv[1])))"
    )
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    for prefix, expected in ((), "()\n"), (without, "('/etc/iptables/rules.v4',)\n"):
        words = [*prefix, sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=TOP)
        assert expected == done.stdout
