"""Other people's rules, as a real kernel holds and real programs print them."""

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.backends.nft_text import render
from droplan_daemon.doctor import iptables_dump, looking, nft_json
from droplan_daemon.doctor.facts import Firewalls
from droplan_daemon.doctor.finding import Severity
from droplan_daemon.doctor.walls import judged
from droplan_daemon.model.policy import Policy
from droplan_daemon.policy.compile import compile_ruleset
from tests.unit.cycles import HOST, droplet, fleet

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Namespace

DROPS, OUT, FORWARD = "firewall.drops", "firewall.drops_outbound", "firewall.drops_forwarded"
UFW = """*filter
:INPUT DROP [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
{more}COMMIT
"""


def _input(rules: str, policy: str = "accept", hook: str = "input") -> str:
    wall = f"type filter hook {hook} priority 0\npolicy {policy}\n{rules}\n"
    return f"table inet other {{\nchain aside {{ drop\n}}\nchain quiet {{ }}\nchain wall {{\n{wall}}}\n}}\n"


NFT = [
    ("", []),
    (_input(""), []),
    (_input("", "drop"), [DROPS]),
    (_input("iifname eth1 accept", "drop"), []),
    (_input('iifname { "eth1", "eth2" } accept', "drop"), []),
    (_input('iifname "eth*" accept', "drop"), []),
    (_input("iifname eth0 accept", "drop"), [DROPS]),
    (_input("iifname != eth0 accept", "drop"), []),
    (_input("iifname != eth1 accept", "drop"), [DROPS]),
    (_input("tcp dport 22 accept", "drop"), [DROPS]),
    (_input("ct state established,related accept", "drop"), [DROPS]),
    (_input("ct state new accept", "drop"), [DROPS]),
    (_input("accept", "drop"), []),
    (_input("drop"), [DROPS]),
    (_input("reject"), [DROPS]),
    (_input("counter drop"), [DROPS]),
    (_input("ct state new drop"), [DROPS]),
    (_input("ct state invalid drop"), []),
    (_input("ip saddr 192.0.2.0/24 drop"), []),
    (_input("limit rate over 5/second drop"), []),
    (_input("iifname eth0 drop"), []),
    (_input("iifname eth1 drop"), [DROPS]),
    (_input("iif eth1 drop"), [DROPS]),
    (_input("iif != eth1 drop"), []),
    (_input("iifname eth1 jump aside"), [DROPS]),
    (_input("iifname eth0 jump aside"), []),
    (_input("iifname eth1 return\njump aside"), []),
    (_input("iifname eth1 return", "drop"), [DROPS]),
    (_input("goto aside"), [DROPS]),
    (_input("meta mark 7 goto aside"), []),
    (_input("goto quiet\ndrop"), []),
    (_input("jump quiet\ndrop"), [DROPS]),
    (_input("drop", hook="prerouting"), [DROPS]),
    (_input("", "drop", "forward"), [FORWARD]),
    (_input("", "drop", "output"), [OUT]),
    (_input("oifname eth1 accept", "drop", "output"), []),
    (_input("udp dport 1-9 drop\nip protocol vmap { tcp : accept }", "drop"), [DROPS]),
]


@pytest.fixture
def links(namespace: "Namespace") -> tuple[str, ...]:
    """The interface that is judged is there, for rules that name one by number."""
    namespace.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far")
    return ("eth1",)


def _wrong(namespace: "Namespace", links: tuple[str, ...]) -> list[str]:
    seen = namespace.call(lambda: looking.firewalls(looking.dumps(), ()))
    assert isinstance(seen, Firewalls)
    return [f.id for f in judged(seen, links) if f.severity is not Severity.FINE]


@pytest.mark.fault("D17")
@pytest.mark.kernel
def test_a_table_of_foreign_rules(namespace: "Namespace", links: tuple[str, ...]) -> None:
    """What drops a packet that no particular rule is about is found, whatever else the table says."""
    said = []
    for text, _ in NFT:
        namespace.run("nft", "-f", "-", text=f"flush ruleset\n{text}")
        said.append(_wrong(namespace, links))
    assert [(text, expected) for text, expected in NFT] == [
        (text, found) for (text, _), found in zip(NFT, said, strict=True)
    ]


@pytest.mark.kernel
def test_our_own_rules_are_no_wall(namespace: "Namespace", links: tuple[str, ...]) -> None:
    """Our table drops whatever it does not know, and is not held against us."""
    own = droplet(1)
    desired = compile_ruleset(Policy(), fleet(own, droplet(2)), HOST, own)
    namespace.run("nft", "-f", "-", text=render(desired, "droplan"))
    assert "hook prerouting" in namespace.run("nft", "list", "ruleset")
    assert [] == _wrong(namespace, links)


@pytest.mark.fault("D17")
@pytest.mark.kernel
@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_walls_of_iptables(namespace: "Namespace", links: tuple[str, ...], variant: str) -> None:
    """Ufw's chains are known by their names; one rule of the operator's for the interface opens them."""
    restore = f"iptables-{variant}-restore"
    if shutil.which(restore) is None:
        pytest.skip(f"no {restore}: install the package iptables")
    beside = ["firewall.legacy"] if variant == "legacy" else []
    namespace.run(restore, text=UFW.format(more=""))
    assert ["firewall.ufw", *beside] == _wrong(namespace, links)
    namespace.run(restore, text=UFW.format(more="-A ufw-user-input -i eth1 -j ACCEPT\n"))
    assert [*beside, "firewall.beside"] == _wrong(namespace, links)


@pytest.mark.fault("D17")
@pytest.mark.kernel
def test_docker_and_a_policy_of_forward(namespace: "Namespace", links: tuple[str, ...]) -> None:
    """Docker's chains are told of, its FORWARD policy is a note; another's INPUT policy is a warning."""
    chains = ":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n"
    text = f"*filter\n{chains}-A FORWARD -o docker0 -j DOCKER\nCOMMIT\n"
    namespace.run("iptables-nft-restore", text=text)
    assert [DROPS, FORWARD, "firewall.docker"] == _wrong(namespace, links)


def test_who_we_let_in_through_iptables_is_let_in() -> None:
    """With the backend iptables a policy DROP of INPUT behind our chain keeps no peer out."""
    text = (
        "*filter\n:INPUT DROP [0:0]\n:droplan-peers - [0:0]\n"
        '-A INPUT -i eth1 -m comment --comment "droplan x" -j droplan-peers\n'
        "-A droplan-peers -j DROP\nCOMMIT\n"
    )
    chains = iptables_dump.chains(text, "iptables-nft")
    assert [] == [f.id for f in judged(Firewalls(chains), ("eth1",)) if f.severity is not Severity.FINE]
    assert [DROPS] == [f.id for f in judged(Firewalls(chains), ("eth0",)) if f.severity is not Severity.FINE]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "nftables",
                    "chain",
                    "rule",
                    "expr",
                    "match",
                    "left",
                    "right",
                    "meta",
                    "key",
                    "op",
                    "set",
                    "drop",
                    "hook",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.text())
def test_whatever_is_printed_gives_chains_or_none(document: object, text: str) -> None:
    """Unknown syntax never stops the doctor, in neither language."""
    rule = {"family": "inet", "table": "t", "chain": "c", "expr": document}
    chain = {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "input", "prio": document}
    for whole in (document, {"nftables": document}, {"nftables": [{"chain": chain}, {"rule": rule}]}):
        found = nft_json.chains(json.dumps(whole))
        list(judged(Firewalls(found), ("eth1",)))
    assert () == nft_json.chains(text) or text.strip()
    list(
        judged(
            Firewalls(iptables_dump.chains(f"*filter\n:INPUT DROP\n-A INPUT {text}\n{text}", "x")), ("eth1",)
        )
    )


@given(st.text(max_size=20))
def test_what_is_not_understood_decides_nothing(text: str) -> None:
    """A rule that asks for something unknown neither hides a wall nor makes one."""
    words = f"-A INPUT --{text or 'x'} -j DROP".replace("\n", " ").replace("\r", " ")
    open_, shut = (
        iptables_dump.chains(f"*filter\n:INPUT {policy}\n{words}\n", "x") for policy in ("ACCEPT", "DROP")
    )
    assert DROPS in {f.id for f in judged(Firewalls(shut), ("eth1",))}
    if "-j" not in text and "#" not in text:
        assert DROPS not in {f.id for f in judged(Firewalls(open_), ("eth1",))}


def test_tables_beside_filter_judge_nobody() -> None:
    """Of iptables only the table filter is asked."""
    text = "*nat\n:INPUT DROP [0:0]\n-A INPUT -j DROP\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    found = iptables_dump.chains(text, "x")
    assert [("INPUT", "accept", ())] == [(one.name, one.policy, one.rules) for one in found]


def test_the_stricter_check_of_senders_counts(tmp_path: "Path") -> None:
    """The kernel takes the higher of an interface's rp_filter and that of all."""
    for name, value in (("all", "2"), ("eth0", "0"), ("eth1", "1")):
        (tmp_path / "ipv4/conf" / name).mkdir(parents=True)
        (tmp_path / "ipv4/conf" / name / "rp_filter").write_text(f"{value}\n")
    found = looking.kernel(("eth0", "eth1", "gone"), (), enforced=True, proc=tmp_path)
    assert {"eth0": 2, "eth1": 2} == found.rp_filter
    (tmp_path / "ipv4/conf/all/rp_filter").write_text("0\n")
    assert {"eth0": 0, "eth1": 1} == looking.kernel(
        ("eth0", "eth1"), (), enforced=True, proc=tmp_path
    ).rp_filter


def test_a_service_that_flushes(tmp_path: "Path") -> None:
    """Only one that is enabled is told of, by its file or by its stop."""
    (tmp_path / "etc/systemd/system/sysinit.target.wants").mkdir(parents=True)
    conf = tmp_path / "etc/nftables.conf"
    conf.write_text("#!/usr/sbin/nft -f\nflush ruleset\n")
    assert "" == looking.flushing(tmp_path)
    (tmp_path / "etc/systemd/system/sysinit.target.wants/nftables.service").symlink_to("/gone")
    assert "nftables.conf" in looking.flushing(tmp_path)
    conf.write_text("# flush ruleset\nflush table inet mine\n")
    assert "" == looking.flushing(tmp_path)
    (tmp_path / "lib/systemd/system").mkdir(parents=True)
    (tmp_path / "lib/systemd/system/nftables.service").write_text("ExecStop=/usr/sbin/nft flush ruleset\n")
    assert "its stop" in looking.flushing(tmp_path)


def test_units_as_systemd_prints_them() -> None:
    """A paragraph for each; what is not told is empty."""
    first = "Id=droplan.service\nLoadState=loaded\nUnitFileState=enabled\nActiveState=active\n"
    printed = f"{first}\nId=ufw.service\nX=1\n"
    found = looking.read_units(printed)
    assert [("droplan.service", "loaded", "enabled", "active"), ("ufw.service", "", "", "")] == [
        (one.name, one.load, one.enabled, one.active) for one in found
    ]
