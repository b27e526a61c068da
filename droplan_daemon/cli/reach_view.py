"""What a Plan means for people: who gains or loses which ports here, and which open connections it cuts.

Laws:
1. Everybody is called by the name of their Droplet, at their address on that interface; who has none
   is an address, a range, or anybody.
2. Those who gain or lose the same are told in one line. Prints nothing, and decides nothing.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import Fatal
from droplan_daemon.model.addresses import Family, family_of, format_address, format_element
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Lifeline
from droplan_daemon.model.ruleset import Action, Verdict
from droplan_daemon.plaintext import cut as shortened
from droplan_daemon.plaintext import escape
from droplan_daemon.policy.compile import DENIED
from droplan_daemon.policy.openings import EXCEPT, labels, of_port_range
from droplan_daemon.policy.reach import Spot, cut, reach, shifts
from droplan_daemon.policy.space import complement, everything, intersection, space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from droplan_daemon.effects import Connections
    from droplan_daemon.model.connection import Connection
    from droplan_daemon.model.ruleset import Rule, Ruleset
    from droplan_daemon.outcomes import Prospect, World
    from droplan_daemon.policy.openings import Openings
    from droplan_daemon.policy.reach import Grant, Reach
    from droplan_daemon.policy.space import Space

_MOST = 6
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class Turn:
    """`who` (names) gain (`gains`) or lose `openings` at a Spot."""

    spot: Spot
    gains: bool
    openings: "Openings"
    who: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a Plan changes for people.

    `judged` are Spots where droplan judges from now on (then everybody's gains there are all that
    gets through), `released` where no longer. `cut` is None where the open connections are not
    known; `silence` says why, when they were asked for. In audit everything gets through; what is told
    is what would get through if it were enforced, and `mode` says so (empty: enforced before and after).
    """

    judged: tuple[Spot, ...]
    released: tuple[Spot, ...]
    turns: tuple[Turn, ...]
    cut: "tuple[Connection, ...] | None" = None
    silence: str = ""
    mode: str = ""


def meaning(
    prospect: "Prospect", connections: "Connections | None", held: "Ruleset | None" = None
) -> Meaning:
    """What the Plan of a Prospect means; `connections` None: do not ask for them.

    `held` is what is enforced in another form, or by another Backend, until this one stands.
    """
    observed, desired = held or prospect.observation.ruleset, prospect.world.desired
    before, after = reach(as_enforced(observed)), reach(as_enforced(desired))
    judged, released = after.keys() - before.keys(), before.keys() - after.keys()
    compared = {spot: _worth_telling(grants, after.get(spot, ())) for spot, grants in before.items()}
    compared |= dict.fromkeys(judged, ())
    told = {spot: _worth_telling(after[spot], before.get(spot, after[spot])) for spot in after}
    turns = tuple(_turns(compared, told, _Names(prospect.world)))
    found, silence = _cut(prospect.world, connections, reach(observed), reach(desired))
    return Meaning(_sorted(judged), _sorted(released), turns, found, silence, _mode(observed, desired))


def as_enforced(one: "Ruleset | None") -> "Ruleset | None":
    """A Ruleset in which what is only counted in audit is dropped."""
    if one is None:
        return None
    chains = {
        name: replace(chain, rules=tuple(map(_dropping, chain.rules))) for name, chain in one.chains.items()
    }
    return replace(one, chains=chains)


def _dropping(rule: "Rule") -> "Rule":
    return replace(rule, verdict=Verdict(Action.DROP)) if rule.name == DENIED else rule


def _mode(observed: "Ruleset | None", desired: "Ruleset") -> str:
    if as_enforced(desired) != desired:
        return "mode audit: nothing is dropped; enforced, it would be so:"
    if observed is not None and as_enforced(observed) != observed:
        return "! audit ends: what no rule allows is dropped from now on"
    return ""


def _worth_telling(grants: "tuple[Grant, ...]", others: "tuple[Grant, ...]") -> "tuple[Grant, ...]":
    """What keeps a network alive goes without saying, where it stays as it is."""
    return tuple(one for one in grants if one.name not in set(Lifeline) or one not in others)


def _sorted(spots: "set[Spot]") -> tuple[Spot, ...]:
    return tuple(sorted(spots, key=lambda one: (one.interface, one.outbound)))


def _cut(
    world: "World", connections: "Connections | None", before: "Reach", after: "Reach"
) -> "tuple[tuple[Connection, ...] | None, str]":
    if connections is None:
        return None, ""
    try:
        open_now = connections.open_now()
    except Fatal as error:
        return None, str(error)
    return cut(open_now, world.host, world.own, before, after), ""


def _turns(before: "Reach", after: "Reach", names: "_Names") -> "Iterator[Turn]":
    found: defaultdict[tuple[Spot, bool, Openings], dict[str, None]] = defaultdict(dict)
    for shift in shifts(before, after):
        who = dict.fromkeys(names.of(shift.spot, shift.family, shift.where))
        for gains, openings in ((True, shift.gained), (False, shift.lost)):
            if openings:
                found[shift.spot, gains, openings].update(who)
    for (spot, gains, openings), everybody in found.items():
        yield Turn(spot, gains, openings, tuple(everybody))


class _Names:
    """Who has the addresses that a Spot sees."""

    def __init__(self, world: "World") -> None:
        kinds = {world.host.interface(kind): kind for kind in InterfaceKind}
        self._kinds: Mapping[str | None, InterfaceKind] = kinds
        self._sorted = {
            (kind, family): sorted(
                (int.from_bytes(address, "big"), droplet.name)
                for droplet in world.fleet.droplets
                for address in droplet.addresses(kind)
                if family_of(address) is family
            )
            for kind in InterfaceKind
            for family in Family
        }

    def of(self, spot: Spot, family: Family, where: "Space") -> list[str]:
        """Names of Droplets, then addresses that are nobody's."""
        known = self._sorted.get((self._kinds.get(spot.interface, InterfaceKind.PUBLIC), family), [])
        others = intersection(where, complement(space((n, n) for n, _ in known), family))
        (whole,) = everything(family)
        if sum(last - first + 1 for first, last in others) > (whole[1] + 1) // 2:
            return ["anybody"]
        names = [name for span in where for name in _within(known, span)]
        return [*names, *(span_text(span, family) for span in others)]


def _within(known: "list[tuple[int, str]]", span: tuple[int, int]) -> "Iterator[str]":
    start, end = bisect_left(known, (span[0], "")), bisect_right(known, (span[1] + 1, ""))
    return (name for _, name in known[start:end])


def span_text(span: tuple[int, int], family: Family) -> str:
    """Addresses of a family, from the first to the last, as an address, a prefix or a range."""
    first, last = (number.to_bytes(family.width, "big") for number in span)
    return format_element(first if first == last else first + last, family)


def lines(found: Meaning) -> "Iterator[str]":
    """For people."""
    if found.mode:
        yield found.mode
    for spot in found.released:
        yield f"{_place(spot)} is judged no longer: everything gets through"
    for spot in found.judged:
        yield f"{_place(spot)} is judged from now on; it lets through, beside what keeps the network alive:"
        turns = [turn for turn in found.turns if turn.spot == spot]
        yield from (f"  + {_listed(turn.who)}: {_words(turn.openings)}" for turn in turns)
        if not turns:
            yield "  nobody"
    for turn in found.turns:
        if turn.spot not in found.judged:
            verb = "may reach" if turn.gains else "may no longer reach"
            who, ports = _listed(turn.who), _words(turn.openings)
            ports = ports if turn.gains else ports.replace("everything", "anything")
            sentence = (
                f"this Droplet {verb} {ports} of {who}" if turn.spot.outbound else f"{who} {verb} {ports}"
            )
            yield f"{'+' if turn.gains else '-'} {sentence} on {turn.spot.interface}"
    yield from _cuts(found)


def _words(one: "Openings") -> str:
    """Ports as a person says them: `22/tcp, 80/tcp`, `everything but 3/icmp, 11-12/icmp`."""
    texts = labels(one)
    if len(texts) > 0 and all(text.startswith(EXCEPT) for text in texts):
        return f"everything but {', '.join(text.removeprefix(EXCEPT) for text in texts)}"
    return ", ".join(texts)


def _cuts(found: Meaning) -> "Iterator[str]":
    if found.silence:
        yield f"open connections are not shown: {found.silence}"
    if found.cut:
        yield f"! cuts {len(found.cut):,} open connection{'' if len(found.cut) == 1 else 's'}:"
        for one in found.cut[:_MOST]:
            yield f"  {_connection(one)}"
        if len(found.cut) > _MOST:
            yield f"  … and {len(found.cut) - _MOST:,} more"


def _connection(one: "Connection") -> str:
    port = of_port_range(one.protocol, one.destination_port, one.destination_port)
    return f"{format_address(one.source)} to {format_address(one.destination)} {', '.join(labels(port))}"


def _place(spot: Spot) -> str:
    return f"{spot.interface} {'outbound' if spot.outbound else 'inbound'}"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(shortened(escape(name), _LONGEST_NAME) for name in names[:_MOST])
    return shown if len(names) <= _MOST else f"{shown} and {len(names) - _MOST:,} more"


def plain(found: Meaning) -> dict[str, Any]:
    """For programs."""
    turns = [
        {
            **_spot(turn.spot),
            "who": list(turn.who),
            "gained" if turn.gains else "lost": list(labels(turn.openings)),
        }
        for turn in found.turns
    ]
    cuts = None if found.cut is None else [_connection(one) for one in found.cut]
    judged, released = ([_spot(spot) for spot in spots] for spots in (found.judged, found.released))
    return {"judged": judged, "released": released, "reach": turns, "cuts": cuts}


def _spot(spot: Spot) -> dict[str, str]:
    return {"interface": spot.interface, "direction": "outbound" if spot.outbound else "inbound"}
