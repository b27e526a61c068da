"""Packets that carry a number, as bytes: made, and recognized where they arrive. PURE."""

import socket
import struct

from droplan_daemon.model.ruleset import Protocol

MAGIC = b"droplan?"
OTHER = 253
"""A protocol number for experiments (RFC 3692): neither ports nor types."""

ECHO = {Protocol.ICMP: 8, Protocol.ICMPV6: 128}
_ECHO_REPLIES: dict[int, int] = {Protocol.ICMP: 0, Protocol.ICMPV6: 129}
_SYN = 0x02
_HEADS: dict[int, int] = {Protocol.TCP: 20, Protocol.UDP: 8, Protocol.ICMP: 8, Protocol.ICMPV6: 8, OTHER: 0}
CHECKSUM_AT: dict[int, int] = {Protocol.TCP: 16, Protocol.UDP: 6}
"""Where the kernel may put the checksum of an IPv6 packet (IPV6_CHECKSUM)."""


def message(protocol: int, number: int, one: int, two: int, ends: bytes) -> bytes:
    """What follows the IP header.

    `one` and `two` are source and destination port; for ICMP type and identifier. `ends` are the
    packed IPv4 addresses of both ends, empty for IPv6, where the kernel adds the checksum.
    """
    payload = MAGIC + struct.pack("!I", number)
    match protocol:
        case Protocol.TCP:
            head = struct.pack("!HHIIBBHHH", one, two, number, 0, 5 << 4, _SYN, 1024, 0, 0)
        case Protocol.UDP:
            head = struct.pack("!HHHH", one, two, 8 + len(payload), 0)
        case Protocol.ICMP | Protocol.ICMPV6:
            head = struct.pack("!BBHHH", one, 0, 0, two, 1)
        case _:
            head = b""
    return _summed(protocol, head + payload, ends)


def _summed(protocol: int, body: bytes, ends: bytes) -> bytes:
    if protocol == Protocol.ICMP:
        return body[:2] + _checksum(body) + body[4:]
    if not ends or protocol not in CHECKSUM_AT:
        return body
    at = CHECKSUM_AT[protocol]
    pseudo = ends + struct.pack("!BBH", 0, protocol, len(body))
    return body[:at] + _checksum(pseudo + body) + body[at + 2 :]


def _checksum(data: bytes) -> bytes:
    """RFC 1071; 2**16 is 1 modulo 0xFFFF, so the whole is one remainder."""
    padded = data + bytes(len(data) % 2)
    return struct.pack("!H", 0xFFFF - int.from_bytes(padded, "big") % 0xFFFF)


def number_of(family: socket.AddressFamily, protocol: int, data: bytes) -> int | None:
    """The number that a packet of ours carries, as a raw socket gives it; None for all others.

    Echo replies and errors bring our bytes back; they are not ours.
    """
    body = data[(data[0] & 15) * 4 :] if family == socket.AF_INET else data
    if protocol in _ECHO_REPLIES and body[:1] == bytes([_ECHO_REPLIES[protocol]]):
        return None
    at = _HEADS[protocol]
    if body[at : at + len(MAGIC)] != MAGIC:
        return None
    (found,) = struct.unpack_from("!I", body, at + len(MAGIC))
    return int(found)
