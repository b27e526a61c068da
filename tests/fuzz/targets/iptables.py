"""What the host's own tools print: dumps of rules and of sets, nft's JSON, cron lines and scripts."""

import json
from typing import TYPE_CHECKING

from droplan_daemon.backends import iptables_plain
from droplan_daemon.backends.iptables_decode import decode
from droplan_daemon.backends.iptables_encode import encode
from droplan_daemon.backends.iptables_text import changes, packets, saved, whole
from droplan_daemon.doctor import iptables_dump, nft_json
from droplan_daemon.migrate import cron, shell
from droplan_daemon.model.addresses import Family
from droplan_daemon.persist import dump
from tests.checkpoint.kept import big_checkpoint
from tests.fuzz.mutating import NASTY_TEXTS, json_changed, words_changed
from tests.fuzz.target import Target

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Ruleset

_DESIRED = big_checkpoint(3).ruleset
_TEXTS = tuple(text.encode("utf-8", "replace") for text in NASTY_TEXTS)


def _rules(data: bytes) -> bool:
    """iptables-save: what is read is ours exactly or not at all, and never stops us."""
    text = data.decode("utf-8", "replace")
    found = saved(text)
    assert found.others >= 0
    assert all(number >= 0 for _, number in packets(found))
    assert isinstance(changes(found, encode(_DESIRED)[Family.IPV4]), str)
    tables = {Family.IPV4: found.table}
    held: tuple[Ruleset | None, ...] = decode(tables, _DESIRED.sets), iptables_plain.decode(tables)
    dump.names_of_sets(text)
    dump.without_ours(text)
    assert dump.same_rules(text, text)
    iptables_dump.chains(text, "iptables")
    return any(one and not any("droplan" in flag or flag for flag in one.flags) for one in held)


def _rule_seeds() -> list[bytes]:
    tables = [
        table
        for made in (encode(_DESIRED), iptables_plain.expand(encode(_DESIRED), _DESIRED.sets))
        for table in made.values()
    ]
    others = "*filter\n:INPUT DROP [1:2]\n:f2b - [0:0]\n[1:2] -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n"
    others += "-A INPUT -m set --match-set bad src -j f2b\nCOMMIT\n"
    return [*(_as_saved(whole(table)).encode() for table in tables), others.encode()]


def _as_saved(restore: str) -> str:
    """As iptables-save prints what iptables-restore was given."""
    return "\n".join(f"[7:420] {line}" if line.startswith("-A") else line for line in restore.splitlines())


def _sets(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    fault = dump.sets_fault(text)
    dump.with_sets(text, text, {"a"})
    dump.sets_without_ours(text)
    assert dump.same_sets(text, text)
    return not fault


def _nft(data: bytes) -> bool:
    return bool(nft_json.chains(data.decode("utf-8", "replace")))


_NFT = {
    "nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "filter", "handle": 1}},
        {
            "chain": {
                "family": "inet",
                "table": "filter",
                "name": "input",
                "type": "filter",
                "hook": "input",
                "prio": 0,
                "policy": "drop",
            }
        },
        {
            "rule": {
                "family": "inet",
                "table": "filter",
                "chain": "input",
                "expr": [
                    {
                        "match": {
                            "op": "==",
                            "left": {"meta": {"key": "iifname"}},
                            "right": {"set": ["eth1", "eth0"]},
                        }
                    },
                    {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}},
                    {"counter": {"packets": 1, "bytes": 2}},
                    {"jump": {"target": "x"}},
                    {"accept": None},
                ],
            }
        },
    ]
}


def _script(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    jobs = [*cron.jobs(text, users=True), *cron.jobs(text, users=False)]
    shell.read(text, {}, lambda _path: "x=1")
    return bool(jobs)


_SCRIPT = b"""PATH=/usr/bin
*/5 * * * * root DO_KEY=abc PUBLIC=true /usr/local/bin/droplan >/dev/null 2>&1
export DO_TAG="a b"; . /etc/default/droplan && DO_KEY=$(cat /etc/key) exec "/opt/droplan" 'x y' # why
if true; then DO_KEY=${KEY:-x} droplan; fi
"""

TARGETS = {
    "iptables-save": Target(
        _rules,
        _rule_seeds,
        words_changed(
            b" ",
            [b"-A", b"-j", b"!", b"-m", b"-s", b"--dport", b"22:80", b"10.0.0.0/8", b"RETURN", b"--comment"],
        ),
        _TEXTS,
    ),
    "ipset-save": Target(
        _sets,
        lambda: [
            b"create a hash:ip family inet hashsize 1024 maxelem 65536\nadd a 10.0.0.1\n",
            b"create dn-x hash:net\n",
        ],
        words_changed(b" ", [b"create", b"add", b"hash:ip", b"timeout 5", b"\nadd a 1.2.3.4"]),
        _TEXTS,
        1024,
    ),
    "nft-json": Target(_nft, lambda: [json.dumps(_NFT).encode()], json_changed, _TEXTS),
    "script": Target(
        _script,
        lambda: [_SCRIPT],
        words_changed(b" ", [b"$(", b"`", b"${", b"\\", b"'", b'"', b";", b"<<EOF"]),
        _TEXTS,
        1024,
    ),
}
