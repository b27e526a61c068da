"""What a Policy says about management ports before any Fleet is known. PURE.

Law: nothing is evaluated, only read: who a selector picks, and whether they are there, a Fleet decides.
So what is `shut` here is shut for every Droplet of any Fleet; the reverse needs one.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction, Mode
from droplan_daemon.model.selector import Kind, Term

from .openings import of_ports
from .space import intersection
from .uses import may_be_managed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.policy import Policy, Ports
    from droplan_daemon.model.selector import Selector

_ALL = Term(Kind.ALL)


@dataclass(frozen=True, slots=True)
class Door:
    """`who` (as the Policy writes it) may reach a port of the Droplets that `on` picks, by one interface.

    `managed` False: because nothing is judged there.
    """

    port: "Ports"
    kind: InterfaceKind
    who: str
    on: "Selector"
    managed: bool = True


def doors(policy: "Policy") -> tuple[Door, ...]:
    """Every one that the Policy opens, for any Droplet."""
    return tuple(
        door
        for port in policy.management.ports
        for kind in InterfaceKind
        for door in _doors(policy, port, kind)
    )


def shut(policy: "Policy") -> bool:
    """Whether no Droplet of any Fleet has a way in, though something is dropped."""
    audited = policy.mode is Mode.AUDIT or any(one.mode is Mode.AUDIT for one in policy.overrides)
    return not audited and not doors(policy)


def _doors(policy: "Policy", port: "Ports", kind: InterfaceKind) -> "Iterator[Door]":
    on = policy.on(kind)
    changes = [
        (one.on, one.private if kind is InterfaceKind.PRIVATE else one.public) for one in policy.overrides
    ]
    if not on.managed:
        yield Door(port, kind, "anybody", _ALL, managed=False)
    yield from (Door(port, kind, "anybody", whom, managed=False) for whom, c in changes if c.managed is False)
    if not may_be_managed(policy, kind):
        return
    if on.allow_peers:
        yield Door(port, kind, "peers", _ALL)
    yield from (Door(port, kind, "peers", whom) for whom, c in changes if c.allow_peers)
    for allow in policy.allows:
        here = allow.interface is kind and allow.direction is Direction.INBOUND
        if here and intersection(of_ports(allow.ports), of_ports((port,))):
            yield Door(port, kind, str(allow.who), allow.on)
