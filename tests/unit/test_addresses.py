"""Addresses as packed bytes, against the standard library's."""

import ipaddress
from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.model.addresses import (
    Element,
    Family,
    collapse,
    family_of,
    format_address,
    format_element,
    parse_address,
    unusable,
)

families = st.sampled_from(Family)
addresses = families.flatmap(lambda family: st.binary(min_size=family.width, max_size=family.width))


@given(addresses)
def test_text_comes_back(address: bytes) -> None:
    """An address is the same after formatting and parsing, with its family given or found."""
    text = format_address(address)
    assert address == parse_address(text) == parse_address(text, family_of(address))


@given(addresses)
def test_text_is_that_of_the_standard_library(address: bytes) -> None:
    """The text means to `ipaddress` what the bytes mean."""
    assert address == ipaddress.ip_address(format_address(address)).packed


@given(addresses, addresses)
def test_order_is_numeric_within_a_family(one: bytes, other: bytes) -> None:
    """Packed addresses sort like the numbers that they are."""
    if len(one) == len(other):
        assert (int.from_bytes(one, "big") < int.from_bytes(other, "big")) == (one < other)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "10", "10.1", "10.0.0", "10.0.0.256", "10.0.0.1.2", "010.0.0.1", "10.0.0.01", "10.0.0.1/32",
        " 10.0.0.1", "10.0.0.1 ", "10.0.0.1\n", "0x0a000001", "167772161", "1e1.0.0.1", "-1.0.0.0", "true",
        "::1%eth0", "fe80::1%1", "::/0", ":::", "1::2::3", "12345::", "2001:db8::g", "::1.2.3", "\0",
        "10.0.0.1\0", "\u0661\u0660.0.0.1", "localhost",
    ],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    """Anything but one plain address is a ValueError, as IPv4, as IPv6 and as either."""
    for family in (None, *Family):
        with pytest.raises(ValueError, match="not an IPv"):
            parse_address(text, family)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    """No text makes more than a ValueError, and what passes is an address to the standard library too."""
    try:
        packed = parse_address(text)
    except ValueError:
        return
    assert packed == ipaddress.ip_address(text).packed


def test_a_family_is_insisted_upon() -> None:
    """An address of the other family is refused."""
    for text, family in (("10.0.0.1", Family.IPV6), ("::1", Family.IPV4)):
        with pytest.raises(ValueError, match="not an IPv"):
            parse_address(text, family)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0", "this-network"),
        ("0.0.0.1", "this-network"),
        ("1.0.0.0", None),
        ("10.0.0.1", None),
        ("126.255.255.255", None),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("169.254.169.254", "link-local"),
        ("169.255.0.0", None),
        ("192.168.1.1", None),
        ("223.255.255.255", None),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.0", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", None),
        ("::ffff:10.0.0.1", "mapped-ipv4"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", None),
        ("ff02::1", "multicast"),
        ("fd00::1", None),
        ("2001:db8::1", None),
    ],
)
def test_addresses_that_no_droplet_has(text: str, expected: str | None) -> None:
    """An address that can never be another machine's is named so; its neighbours are not."""
    assert expected == unusable(parse_address(text))


def _networks(family: Family) -> st.SearchStrategy[list[IPv4Network | IPv6Network]]:
    bits = family.width * 8
    kind = IPv4Network if family is Family.IPV4 else IPv6Network
    near = st.integers(0, 63) | st.integers((1 << bits) - 64, (1 << bits) - 1)
    one = st.builds(lambda at, length: kind((at, length), strict=False), near, st.integers(bits - 6, bits))
    return st.lists(one, max_size=12)


def _covered(members: frozenset[Element], width: int) -> set[int]:
    """Every address of small ranges."""
    bounds = ((int.from_bytes(m[:width], "big"), int.from_bytes(m[width:], "big")) for m in members)
    return {at for first, last in bounds for at in range(first, last + 1)}


@given(families.flatmap(lambda family: st.tuples(st.just(family), _networks(family))))
def test_collapsed_ranges_cover_the_same_addresses(
    case: tuple[Family, list[IPv4Network | IPv6Network]],
) -> None:
    """Collapsing loses no address and adds none; what is left neither overlaps nor touches."""
    family, networks = case
    members = collapse(networks)
    expected = {
        at for net in networks for at in range(int(net.network_address), int(net.broadcast_address) + 1)
    }
    assert expected == _covered(members, family.width)
    ordered = sorted(members)
    for before, after in pairwise(ordered):
        last, first = before[family.width :], after[: family.width]
        assert int.from_bytes(last, "big") + 1 < int.from_bytes(first, "big")


@given(families.flatmap(_networks))
def test_the_order_of_prefixes_does_not_matter(networks: list[IPv4Network]) -> None:
    """The canonical form is one form."""
    assert collapse(networks) == collapse(networks[::-1]) == collapse(networks * 2)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("10.0.0.0", "10.0.0.255", "10.0.0.0/24"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.1-10.0.0.2"),
        ("10.0.0.2", "10.0.0.3", "10.0.0.2/31"),
        ("10.0.0.0", "10.0.0.2", "10.0.0.0-10.0.0.2"),
        ("0.0.0.0", "255.255.255.255", "0.0.0.0/0"),
        ("255.255.255.254", "255.255.255.255", "255.255.255.254/31"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::/32"),
        ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
    ],
)
def test_a_range_is_written_as_nft_writes_it(first: str, last: str, expected: str) -> None:
    """A range that is a prefix is written as one, a single address as itself, any other from-to."""
    low, high = parse_address(first), parse_address(last)
    assert expected == format_element(low + high, family_of(low))


@given(addresses)
def test_a_host_is_written_as_itself(address: bytes) -> None:
    """An element of a set of hosts is its address."""
    assert format_address(address) == format_element(address, family_of(address))
