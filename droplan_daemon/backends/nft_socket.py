"""nftables over one netlink socket: a batch in, one verdict out.

Laws:
1. A batch is one datagram and one transaction, whatever its size; it is never split.
2. Every error of a batch is read. The acknowledgement asked for is that of the last data
   message: kernels before 6.10 do not acknowledge the end, and errors come in order.
3. What sending, silence and overruns mean is said in `nfnetlink`.

Source: nfnetlink_rcv_batch() in linux/net/netfilter/nfnetlink.c.
"""

import errno
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.errors import CommitConflict, CommitUnknown, KernelUnsupported

from . import nft_wire as wire
from .nfnetlink import NetfilterSocket, not_permitted
from .nft_codec import GETGEN, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from droplan_daemon.effects import Generation

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


class NftSocket(NetfilterSocket):
    """A socket for one thread at a time; `deadline` is seconds to wait for each answer."""

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
        raise not_permitted()
    if number in {errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT}:
        message = "this kernel has no nf_tables; load it with: modprobe nf_tables"
        raise KernelUnsupported(message, feature="nf_tables")
    raise DumpInterruptedError


def _raise_for_batch(refusals: tuple[Refused, ...]) -> None:
    numbers = {refused.errno for refused in refusals}
    if numbers & {errno.EPERM, errno.EACCES}:
        raise not_permitted()
    if errno.ERESTART in numbers:
        raise CommitConflict("the kernel's ruleset changed since it was read")
    raise BatchRefusedError(refusals)
