"""Who gets at a Droplet to manage it, as people read it and as programs do.

Laws:
1. Who is a Droplet is called by its name, with its address there; who is none is an address, a range, or
   anybody.
2. In audit nothing is dropped; what is told is what would be if it were enforced, and that is said.
   Prints nothing, and decides nothing.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from droplan_daemon.gate import ports_of
from droplan_daemon.model.addresses import Family, family_of, format_address
from droplan_daemon.model.policy import Mode
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.plaintext import cut as shortened
from droplan_daemon.plaintext import escape
from droplan_daemon.policy.management import cut, leads_in, ways_in
from droplan_daemon.policy.reach import reach
from droplan_daemon.policy.space import complement, everything, intersection, of_addresses

from .reach_view import as_enforced, span_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.connection import Session
    from droplan_daemon.model.fleet import Droplet
    from droplan_daemon.model.policy import Policy, Ports
    from droplan_daemon.model.ruleset import Ruleset
    from droplan_daemon.outcomes import World
    from droplan_daemon.policy.management import Way
    from droplan_daemon.policy.space import Space

_ANYBODY = "anybody"
_MOST = 6
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Entrance:
    """A Way, and the names of everybody who gets in by it."""

    way: "Way"
    who: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """What a World means for those who manage a Droplet; `policy` is its effective one.

    `cuts` are the open connections to management ports that would be cut, each with a name for who opened
    it; `own` is the caller's, if that would be.
    """

    policy: "Policy"
    entrances: tuple[Entrance, ...]
    cuts: "tuple[tuple[str, Session], ...]" = ()
    own: "Session | None" = None

    @property
    def audit(self) -> bool:
        """Whether nothing is dropped for now."""
        return self.policy.mode is Mode.AUDIT

    @property
    def closed(self) -> bool:
        """Whether nobody gets in, once it is enforced."""
        return not leads_in(entrance.way for entrance in self.entrances)


def access(
    world: "World",
    enforced: "Ruleset | None" = None,
    sessions: "Iterable[Session]" = (),
    caller: "Session | None" = None,
) -> Access:
    """What it means to enforce a World in place of a Ruleset (None: nothing is enforced)."""
    ports, found = world.policy.management.ports, reach(as_enforced(world.desired))
    entrances = tuple(
        Entrance(way, tuple(_who(way, world.fleet.droplets)))
        for way in ways_in(ports, world.host, world.own, found)
    )
    before, after = reach(enforced), reach(world.desired)
    managing = (one for one in sessions if one != caller and any(_is_at(port, one) for port in ports))
    lost = cut(managing, before, after)
    owners = _owners(world.fleet.droplets) if lost else {}
    cuts = tuple((_named(one.connection.source, owners), one) for one in lost)
    own = caller if caller and cut((caller,), before, after) else None
    return Access(world.policy, entrances, cuts, own)


def lines(found: Access) -> "Iterator[str]":
    """For people."""
    when = "once audit ends, " if found.audit else ""
    for port in found.policy.management.ports:
        yield f"{when}log in by {port}: {_sentence(found, port)}"
    yield from _cuts(found)
    if found.closed and found.audit:
        yield f"! once audit ends, nobody could reach {ports_of(found.policy.management)}"
    elif found.closed and not found.policy.management.required:
        yield f"! nobody could reach {ports_of(found.policy.management)}, and the configuration says so"


def _sentence(found: Access, port: "Ports") -> str:
    """`from tunnel-1 (10.10.0.2) by private; from nobody by public`."""
    here = [entrance for entrance in found.entrances if entrance.way.port == port]
    return "; ".join(map(_phrase, here)) or "there is no interface"


def _phrase(entrance: Entrance) -> str:
    way = entrance.way
    unjudged = "" if way.judged else " (not managed)"
    return f"from {_listed(entrance.who) or 'nobody'} by {way.kind}{unjudged}"


def _cuts(found: Access) -> "Iterator[str]":
    if found.own:
        yield f"! your own SSH connection from {format_address(found.own.connection.source)} would be cut"
    if found.cuts:
        other = "other " if found.own else ""
        what = f"{other}open login" if len(found.cuts) == 1 else f"{other}open logins"
        names = tuple(dict.fromkeys(name for name, _ in found.cuts))
        yield f"! {len(found.cuts):,} {what} would be cut: from {_listed(names)}"


def plain(found: Access) -> dict[str, Any]:
    """For programs."""
    return {
        "ports": [str(port) for port in found.policy.management.ports],
        "required": found.policy.management.required,
        "closed": found.closed,
        "ways": [
            {
                "port": str(entrance.way.port),
                "interface": entrance.way.interface or None,
                "network": entrance.way.kind.value,
                "managed": entrance.way.judged,
                "from": list(entrance.who),
            }
            for entrance in found.entrances
        ],
        "cuts": [_plain(one) for _, one in found.cuts],
        "own_cut": _plain(found.own) if found.own else None,
    }


def _plain(one: "Session") -> str:
    opened = one.connection
    return (
        f"{format_address(opened.source)} to {format_address(opened.destination)} {opened.destination_port}"
    )


def _is_at(port: "Ports", one: "Session") -> bool:
    opened = one.connection
    protocol = Protocol[port.protocol.name]
    return opened.protocol == protocol and port.first <= opened.destination_port <= port.last


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(shortened(escape(name), _LONGEST) for name in names[:_MOST])
    return shown if len(names) <= _MOST else f"{shown} and {len(names) - _MOST:,} more"


def _who(way: "Way", droplets: "Iterable[Droplet]") -> "Iterator[str]":
    """Everybody in one word, or Droplets by name, then addresses that are nobody's."""
    wide = [family for family, where in way.sources if _is_wide(where, family)]
    if not way.judged or (wide and len(wide) == len(way.sources)):
        yield _ANYBODY
        return
    yield from (f"any IPv{family.value} address" for family in wide)
    narrow = {family: where for family, where in way.sources if family not in wide}
    taken: dict[Family, list[Address]] = {family: [] for family in narrow}
    for droplet in droplets:
        here = [one for one in droplet.addresses(way.kind) if _holds(narrow.get(family_of(one), ()), one)]
        for one in here:
            taken[family_of(one)].append(one)
        if here:
            yield f"{droplet.name} ({', '.join(map(format_address, here))})"
    for family, where in narrow.items():
        rest = intersection(where, complement(of_addresses(taken[family]), family))
        yield from (span_text(span, family) for span in rest)


def _is_wide(where: "Space", family: Family) -> bool:
    (whole,) = everything(family)
    return sum(last - first + 1 for first, last in where) > (whole[1] + 1) // 2


def _holds(where: "Space", address: "Address") -> bool:
    """`space.contains`, for ten thousand spans."""
    number = int.from_bytes(address, "big")
    at = bisect_right(where, (number, 1 << 129)) - 1
    return at >= 0 and where[at][0] <= number <= where[at][1]


def _owners(droplets: "Iterable[Droplet]") -> "dict[Address, str]":
    return {address: droplet.name for droplet in droplets for address in (*droplet.private, *droplet.public)}


def _named(address: "Address", owners: "dict[Address, str]") -> str:
    text = format_address(address)
    return f"{owners[address]} ({text})" if address in owners else text
