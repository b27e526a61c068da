"""A lease as ip sets: one for each family, with elements that hold every address and end. PURE.

Laws:
1. A lease runs while its sets hold elements: the kernel takes them out by its own clock, whoever lives.
2. To arm one is one datagram for both families. An element that stands gets its new end in place, so a lease
   that is extended runs on without a gap.
3. A set or an element that droplan would never write, such as one without an end, is odd, and runs nothing.

Sources: ipset(8) (`hash:net` takes no /0, but both halves), linux/net/netfilter/ipset/ip_set_hash_gen.h: an
element that is added again without IPSET_EXIST's contrary has its timeout replaced.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family

from . import ipset_wire as wire
from .ipset_shape import IN_FORCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LEASES = ("trial", "pause")
TYPE = "hash:net"
MOST = 8
_BUCKETS = 64
_SOON = 1.0  # the kernel tells whole seconds, and never less than one


class OddLeaseError(ValueError):
    """A set with a lease's name that is none as droplan makes it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What one listing says: `families` that have its set, and the seconds it runs (None: it has run out)."""

    families: frozenset[Family]
    left: float | None = None
    odd: bool = False


def lease_set(lease: str, family: Family) -> str:
    """The ip set that a rule of this family asks."""
    return f"{IN_FORCE}{lease}" + ("6" if family is Family.IPV6 else "")


NAMES = {lease_set(lease, family): (lease, family) for lease in LEASES for family in Family}
"""What is meant by the names of such sets."""


def halves(family: Family) -> tuple[bytes, bytes]:
    """All addresses, as `hash:net` takes them."""
    rest = bytes(family.width - 1)
    return b"\x00" + rest + b"\x01", b"\x80" + rest + b"\x01"


def make(lease: str, families: "Iterable[Family]", revision: int) -> "Iterator[wire.Command]":
    """Sets of a lease that does not run."""
    for family in families:
        name = lease_set(lease, family)
        yield wire.create(name, TYPE, family, revision=revision, most=MOST, buckets=_BUCKETS, timed=True)


def arming(lease: str, families: "Iterable[Family]", seconds: float) -> "Iterator[wire.Command]":
    """Have it run for so long from now, rounded to whole seconds."""
    for family in families:
        lasting = max(1, round(seconds))
        yield wire.last(lease_set(lease, family), halves(family), family.width, lasting)


def ending(lease: str, families: "Iterable[Family]") -> "Iterator[wire.Command]":
    """Have it end now."""
    for family in families:
        yield wire.flush(lease_set(lease, family))


def is_lease(header: wire.Header, family: Family) -> bool:
    """Whether the set is as `make` makes it."""
    return (header.type, header.family, header.most, header.lasting) == (TYPE, family, MOST, 0)


def left(found: "Mapping[bytes, int]", family: Family) -> float | None:
    """Seconds until a set with these entries holds none. Raises OddLeaseError."""
    if not found:
        return None
    if not found.keys() <= set(halves(family)) or min(found.values()) == 0:
        raise OddLeaseError("an element that no lease has")
    if len(found) == 1 and min(found.values()) > _SOON:
        raise OddLeaseError("a lease for half of the addresses")
    return float(min(found.values()))


def together(each: "Mapping[Family, float | None]") -> float | None:
    """How long a lease runs whose sets run so long. Raises OddLeaseError where only one does."""
    running = [seconds for seconds in each.values() if seconds is not None]
    if len(running) == len(each):
        return min(running)
    if running and max(running) > _SOON:
        raise OddLeaseError("a lease for one family")
    return None
