"""What the kernel tells of changes of nftables: whether somebody else changed ours, and who.

Laws:
1. Only changes of ours are told: of our table, and of our chains among those of iptables-nft. What is
   done to other tables, in whatever syntax, is passed over undecoded: a search for bytes.
2. Own commits are known by the port that they came from, and mostly the kernel does not even queue them.
3. Events that were lost (ENOBUFS) mean "look again", and are never the end.

A change is told when the message with the new generation has come, which names the process (its last
15 letters at most, and its number as the first namespace counts).

Sources: nft_commit_notify(), nf_tables_gen_notify() in linux/net/netfilter/nf_tables_api.c,
linux/netfilter/nf_tables.h, socket(7) for SO_ATTACH_FILTER.
"""

import asyncio
import ctypes
import errno
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from droplan_daemon.effects import Disturbance
from droplan_daemon.errors import KernelUnsupported

from . import nft_wire as wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_NETLINK_NETFILTER = 12
_GROUP = 1 << 6  # NFNLGRP_NFTABLES is the seventh
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26
_QUEUE = 1 << 21  # bytes, of which the kernel counts twice as many: the events of some 20,000 elements
_RECEIVE = 1 << 16  # the kernel fills such datagrams up to a page or two
_AT_ONCE = 64  # datagrams before others of the loop have their turn
_MOST = 1 << 16  # datagrams; more than any queue holds

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_ATTR = struct.Struct("=HH")
_NFGEN = 4  # bytes of nfgenmsg; the first is the family
_TABLE_NAME = 1  # NFTA_TABLE_NAME, NFTA_*_TABLE and NFTA_SET_ELEM_LIST_TABLE alike
_NEWGEN = 15
_GEN_PID, _GEN_NAME = 2, 3
_IPTABLES = {(2, b"filter"), (10, b"filter")}  # AF_INET, AF_INET6: where iptables-nft has our chains
_OURS = b"droplan"

_WORDS = {
    0: "table changed",
    2: "table deleted",
    3: "chain changed",
    5: "chain deleted",
    6: "rule added",
    8: "rule deleted",
    9: "set added",
    11: "set deleted",
    12: "element added",
    14: "element deleted",
    18: "object added",
    20: "object deleted",
    22: "flowtable added",
    24: "flowtable deleted",
    26: "table deleted",
    27: "chain deleted",
    28: "rule deleted",
    29: "set deleted",
    30: "element deleted",
    31: "object deleted",
    32: "flowtable deleted",
}
"""NFT_MSG_* by what they tell; those from 26 on are of `destroy`, which minds nothing that is not there."""


class Hearing:
    """Datagrams in, Disturbances out. PURE: no socket. `table` is ours, of the family inet."""

    def __init__(self, table: str = "droplan") -> None:
        self._table = table.encode()
        # As nla_put_string writes it; whoever has it not in his bytes has nothing of our table.
        name = self._table + b"\0"
        self._needle = _ATTR.pack(_ATTR.size + len(name), _TABLE_NAME) + name
        self._changes: dict[str, None] = {}

    def heard(self, data: bytes, own: int) -> "Iterator[Disturbance]":
        """What a datagram tells; `own` is the port of our commits. Raises ValueError for one cut short."""
        if not self._changes and self._needle not in data and _OURS not in data:
            return
        for kind, port, body in _messages(data):
            if port == own:
                continue
            if kind == _NEWGEN:
                if self._changes:
                    yield self._told(body)
            elif self._is_ours(body):
                self._changes[_WORDS.get(kind, "something changed")] = None

    def forget(self) -> None:
        """What was heard of a change that has not been told yet: its end was lost."""
        self._changes.clear()

    def _is_ours(self, body: bytes) -> bool:
        table = next((value for kind, value in wire.attributes(body[_NFGEN:]) if kind == _TABLE_NAME), b"")
        found = body[0], table.rstrip(b"\0")
        return found == (wire.NFPROTO_INET, self._table) or (found in _IPTABLES and _OURS in body)

    def _told(self, body: bytes) -> Disturbance:
        fields = dict(wire.attributes(body[_NFGEN:]))
        whole = "table deleted"
        change = whole if whole in self._changes else ", ".join(self._changes)
        self._changes.clear()
        return Disturbance(
            by=wire.text_of(fields.get(_GEN_NAME, b"")),
            pid=wire.number_of(fields.get(_GEN_PID, b"")),
            change=change,
        )


class NftEvents:
    """A Watcher of this network namespace; `own` gives the port of our commits, 0 while there is none."""

    def __init__(self, own: "Callable[[], int]", table: str = "droplan") -> None:
        self._own = own
        self._table = table

    async def disturbances(self) -> "AsyncIterator[Disturbance]":
        """One for each commit of somebody else that changed ours. Raises KernelUnsupported."""
        hearing, loop = Hearing(self._table), asyncio.get_running_loop()
        with _opened() as sock:
            silenced = 0
            while True:
                own = self._own()
                if own not in {0, silenced}:
                    _silence(sock, own)
                    silenced = own
                try:
                    first, own = await loop.sock_recv(sock, _RECEIVE), self._own()
                    found = [told for data in _drained(sock, first) for told in hearing.heard(data, own)]
                except (OSError, ValueError) as error:
                    if isinstance(error, OSError) and error.errno != errno.ENOBUFS:
                        raise
                    _empty(sock)
                    hearing.forget()
                    found = [Disturbance(overrun=True)]
                for told in found:
                    yield told
                await asyncio.sleep(0)


def _drained(sock: socket.socket, first: bytes) -> "Iterator[bytes]":
    """This datagram, and those that wait already, up to a number. Raises OSError."""
    yield first
    with suppress(BlockingIOError):
        for _ in range(_AT_ONCE):
            yield sock.recv(_RECEIVE)


def _empty(sock: socket.socket) -> None:
    """Read all that waits: after an overrun the kernel drops what comes, untold, until nothing waits.

    Source: netlink_overrun() and netlink_rcv_wake() in linux/net/netlink/af_netlink.c.
    """
    for _ in range(_MOST):
        try:
            sock.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def _messages(data: bytes) -> "Iterator[tuple[int, int, bytes]]":
    """(NFT_MSG_*, port, body) of the nftables messages. Raises ValueError."""
    offset, cut = 0, ValueError("an event that was cut short")
    while offset < len(data):
        if offset + _HEADER.size > len(data):
            raise cut
        length, kind, _, _, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size + _NFGEN or offset + length > len(data):
            raise cut
        if kind >> 8 == wire.NFNL_SUBSYS_NFTABLES:
            yield kind & 0xFF, port, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _opened() -> socket.socket:
    try:
        sock = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            _NETLINK_NETFILTER,
        )
        try:
            sock.bind((0, _GROUP))
        except OSError:
            sock.close()
            raise
    except OSError as error:
        message = "the kernel does not tell of changes of nftables, so they are looked for once a minute"
        raise KernelUnsupported(message, feature="nfnetlink") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)
    return sock


def _silence(sock: socket.socket, port: int) -> None:
    """Have the kernel drop events of this port: ten thousand of our own elements would fill the queue.

    Three instructions of the classic BPF: load the port of the first message, compare, 0 bytes or all. A
    load counts as big-endian, a netlink header is in the machine's order.
    """
    known = int.from_bytes(port.to_bytes(4, sys.byteorder), "big")
    load, compare, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    steps = ((load, 0, 0, 12), (compare, 0, 1, known), (answer, 0, 0, 0), (answer, 0, 0, 0xFFFFFFFF))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    with suppress(OSError):  # then they are read, and known by their port
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
