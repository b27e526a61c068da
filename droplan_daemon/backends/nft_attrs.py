"""Expressions as netlink attributes, both ways. PURE.

Laws:
1. `read` undoes `expression` for every expression but Opaque.
2. An expression with another register, a negation, or a key that droplan does not use is
   Opaque. Attributes that this program does not know are passed over: a newer kernel may
   report more about the same expression, and must not make us rewrite it for ever.

Bytes, not pyroute2's nested classes: a ruleset has some fifty expressions, and through classes
they took 7 ms to read and 8 ms to write where ten thousand addresses take 2.
Source: linux/netfilter/nf_tables.h, whose numbers these are.
"""

from droplan_daemon.model.ruleset import Action, Verdict

from . import nft_expr as ex
from .nft_wire import asciiz, attribute, attributes, number_attribute, number_of, text_of

Fields = dict[int, bytes]

_LIST_ELEM, _EXPR_NAME, _EXPR_DATA = 1, 1, 2
_DATA_VALUE, _DATA_VERDICT = 1, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2
_META_DREG, _META_KEY = 1, 2
_CT_DREG, _CT_KEY, _CT_DIRECTION = 1, 2, 3
_PAYLOAD_DREG, _PAYLOAD_BASE, _PAYLOAD_OFFSET, _PAYLOAD_LEN = 1, 2, 3, 4
_BITWISE_SREG, _BITWISE_DREG, _BITWISE_LEN, _BITWISE_MASK, _BITWISE_XOR = 1, 2, 3, 4, 5
_CMP_SREG, _CMP_OP, _CMP_DATA = 1, 2, 3
_LOOKUP_SET, _LOOKUP_SREG, _LOOKUP_DREG, _LOOKUP_FLAGS = 1, 2, 3, 5
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_LIMIT_RATE, _LIMIT_UNIT, _LIMIT_BURST, _LIMIT_TYPE, _LIMIT_FLAGS = 1, 2, 3, 4, 5
_LOG_PREFIX, _LOG_LEVEL, _LOG_FLAGS = 2, 5, 6
_IMMEDIATE_DREG, _IMMEDIATE_DATA = 1, 2

_REG_VERDICT, _REG_1 = 0, 1
_LEVEL_WARNING = 4  # what the kernel takes when a rule names none
_PACKETS = 0  # NFT_LIMIT_PKTS
_META = {"IIFNAME": 6, "OIFNAME": 7, "NFPROTO": 15, "L4PROTO": 16}
_CT = {"STATE": 0, "DIRECTION": 1}
_BASE = {"NETWORK": 1, "TRANSPORT": 2}
_CMP = {"EQ": 0, "NEQ": 1, "GTE": 5, "LTE": 3}
_VERDICT = {Action.DROP: 0, Action.ACCEPT: 1, Action.JUMP: -3, Action.GOTO: -4, Action.RETURN: -5}


def expression(expr: ex.Expr) -> bytes:
    """One element of NFTA_RULE_EXPRESSIONS; ValueError for an Opaque one."""
    name, data = _expr(expr)
    return _nested(_LIST_ELEM, attribute(_EXPR_NAME, asciiz(name)), _nested(_EXPR_DATA, *data))


def _expr(expr: ex.Expr) -> tuple[str, tuple[bytes, ...]]:
    """The expression's name, and the attributes of its data."""
    match expr:
        case ex.Meta(key):
            return "meta", (number_attribute(_META_KEY, _META[key]), number_attribute(_META_DREG, _REG_1))
        case ex.Ct(key):
            return "ct", (number_attribute(_CT_KEY, _CT[key]), number_attribute(_CT_DREG, _REG_1))
        case ex.Payload(base, offset, length):
            return "payload", (
                number_attribute(_PAYLOAD_DREG, _REG_1),
                number_attribute(_PAYLOAD_BASE, _BASE[base]),
                number_attribute(_PAYLOAD_OFFSET, offset),
                number_attribute(_PAYLOAD_LEN, length),
            )
        case ex.Mask(mask):
            return "bitwise", (
                number_attribute(_BITWISE_SREG, _REG_1),
                number_attribute(_BITWISE_DREG, _REG_1),
                number_attribute(_BITWISE_LEN, len(mask)),
                _data(_BITWISE_MASK, mask),
                _data(_BITWISE_XOR, bytes(len(mask))),
            )
        case ex.Cmp(op, data):
            return "cmp", (
                number_attribute(_CMP_SREG, _REG_1),
                number_attribute(_CMP_OP, _CMP[op]),
                _data(_CMP_DATA, data),
            )
        case ex.Lookup(name):
            return "lookup", (attribute(_LOOKUP_SET, asciiz(name)), number_attribute(_LOOKUP_SREG, _REG_1))
        case ex.MapLookup(name):
            return "lookup", (
                attribute(_LOOKUP_SET, asciiz(name)),
                number_attribute(_LOOKUP_SREG, _REG_1),
                number_attribute(_LOOKUP_DREG, _REG_VERDICT),
            )
        case ex.Counter():
            return "counter", (
                number_attribute(_COUNTER_BYTES, 0, 8),
                number_attribute(_COUNTER_PACKETS, 0, 8),
            )
        case ex.Limit(rate, seconds, burst):
            return "limit", (
                number_attribute(_LIMIT_RATE, rate, 8),
                number_attribute(_LIMIT_UNIT, seconds, 8),
                number_attribute(_LIMIT_BURST, burst),
                number_attribute(_LIMIT_TYPE, _PACKETS),
                number_attribute(_LIMIT_FLAGS, 0),
            )
        case ex.LogLine(prefix):
            return "log", (attribute(_LOG_PREFIX, asciiz(prefix)),)
        case ex.Immediate(verdict):
            judged = _nested(_IMMEDIATE_DATA, _nested(_DATA_VERDICT, *_verdict(verdict)))
            return "immediate", (number_attribute(_IMMEDIATE_DREG, _REG_VERDICT), judged)
        case ex.Opaque(description):
            message = f"an opaque expression cannot be written: {description}"
            raise ValueError(message)


def _verdict(verdict: Verdict) -> tuple[bytes, ...]:
    code = attribute(_VERDICT_CODE, _VERDICT[verdict.action].to_bytes(4, "big", signed=True))
    return (code, attribute(_VERDICT_CHAIN, asciiz(verdict.chain))) if verdict.chain else (code,)


def _nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind, b"".join(parts))


def _data(kind: int, value: bytes) -> bytes:
    return _nested(kind, attribute(_DATA_VALUE, value))


def read(packed: bytes) -> tuple[ex.Expr, int]:
    """One element of NFTA_RULE_EXPRESSIONS, and the packets that it counted.

    Raises ValueError or KeyError when it lacks what every kernel reports.
    """
    element = _fields(packed)
    name, data = text_of(element[_EXPR_NAME]), element.get(_EXPR_DATA, b"")
    fields = _fields(data)
    packets = _value(fields, _COUNTER_PACKETS) if name == "counter" else None
    return _read(name, fields) or ex.Opaque(f"{name} {data.hex()}"[:200]), packets or 0


def _read(name: str, fields: Fields) -> ex.Expr | None:
    match name:
        case "meta" if _value(fields, _META_DREG) == _REG_1:
            key = _named(_META, _value(fields, _META_KEY))
            return ex.Meta(key) if key else None
        case "ct" if _value(fields, _CT_DREG) == _REG_1 and _CT_DIRECTION not in fields:
            key = _named(_CT, _value(fields, _CT_KEY))
            return ex.Ct(key) if key else None
        case "payload" if _value(fields, _PAYLOAD_DREG) == _REG_1:
            return _read_payload(fields)
        case "bitwise":
            return _read_mask(fields)
        case "cmp" if _value(fields, _CMP_SREG) == _REG_1:
            op = _named(_CMP, _value(fields, _CMP_OP))
            return ex.Cmp(op, _bytes(fields[_CMP_DATA])) if op else None
        case "lookup" if _value(fields, _LOOKUP_SREG) == _REG_1:
            return _read_lookup(fields)
        case "counter":
            return ex.Counter()
        case "limit" if _value(fields, _LIMIT_TYPE) == _PACKETS and not _value(fields, _LIMIT_FLAGS):
            return ex.Limit(*(number_of(fields[k]) for k in (_LIMIT_RATE, _LIMIT_UNIT, _LIMIT_BURST)))
        case "log" if _value(fields, _LOG_LEVEL) == _LEVEL_WARNING and not _value(fields, _LOG_FLAGS):
            return ex.LogLine(text_of(fields[_LOG_PREFIX])) if _LOG_PREFIX in fields else None
        case "immediate" if _value(fields, _IMMEDIATE_DREG) == _REG_VERDICT:
            return _read_verdict(_fields(_fields(fields[_IMMEDIATE_DATA])[_DATA_VERDICT]))
        case _:
            return None


def _fields(packed: bytes) -> Fields:
    return dict(attributes(packed))


def _value(fields: Fields, kind: int) -> int | None:
    """The number in an attribute; None when it is absent."""
    return number_of(fields[kind]) if kind in fields else None


def _bytes(data: bytes) -> bytes:
    return _fields(data)[_DATA_VALUE]


def _named(known: dict[str, int], code: int | None) -> str | None:
    return next((name for name, found in known.items() if found == code), None)


def _read_payload(fields: Fields) -> ex.Expr | None:
    base = _named(_BASE, _value(fields, _PAYLOAD_BASE))
    offset, length = number_of(fields[_PAYLOAD_OFFSET]), number_of(fields[_PAYLOAD_LEN])
    return ex.Payload(base, offset, length) if base else None


def _read_mask(fields: Fields) -> ex.Expr | None:
    registers = _value(fields, _BITWISE_SREG), _value(fields, _BITWISE_DREG)
    if registers != (_REG_1, _REG_1) or _BITWISE_MASK not in fields or any(_bytes(fields[_BITWISE_XOR])):
        return None
    return ex.Mask(_bytes(fields[_BITWISE_MASK]))


def _read_lookup(fields: Fields) -> ex.Expr | None:
    register = _value(fields, _LOOKUP_DREG)
    if _value(fields, _LOOKUP_FLAGS) or register not in {None, _REG_VERDICT}:
        return None
    name = text_of(fields[_LOOKUP_SET])
    return ex.Lookup(name) if register is None else ex.MapLookup(name)


def _read_verdict(fields: Fields) -> ex.Expr | None:
    code = int.from_bytes(fields[_VERDICT_CODE], "big", signed=True)
    action = next((action for action, found in _VERDICT.items() if found == code), None)
    chain = fields.get(_VERDICT_CHAIN)
    return ex.Immediate(Verdict(action, text_of(chain) if chain else None)) if action else None
