"""This machine's network interfaces, as the kernel lists them.

Law: reads only, in the network namespace of the calling thread; loopback is told by its flag,
never by its name.

Read as bytes: of a link we want two attributes and of an address two, and pyroute2's classes for
them take 0.8 MB of memory (its IPRoute 8 MB more), for the sake of every kind of link there is.
Source: rtnetlink(7), linux/if_link.h, linux/if_addr.h.
"""

import socket
import struct
from collections import defaultdict
from typing import TYPE_CHECKING

from droplan_daemon.errors import HostUnknown
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.host import Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.addresses import Address

Attributes = dict[int, bytes]

_NETLINK_ROUTE = 0
_RTM_GETLINK, _RTM_GETADDR = 18, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_IFINFO = struct.Struct("=BxHiII")  # ifinfomsg: family, device type, index, flags, change
_IFADDR = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ATTR = struct.Struct("=HH")  # rtattr: length, type
_TYPE_MASK = 0x3FFF
_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RECEIVE = 1 << 17
_DEADLINE = 5.0
_WIDTHS = frozenset({Family.IPV4.width, Family.IPV6.width})
_IFF_LOOPBACK = 0x8  # linux/if.h


def read_links() -> tuple[Link, ...]:
    """Every link but loopback, in the kernel's order. Blocking. Raises HostUnknown(reason="links")."""
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE
        ) as kernel:
            kernel.settimeout(_DEADLINE)
            kernel.bind((0, 0))
            links = list(_dumped(kernel, _RTM_GETLINK, _IFINFO))
            return _links(links, _dumped(kernel, _RTM_GETADDR, _IFADDR))
    except (OSError, struct.error) as error:
        raise HostUnknown(
            "The kernel does not list this machine's network interfaces: droplan needs netlink (AF_NETLINK).",
            reason="links",
        ) from error


def _dumped(
    kernel: socket.socket, kind: int, shape: struct.Struct
) -> "Iterator[tuple[tuple[int, ...], Attributes]]":
    """The fixed part and the attributes of each object of one kind."""
    length = _HEADER.size + shape.size
    kernel.send(_HEADER.pack(length, kind, _DUMP, kind, 0) + bytes(shape.size))
    while True:
        data, offset = kernel.recv(_RECEIVE), 0
        while offset < len(data):
            length, found, *_ = _HEADER.unpack_from(data, offset)
            if found == _NLMSG_DONE:
                return
            if found == _NLMSG_ERROR or length < _HEADER.size:
                raise OSError(0, "the kernel refused to list")
            start = offset + _HEADER.size
            yield (
                shape.unpack_from(data, start),
                dict(_attributes(data[start + shape.size : offset + length])),
            )
            offset += (length + 3) & ~3


def _attributes(data: bytes) -> "Iterator[tuple[int, bytes]]":
    offset = 0
    while offset + _ATTR.size <= len(data):
        length, kind = _ATTR.unpack_from(data, offset)
        if length < _ATTR.size:
            raise OSError(0, "the kernel's answer makes no sense")
        yield kind & _TYPE_MASK, data[offset + _ATTR.size : offset + length]
        offset += (length + 3) & ~3


def _links(
    links: "Iterable[tuple[tuple[int, ...], Attributes]]",
    addresses: "Iterable[tuple[tuple[int, ...], Attributes]]",
) -> tuple[Link, ...]:
    held: dict[int, set[Address]] = defaultdict(set)
    for (_, _, _, _, index), found in addresses:
        # On a point-to-point link IFA_ADDRESS is the other end.
        address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if address and len(address) in _WIDTHS:  # links have addresses of other networks, too
            held[index].add(address)
    return tuple(
        Link(name, found.get(_IFLA_ADDRESS, b"").hex(":"), frozenset(held[index]))
        for (_, _, index, flags, _), found in links
        if not flags & _IFF_LOOPBACK and (name := _name(found.get(_IFLA_IFNAME, b"")))
    )


def _name(raw: bytes) -> str | None:
    """A name that is no text can stand in no rule, no policy and no log; the kernel allows such."""
    try:
        name = raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    return name if name.isprintable() else None
