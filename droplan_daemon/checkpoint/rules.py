"""A Ruleset as JSON values and back. PURE.

Laws:
1. `read_ruleset(ruleset_value(r)) == r` for every Ruleset that droplan keeps. What it does not
   (`Foreign`, and what holds for a while: `Armed`) has no value: nobody wants it back.
2. Reading gives a Ruleset, or ValueError or TypeError or LookupError; `codec` makes one error of them.
"""

from typing import TYPE_CHECKING, Any

from droplan_daemon.model.addresses import Family, format_address, parse_address
from droplan_daemon.model.policy import Rate, Unit
from droplan_daemon.model.ruleset import (
    Action,
    AddressSet,
    Armed,
    Chain,
    CtState,
    Dispatch,
    Foreign,
    From,
    Hook,
    HookPoint,
    Icmp,
    Interface,
    Log,
    PortMap,
    Protocol,
    Reply,
    Rule,
    Ruleset,
    SetKind,
    State,
    To,
    Transport,
    Verdict,
    ruleset,
)

from .values import flag, items, maybe, number, row, text

if TYPE_CHECKING:
    from droplan_daemon.model.addresses import Element
    from droplan_daemon.model.ruleset import Match

_PORT = 65535


def ruleset_value(found: Ruleset) -> dict[str, Any]:
    """JSON values: rows in the order of their names."""
    return {
        "comment": found.comment,
        "flags": sorted(found.flags),
        "sets": [_set_value(one) for one in found.sets.values()],
        "maps": [[one.name, sorted(map(list, one.entries))] for one in found.maps.values()],
        "chains": [_chain_value(one) for one in found.chains.values()],
    }


def read_ruleset(value: dict[str, Any]) -> Ruleset:
    """The Ruleset of these values."""
    sets = tuple(_read_set(one) for one in items(value["sets"]))
    chains = tuple(_read_chain(one) for one in items(value["chains"]))
    maps = tuple(_read_map(one) for one in items(value["maps"]))
    found = ruleset(sets, chains, text(value["comment"], least=0), maps)
    if (len(found.sets), len(found.chains), len(found.maps)) != (len(sets), len(chains), len(maps)):
        raise ValueError("a name twice")
    flags = frozenset(text(one) for one in items(value["flags"]))
    return Ruleset(found.sets, found.chains, flags, found.comment, found.maps)


def _set_value(one: AddressSet) -> list[Any]:
    elements = [_element_text(element, one.family.width) for element in sorted(one.elements)]
    return [one.name, one.family, one.kind, one.capacity, elements]


def _read_set(value: object) -> AddressSet:
    name, family_value, kind_value, capacity, elements = row(value, 5)
    family, kind = Family(number(family_value)), SetKind(text(kind_value))
    read = _host if kind is SetKind.HOSTS else _range
    found = frozenset(read(text(one), family) for one in items(elements))
    return AddressSet(text(name), family, kind, number(capacity, 0, 1 << 31), found)


def _element_text(element: "Element", width: int) -> str:
    return "-".join(format_address(element[at : at + width]) for at in range(0, len(element), width))


def _host(written: str, family: Family) -> "Element":
    return parse_address(written, family)


def _range(written: str, family: Family) -> "Element":
    first, _, last = written.partition("-")
    return parse_address(first, family) + parse_address(last, family)


def _read_map(value: object) -> PortMap:
    name, entries = row(value, 2)
    rows = [row(one, 3) for one in items(entries)]
    found = ((number(a, 0, _PORT), number(b, 0, _PORT), text(chain)) for a, b, chain in rows)
    return PortMap(text(name), frozenset(found))


def _chain_value(one: Chain) -> list[Any]:
    hook = one.hook and [one.hook.point, one.hook.priority, one.hook.policy, one.hook.kind]
    return [one.name, hook, [_rule_value(rule) for rule in one.rules]]


def _read_chain(value: object) -> Chain:
    name, hook, rules = row(value, 3)
    return Chain(text(name), maybe(_read_hook, hook), tuple(_read_rule(one) for one in items(rules)))


def _read_hook(value: object) -> Hook:
    point, priority, policy, kind = row(value, 4)
    return Hook(
        HookPoint(text(point)), number(priority, -(1 << 31), 1 << 31), Action(text(policy)), text(kind)
    )


def _rule_value(rule: Rule) -> list[Any]:
    matches = [_match_value(one) for one in rule.matches]
    return [rule.name, matches, rule.counter, rule.log and _log_value(rule.log), _verdict_value(rule.verdict)]


def _read_rule(value: object) -> Rule:
    name, matches, counter, log, verdict = row(value, 5)
    return Rule(
        text(name, least=0),
        tuple(_read_match(one) for one in items(matches)),
        flag(counter),
        maybe(_read_log, log),
        maybe(_read_verdict, verdict),
    )


def _log_value(log: Log) -> list[Any]:
    return [log.prefix, log.rate and [log.rate.count, log.rate.unit]]


def _read_log(value: object) -> Log:
    prefix, rate = row(value, 2)
    return Log(text(prefix, least=0), maybe(_read_rate, rate))


def _read_rate(value: object) -> Rate:
    count, unit = row(value, 2)
    return Rate(number(count), Unit(text(unit)))


def _verdict_value(verdict: Verdict | Dispatch | None) -> list[Any] | None:
    if verdict is None:
        return None
    return ["map", verdict.map] if isinstance(verdict, Dispatch) else [verdict.action, verdict.chain]


def _read_verdict(value: object) -> Verdict | Dispatch:
    action, name = row(value, 2)
    if action == "map":
        return Dispatch(text(name))
    return Verdict(Action(text(action)), maybe(text, name))


def _match_value(match: "Match") -> list[Any]:
    found: list[Any]
    match match:
        case Interface(name, outbound):
            found = ["interface", name, outbound]
        case State(states):
            found = ["state", *sorted(states)]
        case Reply():
            found = ["reply"]
        case From(name, family):
            found = ["from", name, family]
        case To(name, family):
            found = ["to", name, family]
        case Transport(protocol, source, destination):
            found = ["transport", protocol, source, destination]
        case Icmp(family, first, last):
            found = ["icmp", family, first, last]
        case Armed() | Foreign():
            raise ValueError("what is not ours is not kept")
    return found


def _read_match(value: object) -> "Match":
    match items(value):
        case ["interface", name, outbound]:
            return Interface(text(name), flag(outbound))
        case ["state", *states]:
            return State(frozenset(CtState(number(one)) for one in states))
        case ["reply"]:
            return Reply()
        case ["from", name, family]:
            return From(text(name), Family(number(family)))
        case ["to", name, family]:
            return To(text(name), Family(number(family)))
        case ["transport", protocol, source, destination]:
            return Transport(Protocol(number(protocol)), maybe(_span, source), maybe(_span, destination))
        case ["icmp", family, first, last]:
            return Icmp(Family(number(family)), number(first, 0, 255), number(last, 0, 255))
    raise ValueError("an unknown match")


def _span(value: object) -> tuple[int, int]:
    first, last = row(value, 2)
    return number(first, 0, _PORT), number(last, 0, _PORT)
