"""Leases of this network namespace: looked at, made, armed and ended over netlink. Blocking.

Law: each call is one datagram, which the kernel carries out whole even when its sender is killed. So a lease
that is armed is so for both families, and one that is ended too.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from droplan_daemon.errors import CommitConflict

from . import ipset_lease as shape
from . import ipset_wire as wire
from .ipset_lease import Lease, OddLeaseError, lease_set
from .ipset_socket import ListingChangedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from droplan_daemon.model.addresses import Family

    from .ipset import IpSets

_READS = 8  # two sets are two looks, and a lease may begin or end between them


class IpsetLeases:
    """The leases over these families. Raises what IpSets does."""

    def __init__(self, sets: "IpSets", families: "tuple[Family, ...]") -> None:
        self._sets = sets
        self._families = families

    def observe(self) -> dict[str, Lease]:
        """Those that stand. Raises CommitConflict when they keep changing."""
        found: dict[str, Lease] | None = None
        for _ in range(_READS):
            with suppress(ListingChangedError):
                found = self._observed()
                if not any(lease.odd for lease in found.values()):
                    break
        if found is None:
            raise CommitConflict("the ip sets kept changing while they were read")
        return found

    def make(self, lease: str) -> None:
        """One that does not run, and does not stand yet."""
        self._sets.replace((), lambda revision: shape.make(lease, self._families, revision))

    def arm(self, lease: str, seconds: float) -> None:
        """Have it run for so long from now. Raises CommitConflict where it is gone."""
        self._sets.carry_out(shape.arming(lease, self._families, seconds))

    def end(self, lease: str) -> None:
        """Have it run no more."""
        self._sets.carry_out(shape.ending(lease, self._families))

    def destroy(self, leases: "Iterable[str]") -> None:
        """What no rule asks any more."""
        names = [name for name, (lease, _) in shape.NAMES.items() if lease in set(leases)]
        if names:
            self._sets.replace(names, lambda _: ())

    def _observed(self) -> dict[str, Lease]:
        found: dict[str, dict[Family, wire.Header]] = {}
        for header in self._sets.headers():
            if header.name in shape.NAMES:
                lease, family = shape.NAMES[header.name]
                found.setdefault(lease, {})[family] = header
        return {lease: self._lease(lease, headers) for lease, headers in sorted(found.items())}

    def _lease(self, lease: str, headers: "Mapping[Family, wire.Header]") -> Lease:
        families = frozenset(headers)
        if not families >= set(self._families):
            return Lease(families, odd=True)
        try:
            each = {family: self._left(lease, family, headers[family]) for family in self._families}
            return Lease(families, shape.together(each))
        except (OddLeaseError, wire.ForeignEntryError):
            return Lease(families, odd=True)

    def _left(self, lease: str, family: "Family", header: wire.Header) -> float | None:
        if not shape.is_lease(header, family):
            raise OddLeaseError("a set that no lease has")
        bodies = self._sets.listing(lease_set(lease, family))
        found = dict(one for body in bodies for one in wire.read_lasting(body, family.width))
        return shape.left(found, family)
