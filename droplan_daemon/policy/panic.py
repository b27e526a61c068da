"""The Policy of a panic: nothing comes in but people who manage this Droplet. PURE.

Laws:
1. What it lets in is a management port's, and was let in before: nobody gets a way in by a panic.
2. Every way in that there was is one still; where nothing was judged (an interface that was not
   managed, or audit) anybody had one.
3. Replies, lifelines and what may leave stay as they are.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Allow, Direction, InterfacePolicy, Mode, Outbound, Ports
from droplan_daemon.model.selector import Kind, Term

from .pick import ANY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Policy

_ALL, _PEERS = Term(Kind.ALL), Term(Kind.PEERS)


def in_panic(policy: "Policy", host: "Host") -> "Policy":
    """What this Host enforces in a panic, from what it enforces otherwise: its effective Policy."""
    inbound = (allow for allow in policy.allows if allow.direction is Direction.INBOUND)
    return replace(
        policy,
        mode=Mode.ENFORCE,
        private=_closed(policy, host, InterfaceKind.PRIVATE),
        public=_closed(policy, host, InterfaceKind.PUBLIC),
        allows=(
            *(allow for allow in policy.allows if allow.direction is Direction.OUTBOUND),
            *_narrowed(policy, inbound),
            *(allow for kind in InterfaceKind for allow in _unruled(policy, host, kind)),
        ),
    )


def _judged(policy: "Policy", kind: InterfaceKind) -> bool:
    """Whether anything is dropped there before the panic."""
    return policy.on(kind).managed and policy.mode is Mode.ENFORCE


def _closed(policy: "Policy", host: "Host", kind: InterfaceKind) -> InterfacePolicy:
    before = policy.on(kind)
    outbound = before.outbound if _judged(policy, kind) else Outbound.ACCEPT
    managed = before.managed or host.interface(kind) is not None
    return InterfacePolicy(managed, allow_peers=False, outbound=outbound)


def _narrowed(policy: "Policy", allows: "Iterable[Allow]") -> "Iterator[Allow]":
    """What each rule lets in of the management ports."""
    for allow in allows:
        ports = tuple(found for one in policy.management.ports for found in _within(one, allow.ports))
        if ports:
            yield replace(allow, ports=ports)


def _within(port: Ports, opened: tuple[Ports, ...]) -> "Iterator[Ports]":
    """What is open of a management port, by a rule's ports; no ports: all of it."""
    if not opened:
        yield port
    for one in opened:
        first, last = max(port.first, one.first), min(port.last, one.last)
        if one.protocol is port.protocol and first <= last:
            yield replace(port, first=first, last=last)


def _unruled(policy: "Policy", host: "Host", kind: InterfaceKind) -> "Iterator[Allow]":
    """Those who came in without a rule of the operator's."""
    if host.interface(kind) is not None and not _judged(policy, kind):
        yield _way(policy, kind, f"panic: anybody by {kind}", ANY)
    elif policy.on(kind).allow_peers:
        yield _way(policy, kind, f"panic: peers by {kind}", _PEERS)


def _way(policy: "Policy", kind: InterfaceKind, name: str, who: Term) -> Allow:
    return Allow(name, _ALL, who, ports=policy.management.ports, interface=kind)
