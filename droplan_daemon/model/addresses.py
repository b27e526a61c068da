"""IP addresses as packed bytes.

Law: an address is `bytes` in network order, 4 (IPv4) or 16 (IPv6) of them, and a range is
its first and last address joined (8 or 32 bytes). Nothing else is ever compared, stored
or sent to the kernel.

Packed bytes are what the kernel's sets hold, hash in 30 ns where `ipaddress` objects take
ten times as long, sort in numeric order within a family, and cost 37 bytes each.
"""

import socket
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = bytes
"""4 or 16 bytes, network order."""

Element = bytes
"""What an AddressSet holds: an Address, or a range as first + last Address (8 or 32 bytes)."""


class Family(IntEnum):
    """The IP version; the value is the number people say."""

    IPV4 = 4
    IPV6 = 6

    @property
    def width(self) -> int:
        """Bytes of one address."""
        return 4 if self is Family.IPV4 else 16


_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}

# Addresses that no Droplet can be reached at from another machine; a peer with one of
# them would open a door (127.0.0.1, 169.254.169.254) or nothing at all.
# Precedents: IANA special-purpose registries (RFC 6890).
_UNUSABLE_V4 = tuple(
    (IPv4Network(prefix), reason)
    for prefix, reason in (
        ("0.0.0.0/8", "this-network"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_UNUSABLE_V6 = tuple(
    (IPv6Network(prefix), reason)
    for prefix, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "mapped-ipv4"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)


def _bounds(nets: "Iterable[tuple[IPv4Network | IPv6Network, str]]") -> tuple[tuple[bytes, bytes, str], ...]:
    return tuple((net.network_address.packed, net.broadcast_address.packed, reason) for net, reason in nets)


_UNUSABLE = {4: _bounds(_UNUSABLE_V4), 16: _bounds(_UNUSABLE_V6)}


def family_of(address: Address) -> Family:
    """The family of a packed address, by its length."""
    return Family.IPV4 if len(address) == Family.IPV4.width else Family.IPV6


def parse_address(text: str, family: Family | None = None) -> Address:
    """Pack a textual address; ValueError for anything but one plain address.

    Strict like inet_pton(3): four decimal parts without leading zeros, no zone, no prefix.
    """
    if family is None:
        family = Family.IPV6 if ":" in text else Family.IPV4
    try:
        return socket.inet_pton(_AF[family], text)
    except (OSError, ValueError) as error:
        message = f"not an IPv{family.value} address: {text[:60]!r}"
        raise ValueError(message) from error


def format_address(address: Address) -> str:
    """Text of a packed address, in the canonical form of RFC 5952 for IPv6."""
    return socket.inet_ntop(_AF[family_of(address)], address)


def unusable(address: Address) -> str | None:
    """Why this address can never be a Droplet's, as one word; None when it can."""
    for first, last, reason in _UNUSABLE[len(address)]:
        if first <= address <= last:
            return reason
    return None


def collapse(prefixes: "Iterable[IPv4Network | IPv6Network]") -> frozenset[Element]:
    """Prefixes of one family as the fewest disjoint, non-adjacent ranges.

    The kernel refuses overlaps in an interval set, and with auto-merge it forgets what
    was added; so the sets hold the canonical form only, and differ only where it differs.
    """
    merged: list[tuple[bytes, bytes]] = []
    for net in collapse_addresses(prefixes):  # type: ignore[type-var]
        first, last = net.network_address.packed, net.broadcast_address.packed
        if merged and _follows(merged[-1][1], first):
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return frozenset(first + last for first, last in merged)


def _follows(previous: bytes, following: bytes) -> bool:
    return int.from_bytes(previous, "big") + 1 == int.from_bytes(following, "big")


def format_element(element: Element, family: Family) -> str:
    """Text of a set element as nft writes it: an address, a prefix, or `first-last`."""
    if len(element) == family.width:
        return format_address(element)
    first, last = element[: family.width], element[family.width :]
    if first == last:
        return format_address(first)
    low, high = int.from_bytes(first, "big"), int.from_bytes(last, "big")
    size = high - low + 1
    if size & (size - 1) == 0 and low % size == 0:
        return f"{format_address(first)}/{family.width * 8 - size.bit_length() + 1}"
    return f"{format_address(first)}-{format_address(last)}"
