"""Changes as nftables messages, and the kernel's dumps as values. PURE.

Laws:
1. One Change becomes one or more messages, in order; `commit` sends them as one batch.
2. Every creation is exclusive, so that the kernel refuses what was not as observed.
3. A dump that cannot be understood yields a Foreign match or an odd flag, never an
   exception and never something that looks like ours.

Tables, chains and sets go through pyroute2's message classes; rules and elements, which are
many, through `nft_attrs` and `nft_wire`. Source: linux/netfilter/nf_tables.h.
"""

import struct
from dataclasses import dataclass
from typing import Any

from droplan_daemon.lean import bare
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import Action, AddressSet, Chain, Foreign, Hook, HookPoint, Rule, SetKind

from . import nft_expr as ex
from .nft_attrs import expression, read
from .nft_wire import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    asciiz,
    attribute,
    attributes,
    element_list,
    number_attribute,
    number_of,
    text_of,
)

with bare("pyroute2"):
    from pyroute2.netlink.nfnetlink.nftsocket import nft_chain_msg, nft_set_msg, nft_table_msg

(
    NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, GETRULE, DELRULE, NEWSET,
    GETSET, DELSET, NEWSETELEM, GETSETELEM, DELSETELEM, NEWGEN, GETGEN,
) = range(17)  # fmt: skip

Attrs = list[tuple[str, Any]]
Fields = dict[str, Any]

CREATE = NLM_F_CREATE | NLM_F_EXCL
_KEY_TYPE = {Family.IPV4: 7, Family.IPV6: 8}  # nftables' datatype.h: TYPE_IPADDR, TYPE_IP6ADDR
_INET_SERVICE = 13  # TYPE_INET_SERVICE
_VERDICT_TYPE = 0xFFFFFF00  # NFT_DATA_VERDICT
_MAP_FLAGS = frozenset({"NFT_SET_INTERVAL", "NFT_SET_MAP"})
_BIG_ENDIAN = b"\x02\x00\x00\x00"  # nftables' datatype.h: BYTEORDER_BIG_ENDIAN, in host order
_HOOKNUM = {point: number for number, point in enumerate(HookPoint)}
_POLICY = {Action.DROP: 0, Action.ACCEPT: 1}
_TABLE, _CHAIN_NAME, _SET_NAME = 1, 3, 2  # NFTA_*_TABLE is 1 in each
_RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS, _RULE_POSITION, _RULE_ID, _RULE_POSITION_ID = 2, 3, 4, 6, 9, 10
_TABLE_USERDATA, _RULE_USERDATA = 6, 7
_CHAIN_FLAGS, _CHAIN_BASE = 10, 1
# NFTA_SET_*: DATA_TYPE, TIMEOUT, OBJ_TYPE, EXPR, EXPRESSIONS. A lookup may fail by them, or end by itself.
_SET_BEYOND_KEYS = frozenset({6, 11, 15, 17, 18})
_TABLE_FLAGS = {1: "dormant", 2: "owner", 4: "persist"}
# What a malformed attribute makes of pyroute2's decoders.
_UNREADABLE = (struct.error, ValueError, KeyError, IndexError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Request:
    """One message to be: type, flags and attribute bytes."""

    kind: int
    flags: int
    payload: bytes


def _encode(message: Any, attrs: Attrs) -> bytes:
    """Attribute bytes of a pyroute2 message, without its headers."""
    message["attrs"] = attrs
    message.encode()
    return bytes(message.data[20:])


def new_table(table: str, comment: str) -> Request:
    """Create the table, with a comment if there is one."""
    attrs: Attrs = [("NFTA_TABLE_NAME", table), ("NFTA_TABLE_FLAGS", 0)]
    payload = _encode(nft_table_msg(), attrs) + (_userdata(_TABLE_USERDATA, comment) if comment else b"")
    return Request(NEWTABLE, CREATE, payload)


def delete_table(table: str) -> Request:
    """Delete the table with all that is in it."""
    return Request(DELTABLE, 0, _encode(nft_table_msg(), [("NFTA_TABLE_NAME", table)]))


def get_table(table: str) -> Request:
    """Ask for the table alone; the answer is ENOENT when it is absent."""
    return Request(GETTABLE, 0, _encode(nft_table_msg(), [("NFTA_TABLE_NAME", table)]))


def new_chain(table: str, name: str, hook: Hook | None) -> Request:
    """Create a chain, at a hook if there is one."""
    attrs: Attrs = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", name)]
    if hook:
        place = [("NFTA_HOOK_HOOKNUM", _HOOKNUM[hook.point]), ("NFTA_HOOK_PRIORITY", hook.priority)]
        attrs += [
            ("NFTA_CHAIN_HOOK", {"attrs": place}),
            ("NFTA_CHAIN_POLICY", _POLICY[hook.policy]),
            ("NFTA_CHAIN_TYPE", hook.kind),
        ]
    return Request(NEWCHAIN, CREATE, _encode(nft_chain_msg(), attrs))


def delete_chain(table: str, name: str) -> Request:
    """Delete a chain."""
    attrs: Attrs = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", name)]
    return Request(DELCHAIN, 0, _encode(nft_chain_msg(), attrs))


def new_set(table: str, new: AddressSet, number: int) -> Request:
    """Create a set without elements; `number` is unique within the batch."""
    attrs: Attrs = [
        ("NFTA_SET_TABLE", table),
        ("NFTA_SET_NAME", new.name),
        ("NFTA_SET_FLAGS", {"NFT_SET_INTERVAL"} if new.kind is SetKind.RANGES else set()),
        ("NFTA_SET_KEY_TYPE", _KEY_TYPE[new.family]),
        ("NFTA_SET_KEY_LEN", new.family.width),
        ("NFTA_SET_ID", number),
        ("NFTA_SET_USERDATA", [("NFTNL_UDATA_SET_KEYBYTEORDER", _BIG_ENDIAN)]),
    ]
    if new.capacity:
        attrs.append(("NFTA_SET_DESC", {"attrs": [("NFTA_SET_DESC_SIZE", new.capacity)]}))
    return Request(NEWSET, CREATE, _encode(nft_set_msg(), attrs))


def new_map(table: str, name: str, number: int) -> Request:
    """Create a verdict map of ports without entries; `number` is unique within the batch."""
    attrs: Attrs = [
        ("NFTA_SET_TABLE", table),
        ("NFTA_SET_NAME", name),
        ("NFTA_SET_FLAGS", _MAP_FLAGS),
        ("NFTA_SET_KEY_TYPE", _INET_SERVICE),
        ("NFTA_SET_KEY_LEN", 2),
        ("NFTA_SET_DATA_TYPE", _VERDICT_TYPE),
        ("NFTA_SET_DATA_LEN", 16),
        ("NFTA_SET_ID", number),
        ("NFTA_SET_USERDATA", [("NFTNL_UDATA_SET_KEYBYTEORDER", _BIG_ENDIAN)]),
    ]
    return Request(NEWSET, CREATE, _encode(nft_set_msg(), attrs))


def delete_set(table: str, name: str) -> Request:
    """Delete a set or a map that no rule refers to."""
    attrs: Attrs = [("NFTA_SET_TABLE", table), ("NFTA_SET_NAME", name)]
    return Request(DELSET, 0, _encode(nft_set_msg(), attrs))


def new_rule(table: str, chain: str, rule: Rule, *, number: int, before: "Place | None") -> Request:
    """Add a rule before another one, or at the chain's end; `number` is unique within the batch."""
    parts = [
        *_rule_of(table, chain),
        attribute(_RULE_EXPRESSIONS, b"".join(expression(expr) for expr in ex.encode(rule))),
        number_attribute(_RULE_ID, number),
    ]
    if before:
        kind, width = (_RULE_POSITION, 8) if before.committed else (_RULE_POSITION_ID, 4)
        parts.append(number_attribute(kind, before.number, width))
    payload = b"".join((*parts, _userdata(_RULE_USERDATA, rule.name)))
    return Request(NEWRULE, NLM_F_CREATE if before else NLM_F_CREATE | NLM_F_APPEND, payload)


def delete_rule(table: str, chain: str, place: "Place") -> Request:
    """Delete a rule that was there before this batch, or was added in it."""
    kind, width = (_RULE_HANDLE, 8) if place.committed else (_RULE_ID, 4)
    return Request(
        DELRULE, 0, b"".join((*_rule_of(table, chain), number_attribute(kind, place.number, width)))
    )


def _rule_of(table: str, chain: str) -> tuple[bytes, bytes]:
    """The attributes that say where a rule is."""
    return attribute(_TABLE, asciiz(table)), attribute(_RULE_CHAIN, asciiz(chain))


@dataclass(frozen=True, slots=True)
class Place:
    """How a rule is named: by the kernel's handle once committed, before that by its batch id."""

    number: int
    committed: bool


def _userdata(kind: int, comment: str) -> bytes:
    """A comment as nft(8) keeps it: type 0, length, text with NUL (libnftnl/udata.h).

    pyroute2 takes type and length for one 16-bit number and fails on what others put there,
    so this one attribute is ours both ways.
    """
    text = comment.encode()[:253] + b"\0"
    return attribute(kind, bytes([0, len(text)]) + text)


GET_CHAINS = Request(GETCHAIN, 0, b"")
"""Ask for the chains of every `inet` table; the kernel knows no narrower question."""


def get_rules(table: str) -> Request:
    """Ask for the rules of one table."""
    return Request(GETRULE, 0, attribute(_TABLE, asciiz(table)))


def get_sets(table: str) -> Request:
    """Ask for the sets of one table, without elements."""
    return Request(GETSET, 0, _encode(nft_set_msg(), [("NFTA_SET_TABLE", table)]))


def get_elements(table: str, name: str) -> Request:
    """Ask for the elements of one set."""
    return Request(GETSETELEM, 0, element_list(table, name))


def read_table(body: bytes) -> tuple[str, frozenset[str], str]:
    """(name, flags, comment) of a table."""
    found = _decode(nft_table_msg, body)
    flags = found.get("NFTA_TABLE_FLAGS", 0)
    names = {_TABLE_FLAGS.get(bit, f"flag-{bit}") for bit in (1 << n for n in range(32)) if flags & bit}
    return found.get("NFTA_TABLE_NAME", ""), frozenset(names), _comment(body, _TABLE_USERDATA)


def chain_names(body: bytes) -> tuple[str, str]:
    """(table, name) of a chain, of whatever table and kind."""
    found = dict(attributes(body[4:]))
    return text_of(found.get(_TABLE, b"")), text_of(found.get(_CHAIN_NAME, b""))


def read_chain(body: bytes) -> Chain | None:
    """A chain without its rules; None for one of a kind that droplan never makes.

    Such are a chain inside a rule (the kernel removes it with the rule, and by no other way),
    one that hardware runs, and one at a hook of a device.
    """
    found = _decode(nft_chain_msg, body)
    flags = int.from_bytes(dict(attributes(body[4:])).get(_CHAIN_FLAGS, b""), "big")
    if "NFTA_CHAIN_NAME" not in found or flags & ~_CHAIN_BASE:
        return None
    if "NFTA_CHAIN_HOOK" not in found:
        return Chain(found["NFTA_CHAIN_NAME"])
    hook = _hook(found)
    return Chain(found["NFTA_CHAIN_NAME"], hook) if hook else None


def _hook(found: Fields) -> Hook | None:
    place = dict(found["NFTA_CHAIN_HOOK"]["attrs"])
    point = next((p for p, number in _HOOKNUM.items() if number == place.get("NFTA_HOOK_HOOKNUM")), None)
    policy = next((a for a, number in _POLICY.items() if number == found.get("NFTA_CHAIN_POLICY")), None)
    if point is None or policy is None:
        return None
    return Hook(point, place.get("NFTA_HOOK_PRIORITY", 0), policy, found.get("NFTA_CHAIN_TYPE", ""))


def read_set(body: bytes) -> AddressSet | None:
    """A set without its elements; None for one of a kind that droplan never makes."""
    found = _decode(nft_set_msg, body)
    family = next((f for f, kind in _KEY_TYPE.items() if kind == found.get("NFTA_SET_KEY_TYPE")), None)
    flags = set(found.get("NFTA_SET_FLAGS", ()))
    if family is None or flags - {"NFT_SET_INTERVAL"} or found.get("NFTA_SET_KEY_LEN") != family.width:
        return None
    if _SET_BEYOND_KEYS & {kind for kind, _ in attributes(body[4:])}:
        return None
    kind = SetKind.RANGES if flags else SetKind.HOSTS
    capacity = dict(found.get("NFTA_SET_DESC", {"attrs": ()})["attrs"]).get("NFTA_SET_DESC_SIZE", 0)
    return AddressSet(found["NFTA_SET_NAME"], family, kind, capacity)


def read_map(body: bytes) -> str | None:
    """The name of a verdict map of ports; None for any other set."""
    found = _decode(nft_set_msg, body)
    types = found.get("NFTA_SET_KEY_TYPE"), found.get("NFTA_SET_DATA_TYPE")
    if types != (_INET_SERVICE, _VERDICT_TYPE) or set(found.get("NFTA_SET_FLAGS", ())) != _MAP_FLAGS:
        return None
    return str(found["NFTA_SET_NAME"])


def read_name(body: bytes) -> str:
    """The name of a set, whatever its kind."""
    return text_of(dict(attributes(body[4:])).get(_SET_NAME, b""))


@dataclass(frozen=True, slots=True)
class ObservedRule:
    """A rule in the kernel: where it stands, its handle, and how many packets it counted."""

    chain: str
    handle: int
    rule: Rule
    packets: int


def read_rule(body: bytes) -> ObservedRule:
    """A rule of ours, or one with a Foreign match when it cannot be understood."""
    found, name = dict(attributes(body[4:])), _comment(body, _RULE_USERDATA)
    chain, handle = text_of(found.get(_RULE_CHAIN, b"")), number_of(found.get(_RULE_HANDLE, b""))
    try:
        pairs = [read(element) for _, element in attributes(found[_RULE_EXPRESSIONS])]
        rule = ex.decode(name, tuple(expr for expr, _ in pairs))
    except _UNREADABLE as error:
        return ObservedRule(chain, handle, Rule(name, (Foreign(f"unreadable: {error!r}"[:200]),)), 0)
    return ObservedRule(chain, handle, rule, sum(packets for _, packets in pairs))


def _decode(kind: Any, body: bytes) -> Fields:
    """Attributes of a dumped message by name; what cannot be decoded is left out."""
    message = kind(struct.pack("=IHHII", 16 + len(body), 0, 0, 0, 0) + body)
    try:
        message.decode()
        return dict(message["attrs"])
    except _UNREADABLE:
        return {}


def _comment(body: bytes, kind: int) -> str:
    """The comment in the user data of a message: type 0, length, text with NUL."""
    for found, data in attributes(body[4:]):
        if found == kind and data[:1] == b"\0" and len(data) > len("tl"):
            return text_of(data[2 : 2 + data[1]])
    return ""
