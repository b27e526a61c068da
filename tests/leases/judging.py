"""What a kernel that holds a Ruleset does with a packet, said as plainly as can be.

Independent of `droplan_daemon.policy`: rules are run one after the other, as nft(8) describes it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from droplan_daemon.model.addresses import Family, family_of, parse_address
from droplan_daemon.model.ruleset import (
    Action,
    Armed,
    CtState,
    Dispatch,
    From,
    HookPoint,
    Icmp,
    Interface,
    Protocol,
    Reply,
    State,
    To,
    Transport,
    Verdict,
)

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Chain, Match, Rule, Ruleset

_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet at a hook; of ICMP the type is its destination port."""

    point: HookPoint
    interface: str
    source: bytes
    destination: bytes
    protocol: Protocol
    sport: int
    dport: int
    state: CtState
    reply: bool


def passes(found: "Ruleset | None", packet: Seen, armed: frozenset[str]) -> bool:
    """Whether every base chain at its hook lets it through; without a table everything goes."""
    chains = found.chains.values() if found else ()
    here = [chain for chain in chains if chain.hook and chain.hook.point is packet.point]
    return found is None or all(_through(found, chain, packet, armed) for chain in here)


def _through(found: "Ruleset", base: "Chain", packet: Seen, armed: frozenset[str]) -> bool:
    """One base chain; `places` are where to go on when a chain is at its end."""
    places: list[tuple[Chain, int]] = [(base, 0)]
    for _ in range(_LIMIT):
        if not places:
            return base.hook is not None and base.hook.policy is Action.ACCEPT
        chain, index = places.pop()
        if index >= len(chain.rules):
            continue
        rule = chain.rules[index]
        verdict = _verdict(found, rule, packet, armed)
        if verdict is None or verdict.action is Action.JUMP:
            places.append((chain, index + 1))
        if verdict and verdict.chain:
            places.append((found.chains[verdict.chain], 0))
        if verdict and verdict.action in {Action.ACCEPT, Action.DROP}:
            return verdict.action is Action.ACCEPT
    raise AssertionError("a loop of chains")


def _verdict(found: "Ruleset", rule: "Rule", packet: Seen, armed: frozenset[str]) -> Verdict | None:
    if not all(_meets(found, one, packet, armed) for one in rule.matches):
        return None
    if not isinstance(rule.verdict, Dispatch):
        return rule.verdict
    entries = found.maps[rule.verdict.map].entries
    chain = next((chain for first, last, chain in entries if first <= packet.dport <= last), None)
    return Verdict(Action.JUMP, chain) if chain else None


def _meets(found: "Ruleset", match: "Match", packet: Seen, armed: frozenset[str]) -> bool:
    match match:
        case Interface(name, outbound):
            return name == packet.interface and outbound is (packet.point is HookPoint.POSTROUTING)
        case State(states):
            return packet.state in states
        case Reply():
            return packet.reply
        case From(name, family):
            return family is family_of(packet.source) and _held(found, name, packet.source)
        case To(name, family):
            return family is family_of(packet.destination) and _held(found, name, packet.destination)
        case Transport(protocol, source, destination):
            near = _within(source, packet.sport) and _within(destination, packet.dport)
            return protocol is packet.protocol and near
        case Icmp(family, first, last):
            kind = Protocol.ICMP if family is Family.IPV4 else Protocol.ICMPV6
            own = family is family_of(packet.source) and kind is packet.protocol
            return own and first <= packet.dport <= last
        case Armed(lease):
            return lease in armed
    raise AssertionError(match)


def _held(found: "Ruleset", name: str, address: bytes) -> bool:
    width = len(address)
    return any(one[:width] <= address <= one[-width:] for one in found.sets[name].elements)


def _within(span: tuple[int, int] | None, port: int) -> bool:
    return span is None or span[0] <= port <= span[1]


_FOUR = tuple(
    map(parse_address, ("10.10.0.10", "10.10.0.11", "10.10.0.200", "10.20.0.10", "10.0.0.3", "8.8.8.8"))
)
_SIX = tuple(map(parse_address, ("2001:db8::10", "2001:db8::200", "2001:db8::3", "fe80::1")))


@st.composite
def packets(draw: st.DrawFn, interfaces: tuple[str, ...] = ("eth0", "eth1")) -> Seen:
    family = draw(st.sampled_from([_FOUR, _FOUR, _SIX]))
    icmp = Protocol.ICMP if family is _FOUR else Protocol.ICMPV6
    return Seen(
        draw(st.sampled_from([HookPoint.PREROUTING, HookPoint.POSTROUTING])),
        draw(st.sampled_from(interfaces)),
        draw(st.sampled_from(family)),
        draw(st.sampled_from(family)),
        draw(st.sampled_from([Protocol.TCP, Protocol.UDP, icmp])),
        draw(st.sampled_from([1, 67, 40_000])),
        draw(st.sampled_from([1, 3, 8, 22, 53, 80, 135, 443, 8050, 65_535])),
        draw(st.sampled_from([CtState.NEW, CtState.ESTABLISHED])),
        draw(st.booleans()),
    )
