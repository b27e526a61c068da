"""A Ruleset as the chains of iptables, for both families. PURE.

Laws:
1. A packet that reaches INPUT, FORWARD or OUTPUT gets the verdict that the Ruleset gives it at
   prerouting or postrouting.
2. What is accepted as local traffic is accepted for good, as the old droplan did it; what is forwarded
   or leaves only returns, so that the rules of others still judge it. Audit lets nothing past them.
3. What iptables cannot say of a Ruleset raises UnfitError: it is never left out.

A port is looked for in a chain of its protocol, which leads (goto) to the chain of those it is open
to; where there are many, through chains of groups. In a PASS lane nothing comes back from there, so
that RETURN leaves the lane; what no chain of a port allowed goes on in the lane's `rest`.
"""

from dataclasses import replace
from math import isqrt
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import (
    Action,
    Dispatch,
    Hook,
    HookPoint,
    Interface,
    Protocol,
    Transport,
    Verdict,
)

from .iptables_family import left_out, without
from .iptables_line import Line
from .iptables_names import ABOUT, BUILT_IN, INBOUND, LANES, OUTBOUND, Form
from .iptables_rules import DNAT, UnfitError, aimed, comment, lines, port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import PortEntry, Rule, Ruleset

    from .iptables_names import Lane

Table = dict[str, tuple["Line | None", ...]]
"""Our chains by name; of INPUT, FORWARD and OUTPUT all up to the last rule of ours (None: not ours)."""

HOOKS = {INBOUND: Hook(HookPoint.PREROUTING, -110), OUTBOUND: Hook(HookPoint.POSTROUTING, 90)}
"""Where a Ruleset judges; iptables gives the same verdicts elsewhere."""

PORTED = (Protocol.TCP, Protocol.UDP)
_GROUP = 16
"""Ports that are looked at one after the other, before they are worth chains of their own."""


def encode(ruleset: "Ruleset") -> dict[Family, Table]:
    """The tables of both families, or of the one that is not left out, naming ip sets. Raises UnfitError."""
    if ruleset.flags or INBOUND not in ruleset.chains:
        raise UnfitError("iptables holds only whole rulesets of droplan's own making")
    used = {INBOUND, OUTBOUND} & ruleset.chains.keys()
    used |= {name for lane in LANES if lane.model in ruleset.chains for name in _used(ruleset, lane)}
    if used != ruleset.chains.keys() | ruleset.maps.keys():
        raise UnfitError("chains or maps that iptables cannot hold")
    missing = left_out(ruleset)
    if missing and without(ruleset, missing) != ruleset:
        raise UnfitError("a family that is left out, and rules of it")
    return {family: _table(ruleset, family) for family in Family if family is not missing}


def _used(ruleset: "Ruleset", lane: "Lane") -> "Iterator[str]":
    """A lane's chains and maps in the Ruleset."""
    yield lane.model
    for rule in ruleset.chains[lane.model].rules:
        if isinstance(rule.verdict, Dispatch):
            yield rule.verdict.map
            yield from (chain for _, _, chain in _map(ruleset, rule))


def _map(ruleset: "Ruleset", rule: "Rule") -> "list[PortEntry]":
    """The entries of the map that a rule looks up, by port. Raises UnfitError."""
    name = rule.verdict.map if isinstance(rule.verdict, Dispatch) else ""
    found = ruleset.maps.get(name)
    if not found or not found.entries:
        raise UnfitError(f"a map without ports: {name}")
    return sorted(found.entries)


def _table(ruleset: "Ruleset", family: Family) -> Table:
    found: Table = {ABOUT: (Line(comment=comment(0, ruleset.comment)),)}
    for name in BUILT_IN:
        found[name] = tuple(_entries(ruleset, name))
    for lane in LANES:
        if lane.model in ruleset.chains:
            found |= {name: tuple(part) for name, part in _lane(ruleset, lane, family)}
    return found


def _entries(ruleset: "Ruleset", built_in: str) -> "Iterator[Line]":
    """Our rules at the top of a chain that the kernel enters."""
    for base in (INBOUND, OUTBOUND):
        chain = ruleset.chains.get(base)
        if chain is None:
            continue
        if chain.hook != HOOKS[base] or (base == OUTBOUND and not chain.rules):
            raise UnfitError(f"a base chain that iptables cannot hold: {base}")
        for number, rule in enumerate(chain.rules):
            yield from _entry(rule, number, built_in, outbound=base == OUTBOUND)


def _entry(rule: "Rule", number: int, built_in: str, *, outbound: bool) -> "Iterator[Line]":
    match rule.matches, rule.verdict:
        # To iptables a plus at the end of a name is any ending.
        case (Interface(device, way),), Verdict(Action.GOTO, str(entered)) if way is outbound:
            lanes = [lane for lane in LANES if lane.model == entered and lane.inbound is not outbound]
            if lanes and not device.endswith("+") and not rule.counter and not rule.log:
                about = comment(number, rule.name)
                made = (
                    Line(comment=about, outbound=device) if outbound else Line(comment=about, inbound=device)
                )
                yield from (
                    replace(made, target=lane.main) for lane in lanes if built_in in lane.entered_from
                )
                return
    raise UnfitError(f"a rule that iptables cannot hold: {rule.name}")


def _lane(ruleset: "Ruleset", lane: "Lane", family: Family) -> "Iterator[tuple[str, list[Line]]]":
    """Its chains, by name."""
    rules = list(enumerate(ruleset.chains[lane.model].rules))
    cut = max((number + 1 for number, rule in rules if isinstance(rule.verdict, Dispatch)), default=0)
    on = _on(lane) if cut and lane.form is Form.PASS else []
    if on:
        yield lane.rest, [line for number, rule in rules[cut:] for line in lines(rule, number, lane, family)]
        rules = rules[:cut]
    yield lane.main, [line for number, rule in rules for line in _lines(rule, number, lane, family)] + on
    parts: dict[str, None] = {}
    for number, rule in rules:
        if isinstance(rule.verdict, Dispatch):
            entries = _map(ruleset, rule)
            yield from _ports(rule, number, entries, lane, on)
            parts |= {chain: None for _, _, chain in entries}
    for name in parts:
        inner = enumerate(ruleset.chains[name].rules)
        found = [line for number, rule in inner for line in lines(rule, number, lane, family)]
        yield lane.part(name), found + on


def _on(lane: "Lane") -> list[Line]:
    """What no chain of a port allowed is judged by the rest."""
    return [Line(lane.rest, comment(0, "on"), goto=True)]


def _lines(rule: "Rule", number: int, lane: "Lane", family: Family) -> "Iterator[Line]":
    if not isinstance(rule.verdict, Dispatch):
        yield from lines(rule, number, lane, family)
        return
    protocol, about = _dispatched(rule, lane), comment(number, rule.name)
    name = protocol.name.lower()
    plain = Line(lane.ports(name, natted=False), about, protocol=protocol.value, goto=lane.form is Form.PASS)
    if not lane.inbound:
        yield plain
        return
    yield replace(plain, states=DNAT, other_states=True)
    yield replace(plain, target=lane.ports(name, natted=True), states=DNAT)


def _dispatched(rule: "Rule", lane: "Lane") -> Protocol:
    """The protocol whose ports a rule looks up. Raises UnfitError."""
    match rule.matches, rule.verdict:
        case (Transport(protocol, None, None),), Dispatch(name) if (
            protocol in PORTED
            and name == map_name(lane.model, protocol)
            and not rule.counter
            and not rule.log
        ):
            return protocol
    raise UnfitError(f"a rule that iptables cannot hold: {rule.name}")


def map_name(model: str, protocol: Protocol) -> str:
    """What the map of a chain's ports is called."""
    return f"{model}-{protocol.name.lower()}"


def _ports(
    rule: "Rule", number: int, entries: "list[PortEntry]", lane: "Lane", on: "list[Line]"
) -> "Iterator[tuple[str, list[Line]]]":
    """The chains that look at the ports of one protocol."""
    protocol = _dispatched(rule, lane)
    plain = Line(comment=comment(number, rule.name), goto=True, protocol=protocol.value)
    for natted in (False, True) if lane.inbound else (False,):
        top = lane.ports(protocol.name.lower(), natted=natted)
        found = [
            aimed(replace(plain, target=lane.part(chain)), (first, last), natted=natted)
            for first, last, chain in entries
        ]
        yield from _grouped(top, found, on)


def _grouped(top: str, found: "list[Line]", on: "list[Line]") -> "Iterator[tuple[str, list[Line]]]":
    if len(found) <= _GROUP:
        yield top, found + on
        return
    size, above = max(_GROUP, isqrt(len(found))), []
    for start in range(0, len(found), size):
        group = found[start : start + size]
        natted = group[0].original is not None
        (first, _), (_, last) = port(group[0]), port(group[-1])
        above.append(aimed(replace(group[0], target=f"{top}-{start // size}"), (first, last), natted=natted))
        yield above[-1].target, group + on
    yield top, above + on
