"""Changes as nftables messages, and the kernel's dumps as values. PURE.

Laws:
1. One Change becomes one or more messages, in order; `commit` sends them as one batch.
2. Every creation is exclusive, so that the kernel refuses what was not as observed.
3. A dump that cannot be understood yields a Foreign match or an odd flag, never an
   exception and never something that looks like ours.

Tables, chains and sets are written by pyroute2's message classes; rules and elements, which are
many, by `nft_attrs` and `nft_wire`. Dumps are read here: pyroute2's decoders fail on attributes
that they do not know, and number the flags of a chain one too low.
Source: linux/netfilter/nf_tables.h.
"""

from dataclasses import dataclass
from typing import Any

from droplan_daemon.lean import bare, stand_in
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

# Of its sockets only the names are needed here, as bases of classes that we do not use.
with bare("pyroute2"), stand_in("pyroute2.netlink.nlsocket", NetlinkSocket=object, AsyncNetlinkSocket=object):
    from pyroute2.netlink.nfnetlink.nftsocket import nft_chain_msg, nft_set_msg, nft_table_msg

(
    NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, GETRULE, DELRULE, NEWSET,
    GETSET, DELSET, NEWSETELEM, GETSETELEM, DELSETELEM, NEWGEN, GETGEN,
) = range(17)  # fmt: skip

Attrs = list[tuple[str, Any]]
Fields = dict[int, bytes]

CREATE = NLM_F_CREATE | NLM_F_EXCL
_KEY_TYPE = {Family.IPV4: 7, Family.IPV6: 8}  # nftables' datatype.h: TYPE_IPADDR, TYPE_IP6ADDR
_NFPROTO, _INET_SERVICE = 2, 13  # TYPE_NFPROTO, TYPE_INET_SERVICE
_VERDICT_TYPE = 0xFFFFFF00  # NFT_DATA_VERDICT
# nftables' datatype.h: BYTEORDER_HOST_ENDIAN, BYTEORDER_BIG_ENDIAN, in host order
_HOST_ENDIAN, _BIG_ENDIAN = b"\x01\x00\x00\x00", b"\x02\x00\x00\x00"
_HOOKNUM = {point: number for number, point in enumerate(HookPoint)}
_POLICY = {Action.DROP: 0, Action.ACCEPT: 1}
_TABLE, _TABLE_FLAG_BITS = 1, 2  # NFTA_*_TABLE is 1 in each
_CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE, _CHAIN_FLAGS = 3, 4, 5, 7, 10
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LEN, _SET_DESC, _SET_DESC_SIZE = 2, 3, 4, 5, 9, 1
_RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS, _RULE_POSITION, _RULE_ID, _RULE_POSITION_ID = 2, 3, 4, 6, 9, 10
_TABLE_USERDATA, _RULE_USERDATA = 6, 7
_CHAIN_BASE = 1  # NFT_CHAIN_BASE; what else a chain can be, droplan never makes
_SET_INTERVAL, _SET_MAP, _SET_TIMEOUT = 4, 8, 16  # NFT_SET_*
_SET_DATA_TYPE = 6
# NFTA_SET_*: DATA_TYPE, TIMEOUT, OBJ_TYPE, EXPR, EXPRESSIONS. A lookup may fail by them, or end by itself.
_SET_BEYOND_KEYS = frozenset({6, 11, 15, 17, 18})
_TABLE_FLAGS = {1: "dormant", 2: "owner", 4: "persist"}


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
        ("NFTA_SET_FLAGS", {"NFT_SET_INTERVAL", "NFT_SET_MAP"}),
        ("NFTA_SET_KEY_TYPE", _INET_SERVICE),
        ("NFTA_SET_KEY_LEN", 2),
        ("NFTA_SET_DATA_TYPE", _VERDICT_TYPE),
        ("NFTA_SET_DATA_LEN", 16),
        ("NFTA_SET_ID", number),
        ("NFTA_SET_USERDATA", [("NFTNL_UDATA_SET_KEYBYTEORDER", _BIG_ENDIAN)]),
    ]
    return Request(NEWSET, CREATE, _encode(nft_set_msg(), attrs))


def new_lease(table: str, name: str, number: int) -> Request:
    """Create a lease that does not run: a set of IP versions whose elements end; `number` as for a set."""
    attrs: Attrs = [
        ("NFTA_SET_TABLE", table),
        ("NFTA_SET_NAME", name),
        ("NFTA_SET_FLAGS", {"NFT_SET_TIMEOUT"}),
        ("NFTA_SET_KEY_TYPE", _NFPROTO),
        ("NFTA_SET_KEY_LEN", 1),
        ("NFTA_SET_ID", number),
        ("NFTA_SET_USERDATA", [("NFTNL_UDATA_SET_KEYBYTEORDER", _HOST_ENDIAN)]),
    ]
    return Request(NEWSET, CREATE, _encode(nft_set_msg(), attrs))


def flush_set(table: str, name: str) -> Request:
    """Take every element out of a set; one without any is as good."""
    return Request(DELSETELEM, 0, element_list(table, name))


def delete_set(table: str, name: str) -> Request:
    """Delete a set, a map or a lease that no rule refers to."""
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
    found = _fields(body)
    flags = _number(found, _TABLE_FLAG_BITS) or 0
    names = {_TABLE_FLAGS.get(bit, f"flag-{bit}") for bit in (1 << n for n in range(32)) if flags & bit}
    return text_of(found.get(_TABLE, b"")), frozenset(names), _comment(found.get(_TABLE_USERDATA))


def chain_names(body: bytes) -> tuple[str, str]:
    """(table, name) of a chain, of whatever table and kind."""
    found = _fields(body)
    return text_of(found.get(_TABLE, b"")), text_of(found.get(_CHAIN_NAME, b""))


def read_chain(body: bytes) -> Chain | None:
    """A chain without its rules; None for one of a kind that droplan never makes.

    Such are a chain inside a rule (the kernel removes it with the rule, and by no other way),
    one that hardware runs, and one at a hook of a device.
    """
    found = _fields(body)
    if _CHAIN_NAME not in found or (_number(found, _CHAIN_FLAGS) or 0) & ~_CHAIN_BASE:
        return None
    name, hook = text_of(found[_CHAIN_NAME]), _hook(found)
    return Chain(name, hook) if hook or _CHAIN_HOOK not in found else None


def _hook(found: Fields) -> Hook | None:
    place = dict(attributes(found.get(_CHAIN_HOOK, b"")))
    point = next((p for p, number in _HOOKNUM.items() if number == _number(place, _HOOK_NUMBER)), None)
    policy = next((a for a, number in _POLICY.items() if number == _number(found, _CHAIN_POLICY)), None)
    if point is None or policy is None:
        return None
    priority = int.from_bytes(place.get(_HOOK_PRIORITY, b""), "big", signed=True)
    return Hook(point, priority, policy, text_of(found.get(_CHAIN_TYPE, b"")))


def read_set(body: bytes) -> AddressSet | None:
    """A set without its elements; None for one of a kind that droplan never makes."""
    found = _fields(body)
    family = next((f for f, kind in _KEY_TYPE.items() if kind == _number(found, _SET_KEY_TYPE)), None)
    flags = _number(found, _SET_FLAGS) or 0
    if family is None or flags & ~_SET_INTERVAL or _number(found, _SET_KEY_LEN) != family.width:
        return None
    if _SET_NAME not in found or _SET_BEYOND_KEYS & found.keys():
        return None
    kind = SetKind.RANGES if flags else SetKind.HOSTS
    capacity = _number(dict(attributes(found.get(_SET_DESC, b""))), _SET_DESC_SIZE) or 0
    return AddressSet(text_of(found[_SET_NAME]), family, kind, capacity)


def read_map(body: bytes) -> str | None:
    """The name of a verdict map of ports; None for any other set."""
    found = _fields(body)
    types = _number(found, _SET_KEY_TYPE), _number(found, _SET_DATA_TYPE)
    flags = _SET_INTERVAL | _SET_MAP
    if types != (_INET_SERVICE, _VERDICT_TYPE) or _number(found, _SET_FLAGS) != flags:
        return None
    beyond = (_SET_BEYOND_KEYS - {_SET_DATA_TYPE}) & found.keys()
    return text_of(found[_SET_NAME]) if _SET_NAME in found and not beyond else None


def read_lease(body: bytes) -> str | None:
    """The name of a lease; None for any other set."""
    found = _fields(body)
    shape = tuple(_number(found, kind) for kind in (_SET_KEY_TYPE, _SET_KEY_LEN, _SET_FLAGS))
    if shape != (_NFPROTO, 1, _SET_TIMEOUT) or _SET_BEYOND_KEYS & found.keys():
        return None
    return text_of(found[_SET_NAME]) if _SET_NAME in found else None


def read_name(body: bytes) -> str:
    """The name of a set, whatever its kind."""
    return text_of(_fields(body).get(_SET_NAME, b""))


@dataclass(frozen=True, slots=True)
class ObservedRule:
    """A rule in the kernel: where it stands, its handle, and how many packets it counted."""

    chain: str
    handle: int
    rule: Rule
    packets: int


def read_rule(body: bytes) -> ObservedRule:
    """A rule of ours, or one with a Foreign match when it cannot be understood."""
    found = _fields(body)
    name = _comment(found.get(_RULE_USERDATA))
    chain, handle = text_of(found.get(_RULE_CHAIN, b"")), number_of(found.get(_RULE_HANDLE, b""))
    try:
        pairs = [read(element) for _, element in attributes(found[_RULE_EXPRESSIONS])]
        rule = ex.decode(name, tuple(expr for expr, _ in pairs))
    except (ValueError, KeyError) as error:
        return ObservedRule(chain, handle, Rule(name, (Foreign(f"unreadable: {error!r}"[:200]),)), 0)
    return ObservedRule(chain, handle, rule, sum(packets for _, packets in pairs))


def _fields(body: bytes) -> Fields:
    """Attributes of a dumped message by number; ValueError when their lengths do not add up."""
    return dict(attributes(body[4:]))


def _number(found: Fields, kind: int) -> int | None:
    return number_of(found[kind]) if kind in found else None


def _comment(userdata: bytes | None) -> str:
    """The comment in user data: type 0, length, text with NUL."""
    if userdata and userdata[:1] == b"\0" and len(userdata) > len("tl"):
        return text_of(userdata[2 : 2 + userdata[1]])
    return ""
