"""Why a connection is let through or not. PURE.

Laws:
1. It is decided from what the Policy means, rule by rule; no Ruleset is looked at, so that packets
   can prove both.
2. Only packets that open a connection are explained; replies to them pass by state.
3. Every Explanation names one rule as the kernel's comments do, and gives the whole chain of
   reasons: rule, ports, selector, Droplet, address, set, interface.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import family_of, format_address
from droplan_daemon.model.policy import Direction, Mode
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.model.selector import Kind, Term

from .compile import DENIED, places
from .effective import effective
from .members import set_name
from .nearest import nearest
from .openings import EVERYTHING, of_ports
from .packet import Case, Packet
from .peers import peer_droplets
from .pick import ANY
from .ports import merged, of_protocol, on_every_port, segments
from .scene import scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Allow, Policy
    from droplan_daemon.model.selector import Selector

    from .openings import Openings
    from .pick import Union

__all__ = ["About", "Explanation", "Grant", "Packet", "Reason", "Ruling", "explain", "grants"]

_PEERS = Term(Kind.PEERS)
_ICMP = frozenset({Protocol.ICMP, Protocol.ICMPV6})


class Ruling(StrEnum):
    """What happens to a packet.

    audit: it would be denied, but mode "audit" only counts and logs it. not judged: it crosses no
    interface, in no direction, that the Policy manages.
    """

    ALLOW = "allow"
    DENY = "deny"
    AUDIT = "audit"
    UNJUDGED = "not judged"


class About(StrEnum):
    """What a Reason is about."""

    RULE = "rule"
    PORTS = "ports"
    SELECTOR = "selector"
    DROPLET = "droplet"
    ADDRESS = "address"
    SET = "set"
    INTERFACE = "interface"
    MODE = "mode"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True)
class Reason:
    """One link of the chain, in words; names in it are as the Fleet has them, unescaped."""

    about: About
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A Ruling, the rule that gives it, and why.

    `rule` is "peers", the name of an Allow, a Lifeline, "denied", or empty where nothing is judged;
    `also` are the other rules that would allow it.
    """

    ruling: Ruling
    rule: str = ""
    reasons: tuple[Reason, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether the packet gets through, as far as droplan has a say in it."""
        return self.ruling is not Ruling.DENY


@dataclass(frozen=True, slots=True)
class Grant:
    """What one rule opens to somebody, and the selector that picks them."""

    rule: str
    openings: "Openings"
    selector: str


def explain(policy: "Policy", fleet: "Fleet", host: "Host", own: "Droplet", packet: Packet) -> Explanation:
    """What the Host, which is the Droplet `own` of the Fleet, does with a packet that opens a connection."""
    case = _case(policy, fleet, own, packet)
    interface, judged = _interface(case, host)
    if not judged:
        return Explanation(Ruling.UNJUDGED, reasons=(interface,))
    found = list(_grants(case))
    if not found:
        return _denied(case, interface)
    (rule, reasons), *_ = found
    _, *also = dict.fromkeys(name for name, _ in found)
    return Explanation(Ruling.ALLOW, rule, (*reasons, interface), tuple(also))


def grants(policy: "Policy", fleet: "Fleet", own: "Droplet", packet: Packet) -> tuple[Grant, ...]:
    """Everything that the other side of this Packet is allowed, whatever the Packet asks for."""
    case = _case(policy, fleet, own, packet)
    peers = (Grant("peers", EVERYTHING, str(_PEERS)),) if _peers_allowed(case) else ()
    return peers + tuple(
        Grant(allow.name, of_ports(allow.ports), str(allow.who))
        for allow in case.mine.allows
        if case.here(allow) and case.picks(allow.who)
    )


def _case(policy: "Policy", fleet: "Fleet", own: "Droplet", packet: Packet) -> Case:
    view = scene(fleet, own, peer_droplets(policy.peers, fleet, own))
    return Case(policy, effective(policy, view), view, fleet, packet)


def _peers_allowed(case: Case) -> bool:
    inbound = case.packet.direction is Direction.INBOUND
    return inbound and case.mine.on(case.packet.kind).allow_peers and case.picks(_PEERS)


def _interface(case: Case, host: "Host") -> tuple[Reason, bool]:
    """The interface, and whether packets are judged there in this direction."""
    kind, direction = case.packet.kind, case.packet.direction
    name = host.interface(kind)
    if name is None:
        text, judged = f"there is no {kind} interface", False
    elif not case.mine.on(kind).managed:
        text, judged = f"{name} ({kind}) is not managed: nothing is judged there", False
    else:
        judged = any(p.kind is kind and p.direction is direction for p in places(case.mine, host))
        words = "judges" if judged else 'has outbound = "accept": it does not judge'
        text = f"{name} ({kind}) {words} {direction} traffic"
    return Reason(About.INTERFACE, text), judged


def _denied(case: Case, interface: Reason) -> Explanation:
    reasons = [*_sender(case), interface, *(Reason(About.NEAREST, text) for text in nearest(case))]
    if case.mine.mode is Mode.ENFORCE:
        return Explanation(Ruling.DENY, DENIED, tuple(reasons))
    audited = Reason(About.MODE, 'mode "audit": it is counted and logged, and passes')
    return Explanation(Ruling.AUDIT, DENIED, (audited, *reasons))


def _grants(case: Case) -> "Iterator[tuple[str, tuple[Reason, ...]]]":
    """Every rule that allows it, in the order in which the kernel would find them."""
    if _peers_allowed(case):
        yield "peers", _chain(case, _PEERS, "every port is open to peers", _PEERS)
    for allow in sorted(case.mine.allows, key=lambda allow: (bool(allow.ports), allow.name)):
        if case.here(allow) and case.opened(allow) and case.picks(allow.who):
            yield allow.name, _chain(case, allow.who, _asked(case, allow), _looked_up(case, allow))
    yield from _lifelines(case)


def _asked(case: Case, allow: "Allow") -> str:
    if not allow.ports:
        return f"it opens every port, {case.packet.service} too"
    return f"it opens {', '.join(map(str, allow.ports))}; asked for is {case.packet.service}"


def _chain(case: Case, who: "Selector", ports: str, union: "Selector | Union") -> tuple[Reason, ...]:
    """Why a rule's selector picks the other side; `union` is what its AddressSet holds."""
    chosen = Reason(About.SELECTOR, str(who))
    found = (Reason(About.PORTS, ports), chosen, *_sender(case))
    if union == ANY:
        return found
    name = set_name(union, case.packet.kind, family_of(case.packet.address))
    return (*found, Reason(About.SET, f"{name} holds the address"))


def _looked_up(case: Case, allow: "Allow") -> "Selector | Union":
    """The selector of the AddressSet that the kernel looks into for this rule."""
    here = [one for one in case.mine.allows if case.here(one)]
    protocol, port = case.packet.named, case.packet.destination or 0
    if not allow.ports:
        found = merged(on_every_port(here))
    elif protocol and case.packet.protocol in _ICMP:
        found = merged(of_protocol(here, protocol))
    elif protocol:
        found = next(((s.who, s.names) for s in segments(here, protocol) if s.first <= port <= s.last), None)
    else:
        found = None
    return found[0] if found else allow.who


def _sender(case: Case) -> "tuple[Reason, ...]":
    """Whose address it is."""
    owners, address = case.owners, format_address(case.packet.address)
    about = [Reason(About.DROPLET, f"{droplet.name} (id {droplet.id})") for droplet in owners]
    whose = address if owners else f"{address} belongs to no Droplet on the {case.packet.kind} network"
    return (*about, Reason(About.ADDRESS, whose))


def _lifelines(case: Case) -> "Iterator[tuple[str, tuple[Reason, ...]]]":
    for name in case.kept_alive(case.mine.lifelines):
        why = f"{case.packet.service} is kept alive unless it is switched off by name"
        yield name, (Reason(About.PORTS, why), *_sender(case))
