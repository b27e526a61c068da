"""Ip sets over one netlink socket: commands in, what the kernel refused out.

Laws:
1. Commands that are sent together are one datagram. The kernel carries out each, also those after
   a refused one, and has done so when the sending returns; every refusal is read.
2. The kernel's numbers become types of `errors` here and nowhere else.

Sources: netlink_rcv_skb() in linux/net/netlink/af_netlink.c, linux/netfilter/ipset/ip_set.h.
"""

import errno
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.errors import CommitConflict, CommitRejected, KernelUnsupported

from . import ipset_wire as wire
from . import nft_wire as netlink
from .nfnetlink import NetfilterSocket, not_permitted

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORDS = {
    wire.HASH_FULL: "the set is full",
    wire.HASH_FULL + 1: "0.0.0.0 and :: cannot be members",
    wire.MAX_SETS: "there are too many ip sets; destroy some that nobody uses",
}
# A set is there that should not be, or the reverse: somebody else changed the sets.
_MOVED = frozenset(
    {errno.ENOENT, errno.EEXIST, wire.NAME_TAKEN, wire.TYPE_MISMATCH, wire.REFERENCED, wire.BUSY, errno.EBUSY}
)
_ABSENT = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT})


class ListingChangedError(Exception):
    """The sets changed while they were listed, or the one asked for is not there; list again."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that the kernel did not carry out, and its number for why."""

    command: wire.Command
    number: int

    def error(self) -> Exception:
        """As the loop shall take it."""
        if self.number in {errno.EPERM, errno.EACCES}:
            return not_permitted()
        if self.number == wire.FIND_TYPE:
            message = (
                "this kernel lacks the ip set types hash:ip or hash:net; load them with: "
                "modprobe -a ip_set_hash_ip ip_set_hash_net (or set firewall.ipset = false)"
            )
            return KernelUnsupported(message, feature="ipset")
        if self.number in {wire.BUSY, wire.REFERENCED, errno.EBUSY}:
            return CommitConflict(
                f"the ip set {self.command.name} is in use by a rule that is not droplan's, or is just "
                "being listed; see: iptables-save | grep match-set"
            )
        if self.number in _MOVED:
            return CommitConflict(f"the ip set {self.command.name} changed since it was read")
        what = f"a change of the ip set {self.command.name}" if self.command.name else "to list ip sets"
        message = f"the kernel refused {what}: {self.words}"
        return CommitRejected(message, errno=self.number)

    @property
    def words(self) -> str:
        """Why, for a person."""
        named = self.number < wire.PROTOCOL_MISMATCH
        return _WORDS.get(self.number, os.strerror(self.number) if named else f"error {self.number}")


class IpsetSocket(NetfilterSocket):
    """A socket for one thread at a time; `deadline` is seconds to wait for each answer."""

    def ask(self, command: wire.Command) -> bytes:
        """The body of the one answer. Raises KernelUnsupported where there are no ip sets."""
        sequence = self._next()
        self._send(wire.message(command, 0, sequence))
        for message in self._receive():
            if message.sequence != sequence:
                continue
            if message.type != netlink.NLMSG_ERROR:
                return message.body
            number = self._said(message).errno
            if number in _ABSENT:
                break
            raise Refused(command, number).error()
        sentence = (
            "this kernel has no ip sets; load them with: modprobe ip_set (Debian's kernels have them), "
            "or set firewall.ipset = false"
        )
        raise KernelUnsupported(sentence, feature="ipset")

    def listing(self, command: wire.Command) -> list[bytes]:
        """The bodies of a listing. Raises ListingChangedError."""
        sequence, found = self._next(), list[bytes]()
        self._send(wire.message(command, netlink.NLM_F_DUMP | netlink.NLM_F_ACK, sequence))
        for message in self._receive():
            if message.sequence != sequence:
                continue
            if message.type == netlink.NLMSG_ERROR:
                _raise_for_listing(command, self._said(message).errno)
                break
            if message.type == netlink.NLMSG_DONE:
                code = int.from_bytes(message.body[:4], sys.byteorder, signed=True)
                _raise_for_listing(command, -code)
                _require_whole(message)
                break
            _require_whole(message)
            found.append(message.body)
        return found

    def tell(self, commands: "Sequence[wire.Command]") -> list[Refused]:
        """Carry out all of them; those that the kernel refused. No commands: nothing is sent."""
        if not commands:
            return []
        first, last = self._sequence + 1, len(commands) - 1
        self._sequence += len(commands)
        self._send(
            b"".join(
                wire.message(command, netlink.NLM_F_ACK if index == last else 0, first + index)
                for index, command in enumerate(commands)
            )
        )
        refused = []
        for message in self._receive():
            index = message.sequence - first
            if message.type != netlink.NLMSG_ERROR or not 0 <= index <= last:
                continue
            if number := self._said(message).errno:
                refused.append(Refused(commands[index], number))
            if index == last:
                break
        return refused


def _require_whole(message: netlink.Message) -> None:
    if message.flags & netlink.NLM_F_DUMP_INTR:
        raise ListingChangedError


def _raise_for_listing(command: wire.Command, number: int) -> None:
    if number == errno.ENOENT:
        raise ListingChangedError
    if number > 0:
        raise Refused(command, number).error()
