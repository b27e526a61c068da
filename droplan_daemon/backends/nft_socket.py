"""One netlink socket: a batch in, one verdict out.

Laws:
1. A batch is one datagram and one transaction, whatever its size; it is never split.
2. Every error of a batch is read. The acknowledgement asked for is that of the last data
   message: kernels before 6.10 do not acknowledge the end, and errors come in order.
3. An error on sending means that nothing changed. Silence or an overrun means that nobody
   knows: CommitUnknown, and the next call starts on a fresh socket.
4. One socket is kept open: closing one after a removal stalls other people's commits.

Source: nfnetlink_rcv_batch() in linux/net/netfilter/nfnetlink.c.
"""

import errno
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.errors import (
    CommitConflict,
    CommitRejected,
    CommitUnknown,
    KernelUnsupported,
    NotPermitted,
)

from . import nft_wire as wire
from .nft_codec import GETGEN, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from droplan_daemon.effects import Generation

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_RECEIVE = 1 << 17  # the kernel fills dump datagrams up to 32 KiB
_RECEIVE_QUEUE = 1 << 20  # room for some thousand errors of one batch
_SEND_SLACK = 1 << 16
_GEN_ID = 1  # NFTA_GEN_ID


class DumpInterruptedError(Exception):
    """The ruleset changed while it was being read; read again."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What the kernel said about one request of a batch (`index` None: about the whole)."""

    index: int | None
    errno: int
    text: str
    offset: int | None


class BatchRefusedError(Exception):
    """The transaction was rolled back; `refusals` in the order of the batch, never empty."""

    def __init__(self, refusals: tuple[Refused, ...]) -> None:
        super().__init__(refusals)
        self.refusals = refusals


class NftSocket:
    """A socket for one thread at a time; `deadline` is seconds to wait for each answer."""

    def __init__(self, deadline: float = 5.0) -> None:
        self._deadline = deadline
        self._open: socket.socket | None = None
        self._sequence = 0

    def close(self) -> None:
        """Close; the next call opens again."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def generation(self) -> "Generation":
        """The counter of committed changes in this network namespace."""
        answer = self.get(Request(GETGEN, 0, b""))
        fields = dict(wire.attributes(answer.body[4:])) if answer else {}
        if _GEN_ID not in fields:
            raise CommitUnknown("the kernel did not tell its generation", reason="no_reply")
        return int.from_bytes(fields[_GEN_ID], "big")

    def get(self, request: Request) -> wire.Message | None:
        """The one object asked for, or None when it does not exist."""
        try:
            return next(self._ask(request), None)
        except FileNotFoundError:
            return None
        except DumpInterruptedError as error:
            raise CommitUnknown("the kernel could not answer now", reason="receive") from error

    def dump(self, request: Request) -> list[wire.Message]:
        """Every object asked for; DumpInterruptedError when they changed meanwhile."""
        asked = Request(request.kind, request.flags | wire.NLM_F_DUMP, request.payload)
        try:
            found = list(self._ask(asked, many=True))
        except FileNotFoundError as error:
            raise DumpInterruptedError from error
        if any(message.flags & wire.NLM_F_DUMP_INTR for message in found):
            raise DumpInterruptedError
        return found

    def _ask(self, request: Request, *, many: bool = False) -> "Iterator[wire.Message]":
        sequence = self._next()
        flags = request.flags if many else request.flags | wire.NLM_F_ACK
        self._send(wire.envelope(request.kind, flags, sequence, request.payload))
        for message in self._receive():
            if message.sequence != sequence:
                continue  # a late answer to something given up
            if message.type == wire.NLMSG_DONE:
                _require_whole(message)
                return
            if message.type == wire.NLMSG_ERROR:
                _raise_for(self._said(message).errno)
                return
            yield message

    def transact(self, requests: "Sequence[Request]", at: "Generation") -> None:
        """Commit all requests as one transaction, if the generation is still `at`.

        Raises BatchRefusedError or CommitConflict (nothing changed), CommitUnknown (read back).
        """
        first = self._sequence + 1
        self._sequence += len(requests) + 2
        last = len(requests) - 1
        parts = [wire.batch_begin(first, at)]
        for index, request in enumerate(requests):
            flags = request.flags | wire.NLM_F_ACK if index == last else request.flags
            parts.append(wire.envelope(request.kind, flags, first + 1 + index, request.payload))
        parts.append(wire.batch_end(self._sequence))
        self._send(b"".join(parts))
        self._judge(first, len(requests))

    def _judge(self, first: int, count: int) -> None:
        refusals = []
        for message in self._receive():
            index = message.sequence - first - 1
            if message.type != wire.NLMSG_ERROR or not -1 <= index < count:
                continue
            said = self._said(message)
            if said.errno:
                whole = index < 0
                refusals.append(Refused(None if whole else index, said.errno, said.text, said.offset))
            if index in {-1, count - 1}:
                break
        if refusals:
            _raise_for_batch(tuple(refusals))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _socket(self) -> socket.socket:
        if self._open is None:
            self._open = _opened(self._deadline)
        return self._open

    def _send(self, data: bytes) -> None:
        sock = self._socket()
        if len(data) + _SEND_SLACK > sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF):
            _grow(sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF, len(data) + _SEND_SLACK)
        try:
            sent = sock.send(data)
        except OSError as error:
            self.close()
            raise _refused_send(error) from error
        if sent != len(data):
            self.close()
            raise CommitUnknown("the kernel took only a part of a netlink message", reason="short_write")

    def _receive(self) -> "Iterator[wire.Message]":
        sock = self._socket()
        while True:
            try:
                data = sock.recv(_RECEIVE)
            except TimeoutError as error:
                self.close()
                message = f"the kernel did not answer within {self._deadline:g} s"
                raise CommitUnknown(message, reason="no_reply") from error
            except OSError as error:
                self.close()
                reason = "overrun" if error.errno == errno.ENOBUFS else "receive"
                raise CommitUnknown(f"netlink receive failed: {error.strerror}", reason=reason) from error
            try:
                found = list(wire.messages(data))
            except ValueError as error:
                raise self._garbled() from error
            yield from found

    def _said(self, message: wire.Message) -> wire.Ack:
        try:
            return wire.ack(message)
        except ValueError as error:
            raise self._garbled() from error

    def _garbled(self) -> CommitUnknown:
        self.close()
        return CommitUnknown("the kernel's answer could not be read", reason="garbled")


def _opened(deadline: float) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    except OSError as error:
        raise _refused_socket(error) from error
    sock.bind((0, 0))
    sock.settimeout(deadline)
    for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
        with suppress(OSError):  # kernels before 4.12 name no offending element, and that is all
            sock.setsockopt(_SOL_NETLINK, option, 1)
    _grow(sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_QUEUE)
    return sock


def _grow(sock: socket.socket, force: int, polite: int, size: int) -> None:
    """Beyond net.core.*mem_max where CAP_NET_ADMIN allows it, else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, polite, size)


def _refused_socket(error: OSError) -> Exception:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return _not_permitted()
    if error.errno in {errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT}:
        message = (
            "this process cannot speak netlink to the firewall; load it with: modprobe nfnetlink "
            "(and under systemd allow it with RestrictAddressFamilies=AF_NETLINK)"
        )
        return KernelUnsupported(message, feature="nfnetlink")
    message = f"no netlink socket, nothing changed: {error.strerror}"
    return CommitRejected(message, errno=error.errno or errno.EIO)


def _refused_send(error: OSError) -> Exception:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return _not_permitted()
    message = f"netlink send failed, nothing changed: {error.strerror}"
    return CommitRejected(message, errno=error.errno or errno.EIO)


def _require_whole(done: wire.Message) -> None:
    """The end of a dump says whether the kernel got to the end of what it was asked."""
    code = int.from_bytes(done.body[:4], sys.byteorder, signed=True)
    if code < 0 or done.flags & wire.NLM_F_DUMP_INTR:
        raise DumpInterruptedError


def _raise_for(number: int) -> None:
    if not number:
        return
    if number == errno.ENOENT:
        raise FileNotFoundError(number, "no such object")
    if number in {errno.EPERM, errno.EACCES}:
        raise _not_permitted()
    if number in {errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT}:
        message = "this kernel has no nf_tables; load it with: modprobe nf_tables"
        raise KernelUnsupported(message, feature="nf_tables")
    raise DumpInterruptedError


def _raise_for_batch(refusals: tuple[Refused, ...]) -> None:
    numbers = {refused.errno for refused in refusals}
    if numbers & {errno.EPERM, errno.EACCES}:
        raise _not_permitted()
    if errno.ERESTART in numbers:
        raise CommitConflict("the kernel's ruleset changed since it was read")
    raise BatchRefusedError(refusals)


def _not_permitted() -> NotPermitted:
    return NotPermitted(
        "the kernel does not let this process change the firewall; run it as root or with CAP_NET_ADMIN"
    )
