"""Rules as expressions: what goes out comes back, and what is not ours never looks like it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.backends import nft_expr as ex
from droplan_daemon.backends.nft_codec import Place, new_rule, read_rule
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import (
    Action,
    Armed,
    CtState,
    Foreign,
    From,
    Icmp,
    Interface,
    Protocol,
    Reply,
    Rule,
    State,
    To,
    Transport,
    Verdict,
)
from tests.strategies import CHAINS, SETS, rules

_rules = st.sampled_from(CHAINS).flatmap(lambda chain: rules(chain, tuple(SETS), CHAINS))


@given(_rules)
def test_a_rule_comes_back_from_its_expressions(rule: Rule) -> None:
    """`decode(encode(rule)) == rule`."""
    assert rule == ex.decode(rule.name, ex.encode(rule))


@given(_rules, st.integers(1, 100), st.none() | st.builds(Place, st.integers(1, 99), st.booleans()))
def test_a_rule_comes_back_from_its_bytes(rule: Rule, number: int, before: Place | None) -> None:
    """A rule read from the message that adds it is that rule, of that chain.

    Without its log, which the kernel reports with a level that nobody writes.
    """
    rule = replace(rule, log=None)
    request = new_rule("droplan", "judge", rule, number=number, before=before)
    observed = read_rule(bytes(4) + request.payload)
    assert ("judge", rule) == (observed.chain, observed.rule)


@given(_rules, st.data())
def test_a_rule_with_an_expression_changed_is_another_one(rule: Rule, data: st.DataObject) -> None:
    """Dropping, doubling or swapping an expression never leaves the same rule."""
    exprs = ex.encode(rule)
    if not exprs:
        return
    at = data.draw(st.integers(0, len(exprs) - 1))
    edited = data.draw(
        st.sampled_from([exprs[:at] + exprs[at + 1 :], exprs[: at + 1] + exprs[at:], exprs[::-1]])
    )
    if edited != exprs:
        assert rule != ex.decode(rule.name, edited)


@given(_rules, st.data())
def test_an_unknown_expression_anywhere_makes_a_rule_foreign(rule: Rule, data: st.DataObject) -> None:
    """One Opaque expression among ours, wherever it stands, is a rule with one Foreign match."""
    exprs = ex.encode(rule)
    at = data.draw(st.integers(0, len(exprs)))
    found = ex.decode(rule.name, (*exprs[:at], ex.Opaque("quota"), *exprs[at:]))
    assert [Foreign] == [type(match) for match in found.matches]


@pytest.mark.parametrize(
    "exprs",
    [
        (ex.Meta("NFPROTO"), ex.Cmp("EQ", b"\x02")),
        (ex.Meta("NFPROTO"), ex.Cmp("EQ", b"\x02"), ex.Payload("NETWORK", 16, 4), ex.Cmp("EQ", bytes(4))),
        (ex.Payload("NETWORK", 12, 4), ex.Lookup("four")),
        (ex.Meta("NFPROTO"), ex.Cmp("EQ", b"\x0a"), ex.Payload("NETWORK", 12, 4), ex.Lookup("four")),
        (ex.Meta("IIFNAME"), ex.Cmp("EQ", b"eth")),
        (ex.Meta("IIFNAME"), ex.Cmp("NEQ", b"eth0".ljust(16, b"\0"))),
        (ex.Meta("IIFNAME"), ex.Cmp("EQ", b"\xff\xfe".ljust(16, b"\0"))),
        (ex.Ct("STATE"), ex.Mask(b"\x80\0\0\0"), ex.Cmp("NEQ", bytes(4))),
        (ex.Ct("STATE"), ex.Mask(b"\x02\0\0\0"), ex.Cmp("EQ", bytes(4))),
        (ex.Ct("DIRECTION"), ex.Cmp("EQ", b"\x00")),
        (ex.Meta("L4PROTO"), ex.Cmp("EQ", b"")),
        (ex.Meta("L4PROTO"), ex.Cmp("NEQ", b"\x06"), ex.Payload("TRANSPORT", 2, 2), ex.Cmp("EQ", b"\0\x16")),
        (ex.Meta("L4PROTO"), ex.Cmp("EQ", b"\x06"), ex.Payload("TRANSPORT", 2, 2), ex.Cmp("NEQ", b"\0\x16")),
        (ex.Meta("L4PROTO"), ex.Cmp("EQ", b"\x06"), ex.Payload("TRANSPORT", 2, 2)),
        (ex.Meta("L4PROTO"), ex.Cmp("EQ", b"\x01"), ex.Payload("TRANSPORT", 0, 1), ex.Cmp("EQ", b"\x08")),
        (ex.Limit(60, 60, 5), ex.Immediate(Verdict(Action.ACCEPT))),
        (ex.Limit(60, 60, 10), ex.LogLine("x")),
        (ex.Limit(60, 61, 5), ex.LogLine("x")),
        (ex.Counter(), ex.Counter()),
        (ex.Immediate(Verdict(Action.ACCEPT)), ex.Counter()),
        (ex.LogLine("x"), ex.LogLine("x")),
    ],
    ids=str,
)
def test_nearly_ours_is_foreign(exprs: ex.Exprs) -> None:
    """Expressions that say something else than any rule of ours are a Foreign match."""
    assert [Foreign] == [type(match) for match in ex.decode("name", exprs).matches]


@given(
    st.lists(
        st.one_of(
            st.builds(ex.Meta, st.sampled_from(["IIFNAME", "OIFNAME", "NFPROTO", "L4PROTO"])),
            st.builds(ex.Ct, st.sampled_from(["STATE", "DIRECTION"])),
            st.builds(
                ex.Payload,
                st.sampled_from(["NETWORK", "TRANSPORT"]),
                st.integers(0, 24),
                st.sampled_from([1, 2, 4, 16]),
            ),
            st.builds(ex.Mask, st.binary(max_size=4)),
            st.builds(ex.Cmp, st.sampled_from(["EQ", "NEQ", "GTE", "LTE"]), st.binary(max_size=16)),
            st.builds(ex.Lookup, st.sampled_from(["four"])),
            st.just(ex.Counter()),
            st.builds(ex.Limit, st.integers(1, 100), st.sampled_from([1, 60]), st.sampled_from([5, 6])),
            st.builds(ex.LogLine, st.just("x")),
            st.builds(ex.Immediate, st.just(Verdict(Action.DROP))),
        ),
        max_size=6,
    ).map(tuple)
)
def test_any_expressions_are_a_rule_that_means_them_or_foreign(exprs: ex.Exprs) -> None:
    """Whatever expressions are read, the Rule says exactly them again, or is Foreign; never an exception."""
    rule = ex.decode("name", exprs)
    if not any(isinstance(match, Foreign) for match in rule.matches):
        assert exprs == ex.encode(rule)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Interface("eth1"), "Meta IIFNAME, Cmp EQ eth1"),
        (Interface("eth1", outbound=True), "Meta OIFNAME, Cmp EQ eth1"),
        (State(frozenset({CtState.NEW})), "Ct STATE, Mask 08000000, Cmp NEQ 00000000"),
        (Reply(), "Ct DIRECTION, Cmp EQ 01"),
        (Armed("trial"), "Meta NFPROTO, Lookup trial"),
        (From("s", Family.IPV4), "Meta NFPROTO, Cmp EQ 02, Payload NETWORK 12 4, Lookup s"),
        (To("s", Family.IPV6), "Meta NFPROTO, Cmp EQ 0a, Payload NETWORK 24 16, Lookup s"),
        (Transport(Protocol.TCP), "Meta L4PROTO, Cmp EQ 06"),
        (
            Transport(Protocol.UDP, None, (53, 53)),
            "Meta L4PROTO, Cmp EQ 11, Payload TRANSPORT 2 2, Cmp EQ 0035",
        ),
        (
            Icmp(Family.IPV6, 133, 134),
            "Meta NFPROTO, Cmp EQ 0a, Meta L4PROTO, Cmp EQ 3a, Payload TRANSPORT 0 1, Cmp GTE 85, Cmp LTE 86",
        ),
    ],
    ids=str,
)
def test_each_match_is_these_expressions(match: object, expected: str) -> None:
    """The expressions of each kind of match, written out."""
    exprs = ex.encode(Rule("name", (match,)))  # type: ignore[arg-type]
    assert expected == ", ".join(map(_words, exprs))


def _words(expr: ex.Expr) -> str:
    match expr:
        case ex.Cmp(op, data):
            return f"Cmp {op} {data.rstrip(bytes(1)).decode() if len(data) == 16 else data.hex()}"
        case ex.Mask(data):
            return f"Mask {data.hex()}"
        case ex.Meta(key) | ex.Ct(key):
            return f"{type(expr).__name__} {key}"
        case ex.Payload(base, offset, length):
            return f"Payload {base} {offset} {length}"
        case ex.Lookup(name):
            return f"Lookup {name}"
        case _:
            return str(expr)


def test_a_foreign_match_cannot_be_written() -> None:
    """Encoding a rule that was not ours is a ValueError."""
    with pytest.raises(ValueError, match="foreign"):
        ex.encode(Rule("name", (Foreign("quota"),)))
