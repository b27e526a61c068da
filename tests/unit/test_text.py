"""A Ruleset as an nft script: the words, the layout, and what it says of what is not ours."""

import pytest
from hypothesis import given

from droplan_daemon.backends.nft_text import render, rule_text
from droplan_daemon.model.addresses import Family, parse_address
from droplan_daemon.model.policy import Rate, Unit
from droplan_daemon.model.ruleset import (
    Action,
    AddressSet,
    Armed,
    Chain,
    CtState,
    Foreign,
    From,
    Icmp,
    Interface,
    Log,
    Match,
    Protocol,
    Reply,
    Rule,
    Ruleset,
    SetKind,
    State,
    To,
    Transport,
    Verdict,
    ruleset,
)
from tests.strategies import rulesets

WORDS: list[tuple[Match, str]] = [
    (Interface("eth1"), 'iifname "eth1"'),
    (Interface("eth*"), 'iifname "eth\\*"'),
    (Interface("eth1", outbound=True), 'oifname "eth1"'),
    (State(frozenset({CtState.RELATED, CtState.ESTABLISHED})), "ct state established,related"),
    (
        State(frozenset({CtState.UNTRACKED, CtState.NEW, CtState.INVALID})),
        "ct state invalid,new,untracked",
    ),
    (Reply(), "ct direction reply"),
    (From("peers", Family.IPV4), "ip saddr @peers"),
    (To("peers", Family.IPV6), "ip6 daddr @peers"),
    (Transport(Protocol.TCP), "meta l4proto tcp"),
    (Transport(Protocol.ICMPV6), "meta l4proto ipv6-icmp"),
    (Transport(Protocol.UDP, None, (53, 53)), "udp dport 53"),
    (Transport(Protocol.TCP, (1, 2), (80, 90)), "tcp sport 1-2 tcp dport 80-90"),
    (Icmp(Family.IPV4, 3, 3), "icmp type 3"),
    (Icmp(Family.IPV6, 130, 136), "icmpv6 type 130-136"),
    (Armed("trial"), "meta nfproto @trial"),
    (Foreign("quota"), "# not ours: quota"),
]


@pytest.mark.parametrize(("match", "expected"), WORDS, ids=[words for _, words in WORDS])
def test_each_match_in_words(match: Match, expected: str) -> None:
    """Each match reads as nft(8) writes it."""
    assert f'{expected} comment "name"' == rule_text(Rule("name", (match,)))


def test_every_kind_of_match_has_words() -> None:
    """The table above misses no kind of match."""
    assert set(Match.__args__) == {type(match) for match, _ in WORDS}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule("r", counter=True), "counter"),
        (Rule("r", log=Log("x: ")), 'log prefix "x: "'),
        (Rule("r", log=Log("x: ", Rate(60, Unit.MINUTE))), 'limit rate 60/minute log prefix "x: "'),
        (Rule("r", verdict=Verdict(Action.DROP)), "drop"),
        (Rule("r", verdict=Verdict(Action.JUMP, "judge")), "jump judge"),
        (Rule("r", counter=True, verdict=Verdict(Action.GOTO, "judge")), "counter goto judge"),
        (
            Rule("r", counter=True, log=Log("x", Rate(1, Unit.DAY)), verdict=Verdict(Action.RETURN)),
            'counter limit rate 1/day log prefix "x" return',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_statement_in_words(rule: Rule, expected: str) -> None:
    """Count, log and verdict follow the matches, in this order."""
    assert f'{expected} comment "r"' == rule_text(rule)


def test_the_script_of_an_empty_ruleset() -> None:
    """A table without anything is still made."""
    expected = "table inet droplan\ndelete table inet droplan\ntable inet droplan {\n\n}\n"
    assert expected == render(Ruleset(), "droplan")


def test_the_script_of_nothing() -> None:
    """Without a Ruleset the script removes the table, by first making sure that there is one."""
    assert "table inet droplan\ndelete table inet droplan\n" == render(None, "droplan")


def test_a_long_set_is_wrapped() -> None:
    """Elements stand in order, on lines of at most 100 columns."""
    members = frozenset(parse_address(f"10.0.{n // 200}.{n % 200}") for n in range(500))
    text = render(ruleset((AddressSet("peers", Family.IPV4, SetKind.HOSTS, 512, members),), ()), "droplan")
    lines = text.expandtabs(8).splitlines()
    assert max(map(len, lines)) <= 100
    joined = "".join(line.strip() + " " for line in lines)
    listed = joined[joined.index("{ 10.") + 2 : joined.index(" }")].split(", ")
    assert sorted(members) == [parse_address(text) for text in listed]


@given(rulesets())
def test_the_script_never_ends_early(found: Ruleset) -> None:
    """Braces are balanced, whatever the Ruleset, and every rule and set has its line."""
    text = render(found, "droplan")
    assert text.count("{") == text.count("}")
    rules = sum(len(chain.rules) for chain in found.chains.values())
    assert rules + bool(found.comment) == text.count('comment "')
    assert len(found.sets) + len(found.leases) == text.count("\tset ")


def test_the_same_ruleset_is_the_same_script() -> None:
    """However its sets and chains were gathered, a Ruleset reads the same."""
    one, other = Chain("a"), Chain("b")
    assert render(ruleset((), (one, other)), "t") == render(ruleset((), (other, one)), "t")
