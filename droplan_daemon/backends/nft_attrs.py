"""Expressions as pyroute2's nested attributes, both ways. PURE.

Laws:
1. `read(decoded(expression(e))) == e` for every expression but Opaque.
2. An expression with another register, a negation, or a key that droplan does not use is
   Opaque. Attributes that this program does not know are passed over: a newer kernel may
   report more about the same expression, and must not make us rewrite it for ever.
"""

from typing import Any

from droplan_daemon.model.ruleset import Action, Verdict

from . import nft_expr as ex

Attrs = list[tuple[str, Any]]

_REG_1, _REG_VERDICT = 1, 0
_META = {"IIFNAME": 6, "OIFNAME": 7, "NFPROTO": 15, "L4PROTO": 16}
_CT = {"STATE": 0, "DIRECTION": 1}
_BASE = {"NETWORK": 1, "TRANSPORT": 2}
_CMP = {"EQ": 0, "NEQ": 1, "GTE": 5, "LTE": 3}
_VERDICT = {Action.DROP: 0, Action.ACCEPT: 1, Action.JUMP: -3, Action.GOTO: -4, Action.RETURN: -5}
_ACTION = {
    "NF_DROP": Action.DROP,
    "NF_ACCEPT": Action.ACCEPT,
    "NFT_JUMP": Action.JUMP,
    "NFT_GOTO": Action.GOTO,
    "NFT_RETURN": Action.RETURN,
}


def expression(expr: ex.Expr) -> dict[str, Attrs]:
    """The attributes of one expression; ValueError for an Opaque one."""
    name, attrs = _expr(expr)
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": attrs})]}


def _data(value: bytes) -> dict[str, Attrs]:
    return {"attrs": [("NFTA_DATA_VALUE", value)]}


def _expr(expr: ex.Expr) -> tuple[str, Attrs]:
    match expr:
        case ex.Meta(key):
            return "meta", [("NFTA_META_KEY", _META[key]), ("NFTA_META_DREG", _REG_1)]
        case ex.Ct(key):
            return "ct", [("NFTA_CT_KEY", _CT[key]), ("NFTA_CT_DREG", _REG_1)]
        case ex.Payload(base, offset, length):
            return "payload", [
                ("NFTA_PAYLOAD_DREG", _REG_1),
                ("NFTA_PAYLOAD_BASE", _BASE[base]),
                ("NFTA_PAYLOAD_OFFSET", offset),
                ("NFTA_PAYLOAD_LEN", length),
            ]
        case ex.Mask(mask):
            return "bitwise", [
                ("NFTA_BITWISE_SREG", _REG_1),
                ("NFTA_BITWISE_DREG", _REG_1),
                ("NFTA_BITWISE_LEN", len(mask)),
                ("NFTA_BITWISE_MASK", _data(mask)),
                ("NFTA_BITWISE_XOR", _data(bytes(len(mask)))),
            ]
        case ex.Cmp(op, data):
            return "cmp", [
                ("NFTA_CMP_SREG", _REG_1),
                ("NFTA_CMP_OP", _CMP[op]),
                ("NFTA_CMP_DATA", _data(data)),
            ]
        case ex.Lookup(name):
            return "lookup", [("NFTA_LOOKUP_SET", name), ("NFTA_LOOKUP_SREG", _REG_1)]
        case ex.MapLookup(name):
            return "lookup", [
                ("NFTA_LOOKUP_SET", name),
                ("NFTA_LOOKUP_SREG", _REG_1),
                ("NFTA_LOOKUP_DREG", _REG_VERDICT),
            ]
        case ex.Counter():
            return "counter", [("NFTA_COUNTER_BYTES", 0), ("NFTA_COUNTER_PACKETS", 0)]
        case ex.Limit(rate, seconds, burst):
            return "limit", [
                ("NFTA_LIMIT_RATE", rate),
                ("NFTA_LIMIT_UNIT", seconds),
                ("NFTA_LIMIT_BURST", burst),
                ("NFTA_LIMIT_TYPE", 0),
                ("NFTA_LIMIT_FLAGS", 0),
            ]
        case ex.LogLine(prefix):
            return "log", [("NFTA_LOG_PREFIX", prefix)]
        case ex.Immediate(verdict):
            return "immediate", [
                ("NFTA_IMMEDIATE_DREG", _REG_VERDICT),
                ("NFTA_IMMEDIATE_DATA", {"attrs": [("NFTA_DATA_VERDICT", {"attrs": _verdict(verdict)})]}),
            ]
        case ex.Opaque(description):
            message = f"an opaque expression cannot be written: {description}"
            raise ValueError(message)


def _verdict(verdict: Verdict) -> Attrs:
    attrs: Attrs = [("NFTA_VERDICT_CODE", _VERDICT[verdict.action])]
    return [*attrs, ("NFTA_VERDICT_CHAIN", verdict.chain)] if verdict.chain else attrs


def read(name: str, attrs: Attrs) -> ex.Expr:
    """The expression that the kernel reported, as pyroute2 decoded it."""
    fields = dict(attrs)
    return _read(name, fields) or ex.Opaque(f"{name} {fields}"[:200])


def _read(name: str, fields: dict[str, Any]) -> ex.Expr | None:
    match name:
        case "meta" if fields.get("NFTA_META_DREG") == "NFT_REG_1":
            return _named(ex.Meta, _META, fields.get("NFTA_META_KEY"), "NFT_META_")
        case "ct" if fields.get("NFTA_CT_DREG") == "NFT_REG_1" and "NFTA_CT_DIRECTION" not in fields:
            return _named(ex.Ct, _CT, fields.get("NFTA_CT_KEY"), "NFT_CT_")
        case "payload":
            return _read_payload(fields)
        case "bitwise":
            return _read_mask(fields)
        case "cmp" if fields.get("NFTA_CMP_SREG") == "NFT_REG_1":
            op = _short(_CMP, fields.get("NFTA_CMP_OP"), "NFT_CMP_")
            return ex.Cmp(op, _value(fields["NFTA_CMP_DATA"])) if op else None
        case "lookup" if fields.get("NFTA_LOOKUP_SREG") == "NFT_REG_1":
            return _read_lookup(fields)
        case "counter":
            return ex.Counter()
        case "limit":
            return _read_limit(fields)
        case "log":
            plain = fields.get("NFTA_LOG_LEVEL") == "NFT_LOGLEVEL_WARNING" and not fields.get(
                "NFTA_LOG_FLAGS"
            )
            return ex.LogLine(fields["NFTA_LOG_PREFIX"]) if plain and "NFTA_LOG_PREFIX" in fields else None
        case "immediate" if fields.get("NFTA_IMMEDIATE_DREG") == "NFT_REG_VERDICT":
            return _read_verdict(dict(fields["NFTA_IMMEDIATE_DATA"]["attrs"])["NFTA_DATA_VERDICT"]["attrs"])
        case _:
            return None


def _short(known: dict[str, int], name: object, prefix: str) -> str | None:
    return next((key for key in known if prefix + key == name), None)


def _named(
    kind: type[ex.Meta] | type[ex.Ct], known: dict[str, int], name: object, prefix: str
) -> ex.Expr | None:
    key = _short(known, name, prefix)
    return kind(key) if key else None


def _value(data: Any) -> bytes:
    return bytes(dict(data["attrs"])["NFTA_DATA_VALUE"])


def _read_payload(fields: dict[str, Any]) -> ex.Expr | None:
    base = _short(_BASE, str(fields.get("NFTA_PAYLOAD_BASE")).removesuffix("_HEADER"), "NFT_PAYLOAD_")
    if base is None or fields.get("NFTA_PAYLOAD_DREG") != "NFT_REG_1":
        return None
    return ex.Payload(base, fields["NFTA_PAYLOAD_OFFSET"], fields["NFTA_PAYLOAD_LEN"])


def _read_lookup(fields: dict[str, Any]) -> ex.Expr | None:
    register = fields.get("NFTA_LOOKUP_DREG")
    if fields.get("NFTA_LOOKUP_FLAGS") or register not in {None, "NFT_REG_VERDICT"}:
        return None
    return (ex.MapLookup if register else ex.Lookup)(fields["NFTA_LOOKUP_SET"])


def _read_mask(fields: dict[str, Any]) -> ex.Expr | None:
    registers = {fields.get("NFTA_BITWISE_SREG"), fields.get("NFTA_BITWISE_DREG")}
    if (
        registers != {"NFT_REG_1"}
        or "NFTA_BITWISE_MASK" not in fields
        or any(_value(fields["NFTA_BITWISE_XOR"]))
    ):
        return None
    return ex.Mask(_value(fields["NFTA_BITWISE_MASK"]))


def _read_limit(fields: dict[str, Any]) -> ex.Expr | None:
    if fields.get("NFTA_LIMIT_TYPE") != "NFT_LIMIT_PKTS" or fields.get("NFTA_LIMIT_FLAGS"):
        return None
    return ex.Limit(fields["NFTA_LIMIT_RATE"], fields["NFTA_LIMIT_UNIT"], fields["NFTA_LIMIT_BURST"])


def _read_verdict(attrs: Attrs) -> ex.Expr | None:
    fields = dict(attrs)
    action = _ACTION.get(fields.get("NFTA_VERDICT_CODE", ""))
    return ex.Immediate(Verdict(action, fields.get("NFTA_VERDICT_CHAIN"))) if action else None
