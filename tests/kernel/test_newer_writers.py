"""What a program of tomorrow may leave in our table: read without harm, and put right."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.backends import nft_codec as codec
from droplan_daemon.backends.nft_codec import Request
from droplan_daemon.backends.nft_socket import BatchRefusedError, NftSocket
from droplan_daemon.backends.nft_wire import asciiz, attribute, number_attribute
from tests.kernel.ground import SMALL, Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

_CREATE = 0x400
NEWTABLE, NEWCHAIN, NEWRULE, NEWSET, NEWELEMENT, NEWOBJECT = 0, 3, 6, 9, 12, 18

# Records as nft(8) writes them (type, length, value), of types that nobody knows; or any bytes at all.
_records = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20))).map(
    lambda found: b"".join(bytes((kind, len(value))) + value for kind, value in found)
)
userdata = (st.binary(min_size=1, max_size=60) | _records).filter(bool)


def _ours(*parts: bytes) -> bytes:
    return attribute(1, asciiz("droplan")) + b"".join(parts)


def requests(said: bytes) -> dict[str, Request]:
    """What may be made in our table, each with this userdata."""
    address = attribute(1, attribute(1, bytes((192, 0, 2, 77))))
    element = attribute(3 | 0x8000, attribute(1, address + attribute(6, said)))
    return {
        "table": Request(NEWTABLE, _CREATE, _ours(attribute(6, said))),
        "chain": Request(NEWCHAIN, _CREATE, _ours(attribute(3, asciiz("strange")), attribute(12, said))),
        "rule": Request(NEWRULE, _CREATE | 0x800, _ours(attribute(2, asciiz("judge")), attribute(7, said))),
        "set": Request(
            NEWSET,
            _CREATE,
            _ours(
                attribute(2, asciiz("strange")),
                number_attribute(4, 7),
                number_attribute(5, 4),
                number_attribute(10, 1),
                attribute(13, said),
            ),
        ),
        "element": Request(NEWELEMENT, _CREATE, _ours(attribute(2, asciiz("peers")), element)),
        "counter": Request(
            NEWOBJECT,
            _CREATE,
            _ours(attribute(2, asciiz("c")), number_attribute(3, 1), attribute(4 | 0x8000, b"")),
        ),
    }


@pytest.fixture
def writer(kernel: Kernel) -> "Iterator[NftSocket]":
    made = kernel.namespace.call(NftSocket)
    yield made
    kernel.namespace.call(made.close)


@pytest.mark.fault("D16")
def test_what_nobody_knows_is_put_right_and_no_crash(kernel: Kernel, writer: NftSocket) -> None:
    """Whatever userdata is written to whatever is in our table: it is read, and one commit mends it."""
    written = dict.fromkeys(requests(b"x"), 0)

    @settings(max_examples=60)
    @given(userdata)
    def scribble(said: bytes) -> None:
        for name, request in requests(said).items():
            kernel.become(SMALL)
            try:
                kernel.namespace.call(writer.transact, [request], kernel.generation())
            except BatchRefusedError:
                continue  # more than the kernel takes
            written[name] += 1
            kernel.holds()
            kernel.become(SMALL)
            assert SMALL == kernel.holds(), name

    scribble()
    assert all(written.values()), written
    assert codec.NEWRULE == NEWRULE
