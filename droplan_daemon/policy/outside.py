"""Those outside the Fleet whom rules may let in, or out to. PURE.

Law: an Outsider stands for addresses by one of them, which no Droplet has and no narrower prefix of
the Policy covers: "any" for the Internet and for strangers on the VPC, and each prefix for its own.
"""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.selector import Kind, terms

from .space import complement, everything, intersection, space, union
from .survey import Lane

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.policy import Policy

    from .space import Space
    from .survey import Standpoint, Survey

    Network = IPv4Network | IPv6Network

ANYONE = "any"


@dataclass(frozen=True, slots=True)
class Outsider:
    """`prefix` None: whoever no prefix covers."""

    name: str
    prefix: "Network | None" = None


def outsiders(policy: "Policy") -> tuple[Outsider, ...]:
    """Everybody who may make a difference."""
    return (Outsider(ANYONE), *(Outsider(_text(prefix), prefix) for prefix in _prefixes(policy)))


def _text(prefix: "Network") -> str:
    return str(prefix.network_address) if prefix.num_addresses == 1 else str(prefix)


def _prefixes(policy: "Policy") -> "list[Network]":
    found = {
        ip_network(term.value)
        for allow in policy.allows
        for term in terms(allow.who)
        if term.kind is Kind.PREFIX
    }
    return sorted(found, key=lambda net: (net.version, int(net.network_address), net.prefixlen))


class Outside:
    """The address by which each Outsider is asked for."""

    def __init__(self, survey: "Survey") -> None:
        self._survey = survey
        self._prefixes = {
            family: [net for net in _prefixes(survey.policy) if net.version == family.value]
            for family in Family
        }
        self._found: dict[tuple[Standpoint, Lane, Outsider], Address | None] = {}

    def address(self, at: "Standpoint", lane: Lane, outsider: Outsider) -> "Address | None":
        """None: all of its addresses are of Droplets, or of another family."""
        key = (at, lane, outsider)
        if key not in self._found:
            self._found[key] = self._looked_for(*key)
        return self._found[key]

    def _looked_for(self, at: "Standpoint", lane: Lane, outsider: Outsider) -> "Address | None":
        prefix, family = outsider.prefix, lane.family
        if prefix is not None and prefix.version != family.value:
            return None
        narrower = (net for net in self._prefixes[family] if prefix is None or _inside(net, prefix))
        whole = self._strangers(at, lane) if prefix is None else space([_span(prefix)])
        taken = union(
            space(map(_span, narrower)), space(zip(*2 * [self._survey.addresses(lane)], strict=True))
        )
        free = intersection(whole, complement(taken, family))
        return free[0][0].to_bytes(family.width, "big") if free else None

    def _strangers(self, at: "Standpoint", lane: Lane) -> "Space":
        """Where those are who belong to nobody: on the private network, in the range of the VPC."""
        reach = self._survey.scene(at).vpc_range if lane is Lane.PRIVATE else None
        return space([_span(ip_network(reach, strict=False))]) if reach else everything(lane.family)


def _span(net: "Network") -> tuple[int, int]:
    return int(net.network_address), int(net.broadcast_address)


def _inside(one: "Network", other: "Network") -> bool:
    """Whether it is a narrower part of the other; both are of one family."""
    (first, last), (start, end) = _span(one), _span(other)
    return one != other and start <= first and last <= end
