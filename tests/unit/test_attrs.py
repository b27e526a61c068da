"""Expressions as netlink attributes: what goes out comes back, and a stranger never passes for ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.backends import nft_expr as ex
from droplan_daemon.backends.nft_attrs import expression, read
from droplan_daemon.backends.nft_wire import attribute, attributes
from droplan_daemon.model.ruleset import Action, Verdict

_verdicts = st.builds(Verdict, st.sampled_from([Action.ACCEPT, Action.DROP, Action.RETURN])) | st.builds(
    Verdict, st.sampled_from([Action.JUMP, Action.GOTO]), st.sampled_from(["judge", "private-in"])
)
exprs = st.one_of(
    st.builds(ex.Meta, st.sampled_from(["IIFNAME", "OIFNAME", "NFPROTO", "L4PROTO"])),
    st.builds(ex.Ct, st.sampled_from(["STATE", "DIRECTION"])),
    st.builds(
        ex.Payload,
        st.sampled_from(["NETWORK", "TRANSPORT"]),
        st.integers(0, 40),
        st.sampled_from([1, 2, 4, 16]),
    ),
    st.builds(ex.Mask, st.binary(min_size=1, max_size=16)),
    st.builds(ex.Cmp, st.sampled_from(["EQ", "NEQ", "GTE", "LTE"]), st.binary(min_size=1, max_size=16)),
    st.builds(ex.Lookup, st.sampled_from(["four", "private-peers-4"])),
    st.just(ex.Counter()),
    st.builds(ex.Limit, st.integers(1, 2**40), st.sampled_from([1, 60, 3600, 86400]), st.integers(0, 2**31)),
    st.builds(ex.Immediate, _verdicts),
)


def _inner(expr: ex.Expr) -> bytes:
    """The element of the list, without its header."""
    ((_, packed),) = attributes(expression(expr))
    return packed


@given(exprs)
def test_an_expression_comes_back(expr: ex.Expr) -> None:
    """`read` undoes `expression`; a fresh counter has counted nothing."""
    assert (expr, 0) == read(_inner(expr))


def _element(name: bytes, *data: bytes) -> bytes:
    return attribute(1, name + b"\0") + attribute(2, b"".join(data))


def _number(kind: int, value: int, width: int = 4) -> bytes:
    return attribute(kind, value.to_bytes(width, "big"))


@given(exprs)
def test_what_a_newer_kernel_adds_is_passed_over(expr: ex.Expr) -> None:
    """An attribute that nobody knows yet does not make an expression of ours another one."""
    if isinstance(expr, ex.Immediate):
        return  # its attributes are nested twice; the law is about the first level
    (_, name), (_, data) = attributes(_inner(expr))
    assert expr == read(attribute(1, name) + attribute(2, data + _number(60, 1)))[0]


@pytest.mark.parametrize(
    "packed",
    [
        _element(b"meta", _number(2, 6), _number(1, 2)),
        _element(b"meta", _number(2, 6), _number(3, 1)),
        _element(b"meta", _number(2, 3), _number(1, 1)),
        _element(b"meta"),
        _element(b"ct", _number(2, 0), _number(1, 2)),
        _element(b"ct", _number(2, 2), _number(1, 1)),
        _element(b"ct", _number(2, 0), _number(1, 1), attribute(3, b"\0")),
        _element(b"ct", _number(2, 0), _number(4, 1)),
        _element(b"payload", _number(1, 1), _number(2, 0), _number(3, 12), _number(4, 4)),
        _element(b"payload", _number(1, 9), _number(2, 1), _number(3, 12), _number(4, 4)),
        _element(b"payload", _number(5, 1), _number(2, 1), _number(3, 12), _number(4, 4)),
        _element(
            b"bitwise", _number(1, 1), _number(2, 1), _number(3, 4),
            attribute(4, attribute(1, b"\xff" * 4)), attribute(5, attribute(1, b"\0\0\0\1")),
        ),
        _element(
            b"bitwise", _number(1, 1), _number(2, 2), _number(3, 4),
            attribute(4, attribute(1, b"\xff" * 4)), attribute(5, attribute(1, bytes(4))),
        ),
        _element(b"bitwise", _number(1, 1), _number(2, 1), _number(6, 1), attribute(7, bytes(8))),
        _element(b"cmp", _number(1, 2), _number(2, 0), attribute(3, attribute(1, b"\6"))),
        _element(b"cmp", _number(1, 1), _number(2, 2), attribute(3, attribute(1, b"\6"))),
        _element(b"lookup", attribute(1, b"four\0"), _number(2, 1), _number(5, 1)),
        _element(b"lookup", attribute(1, b"four\0"), _number(2, 1), _number(3, 1)),
        _element(b"lookup", attribute(1, b"four\0"), _number(2, 1), _number(3, 0), _number(5, 1)),
        _element(b"lookup", attribute(1, b"four\0"), _number(2, 2)),
        _element(b"limit", _number(1, 1, 8), _number(2, 60, 8), _number(3, 5), _number(4, 0), _number(5, 1)),
        _element(b"limit", _number(1, 1, 8), _number(2, 60, 8), _number(3, 5), _number(4, 1), _number(5, 0)),
        _element(b"log", attribute(1, b"\0\2")),
        _element(b"log", attribute(2, b"x\0"), _number(5, 7)),
        _element(b"log", attribute(2, b"x\0"), _number(5, 4), _number(6, 2)),
        _element(b"log", _number(5, 4)),
        _element(b"immediate", _number(1, 1), attribute(2, attribute(1, b"\1"))),
        _element(b"immediate", _number(1, 0), attribute(2, attribute(2, _number(1, 3)))),
        _element(b"immediate", _number(1, 0), attribute(2, attribute(2, _number(1, 0xFFFFFFFF)))),
        _element(b"quota", _number(1, 1, 8)),
        _element(b"", b""),
        _element(b"notrack"),
    ],
    ids=bytes.hex,
)  # fmt: skip
def test_nearly_ours_is_opaque(packed: bytes) -> None:
    """Another register, a negation, another key or another kind is Opaque."""
    found, packets = read(packed)
    assert isinstance(found, ex.Opaque)
    assert 0 == packets


@given(st.binary(max_size=80))
def test_any_bytes_are_an_expression_or_an_error(packed: bytes) -> None:
    """Noise is a ValueError or a KeyError, or else an expression."""
    try:
        read(packed)
    except (ValueError, KeyError):
        return


def test_a_counter_has_counted() -> None:
    """The packets of a counter come with it."""
    assert (ex.Counter(), 77) == read(_element(b"counter", _number(1, 9_999, 8), _number(2, 77, 8)))


def test_an_opaque_expression_cannot_be_written() -> None:
    """What was not ours is never sent to the kernel."""
    with pytest.raises(ValueError, match="opaque"):
        expression(ex.Opaque("quota"))
