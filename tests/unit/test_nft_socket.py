"""One socket: what each answer, silence and nonsense of a kernel comes to.

The other end of a socket pair plays the kernel, so that it can say what no kernel says twice.
"""

import errno
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends import nft_wire as wire
from droplan_daemon.backends.nft_codec import GET_CHAINS, GETGEN, Request, delete_table
from droplan_daemon.backends.nft_socket import BatchRefusedError, DumpInterruptedError, NftSocket
from droplan_daemon.errors import CommitConflict, CommitUnknown, DroplanError, KernelUnsupported, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 0.3
_DONE = struct.pack("=i", 0)


def message(kind: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def answer(number: int, sequence: int) -> bytes:
    """An acknowledgement (0) or an error, about the message with this sequence."""
    original = struct.pack("=IHHII", 20, 0, 0, sequence, 0)
    return message(wire.NLMSG_ERROR, sequence, struct.pack("=i", -number) + original)


class Pretender:
    """The kernel's end: reads one request, says what it is told."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.settimeout(DEADLINE)
        self.socket = NftSocket(DEADLINE)
        self.socket._open = ours
        self.heard: list[bytes] = []
        self._threads: list[threading.Thread] = []

    def says(self, *replies: bytes) -> None:
        """These datagrams, after the next request."""

        def once() -> None:
            self.heard.append(self.theirs.recv(1 << 20))
            for reply in replies:
                self.theirs.send(reply)

        self._threads.append(threading.Thread(target=once))
        self._threads[-1].start()

    def close(self) -> None:
        for thread in self._threads:
            thread.join()
        self.socket.close()
        self.theirs.close()


@pytest.fixture
def pretender() -> "Iterator[Pretender]":
    made = Pretender()
    yield made
    made.close()


def _three() -> list[Request]:
    return [delete_table(name) for name in ("a", "b", "c")]


# A batch of three has the sequences 1 (begin), 2, 3, 4 (its messages) and 5 (end).
VERDICTS: list[tuple[str, list[bytes], object]] = [
    ("the last is acknowledged", [answer(0, 4)], None),
    ("an older kernel's late answers come first", [answer(0, 900), answer(0, 4)], None),
    ("the end is acknowledged too", [answer(0, 4), answer(0, 5)], None),
    ("all in one datagram", [answer(0, 3) + answer(0, 4)], None),
    ("the second fails", [answer(errno.EEXIST, 3) + answer(0, 4)], [(1, errno.EEXIST)]),
    ("the last fails", [answer(errno.EBUSY, 4)], [(2, errno.EBUSY)]),
    ("two fail", [answer(errno.ENOENT, 2), answer(errno.ENOENT, 3), answer(0, 4)], [(0, 2), (1, 2)]),
    ("the whole fails", [answer(errno.ENOMEM, 1)], [(None, errno.ENOMEM)]),
    ("the commit itself fails", [answer(errno.ENOSPC, 1), answer(0, 4)], [(None, errno.ENOSPC)]),
    ("nobody may", [answer(errno.EPERM, 1)], NotPermitted),
    ("stale", [answer(errno.ERESTART, 1)], CommitConflict),
    ("silence", [], "no_reply"),
    ("an acknowledgement of something else", [answer(0, 77)], "no_reply"),
    ("nonsense", [b"\xff" * 40], "garbled"),
    ("an acknowledgement cut short", [message(wire.NLMSG_ERROR, 4, b"\0\0")], "garbled"),
]


@pytest.mark.fault("D3", "D6", "D10")
@pytest.mark.parametrize(
    ("replies", "expected"), [case[1:] for case in VERDICTS], ids=[c[0] for c in VERDICTS]
)
def test_what_a_batch_comes_to(pretender: Pretender, replies: list[bytes], expected: object) -> None:
    """Each way in which a kernel can answer a batch has one outcome, and every error of it is read."""
    pretender.says(*replies)
    try:
        pretender.socket.transact(_three(), 7)
        outcome: object = None
    except BatchRefusedError as error:
        outcome = [(refused.index, refused.errno) for refused in error.refusals]
    except CommitUnknown as error:
        outcome = error.reason
    except DroplanError as error:
        outcome = type(error)
    assert expected == outcome


def test_a_batch_is_one_datagram(pretender: Pretender) -> None:
    """Begin with the generation, the requests, end; the last request alone asks for an acknowledgement."""
    pretender.says(answer(0, 4))
    pretender.socket.transact(_three(), 7)
    (datagram,) = pretender.heard
    parts = list(wire.messages(datagram))
    assert [16, 2562, 2562, 2562, 17] == [part.type for part in parts]
    assert [1, 2, 3, 4, 5] == [part.sequence for part in parts]
    assert [False, False, False, True, False] == [bool(part.flags & wire.NLM_F_ACK) for part in parts]


@pytest.mark.fault("D6")
def test_after_silence_the_next_call_uses_a_fresh_socket(pretender: Pretender) -> None:
    """A socket whose answer is still due is closed, so that the answer cannot be taken for a later one."""
    pretender.says()
    with pytest.raises(CommitUnknown):
        pretender.socket.transact(_three(), 7)
    assert pretender.socket._open is None


def _item(sequence: int, flags: int = 0) -> bytes:
    return message(0x0A03, sequence, b"\1\0\0\0", flags)


DUMPS: list[tuple[str, list[bytes], object]] = [
    ("two and the end", [_item(1) + _item(1), message(wire.NLMSG_DONE, 1, _DONE)], 2),
    ("an end without a word", [_item(1), message(wire.NLMSG_DONE, 1, b"")], 1),
    ("nothing", [message(wire.NLMSG_DONE, 1, _DONE)], 0),
    ("somebody else's answer between", [_item(9), _item(1), message(wire.NLMSG_DONE, 1, _DONE)], 1),
    (
        "interrupted",
        [_item(1, wire.NLM_F_DUMP_INTR), message(wire.NLMSG_DONE, 1, _DONE)],
        DumpInterruptedError,
    ),
    (
        "interrupted at the end",
        [_item(1), message(wire.NLMSG_DONE, 1, _DONE, wire.NLM_F_DUMP_INTR)],
        DumpInterruptedError,
    ),
    (
        "given up half-way",
        [_item(1), message(wire.NLMSG_DONE, 1, struct.pack("=i", -errno.ENOMEM))],
        DumpInterruptedError,
    ),
    ("gone", [answer(errno.ENOENT, 1)], DumpInterruptedError),
    ("busy", [answer(errno.EBUSY, 1)], DumpInterruptedError),
    ("nobody may", [answer(errno.EPERM, 1)], NotPermitted),
    ("no nf_tables", [answer(errno.EINVAL, 1)], KernelUnsupported),
    ("no nf_tables, said otherwise", [answer(errno.EOPNOTSUPP, 1)], KernelUnsupported),
    ("no end", [_item(1)], CommitUnknown),
]


@pytest.mark.parametrize(
    ("replies", "expected"), [case[1:] for case in DUMPS], ids=[case[0] for case in DUMPS]
)
def test_what_a_dump_comes_to(pretender: Pretender, replies: list[bytes], expected: object) -> None:
    """A dump is whole, or an error; one that was interrupted or given up is never taken for a short one."""
    pretender.says(*replies)
    try:
        outcome: object = len(pretender.socket.dump(GET_CHAINS))
    except (DumpInterruptedError, DroplanError) as error:
        outcome = type(error)
    assert expected == outcome


GENERATIONS: list[tuple[str, list[bytes], object]] = [
    ("told", [message(0x0A0F, 1, bytes(4) + wire.attribute(1, b"\0\0\1\2"))], 258),
    (
        "told, in any order",
        [message(0x0A0F, 1, bytes(4) + wire.attribute(2, b"x") + wire.attribute(1, bytes(4)))],
        0,
    ),
    ("not told", [message(0x0A0F, 1, bytes(4))], CommitUnknown),
    ("only acknowledged", [answer(0, 1)], CommitUnknown),
    ("gone", [answer(errno.ENOENT, 1)], CommitUnknown),
    ("no memory", [answer(errno.ENOMEM, 1)], CommitUnknown),
    ("nobody may", [answer(errno.EPERM, 1)], NotPermitted),
]


@pytest.mark.parametrize(
    ("replies", "expected"), [case[1:] for case in GENERATIONS], ids=[case[0] for case in GENERATIONS]
)
def test_what_the_generation_comes_to(pretender: Pretender, replies: list[bytes], expected: object) -> None:
    """The generation is a number, or one of droplan's own errors."""
    pretender.says(*replies)
    try:
        outcome: object = pretender.socket.generation()
    except DroplanError as error:
        outcome = type(error)
    assert expected == outcome
    assert [GETGEN] == [next(wire.messages(heard)).type & 0xFF for heard in pretender.heard]
