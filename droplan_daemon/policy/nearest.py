"""What came nearest to allowing a packet that is denied, as sentences. PURE.

Laws:
1. A sentence names one rule and the one thing that stands between it and the packet.
2. The nearest come first: right port but wrong sender, then right sender but wrong port, then rules
   of another interface, then rules that other Droplets enforce.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import format_address
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction, Lifeline
from droplan_daemon.model.selector import Kind, terms

from .peers import judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Droplet
    from droplan_daemon.model.policy import Allow
    from droplan_daemon.model.selector import Selector

    from .packet import Case

_MOST = 3


def nearest(case: "Case") -> tuple[str, ...]:
    """At most three sentences, and at least one."""
    found = (
        *_switched_off(case),
        *_wrong_sender(case),
        *_no_peers(case),
        *_wrong_port(case),
        *_wrong_place(case),
        *_unwelcome_peers(case),
    )
    whose = "from anybody" if case.packet.direction is Direction.INBOUND else "to anybody"
    none = f"no rule allows {case.packet.service} {whose} on the {case.packet.kind} interface"
    return (*_unconnected(case), *dict.fromkeys(found))[:_MOST] or (none,)


def _switched_off(case: "Case") -> "Iterator[str]":
    for name in case.kept_alive(frozenset(Lifeline) - case.mine.lifelines):
        yield f"lifeline '{name}' would keep it alive, but is switched off"


def _wrong_sender(case: "Case") -> "Iterator[str]":
    for allow in case.mine.allows:
        if case.here(allow) and case.opened(allow):
            yield f"rule '{allow.name}': {allow.who} would be allowed; {about(case, allow.who)}"


def _no_peers(case: "Case") -> "Iterator[str]":
    """Why the rule that lets peers in does not."""
    if case.packet.direction is Direction.INBOUND and case.mine.on(case.packet.kind).allow_peers:
        for one in judge(case.policy.peers, case.fleet, case.view.own):
            if one.droplet in case.owners:
                yield f"peers would be allowed; {one.droplet.name} is none: {one.reason}"


def _unwelcome_peers(case: "Case") -> "Iterator[str]":
    """Peers where being one is not enough."""
    if case.packet.direction is Direction.INBOUND and not case.mine.on(case.packet.kind).allow_peers:
        for droplet in case.owners:
            if droplet.id in case.view.peers:
                yield f"{droplet.name} is a peer, but [{case.packet.kind}] has allow_peers = false"


def _wrong_port(case: "Case") -> "Iterator[str]":
    for allow in case.mine.allows:
        if case.here(allow) and not case.opened(allow) and case.picks(allow.who):
            ports = ", ".join(map(str, allow.ports))
            yield f"rule '{allow.name}': {allow.who} is allowed {ports}, not {case.packet.service}"


def _wrong_place(case: "Case") -> "Iterator[str]":
    """Rules of the other interface, and of other Droplets, that would allow it."""
    for allow in case.mine.allows:
        elsewhere = allow.interface is not case.packet.kind and allow.direction is case.packet.direction
        if elsewhere and case.opened(allow) and _picks_droplet(case, allow):
            yield f"rule '{allow.name}' is about the {allow.interface} interface"
    for allow in case.policy.allows:
        if (
            allow not in case.mine.allows
            and case.here(allow)
            and case.opened(allow)
            and case.picks(allow.who)
        ):
            yield f"rule '{allow.name}' would allow it on {allow.on}; {_facts(case, case.view.own, allow.on)}"


def _picks_droplet(case: "Case", allow: "Allow") -> bool:
    """Whether a rule of the other interface is about the same Droplet, by any of its addresses."""
    other = InterfaceKind.PUBLIC if case.packet.kind is InterfaceKind.PRIVATE else InterfaceKind.PRIVATE
    packets = (
        replace(case.packet, kind=other, address=address)
        for owner in case.owners
        for address in owner.addresses(other)
    )
    return any(replace(case, packet=packet).picks(allow.who) for packet in packets)


def _unconnected(case: "Case") -> "Iterator[str]":
    """Droplets that have the address in a VPC which is not connected with ours."""
    if case.packet.kind is InterfaceKind.PUBLIC:
        return
    for droplet in case.fleet.droplets:
        if droplet.id not in case.view.neighbours and case.packet.address in droplet.private:
            yield f"{droplet.name} has this address, but in a VPC that is not connected with this Droplet's"


def about(case: "Case", who: "Selector") -> str:
    """What the other side is, in the terms of a selector that does not pick it."""
    if case.owners:
        return ", ".join(_facts(case, droplet, who) for droplet in case.owners[:2])
    return f"{format_address(case.packet.address)} belongs to no Droplet on the {case.packet.kind} network"


def _facts(case: "Case", droplet: "Droplet", who: "Selector") -> str:
    asked = dict.fromkeys(term.kind for term in terms(who))
    facts = dict.fromkeys(_fact(case, droplet, kind) for kind in asked)
    return f"{droplet.name} {' and '.join(facts)}"


def _fact(case: "Case", droplet: "Droplet", kind: Kind) -> str:
    match kind:
        case Kind.TAG:
            return f"has tags: {', '.join(droplet.tags)}" if droplet.tags else "has no tags"
        case Kind.REGION:
            return f"is in region {droplet.region}"
        case Kind.VPC:
            return f"is in VPC {droplet.vpc}" if droplet.vpc else "is in no VPC"
        case Kind.NAME | Kind.ID | Kind.SELF:
            return f"has id {droplet.id}"
        case Kind.PEERS:
            return "is a peer" if droplet.id in case.view.peers else "is no peer"
        case _:
            return f"has the address {format_address(case.packet.address)}"
