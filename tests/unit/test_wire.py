"""Bytes: envelopes, replies and set elements. No input, however odd, makes more than a ValueError."""

import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.backends import nft_wire as wire
from droplan_daemon.backends.nft_codec import (
    chain_names,
    read_chain,
    read_name,
    read_rule,
    read_set,
    read_table,
)
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import Foreign

WIDTHS = [family.width for family in Family]
widths = st.sampled_from(WIDTHS)


@st.composite
def nested(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Attributes that are well formed but for what stands in them: nearer to the truth than noise."""
    out = b""
    for _ in range(draw(st.integers(0, 3))):
        inner = draw(nested(depth - 1)) if depth and draw(st.booleans()) else draw(st.binary(max_size=24))
        out += wire.attribute(draw(st.integers(0, 20)) | draw(st.sampled_from([0, 0x8000])), inner)
    return out


noise = st.binary(max_size=200) | nested()


@given(noise)
def test_messages_of_anything(data: bytes) -> None:
    """Any datagram is a list of messages or a ValueError."""
    try:
        found = list(wire.messages(data))
    except ValueError:
        return
    assert sum(16 + len(message.body) for message in found) <= len(data)


@given(noise)
def test_attributes_of_anything(data: bytes) -> None:
    """Any bytes are a list of attributes or a ValueError."""
    try:
        found = list(wire.attributes(data))
    except ValueError:
        return
    assert sum(4 + len(payload) for _, payload in found) <= len(data)


@given(noise, st.integers(0, 0xFFFF))
def test_ack_of_anything(body: bytes, flags: int) -> None:
    """Any acknowledgement is read or a ValueError."""
    try:
        wire.ack(wire.Message(wire.NLMSG_ERROR, flags, 1, body))
    except ValueError:
        return
    assert len(body) >= 20


@given(noise, widths)
def test_elements_of_anything(packed: bytes, width: int) -> None:
    """Any list of elements is addresses of the right width, ranges of the right width, or a ValueError."""
    try:
        hosts = wire.unpack_hosts(packed, width)
        ranges = wire.pair_ranges(list(wire.unpack_elements(packed, width)), width)
    except ValueError:
        return
    assert {width} >= set(map(len, hosts))
    assert {2 * width} >= set(map(len, ranges))


@given(noise)
def test_objects_of_anything(body: bytes) -> None:
    """Any dumped table, chain, set or rule is read, named foreign, or a ValueError; never taken for ours."""
    for reader in (read_table, chain_names, read_chain, read_set, read_name):
        try:
            reader(body)
        except ValueError:
            continue
    try:
        observed = read_rule(body)
    except ValueError:
        return
    matches = observed.rule.matches
    assert not matches or all(isinstance(match, Foreign) for match in matches)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=50)), max_size=8))
def test_attributes_come_back(pairs: list[tuple[int, bytes]]) -> None:
    """What `attribute` writes, `attributes` reads."""
    assert pairs == list(wire.attributes(b"".join(wire.attribute(kind, data) for kind, data in pairs)))


@given(st.integers(0, 0xFF), st.integers(0, 0xFFF), st.integers(0, 2**32 - 1), st.binary(max_size=60))
def test_an_envelope_comes_back(kind: int, flags: int, sequence: int, payload: bytes) -> None:
    """What `envelope` writes, `messages` reads: kind, flags with REQUEST, sequence, family and payload."""
    (found,) = wire.messages(wire.envelope(kind, flags, sequence, payload))
    assert (10 << 8 | kind, flags | 1, sequence) == (found.type, found.flags, found.sequence)
    assert bytes([1, 0, 0, 0]) + payload == found.body


def _elements(width: int) -> st.SearchStrategy[frozenset[bytes]]:
    low, high = bytes(width), b"\xff" * width
    return st.frozensets(
        st.binary(min_size=width, max_size=width) | st.sampled_from([low, high]), max_size=40
    )


@given(widths.flatmap(lambda width: st.tuples(st.just(width), _elements(width))))
def test_hosts_come_back(case: tuple[int, frozenset[bytes]]) -> None:
    """Addresses are the same after packing and unpacking, by the quick way and by the thorough one."""
    width, members = case
    for payload, count in wire.pack_elements("t", "s", sorted(members), width):
        packed = wire.elements_of(bytes(4) + payload)[1]
        assert sorted(members) == wire.unpack_hosts(packed, width)
        assert sorted(members) == [key for key, _ in wire.unpack_elements(packed, width)]
        assert count == len(members)


def _ranges(width: int) -> st.SearchStrategy[frozenset[bytes]]:
    """Disjoint ranges that do not touch, both ends of the address space among them."""
    top = (1 << 8 * width) - 1
    bounds = st.sets(st.integers(0, 60) | st.integers(top - 60, top), max_size=20).map(sorted)

    def pair(found: list[int]) -> frozenset[bytes]:
        out: list[bytes] = []
        last = -2
        for low, high in zip(found[::2], found[1::2], strict=False):
            if low > last + 1:
                out.append(low.to_bytes(width, "big") + high.to_bytes(width, "big"))
                last = high
        return frozenset(out)

    return bounds.map(pair)


@given(widths.flatmap(lambda width: st.tuples(st.just(width), _ranges(width), st.randoms())))
def test_ranges_come_back(case: tuple[int, frozenset[bytes], Random]) -> None:
    """Ranges are the same after packing, in whatever order the kernel gives their bounds back."""
    width, members, random = case
    keys: list[tuple[bytes, bool]] = []
    for payload, _ in wire.pack_elements("t", "s", sorted(members), width):
        keys += wire.unpack_elements(wire.elements_of(bytes(4) + payload)[1], width)
    random.shuffle(keys)
    assert members == wire.pair_ranges(keys, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_marker_at_the_beginning_is_no_range(width: int) -> None:
    """nft(8) writes an end at the first address of a set that does not begin there; it means nothing."""
    one = bytes(width - 1) + b"\x01"
    keys = [(bytes(width), True), (one, False), (one[:-1] + b"\x03", True)]
    assert frozenset({one + one[:-1] + b"\x02"}) == wire.pair_ranges(keys, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_two_starts_without_an_end_are_foreign(width: int) -> None:
    """A start before another start is nothing that droplan writes, and is not guessed at."""
    keys = [(bytes(width), False), (b"\xff" * width, False)]
    with pytest.raises(wire.ForeignElementError):
        wire.pair_ranges(keys, width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("extra", [2, 4, 7, 9, 10, 11])
def test_an_element_with_more_than_a_key_is_foreign(width: int, extra: int) -> None:
    """An element with data, time limit, statement, object or second key is no plain address."""
    key = wire.attribute(1, wire.attribute(1, bytes(width)))
    packed = wire.attribute(1, key + wire.attribute(extra, bytes(8)))
    with pytest.raises(wire.ForeignElementError):
        wire.unpack_hosts(packed, width)


@pytest.mark.parametrize("body", [b"", struct.pack(">HH", 0, 0)], ids=["no key", "noise"])
def test_an_element_for_everybody_is_foreign(body: bytes) -> None:
    """The catch-all element has a flag and no key."""
    packed = wire.attribute(1, wire.attribute(3, (2).to_bytes(4, "big")) + body[:0])
    with pytest.raises(wire.ForeignElementError):
        wire.unpack_hosts(packed, 4)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comment_on_an_element_is_passed_over(width: int) -> None:
    """User data of an element decides nothing; the address counts."""
    key = wire.attribute(1, wire.attribute(1, bytes(width)))
    assert [bytes(width)] == wire.unpack_hosts(
        wire.attribute(1, key + wire.attribute(6, b"\0\x02a\0")), width
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ranges", [False, True], ids=["hosts", "ranges"])
@pytest.mark.parametrize("count", [1, 2, 4_000, 10_000])
def test_no_attribute_is_longer_than_sixteen_bits(width: int, ranges: bool, count: int) -> None:
    """However many elements, each message's list fits 16 bits of length; together they are all."""
    step = 4
    found = [(n * step).to_bytes(width, "big") for n in range(count)]
    if ranges:
        found = [first + (int.from_bytes(first, "big") + 1).to_bytes(width, "big") for first in found]
    parts = list(wire.pack_elements("droplan", "peers", found, width))
    lists = [wire.elements_of(bytes(4) + payload)[1] for payload, _ in parts]
    assert all(len(packed) + 4 <= 0xFFFF for packed in lists)
    assert count == sum(n for _, n in parts)
    keys = [pair for packed in lists for pair in wire.unpack_elements(packed, width)]
    again = wire.pair_ranges(keys, width) if ranges else frozenset(key for key, _ in keys)
    assert frozenset(found) == again


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ranges", [False, True], ids=["hosts", "ranges"])
def test_an_offset_names_its_element(width: int, ranges: bool) -> None:
    """Every byte of an element in a message leads back to that element."""
    found = [(n * 4).to_bytes(width, "big") for n in range(50)]
    if ranges:
        found = [first + (int.from_bytes(first, "big") + 1).to_bytes(width, "big") for first in found]
    ((payload, _),) = wire.pack_elements("droplan", "peers", found, width)
    message = wire.envelope(12, 0, 1, payload)
    size = wire.element_size(width, ranges=ranges)
    start = len(message) - size * len(found)
    for offset in range(start, len(message)):
        at = wire.element_at(offset, "droplan", "peers", len(found[0]), width)
        assert (offset - start) // size == at


def test_a_generation_is_in_the_batch_or_is_not() -> None:
    """Generation 0 makes a batch unconditional; any other is its only attribute."""
    (unconditional,) = wire.messages(wire.batch_begin(3, 0))
    (conditional,) = wire.messages(wire.batch_begin(3, 77))
    assert b"" == unconditional.body[4:]
    assert [(wire.NFNL_BATCH_GENID, (77).to_bytes(4, "big"))] == list(wire.attributes(conditional.body[4:]))
