"""`[[allow]]`, `[[override]]`, `outbound` and `[lifelines]`: what they mean, and every mistake in them."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.errors import ConfigInvalid, Problem
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Allow,
    BackendName,
    Direction,
    FirewallOverride,
    InterfaceOverride,
    InterfacePolicy,
    Lifeline,
    Mode,
    Outbound,
    Override,
    Policy,
    PortProtocol,
    Ports,
    Rate,
    Unit,
)
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.selector import parse
from droplan_daemon.settings import load
from droplan_daemon.settings.rules import RESERVED

if TYPE_CHECKING:
    from .conftest import Faults, Loading

TCP, UDP = PortProtocol.TCP, PortProtocol.UDP

WHOLE = """
[private]
allow_peers = false
outbound = "drop"

[lifelines]
ntp = false

[[allow]]
name  = "ssh from the bastion"
from  = "name:tunnel-1"
ports = ["22/tcp"]

[[allow]]
name  = "web"
on    = "name:haproxy-www"
to    = ["tag:wordpress", "203.0.113.0/24"]
ports = ["80/tcp", "8000-8100/udp", "icmp", "icmpv6"]
interface = "public"

[[override]]
on      = "name:haproxy-www"
mode    = "audit"
private = { managed = false, outbound = "accept" }
log     = { denied = "off" }
firewall = { backend = "iptables", ipset = false }

[[override]]
on = "tag:db and not name:*-canary"
[override.public]
managed = true
allow_peers = true
[override.log]
denied = "1/hour"
"""


def test_every_key_of_rules_and_overrides_arrives(loaded: "Loading") -> None:
    """What rules, overrides and lifelines say stands in the Policy, selectors parsed."""
    assert (
        Policy(
            private=InterfacePolicy(managed=True, allow_peers=False, outbound=Outbound.DROP),
            lifelines=frozenset(Lifeline) - {Lifeline.NTP},
            allows=(
                Allow(
                    "ssh from the bastion", parse("all"), parse("name:tunnel-1"), ports=(Ports(TCP, 22, 22),)
                ),
                Allow(
                    "web",
                    parse("name:haproxy-www"),
                    parse("tag:wordpress or 203.0.113.0/24"),
                    Direction.OUTBOUND,
                    (
                        Ports(TCP, 80, 80),
                        Ports(UDP, 8000, 8100),
                        Ports(PortProtocol.ICMP),
                        Ports(PortProtocol.ICMPV6),
                    ),
                    InterfaceKind.PUBLIC,
                ),
            ),
            overrides=(
                Override(
                    parse("name:haproxy-www"),
                    Mode.AUDIT,
                    private=InterfaceOverride(managed=False, outbound=Outbound.ACCEPT),
                    denied_log=None,
                    firewall=FirewallOverride(BackendName.IPTABLES, ipset=False),
                ),
                Override(
                    parse("tag:db and not name:*-canary"),
                    public=InterfaceOverride(managed=True, allow_peers=True),
                    denied_log=Rate(1, Unit.HOUR),
                ),
            ),
        )
        == loaded(WHOLE).policy
    )


def test_an_override_changes_what_it_says_and_nothing_else(loaded: "Loading") -> None:
    """Keys that an override leaves out stay as they were, the log's too."""
    text = "[[override]]\non = 'all'\npublic = { managed = true }\nlog = {}"
    expected = Override(parse("all"), public=InterfaceOverride(managed=True))
    assert (expected,) == loaded(text).policy.overrides


NAMES = [
    ('from = "tag:web"', "from tag:web"),
    ('from = "tag:web"\nports = ["80/tcp", "icmp"]', "from tag:web: 80/tcp, icmp"),
    ('on = "tag:db"\nto = ["tag:web", "any"]\ninterface = "public"', "to tag:web or any on tag:db (public)"),
]


@pytest.mark.parametrize(("rule", "name"), NAMES)
def test_a_rule_without_a_name_is_called_by_what_it_says(loaded: "Loading", rule: str, name: str) -> None:
    """The name of a nameless rule is its content, in the order of a sentence."""
    assert name == loaded(f"[[allow]]\n{rule}").policy.allows[0].name


def test_names_of_long_rules_stay_short_and_different(loaded: "Loading") -> None:
    """A name is at most 64 characters, and two rules that differ at their end have two names."""
    rules = "".join(f'[[allow]]\nfrom = "{"tag:a or " * 20}tag:{last}"\n' for last in "bc")
    one, other = (allow.name for allow in loaded(rules).policy.allows)
    assert 64 == len(one) == len(other)
    assert one != other


ALLOW = "[[allow]]\nfrom = 'any'\n"

# Text of the file, and of its only Problem: key:line:column, part of the message, part of the hint.
MISTAKES = [
    ("[[allow]]", "allow:1:1", "says who may come in (`from`) or where to go (`to`)", 'from = "any"'),
    ("allow = [{ports = ['80/tcp']}]", "allow:1:10", "and this one neither", ""),
    (ALLOW + "to = 'any'", "allow.to:3:1", "either `from` or `to`, not both", "make two rules of it"),
    (
        "[allow]\nfrom = 'any'",
        "allow:1:2",
        "`allow` must be a list of tables, not a table",
        "write [[allow]]",
    ),
    ("allow = 'any'", "allow:1:9", "`allow` must be a list of tables", "write [[allow]]"),
    ("allow = [7]", "allow:1:10", "`allow` must be a table, not 7", "write [[allow]]"),
    ("[[alow]]\nfrom = 'any'", "alow:1:3", "unknown section [[alow]]", "did you mean [[allow]]?"),
    ("[lifeline]\ndns = true", "lifeline:1:2", "unknown section [lifeline]", "did you mean [lifelines]?"),
    (
        ALLOW + "port = ['80/tcp']",
        "allow.port:3:1",
        "unknown key `port` in [[allow]]",
        "did you mean `ports`?",
    ),
    ("[[allow]]\nform = 'any'", "allow.form:2:1", "unknown key `form` in [[allow]]", "did you mean `from`?"),
    ("from = 'any'", "from:1:1", "unknown key `from`", "it belongs in [[allow]]"),
    (
        ALLOW + "managed = true",
        "allow.managed:3:1",
        "unknown key `managed` in [[allow]]",
        "it belongs in [private]",
    ),
    (ALLOW + "name = ''", "allow.name:3:8", "must be a name: 1 to 64", ""),
    (ALLOW + "name = 'a\"b'", "allow.name:3:8", "must be a name", ""),
    (ALLOW + "name = '" + "x" * 65 + "'", "allow.name:3:8", "must be a name", ""),
    (ALLOW + "name = 'peers'", "allow.name:3:8", "one of droplan's own rules", "choose another"),
    (ALLOW + "name = 'dns'", "allow.name:3:8", "one of droplan's own rules", "choose another"),
    (
        "[[allow]]\nname = 'a'\nfrom = 'any'\n[[allow]]\nname = 'a'\nto = 'any'",
        "allow.name:5:8",
        "the rule on line 2 is called `a` already",
        "a name of its own",
    ),
    (ALLOW + "interface = 'eth0'", "allow.interface:3:13", 'must be "private" or "public", not "eth0"', ""),
    (ALLOW + "interface = 'pubic'", "allow.interface:3:13", "", 'did you mean "public"?'),
    # ports
    (
        ALLOW + "ports = ['70000/tcp']",
        "allow.ports:3:10",
        "has the port 70000, and ports go from 1 to 65535",
        "",
    ),
    (ALLOW + "ports = ['1-65536/udp']", "allow.ports:3:10", "has the port 65536", ""),
    (ALLOW + "ports = ['0/tcp']", "allow.ports:3:10", "has the port 0", ""),
    (
        ALLOW + "ports = ['80']",
        "allow.ports:3:10",
        'must be a port and its protocol, such as "80/tcp"',
        '"80/tcp"',
    ),
    (
        ALLOW + "ports = ['22/tcp', 80]",
        "allow.ports:3:20",
        "must be a port and its protocol",
        'write "80/tcp"',
    ),
    (ALLOW + "ports = [70000]", "allow.ports:3:10", "must be a port and its protocol", ""),
    (ALLOW + "ports = [true]", "allow.ports:3:10", "not true", ""),
    (ALLOW + "ports = 80", "allow.ports:3:9", "must be a list of ports", 'write `ports = ["80/tcp"]`'),
    (ALLOW + "ports = '80/tcp'", "allow.ports:3:9", "must be a list of ports", '`ports = ["80/tcp"]`'),
    (ALLOW + "ports = {}", "allow.ports:3:9", "must be a list of ports", ""),
    (ALLOW + "ports = []", "allow.ports:3:9", "must not be an empty list", "leave it out"),
    (ALLOW + "ports = ['90-80/tcp']", "allow.ports:3:10", "has the range 90-80 backwards", '"80-90/tcp"'),
    (ALLOW + "ports = ['80/tpc']", "allow.ports:3:10", "has the protocol `tpc`", 'did you mean "80/tcp"?'),
    (ALLOW + "ports = ['80/gre']", "allow.ports:3:10", "has the protocol `gre`", "leave `ports` out"),
    (ALLOW + "ports = ['8/icmp']", "allow.ports:3:10", "has a port, and icmp has none", 'write "icmp"'),
    (ALLOW + "ports = ['80/TCP']", "allow.ports:3:10", "must be a port and its protocol", 'write "80/tcp"'),
    (ALLOW + "ports = ['tcp/80']", "allow.ports:3:10", "must be a port and its protocol", 'write "80/tcp"'),
    (ALLOW + "ports = ['80:90/tcp']", "allow.ports:3:10", "must be a port", 'write "80-90/tcp"'),
    (ALLOW + "ports = ['tcp']", "allow.ports:3:10", "must be a port", 'write "1-65535/tcp"'),
    (ALLOW + "ports = ['http']", "allow.ports:3:10", "must be a port", ""),
    # selectors
    ("[[allow]]\nfrom = 5", "allow.from:2:8", 'must be a selector, such as "tag:web", or a list of them', ""),
    ("[[allow]]\nfrom = ['any', 5]", "allow.from:2:16", 'must be a selector, such as "tag:web", not 5', ""),
    ("[[allow]]\nfrom = []", "allow.from:2:8", "must not be an empty list", '"any"'),
    ("[[allow]]\nfrom = 'tag:web and'", "allow.from:2:20", "is no selector: expected a term", ""),
    ("[[allow]]\nfrom = ''", "allow.from:2:9", "found the end", ""),
    (
        "[[allow]]\nfrom = ['any', '(tag:a or tag:b']",
        "allow.from:2:32",
        "expected `)` for the `(` at column 1",
        "",
    ),
    ("[[allow]]\nfrom = 'tag:web tag:db'", "allow.from:2:17", "expected `and`, `or` or the end", ""),
    ("[[allow]]\nfrom = 'tag:web && tag:db'", "allow.from:2:17", "is no selector", "write `and`"),
    ("[[allow]]\nfrom = 'tag:web AND tag:db'", "allow.from:2:17", "is no selector", "write `and`"),
    ("[[allow]]\nfrom = 'tgs:web'", "allow.from:2:9", "expected a term", "did you mean `tag:web`?"),
    ("[[allow]]\nfrom = 'tag=web'", "allow.from:2:9", "expected a term", "did you mean `tag:web`?"),
    ("[[allow]]\nfrom = 'ayn'", "allow.from:2:9", "expected a term", "did you mean `any`?"),
    ("[[allow]]\nfrom = 'web-1'", "allow.from:2:9", "expected a term", "`tag:web-1` or `name:web-1`"),
    ("[[allow]]\nfrom = 'id:x'", "allow.from:2:12", "after `id:` expected a number", ""),
    ("[[allow]]\nfrom = '10.0.0.300'", "allow.from:2:9", "expected a term", "203.0.113.0/24"),
    ("[[allow]]\nfrom = '10.1.2.3/8'", "allow.from:2:9", "host bits set: did you mean `10.0.0.0/8`?", ""),
    ('[[allow]]\nfrom = "any or\\tx y"', "allow.from:2:8", "is no selector", ""),
    ('[[allow]]\nfrom = """\nany or x y"""', "allow.from:2:8", "is no selector", ""),
    (
        "[[allow]]\nfrom = 'not 10.0.0.0/8'",
        "allow.from:2:8",
        "every address in the world but a few",
        "any and not",
    ),
    (
        "[[allow]]\nto = ['10.0.0.0/8', 'not tag:a']",
        "allow.to:2:21",
        "every address in the world",
        "all and not",
    ),
    (
        ALLOW + "on = '203.0.113.7'",
        "allow.on:3:7",
        "must pick Droplets, and `203.0.113.7` is",
        "`from` or `to`",
    ),
    (ALLOW + "on = 'tag:a or any'", "allow.on:3:16", "must pick Droplets, and `any` is", 'write "all"'),
    (ALLOW + "on = ['tag:a']", "allow.on:3:6", "must be a selector, such as", ""),
    # overrides
    ("[[override]]\nmode = 'audit'", "override:1:1", "does not say which Droplets", "on = "),
    ("[[override]]\non = 'all'", "override:1:1", "sets nothing", 'mode = "audit"'),
    ("[[override]]\non = 'all'\nprivate = {}", "override:1:1", "sets nothing", ""),
    (
        "[[override]]\non = 'all'\nprivate = true",
        "override.private:3:11",
        "a table with keys of [private], not true",
        "",
    ),
    (
        "[[override]]\non = 'all'\n[override.private]\nmanagd = true",
        "override.private.managd:4:1",
        "unknown key `managd` in `private` of [[override]]",
        "did you mean `managed`?",
    ),
    (
        "[[override]]\non = 'all'\nprivate = { outbound = 'dorp' }",
        "override.private.outbound:3:24",
        'must be "accept" or "drop"',
        'did you mean "drop"?',
    ),
    (
        "[[override]]\non = 'all'\nmode = 'audit'\nfirewall = { backend = 'iptable' }",
        "override.firewall.backend:4:24",
        'must be "auto", "nftables" or "iptables"',
        'did you mean "iptables"?',
    ),
    (
        "[[override]]\non='all'\nmode='audit'\npeers = {}",
        "override.peers:4:1",
        "unknown key `peers`",
        "known here: on",
    ),
    ("[lifelines]\ndns = 'no'", "lifelines.dns:2:7", "must be true or false", "write `dns = false`"),
    (
        "[lifelines]\nneighbor_discovery = false",
        "lifelines.neighbor_discovery:2:1",
        "unknown key",
        "did you mean `neighbour_discovery`?",
    ),
]


@pytest.mark.parametrize(("text", "where", "message", "hint"), MISTAKES)
def test_a_mistake_in_a_rule_says_where_what_and_what_would_be_right(
    faults: "Faults", text: str, where: str, message: str, hint: str
) -> None:
    """One mistake is one Problem, inside the string where the string can be followed."""
    (problem,) = faults(text)
    assert where == f"{problem.key}:{problem.line}:{problem.column}"
    assert message in problem.message
    assert hint in problem.hint


def test_all_mistakes_of_all_rules_are_found_at_once(faults: "Faults") -> None:
    """One reading tells of every rule, every element of a list and every override, in the file's order."""
    text = """
[[allow]]
name = "a"
from = ["any or", "tag:", "tag:ok"]
ports = [80, "443/tcp", "0/tcp"]
[[allow]]
name = "a"
on = "any"
[[override]]
on = "10.0.0.1"
mode = "adit"
[[allow]]
from = "any"
to = "any"
colour = 1
"""
    assert [
        ("allow.from", 4),
        ("allow.from", 4),
        ("allow.ports", 5),
        ("allow.ports", 5),
        ("allow", 6),
        ("allow.name", 7),
        ("allow.on", 8),
        ("override.on", 10),
        ("override.mode", 11),
        ("allow.to", 14),
        ("allow.colour", 15),
    ] == [(problem.key, problem.line) for problem in faults(text)]


def test_what_looks_like_a_token_in_a_selector_is_not_repeated(faults: "Faults", canary: str) -> None:
    """A token that was pasted into a rule by mistake is in no message and no hint."""
    for rule in (f"from = '{canary}'", f"from = 'any'\nports = ['{canary}']", f"from = 'tags:{canary}'"):
        (problem,) = faults(f"[[allow]]\n{rule}")
        assert canary not in problem.message + problem.hint


DROP = "[public]\nmanaged = true\noutbound = 'drop'\nallow_peers = true\n"

CAUTIONS = [
    ("[public]\noutbound = 'drop'", "public.outbound", 2, "no effect while `public.managed` is false"),
    (ALLOW + "interface = 'public'", "allow.interface", 3, "this rule has no effect while `public.managed`"),
    ("[[allow]]\nto = 'any'", "allow.to", 2, 'no effect while `private.outbound` is "accept"'),
    (ALLOW + "on = 'peers'", "allow.on", 3, "no Droplet is its own peer"),
    (ALLOW + "name = 'b'\n" + ALLOW, "allow", 4, "says the same as the one on line 1"),
    ("[lifelines]\ndhcp = false", "lifelines.dhcp", 2, "gets its address by DHCP"),
    ("[lifelines]\nneighbour_discovery = false", "lifelines.neighbour_discovery", 2, "IPv6 stops working"),
    ("[lifelines]\nicmp_errors = false", "lifelines.icmp_errors", 2, "smaller packets hang"),
    (DROP + "[lifelines]\ndns = false", "lifelines.dns", 6, "cannot look up the API"),
    (DROP + "[lifelines]\napi = false", "lifelines.api", 6, "cannot reach the API"),
    ("[[allow]]\nfrom = 'tag:a'\n[[allow]]\nfrom = 'tag:b'", "allow.from", 2, "this rule adds nobody"),
    ("[public]\nmanaged = true\n" + ALLOW, "public.managed", 2, "nobody is let in by the public interface"),
]


@pytest.mark.parametrize(("text", "key", "line", "message"), CAUTIONS)
def test_rules_that_say_nothing_or_hurt_are_warnings(
    loaded: "Loading", text: str, key: str, line: int, message: str
) -> None:
    """What cannot have been meant is one warning, with its place."""
    (warning,) = loaded(text).warnings
    assert (key, line) == (warning.key, warning.line)
    assert message in warning.message


QUIET = [
    "[peers]\ntag = 'a'\n[[allow]]\nfrom = 'tag:b'",
    "[private]\nallow_peers = false\n[[allow]]\nfrom = 'tag:b'",
    "[[override]]\non = 'tag:x'\nprivate = { allow_peers = false }\n[[allow]]\nfrom = 'tag:b'",
    WHOLE.replace("ntp", "metadata").replace('interface = "public"', ""),
    "[private]\nallow_peers = false\n" + ALLOW,
    "[public]\nmanaged = true\n" + ALLOW + "interface = 'public'",
    "[[override]]\non = 'all'\npublic = { managed = true }\n" + ALLOW + "interface = 'public'",
    "[[override]]\non = 'all'\nprivate = { outbound = 'drop' }\n[[allow]]\nto = 'any'",
    "[lifelines]\ndns = false\napi = false",
    DROP + "[lifelines]\napi = false\n[[allow]]\nto = 'any'\nports = ['1-1024/tcp']\ninterface = 'public'",
    "[private]\nmanaged = false\n[[override]]\non = 'tag:a'\nprivate = { managed = true }",
    "[private]\nallow_peers = false\n[peers]\ntag = 'x'\n[[allow]]\nfrom = 'peers'",
]


@pytest.mark.parametrize("text", QUIET)
def test_rules_that_mean_something_are_no_warning(loaded: "Loading", text: str) -> None:
    """A rule or override that takes effect somewhere is not complained about, nor what it makes useful."""
    assert () == loaded(text).warnings


def test_a_name_cannot_be_that_of_a_rule_of_ours(loaded: "Loading") -> None:
    """Every rule that droplan writes by itself has a reserved name, so counters are never mixed up."""
    text = (
        DROP
        + "[private]\noutbound = 'drop'\n[[allow]]\nname = 'mine'\nfrom = 'any'\nports = ['1/tcp', '1/udp']"
    )
    own = Droplet(1, "a", vpc="v", private=(bytes([10, 0, 0, 1]),), public=(bytes([8, 8, 8, 8]),))
    found = compile_ruleset(loaded(text).policy, Fleet((own,)), Host(1, "eth1", "eth0"), own)
    names = {rule.name for chain in found.chains.values() for rule in chain.rules}
    assert names - {"mine"} <= RESERVED
    assert {"mine", "tcp ports", "udp ports", "dns", "denied"} <= names


PIECES = st.lists(
    st.sampled_from(
        ["tag:web", "any", "(", ")", "not", "and", "or", "10.0.0.0/8", "x", "tag:", "::1/64", "ü"]
    ),
    max_size=6,
).map(" ".join)


@given(PIECES)
def test_the_column_of_a_selectors_mistake_lies_within_its_string(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Whatever a selector is, it loads, or its mistake stands between the quotes."""
    path = tmp_path_factory.mktemp("any") / "droplan.toml"
    path.write_text(f"[[allow]]\nfrom = '{text}'\n")
    found = _problems_of(path)
    assert len(found) <= 1
    assert all(problem.line == 2 and 8 <= (problem.column or 0) <= 9 + len(text) for problem in found)


def _problems_of(path: Path) -> tuple[Problem, ...]:
    try:
        load(path, {}, need_token=False)
    except ConfigInvalid as error:
        return error.problems
    return ()
