"""What stays alive under default-deny. PURE.

Law: each is a named rule that can be switched off; none depends on the Fleet. Inbound they are what
RFC 4890 and DHCP need; outbound, what this Host and the daemon itself cannot work without.
"""

from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, parse_address
from droplan_daemon.model.policy import Direction, Lifeline
from droplan_daemon.model.ruleset import Action, Icmp, Protocol, Rule, To, Transport, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import Match

    from .members import Members

_METADATA = parse_address("169.254.169.254")
_ICMP_ERRORS = (
    Icmp(Family.IPV4, 3, 3),  # unreachable: path MTU (RFC 1191)
    Icmp(Family.IPV4, 11, 12),
    Icmp(Family.IPV6, 1, 4),  # RFC 4890 4.3.1
)


def _both(port: int) -> "tuple[Match, ...]":
    return tuple(Transport(protocol, None, (port, port)) for protocol in (Protocol.UDP, Protocol.TCP))


_INBOUND: "dict[Lifeline, tuple[Match, ...]]" = {
    Lifeline.ICMP_ERRORS: _ICMP_ERRORS,
    Lifeline.NEIGHBOUR_DISCOVERY: (Icmp(Family.IPV6, 130, 136),),  # RFC 4890 4.4.1
    Lifeline.DHCP: (
        Transport(Protocol.UDP, (67, 67), (68, 68)),
        Transport(Protocol.UDP, (547, 547), (546, 546)),
    ),
}
_OUTBOUND: "dict[Lifeline, tuple[Match, ...]]" = {
    Lifeline.ICMP_ERRORS: _ICMP_ERRORS,
    Lifeline.NEIGHBOUR_DISCOVERY: (Icmp(Family.IPV6, 130, 136), Icmp(Family.IPV6, 143, 143)),
    Lifeline.DHCP: (
        Transport(Protocol.UDP, (68, 68), (67, 67)),
        Transport(Protocol.UDP, (546, 546), (547, 547)),
    ),
    Lifeline.DNS: _both(53),
    Lifeline.NTP: (Transport(Protocol.UDP, None, (123, 123)),),
    Lifeline.METADATA: (Transport(Protocol.TCP, None, (80, 80)),),
    # The API's addresses change without notice, so the port is all that can be said.
    Lifeline.API: (Transport(Protocol.TCP, None, (443, 443)),),
}


def lifelines(wanted: frozenset[Lifeline], direction: Direction, members: "Members") -> "Iterator[Rule]":
    """The rules of those that are wanted, in the order of Lifeline."""
    table = _INBOUND if direction is Direction.INBOUND else _OUTBOUND
    for lifeline in Lifeline:
        for match in table.get(lifeline, ()) if lifeline in wanted else ():
            where = _metadata(members) if lifeline is Lifeline.METADATA else ()
            yield Rule(lifeline.value, (*where, match), counter=True, verdict=Verdict(Action.ACCEPT))


def _metadata(members: "Members") -> "tuple[Match, ...]":
    name = members.constant("metadata-4", Family.IPV4, frozenset({_METADATA + _METADATA}))
    return (To(name, Family.IPV4),)
