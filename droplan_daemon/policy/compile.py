"""Policy, Fleet and Host in; the Ruleset that this Host should have out. PURE.

Laws:
1. Inbound traffic on a managed interface is judged once, at prerouting: after connection
   tracking, before anybody's DNAT, so by the port that the sender used. Other interfaces
   leave the chain at once.
2. A peer is judged on every packet. Only replies to what this Host opened pass by state, so
   a peer that leaves is cut in the same instant, whatever conntrack remembers.
3. What a network cannot live without passes from anybody: ICMP errors (path MTU), neighbour
   discovery, DHCP.
4. The Fleet decides set elements only; interface names and the Policy decide the rest.
"""

from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Mode
from droplan_daemon.model.ruleset import (
    Action,
    AddressSet,
    Chain,
    CtState,
    From,
    Hook,
    HookPoint,
    Icmp,
    Interface,
    Log,
    Protocol,
    Reply,
    Rule,
    SetKind,
    State,
    Transport,
    Verdict,
    ruleset,
)

from .peers import peer_droplets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.model.ruleset import Ruleset

COMMENT = "written by droplan; changes made by hand are undone"
DENIED = "denied"
"""The name of the rules that end a managed interface's chain."""

_INBOUND = "inbound"
_PRIORITY = -110  # after conntrack (-200) and mangle (-150), before dstnat (-100)
_LOG_PREFIX = {Mode.ENFORCE: "droplan DROP: ", Mode.AUDIT: "droplan AUDIT: "}
_ACCEPT, _DROP = Verdict(Action.ACCEPT), Verdict(Action.DROP)
# A VPC holds at most 10,000 resources; a hash of this size takes 256 KiB of the kernel.
_LEAST_CAPACITY = 16_384
_FAMILIES = {InterfaceKind.PRIVATE: (Family.IPV4,), InterfaceKind.PUBLIC: tuple(Family)}


def compile_ruleset(policy: "Policy", fleet: "Fleet", host: "Host", own: "Droplet") -> "Ruleset":
    """The desired Ruleset of this Host, which is the Droplet `own` of the Fleet."""
    peers = peer_droplets(policy.peers, fleet, own)
    managed = [(kind, name) for kind in InterfaceKind if (name := managed_interface(policy, host, kind))]
    sets = [found for kind, _ in managed for found in _peer_sets(policy, kind, peers)]
    chains = [Chain(chain_name(kind), None, tuple(_judgement(policy, kind))) for kind, _ in managed]
    return ruleset(tuple(sets), (_entry(managed), *chains), COMMENT)


def managed_interface(policy: "Policy", host: "Host", kind: InterfaceKind) -> str | None:
    """The interface of this kind, if there is one and the Policy manages it."""
    return host.interface(kind) if policy.on(kind).managed else None


def chain_name(kind: InterfaceKind) -> str:
    """The chain that judges what comes in on an interface of this kind."""
    return f"{kind}-in"


def peer_set(kind: InterfaceKind, family: Family) -> str:
    """The set of the peers' addresses on an interface of this kind."""
    return f"{kind}-peers-{family.value}"


def _entry(managed: "list[tuple[InterfaceKind, str]]") -> Chain:
    rules = (
        Rule(str(kind), (Interface(name),), verdict=Verdict(Action.GOTO, chain_name(kind)))
        for kind, name in managed
    )
    return Chain(_INBOUND, Hook(HookPoint.PREROUTING, _PRIORITY), tuple(rules))


def _peer_sets(policy: "Policy", kind: InterfaceKind, peers: "tuple[Droplet, ...]") -> "Iterator[AddressSet]":
    if not policy.on(kind).allow_peers:
        return
    addresses = [address for peer in peers for address in peer.addresses(kind)]
    for family in _FAMILIES[kind]:
        members = frozenset(address for address in addresses if family_of(address) is family)
        yield AddressSet(peer_set(kind, family), family, SetKind.HOSTS, capacity(len(members)), members)


def capacity(members: int) -> int:
    """What a set declares to the kernel: room to grow, in powers of two.

    A hash that may grow is read short while it does, so the size is fixed; outgrowing it is a
    new set. A quarter more than its members keeps small changes of a large fleet from that.
    """
    size = _LEAST_CAPACITY
    while size < members + members // 4:
        size *= 2
    return size


def _judgement(policy: "Policy", kind: InterfaceKind) -> "Iterator[Rule]":
    """What happens to a packet that came in on a managed interface, in order."""
    answered = State(frozenset({CtState.ESTABLISHED, CtState.RELATED}))
    yield Rule("replies", (answered, Reply()), counter=True, verdict=_ACCEPT)
    if policy.on(kind).allow_peers:
        for family in _FAMILIES[kind]:
            members = From(peer_set(kind, family), family)
            yield Rule("peers", (members,), counter=True, verdict=_ACCEPT)
    yield from _lifelines()
    yield from _denied(policy)


def _lifelines() -> "Iterator[Rule]":
    """ICMP errors (RFC 1191, RFC 4890 4.3.1), neighbour discovery (4.4.1), DHCP clients."""
    for name, match in (
        ("icmp-errors", Icmp(Family.IPV4, 3, 3)),
        ("icmp-errors", Icmp(Family.IPV4, 11, 12)),
        ("icmp-errors", Icmp(Family.IPV6, 1, 4)),
        ("neighbour-discovery", Icmp(Family.IPV6, 130, 136)),
        ("dhcp", Transport(Protocol.UDP, (67, 67), (68, 68))),
        ("dhcp", Transport(Protocol.UDP, (547, 547), (546, 546))),
    ):
        yield Rule(name, (match,), counter=True, verdict=_ACCEPT)


def _denied(policy: "Policy") -> "Iterator[Rule]":
    if policy.denied_log:
        yield Rule("denied log", log=Log(_LOG_PREFIX[policy.mode], policy.denied_log))
    yield Rule(DENIED, counter=True, verdict=_DROP if policy.mode is Mode.ENFORCE else _ACCEPT)
