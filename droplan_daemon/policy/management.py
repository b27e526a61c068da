"""Who gets at this Droplet to manage it, and whose connection would be cut. PURE.

Laws:
1. It reads what Rulesets let through (`reach`), so that what is enforced and what should be are
   compared alike.
2. A way in is for others: this Droplet's own addresses are none, and addresses of a family that it
   has not there reach nobody.
3. Where nothing judges, anybody has a way in; on an interface that should be there and was not found
   nothing judges.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import InterfaceKind

from .openings import of_port_range, of_ports
from .reach import Spot, passes
from .space import complement, everything, intersection, of_addresses, union

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.model.connection import Session
    from droplan_daemon.model.fleet import Droplet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Ports

    from .openings import Openings
    from .reach import Grant, Reach
    from .space import Space


@dataclass(frozen=True, slots=True)
class Way:
    """Who may open a connection to a management port by one interface (`interface` empty: not found).

    `sources` are their addresses by family; families in which this Droplet has none are left out.
    `judged` False: nothing is dropped there, so everybody may.
    """

    kind: InterfaceKind
    interface: str
    port: "Ports"
    sources: "tuple[tuple[Family, Space], ...]"
    judged: bool

    @property
    def leads_in(self) -> bool:
        """Whether there is anybody who may."""
        return any(where for _, where in self.sources)


def ways_in(ports: "Iterable[Ports]", host: "Host", own: "Droplet", found: "Reach") -> tuple[Way, ...]:
    """A Way for each interface of this Host and each of these ports, open or not."""
    return tuple(
        _way(kind, port, host.interface(kind) or "", own, found)
        for port in ports
        for kind in InterfaceKind
        if host.should_have(kind)
    )


def leads_in(ways: "Iterable[Way]") -> bool:
    """Whether anybody gets in by any of them."""
    return any(way.leads_in for way in ways)


def cut(sessions: "Iterable[Session]", before: "Reach", after: "Reach") -> "tuple[Session, ...]":
    """Those that are let through now and would not be; a sender is judged on every packet."""
    return tuple(one for one in sessions if _lasts(one, before) and not _lasts(one, after))


def _lasts(one: "Session", found: "Reach") -> bool:
    opened = one.connection
    asked = of_port_range(opened.protocol, opened.destination_port, opened.destination_port)
    return passes(found, Spot(one.interface, outbound=False), opened.source, asked)


def _way(kind: InterfaceKind, port: "Ports", interface: str, own: "Droplet", found: "Reach") -> Way:
    grants = found.get(Spot(interface, outbound=False)) if interface else None
    asked = of_ports((port,))
    sources = tuple((family, _others(family, own, grants, asked)) for family in _families(kind, own))
    return Way(kind, interface, port, sources, grants is not None)


def _families(kind: InterfaceKind, own: "Droplet") -> tuple[Family, ...]:
    """In which it can be reached; where the Fleet tells no address, in all that such a network has."""
    if kind is InterfaceKind.PRIVATE:
        return (Family.IPV4,)
    here = {family_of(address) for address in own.addresses(kind)}
    return tuple(family for family in Family if family in here or not here)


def _others(family: Family, own: "Droplet", grants: "tuple[Grant, ...] | None", asked: "Openings") -> "Space":
    """Who else is let in, by the addresses of one family; None: nobody judges."""
    ours = of_addresses(
        address for kind in InterfaceKind for address in own.addresses(kind) if family_of(address) is family
    )
    if grants is None:
        let_in = everything(family)
    else:
        let_in = union(
            *(one.where for one in grants if one.family is family and intersection(one.openings, asked))
        )
    return intersection(let_in, complement(ours, family))
