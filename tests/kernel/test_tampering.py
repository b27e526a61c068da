"""What somebody else does to our table is seen, and one diff and commit puts it right."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.model.ruleset import Foreign, Rule
from tests.kernel.ground import SMALL, Kernel

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Ruleset

pytestmark = pytest.mark.kernel

# A line of nft each; $peers and $denied stand for the handles of those rules.
EDITS = {
    "rule edited": "replace rule inet droplan judge handle $denied counter accept",
    "rule edited, name kept": 'replace rule inet droplan judge handle $denied accept comment "denied"',
    "rule renamed": 'replace rule inet droplan judge handle $denied counter drop comment "denied by me"',
    "comment removed": "replace rule inet droplan judge handle $denied counter drop",
    "counter removed": 'replace rule inet droplan judge handle $denied drop comment "denied"',
    "rule removed": "delete rule inet droplan judge handle $peers",
    "rule added in front": "insert rule inet droplan judge accept",
    "rule added at the end": "add rule inet droplan judge accept",
    "rules reordered": "delete rule inet droplan judge handle $peers\n"
    'add rule inet droplan judge ip saddr @peers counter accept comment "peers"',
    "rules doubled": 'add rule inet droplan judge counter drop comment "denied"',
    "chain flushed": "flush chain inet droplan judge",
    "entry flushed": "flush chain inet droplan inbound",
    "set flushed": "flush set inet droplan peers",
    "element added": "add element inet droplan peers { 192.0.2.66 }",
    "element removed": "delete element inet droplan peers { 10.0.0.2 }",
    "element with a comment": 'add element inet droplan peers { 192.0.2.66 comment "mine" }',
    "element for everybody": "add element inet droplan peers { * }",
    "range added": "add element inet droplan nets { 192.0.2.0/24 }",
    "range added at the end of all": "add element inet droplan nets { 255.255.255.0-255.255.255.255 }",
    "range added at the start of all": "add element inet droplan nets { 0.0.0.0-0.0.0.9 }",
    "range removed": "delete element inet droplan nets { 10.1.0.0-10.1.0.5 }",
    "range next to ours": "add element inet droplan nets { 10.1.0.6-10.1.0.9 }",
    "policy changed": "chain inet droplan inbound { policy drop; }",
    "table switched off": "table inet droplan { flags dormant; }",
    "table removed": "delete table inet droplan",
    "everything flushed": "flush ruleset",
    "chain added": "add chain inet droplan other",
    "base chain added": "add chain inet droplan other { type filter hook input priority 0; policy drop; }",
    "nat chain added": "add chain inet droplan other { type nat hook prerouting priority -100; }",
    "chain at a device": "add chain inet droplan other { type filter hook ingress device lo priority 0; }",
    "chain inside a rule": "insert rule inet droplan judge jump { accept; }",
    "ours moved to a device": """
        flush chain inet droplan inbound
        delete chain inet droplan inbound
        add chain inet droplan inbound { type filter hook ingress device lo priority -110; }
        add rule inet droplan inbound iifname "eth1" goto judge comment "private" """,
    "ours moved in priority": """
        flush chain inet droplan inbound
        delete chain inet droplan inbound
        add chain inet droplan inbound { type filter hook prerouting priority -90; }
        add rule inet droplan inbound iifname "eth1" goto judge comment "private" """,
    "set added": "add set inet droplan mine { type ipv4_addr; }",
    "map added": "add map inet droplan mine { type ipv4_addr : verdict; }",
    "set with a time limit": "add set inet droplan mine { type ipv4_addr; flags timeout; }",
    "set of ports": "add set inet droplan mine { type inet_service; elements = { 22 } }",
    "anonymous set": "insert rule inet droplan judge ip saddr { 192.0.2.1, 192.0.2.2 } accept",
    "anonymous map": "insert rule inet droplan judge ip saddr vmap { 192.0.2.1 : accept, 192.0.2.2 : drop }",
    "our set limits": """
        flush chain inet droplan judge
        delete set inet droplan peers
        add set inet droplan peers { type ipv4_addr; size 16; limit rate 1/second; }
        add element inet droplan peers { 10.0.0.1, 10.0.0.2 }
        add rule inet droplan judge ip saddr @peers counter accept comment "peers"
        add rule inet droplan judge ip saddr @nets counter accept comment "nets"
        add rule inet droplan judge log prefix "droplan DROP: " comment "denied log"
        add rule inet droplan judge counter drop comment "denied" """,
    "our set forgets": """
        flush chain inet droplan judge
        delete set inet droplan peers
        add set inet droplan peers { type ipv4_addr; size 16; flags timeout; }
        add element inet droplan peers { 10.0.0.1, 10.0.0.2 timeout 1h }
        add rule inet droplan judge ip saddr @peers counter accept comment "peers" """,
}

# Expressions that droplan never writes. Some need modules that a kernel may lack.
STRANGE = (
    "meta mark set 1",
    "meta mark 1 accept",
    "meta nftrace set 1",
    "meta skuid 0 accept",
    "meta length 100 accept",
    "meta cpu 0 accept",
    "meta pkttype broadcast accept",
    "meta time > 10 accept",
    "meta l4proto 200 accept",
    "meta nfproto ipv4 accept",
    "iif lo accept",
    'iifname "eth*" accept',
    'iifname != "eth1" accept',
    "tcp flags syn accept",
    "tcp flags & (syn|ack) == syn accept",
    "tcp option maxseg size set 1000",
    "tcp option maxseg exists accept",
    "tcp dport != 22 accept",
    "tcp dport { 22, 80 } accept",
    "sctp dport 22 accept",
    "@th,0,16 22 accept",
    "@ll,0,8 22 accept",
    "ip saddr != @peers accept",
    "ip saddr 192.0.2.1 accept",
    "ip saddr 192.0.0.0/8 accept",
    "ip protocol tcp accept",
    "ip dscp 3 accept",
    "ip saddr . tcp dport { 192.0.2.1 . 80 } accept",
    "ip option rr exists accept",
    "ip6 nexthdr tcp accept",
    "exthdr frag exists accept",
    "ct state != new accept",
    "ct mark 1 accept",
    "ct original ip saddr 192.0.2.1 accept",
    "ct direction original accept",
    "ct count over 20 accept",
    "fib saddr type local accept",
    "fib daddr . iif type local accept",
    "rt ip nexthop 192.0.2.1 accept",
    "socket transparent 1 accept",
    'osf name "Linux" accept',
    "ipsec in reqid 1 accept",
    "numgen random mod 100 < 50 accept",
    "jhash ip saddr mod 2 0 accept",
    "quota over 10 mbytes accept",
    "limit rate 1/second accept",
    "limit rate over 1/second accept",
    "limit rate 10 mbytes/second accept",
    'limit rate 60/minute burst 10 packets log prefix "droplan DROP: "',
    "log",
    "log group 2",
    'log level debug prefix "x"',
    'log flags all prefix "x"',
    "reject",
    "reject with tcp reset",
    "queue to 3",
    "notrack",
    "continue",
)


def _edit(kernel: Kernel, script: str) -> None:
    """Run it, with the handles of the rules that it names."""
    listing = kernel.namespace.run("nft", "-a", "list", "chain", "inet", "droplan", "judge").splitlines()
    for name in ("peers", "denied"):
        (handle,) = (line.rsplit(maxsplit=1)[1] for line in listing if f'comment "{name}"' in line)
        script = script.replace(f"${name}", handle)
    kernel.nft(script)


def _repaired(kernel: Kernel) -> "Ruleset | None":
    """After one diff and one commit."""
    kernel.become(SMALL)
    return kernel.holds()


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edit_is_seen_and_put_right(kernel: Kernel, edit: str) -> None:
    """An edit by hand makes what is observed another Ruleset; one commit restores it, to nft(8) too."""
    kernel.become(SMALL)
    before = kernel.dump()
    _edit(kernel, edit)
    assert SMALL != kernel.holds()
    assert SMALL == _repaired(kernel)
    assert before == kernel.dump()


def test_a_limit_on_an_empty_set_of_ours_is_seen(kernel: Kernel) -> None:
    """A set made anew with a statement is another set, before any element shows it."""
    empty = replace(SMALL, sets=SMALL.sets | {"peers": replace(SMALL.sets["peers"], elements=frozenset())})
    kernel.become(empty)
    script = "\n".join(line for line in EDITS["our set limits"].splitlines() if "add element" not in line)
    _edit(kernel, script)
    assert empty != kernel.holds()
    kernel.become(empty)
    assert empty == kernel.holds()


def test_every_strange_expression_is_seen_and_put_right(kernel: Kernel) -> None:
    """A rule of expressions that droplan never writes is Foreign, is no error, and goes with one commit."""
    kernel.become(SMALL)
    known = []
    for words in STRANGE:
        script = f"insert rule inet droplan judge {words}\n"
        generation = kernel.generation()
        kernel.namespace.run("nft", "-f", "-", text=script, check=False)
        if generation == kernel.generation():
            continue  # this kernel has no such expression
        known.append(words)
        found = kernel.holds()
        assert found is not None, words
        assert _is_foreign(found, found.chains["judge"].rules[0]), words
        assert SMALL == _repaired(kernel), words
    assert len(known) > len(STRANGE) // 2


def _is_foreign(found: "Ruleset", rule: Rule) -> bool:
    return any(isinstance(match, Foreign) for match in rule.matches) or bool(found.flags)


def test_a_repair_keeps_the_counters_of_what_stayed(kernel: Kernel) -> None:
    """Undoing the edit of one rule leaves the handles, and so the counters, of the others."""
    kernel.become(SMALL)
    before = set(kernel.raw().splitlines())
    _edit(kernel, EDITS["rule edited"])
    kernel.become(SMALL)
    (gone,) = before - set(kernel.raw().splitlines())
    assert 'comment "denied"' in gone
