"""The algebra of address spaces, against sets of numbers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.model.addresses import Family
from droplan_daemon.policy.space import (
    NOTHING,
    Space,
    complement,
    contains,
    everything,
    intersection,
    of_addresses,
    ranges,
    space,
    union,
)

TOP = 2**32 - 1
# The first and the last dozen of addresses; what is between them is one block that spans may cover.
LOW, HIGH = range(12), range(TOP - 11, TOP + 1)
_EDGES = [*LOW, *HIGH]

spans = st.tuples(st.sampled_from(_EDGES), st.sampled_from(_EDGES)).map(lambda pair: (min(pair), max(pair)))
spaces = st.lists(spans, max_size=6).map(space)
families = st.sampled_from(Family)


def _points(one: Space) -> set[int]:
    """Which of the addresses at the edges, and of one in the middle, it holds."""
    probes = (*LOW, 2**31, *HIGH)
    return {number for number in probes if any(first <= number <= last for first, last in one)}


EVERY_POINT = {*LOW, 2**31, *HIGH}


def _is_canonical(one: Space) -> bool:
    ordered = all(first <= last for first, last in one)
    apart = all(left[1] + 1 < right[0] for left, right in pairwise(one))
    return ordered and apart


@given(st.lists(spans, max_size=6))
def test_the_form_is_canonical(some: list[tuple[int, int]]) -> None:
    """Spans in any order, overlapping or touching, give one form; making it again changes nothing."""
    one = space(some)
    assert _is_canonical(one)
    assert one == space(reversed(some))
    assert one == space(one)
    assert {n for first, last in some for n in _points(((first, last),))} == _points(one)


@given(spaces, spaces)
def test_equal_sets_are_equal_values(a: Space, b: Space) -> None:
    """Two spaces that hold the same addresses are the same tuple."""
    assert (_points(a) == _points(b)) == (a == b)


@given(spaces, spaces, spaces)
def test_operations_are_those_of_sets(a: Space, b: Space, c: Space) -> None:
    """union, intersection and complement do to addresses what they say, and stay canonical."""
    not_a = complement(a, Family.IPV4)
    assert _points(a) | _points(b) | _points(c) == _points(union(a, b, c))
    assert _points(a) & _points(b) == _points(intersection(a, b))
    assert EVERY_POINT - _points(a) == _points(not_a)
    assert all(map(_is_canonical, (union(a, b, c), intersection(a, b), not_a)))


@given(spaces, spaces, spaces)
def test_it_is_a_boolean_algebra(a: Space, b: Space, c: Space) -> None:
    """The laws of one: neutral elements, complements, distribution, absorption, De Morgan."""
    whole = everything(Family.IPV4)
    not_a, not_b = complement(a, Family.IPV4), complement(b, Family.IPV4)
    assert a == union(a, NOTHING) == intersection(a, whole) == complement(not_a, Family.IPV4)
    assert whole == union(a, not_a)
    assert NOTHING == intersection(a, not_a)
    assert union(intersection(a, b), intersection(a, c)) == intersection(a, union(b, c))
    assert a == union(a, intersection(a, b)) == intersection(a, union(a, b))
    assert complement(union(a, b), Family.IPV4) == intersection(not_a, not_b)


@given(families)
def test_the_whole_and_nothing_are_each_others_complement(family: Family) -> None:
    """In both families, up to the very last address."""
    last = bytes([255] * family.width)
    assert everything(family) == complement(NOTHING, family)
    assert NOTHING == complement(everything(family), family)
    assert frozenset({bytes(family.width) + last}) == ranges(everything(family), family)
    assert contains(everything(family), last)


@given(st.data(), families)
def test_addresses_go_in_and_come_out(data: st.DataObject, family: Family) -> None:
    """A space of addresses contains each of them and no neighbour that was not put in."""
    near = st.integers(0, 20).map(lambda n: n.to_bytes(family.width, "big"))
    some = data.draw(st.frozensets(near))
    made = of_addresses(some)
    for number in range(22):
        address = number.to_bytes(family.width, "big")
        assert (address in some) == contains(made, address)
    covered = {
        number
        for span in ranges(made, family)
        for number in range(
            int.from_bytes(span[: family.width], "big"), int.from_bytes(span[family.width :], "big") + 1
        )
    }
    assert {int.from_bytes(address, "big") for address in some} == covered
