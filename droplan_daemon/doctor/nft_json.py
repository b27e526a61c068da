"""Chains in what `nft --json list ruleset` prints. PURE.

Law: whatever the text holds, reading it gives chains or none; what is not understood makes a rule
conditional, so that nothing is claimed about it.

Source: libnftables-json(5).
"""

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from .facts import Chain, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OURS = ("inet", "droplan")
_ABOUT_LINKS = frozenset({"iifname", "iif", "oifname", "oif"})
_INERT = frozenset({"counter", "log", "limit", "comment"})
_VERDICTS = frozenset({"accept", "drop", "return"})
_COMPATIBLE = frozenset({"ip", "ip6"})


def chains(text: str, *, but: frozenset[tuple[str, str]] = frozenset()) -> tuple[Chain, ...]:
    """Every chain but those of our own table and of the tables in `but`, as (family, name)."""
    found: list[Mapping[str, Any]] = []
    rules: dict[tuple[str, str, str], list[Rule]] = defaultdict(list)
    for kind, body in _objects(text):
        table = str(body.get("family")), str(body.get("table"))
        if table == OURS or table in but:
            continue
        if kind == "chain":
            found.append(body)
        elif kind == "rule":
            rules[*table, str(body.get("chain"))].append(_rule(body.get("expr")))
    return tuple(_chain(body, rules) for body in found)


def _objects(text: str) -> "Iterator[tuple[str, Mapping[str, Any]]]":
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return
    listed = whole.get("nftables") if isinstance(whole, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        for kind, body in entry.items() if isinstance(entry, dict) else ():
            if isinstance(body, dict):
                yield kind, body


def _chain(body: "Mapping[str, Any]", rules: "Mapping[tuple[str, str, str], list[Rule]]") -> Chain:
    family, table, name = (str(body.get(key)) for key in ("family", "table", "name"))
    priority = body.get("prio")
    return Chain(
        holder=f"table {family} {table}",
        name=name,
        hook=str(body.get("hook") or ""),
        priority=priority if isinstance(priority, int) else 0,
        policy=str(body.get("policy") or "accept"),
        rules=tuple(rules.get((family, table, name), ())),
    )


def _rule(expressions: object) -> Rule:
    links: tuple[str, ...] = ()
    others = conditional = new = False
    verdict = target = ""
    for expression in expressions if isinstance(expressions, list) else (None,):
        kind, body = _first(expression)
        if kind in _VERDICTS or kind == "reject":
            verdict = "drop" if kind == "reject" else kind
        elif kind in {"jump", "goto"} and isinstance(body, dict):
            verdict, target = kind, str(body.get("target"))
        elif kind == "match" and not links and (named := _links(body)) is not None:
            links, others = named
        elif kind == "match" and _is_new(body):
            new = True
        elif kind not in _INERT or kind == "limit":
            conditional = True
    # What drops every new connection drops what we let in; what accepts only those, accepts them.
    return Rule(verdict, target, links, others, conditional=conditional or (new and verdict == "accept"))


def _first(expression: object) -> tuple[str, object]:
    if isinstance(expression, dict) and len(expression) == 1:
        return next((str(kind), body) for kind, body in expression.items())
    return "", None


def _links(body: object) -> tuple[tuple[str, ...], bool] | None:
    """The interfaces that a match names, and whether all others are meant; None: it is about more."""
    if not isinstance(body, dict) or body.get("op") not in {"==", "!=", "in"}:
        return None
    meta = body.get("left")
    key = meta.get("meta", {}) if isinstance(meta, dict) else {}
    if not isinstance(key, dict) or key.get("key") not in _ABOUT_LINKS:
        return None
    right = body.get("right")
    listed = right.get("set") if isinstance(right, dict) else [right]
    if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
        return None
    if any(name.startswith("@") for name in listed):
        return None
    return tuple(listed), body["op"] == "!="


def _is_new(body: object) -> bool:
    """Whether a match lets every new connection through."""
    if not isinstance(body, dict) or body.get("left") != {"ct": {"key": "state"}}:
        return False
    right = body.get("right")
    listed = right.get("set", ()) if isinstance(right, dict) else right
    return body.get("op") in {"in", "=="} and (
        "new" in listed if isinstance(listed, list) else listed == "new"
    )
