"""A netlink socket to netfilter: bytes out, messages in.

Laws:
1. A datagram is sent whole or not at all; an error on sending means that nothing changed.
2. Every wait has a deadline. Silence, an overrun or nonsense means that nobody knows what
   became of a request: CommitUnknown, and the next call starts on a fresh socket.
3. One socket is kept open: closing one after a removal stalls other people's commits.

It knows nothing of what the messages are about; `nft_socket` and `ipset_socket` do.
"""

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from droplan_daemon.errors import CommitUnknown, CommitUnsent, KernelUnsupported, NotPermitted

from . import nft_wire as wire

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_RECEIVE = 1 << 17  # the kernel fills dump datagrams up to 32 KiB
_RECEIVE_QUEUE = 1 << 20  # room for some thousand errors of one batch
_SEND_SLACK = 1 << 16


class NetfilterSocket:
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

    @property
    def port(self) -> int:
        """The port that its messages come from, by which the kernel's events name them; 0: not open."""
        opened = self._open
        with suppress(OSError):  # another thread may have closed it just now
            return int(opened.getsockname()[0]) if opened is not None else 0
        return 0

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


def not_permitted() -> NotPermitted:
    """What EPERM comes to, wherever it is met."""
    return NotPermitted(
        "the kernel does not let this process change the firewall; run it as root or with CAP_NET_ADMIN"
    )


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
        return not_permitted()
    if error.errno in {errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT}:
        message = (
            "this process cannot speak netlink to the firewall; load it with: modprobe nfnetlink "
            "(and under systemd allow it with RestrictAddressFamilies=AF_NETLINK)"
        )
        return KernelUnsupported(message, feature="nfnetlink")
    message = f"no netlink socket, nothing changed: {error.strerror}"
    return CommitUnsent(message, errno=error.errno or errno.EIO)


def _refused_send(error: OSError) -> Exception:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return not_permitted()
    message = f"netlink send failed, nothing changed: {error.strerror}"
    return CommitUnsent(message, errno=error.errno or errno.EIO)
