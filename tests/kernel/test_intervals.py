"""Ranges: every set of prefixes, in its canonical form, goes into the kernel and comes back the same."""

import json
import os
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.model.addresses import Element, Family, collapse, format_element
from droplan_daemon.model.ruleset import AddressSet, SetKind, ruleset

if TYPE_CHECKING:
    from tests.kernel.ground import Kernel

pytestmark = pytest.mark.kernel

EXAMPLES = 10_000 if os.environ.get("DROPLAN_TEST_FULL") else 400


def _prefixes(family: Family) -> "st.SearchStrategy[frozenset[Element]]":
    """Prefixes that nest, touch and repeat, near both ends of the address space and in between."""
    bits = family.width * 8
    top = (1 << bits) - 1
    near = st.sampled_from([0, 10 << (bits - 8), top - 63]).flatmap(lambda base: st.integers(base, base + 63))
    lengths = st.integers(bits - 7, bits) | st.integers(0, bits)
    kind = IPv4Network if family is Family.IPV4 else IPv6Network
    prefix = st.builds(lambda at, length: kind((at, length), strict=False), near, lengths)
    return st.lists(prefix, max_size=12).map(collapse)


@pytest.mark.fault("D8")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", list(Family), ids=str)
def test_any_prefixes_go_from_one_set_to_the_next(kernel: "Kernel", family: Family) -> None:
    """From any set of ranges one commit leads to any other; none is refused, and each reads back the same."""

    @settings(max_examples=EXAMPLES)
    @given(_prefixes(family))
    def leads(members: frozenset[Element]) -> None:
        wanted = ruleset((AddressSet("nets", family, SetKind.RANGES, 0, members),), ())
        kernel.become(wanted)
        assert wanted == kernel.holds()

    leads()


@pytest.mark.parametrize("family", list(Family), ids=str)
def test_nft_sees_the_same_ranges(kernel: "Kernel", family: Family) -> None:
    """What nft(8) lists of a set is what our own text says of its elements."""

    @settings(max_examples=EXAMPLES // 10)
    @given(_prefixes(family))
    def agrees(members: frozenset[Element]) -> None:
        kernel.become(ruleset((AddressSet("nets", family, SetKind.RANGES, 0, members),), ()))
        listed = json.loads(kernel.namespace.run("nft", "-j", "list", "set", "inet", "droplan", "nets"))
        (found,) = (item["set"] for item in listed["nftables"] if "set" in item)
        texts = sorted(format_element(element, family) for element in members)
        assert texts == sorted(map(_text, found.get("elem", ())))

    agrees()


def _text(item: object) -> str:
    """An element of nft's JSON as nft's text has it."""
    match item:
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{first}-{last}"
        case _:
            return str(item)
