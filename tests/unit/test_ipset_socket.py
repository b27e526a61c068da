"""Ip sets: what each answer of a kernel comes to, also of kernels that we do not have.

The other end of a socket pair plays the kernel.
"""

import errno
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends import ipset_wire as wire
from droplan_daemon.backends import nft_wire as netlink
from droplan_daemon.backends.ipset import IpSets
from droplan_daemon.errors import (
    CommitConflict,
    CommitRejected,
    CommitUnknown,
    DroplanError,
    KernelUnsupported,
    NotPermitted,
)
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import AddressSet, SetKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIST = (6 << 8) | wire.LIST


def message(kind: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def no(number: int, sequence: int) -> bytes:
    """An error (0: an acknowledgement) about the message with this sequence."""
    original = struct.pack("=IHHII", 20, 0, 0, sequence, 0)
    return message(netlink.NLMSG_ERROR, sequence, struct.pack("=i", -number) + original)


def versions(oldest: int, newest: int, sequence: int = 1) -> bytes:
    body = netlink.number_attribute(1, newest, 1) + netlink.number_attribute(10, oldest, 1)
    return message((6 << 8) | wire.PROTOCOL, sequence, bytes(4) + body)


def revision(sequence: int = 2) -> bytes:
    body = netlink.number_attribute(4, 6, 1) + netlink.number_attribute(10, 0, 1)
    return message((6 << 8) | wire.TYPE, sequence, bytes(4) + body)


def done(sequence: int, code: int = 0, flags: int = 0) -> bytes:
    return message(netlink.NLMSG_DONE, sequence, struct.pack("=i", code), flags)


GREETED = [[versions(6, 7)], [revision()]]


class Pretender:
    """The kernel's end: reads a request, says what it is told, and so on."""

    def __init__(self, deadline: float) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.settimeout(deadline)
        self.sets = IpSets(deadline)
        self.sets._socket._open = ours
        self._thread: threading.Thread | None = None

    def says(self, *turns: list[bytes]) -> None:
        def play() -> None:
            with suppress(OSError):  # nobody asked, nobody listened: the test says what it missed
                for replies in turns:
                    self.theirs.recv(1 << 20)
                    for reply in replies:
                        self.theirs.send(reply)

        self._thread = threading.Thread(target=play)
        self._thread.start()

    def close(self) -> None:
        self.theirs.shutdown(socket.SHUT_RDWR)
        if self._thread:
            self._thread.join()
        self.sets.close()
        self.theirs.close()


@pytest.fixture
def pretender() -> "Iterator[Pretender]":
    made = Pretender(10)
    yield made
    made.close()


ANSWERS: list[tuple[str, list[list[bytes]], type[DroplanError], str]] = [
    ("no ip sets", [[no(errno.EINVAL, 1)]], KernelUnsupported, "modprobe ip_set"),
    ("another language", [[versions(8, 9)]], KernelUnsupported, "version 8 to 9"),
    (
        "no such type",
        [[versions(6, 7)], [no(wire.FIND_TYPE, 2)]],
        KernelUnsupported,
        "modprobe -a ip_set_hash_ip",
    ),
    ("no right to", [[no(errno.EPERM, 1)]], NotPermitted, "CAP_NET_ADMIN"),
    ("no memory for the answer", [[no(errno.ENOMEM, 1)]], CommitRejected, "memory"),
    ("a listing cut short", [*GREETED, [done(3, -errno.ENOMEM)]], CommitRejected, "memory"),
    (
        "an interrupted listing",
        [*GREETED, *([done(n, flags=netlink.NLM_F_DUMP_INTR)] for n in range(3, 11))],
        CommitConflict,
        "kept changing",
    ),
    (
        "a listing of nonsense",
        [*GREETED, [message(_LIST, 3, bytes(4) + b"\xff\xff\x07\0\1"), done(3)]],
        CommitUnknown,
        "could not be read",
    ),
    ("an answer of nonsense", [[b"\1\0\0\0" + bytes(16)]], CommitUnknown, "could not be read"),
]


@pytest.mark.parametrize(("_", "turns", "kind", "words"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_what_a_kernel_says(
    pretender: Pretender, _: str, turns: list[list[bytes]], kind: type[DroplanError], words: str
) -> None:
    """Each answer becomes the one error that the loop can act on, with a sentence that says what to do."""
    pretender.says(*turns)
    with pytest.raises(kind, match=words):
        pretender.sets.observe()


def test_an_old_kernel_is_understood(pretender: Pretender) -> None:
    """Kernels that speak the oldest version alone name no range of versions; late answers are passed over."""
    alone = message(wire.PROTOCOL | (6 << 8), 1, bytes(4) + netlink.number_attribute(1, 6, 1))
    pretender.says([done(900), alone], [revision()], [no(0, 900), done(3)])
    assert {} == pretender.sets.observe()


def test_an_interrupted_listing_is_asked_for_again(pretender: Pretender) -> None:
    """One interruption is nothing to speak of."""
    pretender.says(*GREETED, [done(3, flags=netlink.NLM_F_DUMP_INTR)], [done(4)])
    assert {} == pretender.sets.observe()


def _listed(sequence: int, count: int, *addresses: bytes) -> bytes:
    """One message of a listing of `dp-a`: its header, which says how many entries it has, and entries."""
    data = b"".join(netlink.number_attribute(kind, value) for kind, value in ((19, 16), (24, count)))
    packed = b"".join(
        netlink.attribute(0x8007, netlink.attribute(0x8001, netlink.attribute(1, address)))
        for address in addresses
    )
    body = (
        netlink.attribute(2, b"dp-a\0")
        + netlink.attribute(3, b"hash:ip\0")
        + netlink.number_attribute(5, 2, 1)
        + netlink.attribute(7, data)
        + netlink.attribute(0x8008, packed)
    )
    return message(_LIST, sequence, bytes(4) + body)


def _look(sequence: int, *addresses: bytes) -> list[list[bytes]]:
    """A look at all headers, and one at the set, which has two members."""
    return [
        [_listed(sequence, 2), done(sequence)],
        [_listed(sequence + 1, 2, *addresses), done(sequence + 1)],
    ]


def test_a_short_listing_is_not_believed(pretender: Pretender) -> None:
    """A listing with fewer entries than its header promises is read again: nobody is taken for gone."""
    members = (b"\x0a\0\0\1", b"\x0a\0\0\2")
    pretender.says(*GREETED, *_look(3, members[0]), *_look(5, *members))
    assert frozenset(members) == pretender.sets.observe()["a"].elements


def test_a_listing_that_stays_short(pretender: Pretender) -> None:
    """One that never becomes whole is a conflict, not an answer."""
    looks = [turn for sequence in range(3, 19, 2) for turn in _look(sequence, b"\x0a\0\0\1")]
    pretender.says(*GREETED, *looks)
    with pytest.raises(CommitConflict, match="kept changing"):
        pretender.sets.observe()


def test_silence_ends() -> None:
    """A kernel that does not answer is waited for as long as was said: then nobody knows, and says so."""
    silent = Pretender(0.05)
    with pytest.raises(CommitUnknown, match=r"within 0\.05 s"):
        silent.sets.observe()
    silent.close()


def _desired() -> dict[str, AddressSet]:
    return {"a": AddressSet("a", Family.IPV4, SetKind.HOSTS, 16, frozenset({b"\x0a\0\0\1"}))}


REFUSALS = [
    ("a member, unseen", [no(wire.HASH_FULL, 5)], [], CommitRejected, "full"),
    ("no memory, unseen", [no(errno.ENOMEM, 4), no(errno.ENOENT, 5)], [], CommitRejected, "memory"),
    ("too many sets", [no(wire.MAX_SETS, 4), no(errno.ENOENT, 5)], [], CommitRejected, "too many"),
    ("an unknown number, unseen", [no(4999, 5)], [], CommitRejected, "error 4999"),
    ("a name that is taken", [no(0, 5)], [no(wire.NAME_TAKEN, 6)], CommitConflict, "changed since"),
    ("no memory, seen", [no(0, 5)], [no(errno.ENOMEM, 6)], CommitUnknown, "memory"),
]


@pytest.mark.parametrize(("_", "unseen", "seen", "kind", "words"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_what_a_refusal_means(
    pretender: Pretender,
    _: str,
    unseen: list[bytes],
    seen: list[bytes],
    kind: type[DroplanError],
    words: str,
) -> None:
    """Before rules see anything it is a refusal; afterwards nobody knows what stands, and it is read back."""
    turns = [*GREETED, [done(3)], unseen]
    turns.append(seen or [no(0, 6)])  # the spare is destroyed when it could not be made
    pretender.says(*turns)
    with pytest.raises(kind, match=words):
        pretender.sets.prepare({}, _desired(), rules_change=False)
