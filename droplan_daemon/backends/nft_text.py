"""A Ruleset as an nft script: what a person reads and what boot loads. PURE.

Law: loaded with `nft -f`, the script gives the kernel exactly what the daemon would write
over netlink; a test loads both and compares. The script replaces our table as a whole, in
one transaction, whether it was there or not.

Source: nft(8).
"""

from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, format_element
from droplan_daemon.model.ruleset import (
    Action,
    Armed,
    CtState,
    Dispatch,
    Foreign,
    From,
    Icmp,
    Interface,
    Match,
    Reply,
    SetKind,
    State,
    To,
    Transport,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import AddressSet, Chain, Hook, Log, PortMap, Rule, Ruleset, Verdict

_IP = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_ICMP = {Family.IPV4: "icmp", Family.IPV6: "icmpv6"}
_TYPE = {Family.IPV4: "ipv4_addr", Family.IPV6: "ipv6_addr"}
_STATE_ORDER = (CtState.INVALID, CtState.ESTABLISHED, CtState.RELATED, CtState.NEW, CtState.UNTRACKED)
_WIDTH = 100


def render(ruleset: "Ruleset | None", table: str) -> str:
    """The script; without a Ruleset, the one that removes the table."""
    head = f"table inet {table}\ndelete table inet {table}\n"
    if ruleset is None:
        return head
    parts = ["\n".join(_table_head(ruleset))] if ruleset.comment or ruleset.flags else []
    parts += ["\n".join(_set(item)) for item in ruleset.sets.values()]
    parts += ["\n".join(_lease(name)) for name in sorted(ruleset.leases)]
    parts += ["\n".join(_map(item)) for item in ruleset.maps.values()]
    parts += ["\n".join(_chain(chain)) for chain in ruleset.chains.values()]
    body = "\n\n".join(part for part in parts if part)
    return f"{head}table inet {table} {{\n{body}\n}}\n"


def _table_head(ruleset: "Ruleset") -> "Iterator[str]":
    if ruleset.comment:
        yield f'\tcomment "{ruleset.comment}"'
    if ruleset.flags:
        yield f"\tflags {', '.join(sorted(ruleset.flags))}"


def _set(item: "AddressSet") -> "Iterator[str]":
    yield f"\tset {item.name} {{"
    yield f"\t\ttype {_TYPE[item.family]}"
    if item.capacity:
        yield f"\t\tsize {item.capacity}"
    if item.kind is SetKind.RANGES:
        yield "\t\tflags interval"
    if item.elements:
        texts = [format_element(element, item.family) for element in sorted(item.elements)]
        yield from _wrapped("\t\telements = { ", texts, " }")
    yield "\t}"


def _lease(name: str) -> "Iterator[str]":
    """A script arms nothing: what it loads is what holds when the lease has run out."""
    yield f"\tset {name} {{"
    yield "\t\ttype nf_proto"
    yield "\t\tflags timeout"
    yield "\t}"


def _map(item: "PortMap") -> "Iterator[str]":
    yield f"\tmap {item.name} {{"
    yield "\t\ttype inet_service : verdict"
    yield "\t\tflags interval"
    if item.entries:
        texts = [f"{_span((first, last))} : jump {chain}" for first, last, chain in sorted(item.entries)]
        yield from _wrapped("\t\telements = { ", texts, " }")
    yield "\t}"


def _wrapped(opening: str, texts: list[str], closing: str) -> "Iterator[str]":
    line, indent = opening, "\t\t\t     "
    for number, text in enumerate(texts):
        piece = text + (closing if number == len(texts) - 1 else ", ")
        if len(line.expandtabs(8)) + len(piece) > _WIDTH and line != opening:
            yield line.rstrip()
            line = indent
        line += piece
    yield line


def _chain(chain: "Chain") -> "Iterator[str]":
    yield f"\tchain {chain.name} {{"
    if chain.hook:
        yield f"\t\t{_hook(chain.hook)}"
    for rule in chain.rules:
        yield f"\t\t{rule_text(rule)}"
    yield "\t}"


def _hook(hook: "Hook") -> str:
    return f"type {hook.kind} hook {hook.point} priority {hook.priority}; policy {hook.policy};"


def rule_text(rule: "Rule") -> str:
    """One rule as nft writes it."""
    if isinstance(rule.verdict, Dispatch):
        return _dispatch(rule, rule.verdict)
    words = [_match(item) for item in rule.matches]
    if rule.counter:
        words.append("counter")
    if rule.log:
        words.append(_log(rule.log))
    if rule.verdict:
        words.append(_verdict(rule.verdict))
    return " ".join([*words, f'comment "{rule.name}"'])


def _dispatch(rule: "Rule", verdict: Dispatch) -> str:
    """The protocol, which is the last match, is said by the port: `tcp dport vmap @ports`."""
    *others, last = rule.matches
    protocol = last.protocol.name.lower() if isinstance(last, Transport) else "th"
    words = [*map(_match, others), f"{protocol} dport vmap @{verdict.map}"]
    return " ".join([*words, f'comment "{rule.name}"'])


def _match(item: Match) -> str:
    match item:
        case Interface(name, outbound):
            exact = name.replace("*", "\\*")  # to nft(8) a bare asterisk at the end is any ending
            return f'{"oifname" if outbound else "iifname"} "{exact}"'
        case State(states):
            return f"ct state {','.join(s.name.lower() for s in _STATE_ORDER if s in states)}"
        case Reply():
            return "ct direction reply"
        case From(name, family):
            return f"{_IP[family]} saddr @{name}"
        case To(name, family):
            return f"{_IP[family]} daddr @{name}"
        case Icmp(family, first, last):
            return f"{_ICMP[family]} type {_span((first, last))}"
        case Transport():
            return _transport(item)
        case Armed(lease):
            return f"meta nfproto @{lease}"
        case Foreign(description):
            return f"# not ours: {description}"


def _transport(item: Transport) -> str:
    protocol = item.protocol.name.lower()
    spans = (("sport", item.source), ("dport", item.destination))
    ports = [f"{protocol} {word} {_span(span)}" for word, span in spans if span]
    return " ".join(ports) or f"meta l4proto {'ipv6-icmp' if protocol == 'icmpv6' else protocol}"


def _span(span: tuple[int, int]) -> str:
    first, last = span
    return str(first) if first == last else f"{first}-{last}"


def _log(log: "Log") -> str:
    limit = f"limit rate {log.rate} " if log.rate else ""
    return f'{limit}log prefix "{log.prefix}"'


def _verdict(verdict: "Verdict") -> str:
    if verdict.action in {Action.JUMP, Action.GOTO}:
        return f"{verdict.action} {verdict.chain}"
    return str(verdict.action)
