"""This machine's network interfaces, as the kernel lists them.

Law: reads only, in the network namespace of the calling thread; loopback is told by its flag,
never by its name.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import HostUnknown
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.host import Link

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.model.addresses import Address

_IFF_LOOPBACK = 0x8  # linux/if.h


def read_links() -> tuple[Link, ...]:
    """Every link but loopback, in the kernel's order. Blocking. Raises HostUnknown(reason="links")."""
    # Imported late: it costs 11 MB and 100 ms, which `check` and offline commands do not need.
    from pyroute2 import IPRoute  # noqa: PLC0415
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        with IPRoute() as kernel:
            return _links(kernel.get_links(), kernel.get_addr())
    except (OSError, NetlinkError) as error:
        raise HostUnknown(
            "The kernel does not list this machine's network interfaces: droplan needs netlink (AF_NETLINK).",
            reason="links",
        ) from error


def _links(links: "Iterable[Any]", addresses: "Iterable[Any]") -> tuple[Link, ...]:
    held: dict[int, set[Address]] = defaultdict(set)
    for message in addresses:
        # On a point-to-point link IFA_ADDRESS is the other end.
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if text:
            held[message["index"]].add(parse_address(text))
    return tuple(
        Link(
            link.get_attr("IFLA_IFNAME"),
            (link.get_attr("IFLA_ADDRESS") or "").lower(),
            frozenset(held[link["index"]]),
        )
        for link in links
        if not link["flags"] & _IFF_LOOPBACK
    )
