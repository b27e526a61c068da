"""The connections that this machine's kernel tracks now.

Law: reads only, in the network namespace of the calling thread, in bounded time; nothing is decided.

Read as bytes, as `sources.links` does.
Source: linux/netfilter/nfnetlink_conntrack.h, linux/netfilter/nf_conntrack_tcp.h.
"""

import errno
import socket
import struct
import time
from typing import TYPE_CHECKING

from droplan_daemon.errors import KernelUnsupported, NotPermitted
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.connection import Connection
from droplan_daemon.model.ruleset import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

Attributes = dict[int, bytes]

_NETLINK_NETFILTER = 12
_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_NFGEN = struct.Struct("=BBH")  # nfgenmsg: family, version, resource id
_ATTR = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_TYPE_MASK = 0x3FFF
_TUPLE_ORIG, _STATUS, _PROTOINFO = 1, 3, 4
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4_SRC, _V4_DST, _V6_SRC, _V6_DST = 1, 2, 3, 4
_NUMBER, _SRC_PORT, _DST_PORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
_OPEN_STATES = frozenset({2, 3, 5})  # SYN_RECV, ESTABLISHED, CLOSE_WAIT: somebody may still speak
_WIDTHS = frozenset({Family.IPV4.width, Family.IPV6.width})
_SEEN_REPLY = 1 << 1
_RECEIVE = 1 << 17
_DEADLINE = 5.0


class Conntrack:
    """The kernel's table, whichever network namespace we are in."""

    def open_now(self) -> tuple[Connection, ...]:
        """Every connection that both sides have spoken on and neither has ended. Blocking.

        Raises NotPermitted, or KernelUnsupported when there is no such table.
        """
        try:
            return tuple(found for entry in _dumped() if (found := _connection(entry)))
        except PermissionError as error:
            message = "the open connections may not be read by this user; it takes root or CAP_NET_ADMIN"
            raise NotPermitted(message) from error
        except (OSError, struct.error) as error:
            message = f"the kernel does not list its connections ({error}); droplan can do without"
            raise KernelUnsupported(message, feature="conntrack") from error


def _dumped() -> "Iterator[Attributes]":
    """The attributes of each entry."""
    give_up = time.monotonic() + _DEADLINE
    family = socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
    with socket.socket(*family) as kernel:
        kernel.settimeout(_DEADLINE)
        kernel.bind((0, 0))
        kernel.send(_HEADER.pack(_HEADER.size + _NFGEN.size, _GET, _DUMP, 1, 0) + bytes(_NFGEN.size))
        while time.monotonic() < give_up:
            data, offset = kernel.recv(_RECEIVE), 0
            while offset < len(data):
                length, kind, *_ = _HEADER.unpack_from(data, offset)
                start = offset + _HEADER.size
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    (code,) = _ERROR.unpack_from(data, start)
                    raise OSError(-code, errno.errorcode.get(-code, "unknown error"))
                if length < _HEADER.size:
                    raise OSError(errno.EBADMSG, "an answer that makes no sense")
                yield _attributes(data[start + _NFGEN.size : offset + length])
                offset += (length + 3) & ~3
    raise TimeoutError(errno.ETIMEDOUT, "no end of the list")


def _attributes(data: bytes) -> Attributes:
    found, offset = {}, 0
    while offset + _ATTR.size <= len(data):
        length, kind = _ATTR.unpack_from(data, offset)
        if length < _ATTR.size:
            raise OSError(errno.EBADMSG, "an answer that makes no sense")
        found[kind & _TYPE_MASK] = data[offset + _ATTR.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _connection(entry: Attributes) -> Connection | None:
    """None for one that is not open, or that has no addresses."""
    both = _attributes(entry.get(_TUPLE_ORIG, b""))
    addresses, transport = _attributes(both.get(_TUPLE_IP, b"")), _attributes(both.get(_TUPLE_PROTO, b""))
    source = addresses.get(_V4_SRC) or addresses.get(_V6_SRC)
    destination = addresses.get(_V4_DST) or addresses.get(_V6_DST)
    protocol = int.from_bytes(transport.get(_NUMBER, b"\0"), "big")
    if not source or not destination or len(source) != len(destination) or len(source) not in _WIDTHS:
        return None
    if not _is_open(entry, protocol):
        return None
    ports = (int.from_bytes(transport.get(kind, b""), "big") for kind in (_SRC_PORT, _DST_PORT))
    return Connection(source, destination, protocol, *ports)


def _is_open(entry: Attributes, protocol: int) -> bool:
    if protocol == Protocol.TCP:
        info = _attributes(_attributes(entry.get(_PROTOINFO, b"")).get(_PROTOINFO_TCP, b""))
        return int.from_bytes(info.get(_TCP_STATE, b""), "big") in _OPEN_STATES
    return bool(int.from_bytes(entry.get(_STATUS, b""), "big") & _SEEN_REPLY)
