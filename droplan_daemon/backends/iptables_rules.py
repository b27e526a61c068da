"""One Rule as lines of iptables, and back. PURE.

Laws:
1. `rule(number, lines(...)) == ` the Rule, for every Rule that does not raise UnfitError.
2. A rule about one family has lines in that family alone.
3. The destination port of what comes in is the sender's: where a connection was translated
   (DNAT), the one before it. What has no connection (invalid, untracked) is judged by its own.

A comment is `droplan NUMBER NAME`, with ` at RATE` behind it where a rate is limited: iptables
keeps rates only roughly.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.policy import Rate, Unit
from droplan_daemon.model.ruleset import (
    Action,
    CtState,
    From,
    Icmp,
    Log,
    Protocol,
    Reply,
    Rule,
    State,
    To,
    Transport,
    Verdict,
)

from .ipset_shape import kernel_name, ruleset_name
from .iptables_line import MARK, Line
from .iptables_names import Form

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from droplan_daemon.model.ruleset import Match

    from .iptables_line import Span
    from .iptables_names import Lane

DENIED = "denied"
"""The rule that ends a place. In audit it accepts, and that must not keep others from judging."""

DNAT = frozenset({"DNAT"})
_LONGEST_PREFIX, _LONGEST_COMMENT = 29, 255
_COMMENT = re.compile(r"droplan (\d+) (.*)", re.DOTALL)
_STATES = {state.name: state for state in CtState}
_ICMP = {Family.IPV4: Protocol.ICMP, Family.IPV6: Protocol.ICMPV6}
_SCALE = 10_000  # XT_LIMIT_SCALE
_MOST_CREDIT = 86_400 * _SCALE  # beyond it the kernel's own arithmetic overflows
_SECONDS = {Unit.DAY: 86_400, Unit.HOUR: 3_600, Unit.MINUTE: 60, Unit.SECOND: 1}
_UNITS = {"day": 86_400, "hour": 3_600, "min": 60, "sec": 1}
_BURST = 5  # XT_LIMIT_BURST, and what nftables gives


class UnfitError(ValueError):
    """A Ruleset, or a part of one, that iptables cannot hold; or lines that are no rule of ours."""


def comment(number: int, name: str, rate: "Rate | None" = None) -> str:
    """What the lines of a rule carry. Raises UnfitError for a name that is too long."""
    text = f"{MARK}{number} {name}" + (f" at {rate}" if rate else "")
    if len(text.encode()) > _LONGEST_COMMENT:
        raise UnfitError(f"too long for a comment of iptables: {name[:60]}")
    return text


def place_of(line: Line) -> tuple[int, str]:
    """Number and name of the rule that a line belongs to. Raises UnfitError."""
    found = _COMMENT.fullmatch(line.comment)
    if found is None:
        raise UnfitError(line.comment)
    name = found[2].rsplit(" at ", 1)[0] if line.limit else found[2]
    return int(found[1]), name


def lines(rule: "Rule", number: int, lane: "Lane", family: Family) -> "Iterator[Line]":
    """The lines of a rule that ends in a verdict or a log line. Raises UnfitError."""
    if rule.counter is not isinstance(rule.verdict, Verdict):
        raise UnfitError(f"iptables counts by verdicts: {rule.name}")
    found = [_ending(rule, number, lane)]
    for match in rule.matches:
        found = [more for line in found for more in _narrowed(line, match, lane, family)]
    yield from found


def _ending(rule: "Rule", number: int, lane: "Lane") -> Line:
    match rule.verdict, rule.log:
        case Verdict(Action.ACCEPT), None:
            passing = lane.form is Form.PASS or (rule.name == DENIED and not rule.matches)
            return Line((Form.PASS if passing else lane.form).value, comment(number, rule.name))
        case Verdict(Action.DROP), None:
            return Line("DROP", comment(number, rule.name))
        case None, Log(prefix, rate) if len(prefix.encode()) <= _LONGEST_PREFIX:
            text, burst = limit(rate) if rate else ("", _BURST)
            about = comment(number, rule.name, rate)
            return Line("LOG", about, limit=text, burst=burst, prefix=prefix)
    raise UnfitError(f"a rule that iptables cannot hold: {rule.name}")


def _narrowed(line: Line, match: "Match", lane: "Lane", family: Family) -> "Iterator[Line]":
    """The lines that say the same and one condition more; none when it is about the other family."""
    match match:
        case State(states) if states:
            yield replace(line, states=frozenset(state.name for state in states))
        case Reply():
            yield replace(line, reply=True)
        case From(name, about) | To(name, about):
            if about is family:
                side = "src" if isinstance(match, From) else "dst"
                yield replace(line, set=_set(name), side=side)
        case Icmp(about, first, last):
            for kind in range(first, last + 1) if about is family else ():
                yield replace(line, protocol=_ICMP[about].value, icmp=kind)
        case Transport(protocol, source, destination):
            known = replace(line, protocol=protocol.value, source=source)
            yield from at_port(known, destination, lane)
        case _:
            raise UnfitError(f"a condition that iptables cannot hold: {match}")


def _set(name: str) -> str:
    try:
        return kernel_name(name)
    except ValueError as error:
        raise UnfitError(str(error)) from error


def at_port(line: Line, span: "Span | None", lane: "Lane") -> "Iterator[Line]":
    """The same for a destination port: of the sender, where the lane is about what comes in."""
    if span is None:
        yield line
    elif not lane.inbound:
        yield replace(line, destination=span)
    elif line.states:
        raise UnfitError("a port and a state in one rule, which iptables has one test for")
    else:
        yield aimed(replace(line, states=DNAT, other_states=True), span, natted=False)
        yield aimed(replace(line, states=DNAT), span, natted=True)


def aimed(line: Line, span: "Span", *, natted: bool) -> Line:
    """The same, for this destination port: the packet's own, or the one before DNAT."""
    if natted:
        return replace(line, destination=None, original=span)
    return replace(line, destination=span, original=None)


def port(line: Line) -> "Span":
    """The destination port of a line; every port for one that names none."""
    return line.destination or line.original or (0, 65535)


def rule(found: "Sequence[Line]", family: "Family | None") -> "Rule":
    """The Rule of these lines of one number, without a look at ports; `family` None: of both.

    Raises UnfitError. What the lines say beyond it shows when the Rule is written again.
    """
    line = found[0]
    if line.range:
        raise UnfitError("addresses in a rule that should name a set")
    _, name = place_of(line)
    matches = tuple(_matches(line, found, family))
    if line.target == "LOG":
        log = Log(line.prefix, _rate(line.comment) if line.limit else None)
        return Rule(name, matches, log=log)
    return Rule(name, matches, counter=True, verdict=Verdict(_action(line.target)))


def _action(target: str) -> Action:
    match target:
        case "ACCEPT" | "RETURN":
            return Action.ACCEPT
        case "DROP":
            return Action.DROP
    raise UnfitError(target)


def _matches(line: Line, found: "Sequence[Line]", family: "Family | None") -> "Iterator[Match]":
    if line.states and line.states != DNAT:
        yield State(frozenset(_state(name) for name in line.states))
    if line.reply:
        yield Reply()
    if line.set:
        name = ruleset_name(line.set)
        if name is None or family is None:
            raise UnfitError(line.set)
        yield From(name, family) if line.side == "src" else To(name, family)
    kinds = [one.icmp for one in found if one.icmp is not None]
    if kinds and family:
        yield Icmp(family, min(kinds), max(kinds))
    elif line.protocol:
        yield Transport(_protocol(line.protocol), line.source, line.destination or line.original)


def _state(name: str) -> CtState:
    if name not in _STATES:
        raise UnfitError(name)
    return _STATES[name]


def _protocol(number: int) -> Protocol:
    try:
        return Protocol(number)
    except ValueError as error:
        raise UnfitError(str(error)) from error


def _rate(about: str) -> Rate:
    """The rate that a comment ends in."""
    count, _, unit = about.rsplit(" at ", 1)[-1].partition("/")
    try:
        return Rate(int(count), Unit(unit))
    except ValueError as error:
        raise UnfitError(about) from error


def limit(rate: Rate) -> tuple[str, int]:
    """A rate as iptables-save will print it, and its burst; beyond 10,000 a second it is that.

    Source: libxt_limit.c. iptables keeps the pause between two packets, in 1/10,000 s.
    """
    pause = max(_SECONDS[rate.unit] * _SCALE // rate.count, 1)
    while (again := _pause(_printed(pause))) != pause:
        pause = again
    return _printed(pause), min(_BURST, _MOST_CREDIT // pause)


def _printed(pause: int) -> str:
    """In the smallest unit that says it without a remainder worth mentioning."""
    found = f"{_UNITS['day'] * _SCALE // pause}/day"
    for name, seconds in list(_UNITS.items())[1:]:
        period = seconds * _SCALE
        if pause > period or period // pause < period % pause:
            break
        found = f"{period // pause}/{name}"
    return found


def _pause(text: str) -> int:
    count, _, unit = text.partition("/")
    return _UNITS[unit] * _SCALE // int(count)
