"""This machine's network interfaces, as the kernel lists them.

Law: reads only, in the network namespace of the calling thread; loopback is told by its flag,
never by its name.

pyroute2's message classes on a socket of our own: its IPRoute needs 8 MB more.
Source: rtnetlink(7).
"""

import socket
import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import HostUnknown
from droplan_daemon.lean import bare
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.host import Link

with bare("pyroute2"):
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.addresses import Address

_NETLINK_ROUTE = 0
_RTM_GETLINK, _RTM_GETADDR = 18, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_HEADER = 16  # struct nlmsghdr
_RECEIVE = 1 << 17
_DEADLINE = 5.0
_IFF_LOOPBACK = 0x8  # linux/if.h


def read_links() -> tuple[Link, ...]:
    """Every link but loopback, in the kernel's order. Blocking. Raises HostUnknown(reason="links")."""
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE
        ) as kernel:
            kernel.settimeout(_DEADLINE)
            kernel.bind((0, 0))
            links = list(_dumped(kernel, ifinfmsg, _RTM_GETLINK))
            return _links(links, _dumped(kernel, ifaddrmsg, _RTM_GETADDR))
    except (OSError, struct.error) as error:
        raise HostUnknown(
            "The kernel does not list this machine's network interfaces: droplan needs netlink (AF_NETLINK).",
            reason="links",
        ) from error


def _dumped(kernel: socket.socket, shape: Any, kind: int) -> "Iterator[Any]":
    """Each object of one kind, decoded."""
    question = shape()
    question["header"]["type"], question["header"]["flags"] = kind, _DUMP
    question["header"]["sequence_number"] = kind
    question.encode()
    kernel.send(question.data)
    while True:
        data, offset = kernel.recv(_RECEIVE), 0
        while offset < len(data):
            length, found = struct.unpack_from("=IH", data, offset)
            if found == _NLMSG_DONE:
                return
            if found == _NLMSG_ERROR or length < _HEADER:
                raise OSError(0, "the kernel refused to list")
            message = shape(data, offset=offset)
            message.decode()
            yield message
            offset += (length + 3) & ~3


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
        # A name that is no text (pyroute2 gives bytes then) can stand in no rule and no policy.
        if not link["flags"] & _IFF_LOOPBACK and isinstance(link.get_attr("IFLA_IFNAME"), str)
    )
