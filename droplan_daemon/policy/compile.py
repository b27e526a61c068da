"""Policy, Fleet and Host in; the Ruleset that this Host should have out. PURE.

Laws:
1. Inbound traffic on a managed interface is judged once, at prerouting: after connection
   tracking, before anybody's DNAT, so by the port that the sender used. Outbound likewise, after
   routing and before anybody's SNAT. Other interfaces leave the chain at once.
2. A peer is judged on every packet. Only replies to what this Host opened (outbound: to what was
   let in) pass by state, so a Droplet that leaves is cut in the same instant.
3. What a network cannot live without passes, by name: see `lifelines`.
4. The Fleet decides set elements only; interface names and the Policy decide the rest. Rules only
   allow, so their order changes neither a verdict nor a byte.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction, Mode, Outbound, PortProtocol
from droplan_daemon.model.ruleset import (
    Action,
    Chain,
    CtState,
    Dispatch,
    Hook,
    HookPoint,
    Interface,
    Log,
    PortMap,
    Protocol,
    Reply,
    Rule,
    State,
    Transport,
    Verdict,
    ruleset,
)
from droplan_daemon.model.selector import Kind, Term

from .effective import effective
from .lifelines import lifelines
from .members import Members, digest
from .peers import peer_droplets
from .ports import Segment, merged, of_protocol, on_every_port, segments
from .scene import scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.model.ruleset import Match, PortEntry, Ruleset
    from droplan_daemon.model.selector import Selector

    from .pick import Union


COMMENT = "written by droplan; changes made by hand are undone"
DENIED = "denied"
"""The name of the rules that end a managed interface's chain."""

_HOOKS = {
    # After conntrack (-200) and mangle (-150), before dstnat (-100).
    Direction.INBOUND: ("inbound", Hook(HookPoint.PREROUTING, -110)),
    # After mangle (-150) and filter (0), before srcnat (100).
    Direction.OUTBOUND: ("outbound", Hook(HookPoint.POSTROUTING, 90)),
}
_SHORT = {Direction.INBOUND: "in", Direction.OUTBOUND: "out"}
LOG_PREFIX = {Mode.ENFORCE: "droplan DROP: ", Mode.AUDIT: "droplan AUDIT: "}
"""How a line about a denied packet begins."""
_ACCEPT, _DROP = Verdict(Action.ACCEPT), Verdict(Action.DROP)
_PEERS = Term(Kind.PEERS)
_ANSWERED = State(frozenset({CtState.ESTABLISHED, CtState.RELATED}))


@dataclass(frozen=True, slots=True)
class Place:
    """Where packets are judged: an interface of this Host, and a direction."""

    kind: InterfaceKind
    interface: str
    direction: Direction

    @property
    def chain(self) -> str:
        """The chain that judges here."""
        return chain_name(self.kind, self.direction)


def compile_ruleset(policy: "Policy", fleet: "Fleet", host: "Host", own: "Droplet") -> "Ruleset":
    """The desired Ruleset of this Host, which is the Droplet `own` of the Fleet."""
    view = scene(fleet, own, peer_droplets(policy.peers, fleet, own))
    mine = effective(policy, view)
    judged = places(mine, host)
    work = _Work(Members(view))
    for place in judged:
        _judge(mine, place, work)
    entries = [_entry(direction, judged) for direction in Direction]
    chains = (*(entry for entry in entries if entry), *work.chains.values())
    return ruleset(work.members.sets(), chains, COMMENT, tuple(work.maps))


def managed_interface(policy: "Policy", host: "Host", kind: InterfaceKind) -> str | None:
    """The interface of this kind, if there is one and the (effective) Policy manages it."""
    return host.interface(kind) if policy.on(kind).managed else None


def chain_name(kind: InterfaceKind, direction: Direction = Direction.INBOUND) -> str:
    """The chain that judges one direction on an interface of this kind."""
    return f"{kind}-{_SHORT[direction]}"


def places(policy: "Policy", host: "Host") -> list[Place]:
    """Where this Host judges packets, by its (effective) Policy."""
    out = []
    for kind in InterfaceKind:
        if name := managed_interface(policy, host, kind):
            out.append(Place(kind, name, Direction.INBOUND))
            if policy.on(kind).outbound is Outbound.DROP:
                out.append(Place(kind, name, Direction.OUTBOUND))
    return out


@dataclass(slots=True)
class _Work:
    """What has been compiled so far."""

    members: Members
    chains: dict[str, Chain] = field(default_factory=dict)
    maps: list[PortMap] = field(default_factory=list)


def _entry(direction: Direction, judged: list[Place]) -> Chain | None:
    """The base chain of a direction; inbound is there even if nothing is managed."""
    name, hook = _HOOKS[direction]
    here = [place for place in judged if place.direction is direction]
    if direction is Direction.OUTBOUND and not here:
        return None
    rules = (
        Rule(
            str(place.kind),
            (Interface(place.interface, outbound=direction is Direction.OUTBOUND),),
            verdict=Verdict(Action.GOTO, place.chain),
        )
        for place in here
    )
    return Chain(name, hook, tuple(rules))


def _judge(policy: "Policy", place: Place, work: _Work) -> None:
    """What happens to a packet at a Place, in order."""
    allows = [a for a in policy.allows if a.interface is place.kind and a.direction is place.direction]
    rules = [Rule("replies", (_ANSWERED, Reply()), counter=True, verdict=_ACCEPT)]
    if place.direction is Direction.INBOUND and policy.on(place.kind).allow_peers:
        rules += _accepts(_PEERS, ("peers",), place, work)
    if everywhere := merged(on_every_port(allows)):
        rules += _accepts(*everywhere, place, work)
    for protocol in (PortProtocol.TCP, PortProtocol.UDP):
        rules += _by_port(segments(allows, protocol), protocol, place, work)
    for protocol in (PortProtocol.ICMP, PortProtocol.ICMPV6):
        if whole := merged(of_protocol(allows, protocol)):
            rules += _accepts(*whole, place, work, Transport(Protocol[protocol.name]))
    rules += lifelines(policy.lifelines, place.direction, work.members)
    rules += _denied(policy)
    work.chains[place.chain] = Chain(place.chain, None, tuple(rules))


def _accepts(
    who: "Selector | Union", names: tuple[str, ...], place: Place, work: _Work, *also: "Match"
) -> "Iterator[Rule]":
    """One rule for each family in which the selector picks anything."""
    for matches in work.members.matches(who, place.kind, place.direction):
        yield Rule(_joined(names), (*matches, *also), counter=True, verdict=_ACCEPT)


def _joined(names: tuple[str, ...], limit: int = 100) -> str:
    """Names of rules as a comment: what nft(8) takes, and at most so long."""
    text = ", ".join(names)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _by_port(found: list[Segment], protocol: PortProtocol, place: Place, work: _Work) -> "Iterator[Rule]":
    if not found:
        return
    entries = frozenset(_segment(segment, place, work) for segment in found)
    name = f"{place.chain}-{protocol}"
    work.maps.append(PortMap(name, entries))
    yield Rule(f"{protocol} ports", (Transport(Protocol[protocol.name]),), verdict=Dispatch(name))


def _segment(segment: Segment, place: Place, work: _Work) -> "PortEntry":
    """The map's entry for a Segment, and the chain that it leads to, shared by equal unions."""
    name = f"{place.chain}-{digest(f'{segment.who} {segment.names}')}"
    if name not in work.chains:
        rules = tuple(_accepts(segment.who, segment.names, place, work))
        work.chains[name] = Chain(name, None, rules)
    return segment.first, segment.last, name


def _denied(policy: "Policy") -> "Iterator[Rule]":
    if policy.denied_log:
        yield Rule("denied log", log=Log(LOG_PREFIX[policy.mode], policy.denied_log))
    yield Rule(DENIED, counter=True, verdict=_DROP if policy.mode is Mode.ENFORCE else _ACCEPT)
