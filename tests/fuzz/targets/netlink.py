"""What a kernel answers: nftables' dumps, set elements, acknowledgements, links, connections, ip sets.

The kernel is no adversary, but a newer one may say what none has said yet, and a short read says anything.
"""

import socket
import struct
from typing import TYPE_CHECKING

from droplan_daemon.backends import ipset_shape, ipset_wire
from droplan_daemon.backends import nft_codec as codec
from droplan_daemon.backends import nft_wire as wire
from droplan_daemon.backends.nft_batch import Batch
from droplan_daemon.backends.nft_events import Hearing
from droplan_daemon.backends.nft_map import pack_entries, unpack_entries
from droplan_daemon.diff import diff
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import AddressSet, SetKind
from droplan_daemon.sources import conntrack, links
from tests.checkpoint.kept import big_checkpoint
from tests.fuzz.judging import check_set
from tests.fuzz.mutating import attributes_changed, scramble
from tests.fuzz.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

_BODY = 4  # nfgenmsg, before the attributes of a netfilter message


def _requests() -> list[bytes]:
    """Bodies of messages as we send them, which are made as the kernel's dumps are."""
    desired = big_checkpoint(3).ruleset
    batch = Batch("droplan", {})
    for index, change in enumerate(diff(None, desired).changes):
        batch.add(index, change)
    batch.requests.append(codec.new_map("droplan", "tcp-ports", 9))
    handle = wire.attribute(3, (7).to_bytes(8, "big"))
    return [bytes(_BODY) + request.payload + handle for request in batch.requests]


_READERS: "tuple[Callable[[bytes], object], ...]" = (
    codec.read_table,
    codec.chain_names,
    codec.read_chain,
    codec.read_set,
    codec.read_map,
    codec.read_name,
    codec.read_rule,
    wire.elements_of,
)


def _dump(data: bytes) -> bool:
    """A message of any dump: a value of ours, or something that cannot be taken for one."""
    accepted = False
    for reader in _READERS:
        try:
            found = reader(data)
        except ValueError:
            continue
        accepted = accepted or found is not None
        if isinstance(found, codec.ObservedRule):
            assert found.rule.name is not None
            assert 0 <= found.packets
        if isinstance(found, AddressSet):
            assert found == codec.read_set(bytes(_BODY) + codec.new_set("t", found, 1).payload) or not _plain(
                found
            )
    return accepted


def _plain(found: AddressSet) -> bool:
    """Whether droplan would give a set such a name."""
    return found.name.isascii() and found.name.isprintable() and found.capacity < 2**32


def _elements(data: bytes) -> bool:
    """Packed elements of a set or a map: what they are, exactly, or that they are none of ours."""
    accepted = False
    for family in Family:
        width = family.width
        try:
            hosts = wire.unpack_hosts(data, width)
        except ValueError:
            pass
        else:
            accepted = True
            assert {width} >= {len(host) for host in hosts}
        try:
            ranges = wire.pair_ranges(list(wire.unpack_elements(data, width)), width)
        except ValueError:
            continue
        assert all(2 * width == len(found) for found in ranges)
    try:
        entries = unpack_entries(data)
    except ValueError:
        return accepted
    assert all(type(first) is int and type(chain) is str for first, _, chain in entries)
    return True


def _element_seeds() -> list[bytes]:
    hosts = [bytes((10, 0, 0, n)) for n in range(5)]
    ranges = [bytes((10, 0, n, 0, 10, 0, n, 255)) for n in range(0, 6, 2)] + [b"\xf0\0\0\0\xff\xff\xff\xff"]
    six = [bytes(15) + bytes((n,)) for n in range(3)]
    packed = [
        payload
        for elements, width in ((hosts, 4), (ranges, 4), (six, 16))
        for payload in _packed(elements, width)
    ]
    maps = list(pack_entries("t", "m", [(22, 22, "a"), (80, 90, "b"), (65000, 65535, "c")]))
    return [wire.elements_of(bytes(_BODY) + payload)[1] for payload in (*packed, *maps)]


def _packed(elements: list[bytes], width: int) -> list[bytes]:
    return [payload for payload, _ in wire.pack_elements("t", "s", elements, width)]


def _datagram(data: bytes) -> bool:
    """What one read of the socket gives: messages and acknowledgements, or that it cannot be read."""
    try:
        found = list(wire.messages(data))
    except ValueError:
        return False
    for message in found:
        if message.type == wire.NLMSG_ERROR:
            try:
                said = wire.ack(message)
            except ValueError:
                continue
            assert type(said.errno) is int
    return bool(found)


def _message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body + bytes(-len(body) % 4)


def _datagrams() -> list[bytes]:
    original = struct.pack("=IHHII", 20, 0, 0, 1, 0)
    told = wire.attribute(1, wire.asciiz("no such set")) + wire.attribute(2, (44).to_bytes(4, "little"))
    refused = _message(
        wire.NLMSG_ERROR, struct.pack("=i", -17) + original + told, wire.NLM_F_ACK_TLVS | wire.NLM_F_CAPPED
    )
    accepted = _message(wire.NLMSG_ERROR, struct.pack("=i", 0) + original)
    return [refused, accepted, refused + accepted, _message(wire.NLMSG_DONE, bytes(4))]


_TABLE = wire.attribute(1, wire.asciiz("droplan"))


def _event(data: bytes) -> bool:
    """What the kernel tells of commits: Disturbances, or that it was cut short."""
    hearing = Hearing()
    try:
        found = list(hearing.heard(data, 77))
    except ValueError:
        return False
    assert all(one.change and len(one.change) < 1_000 and one.pid >= 0 for one in found)
    return bool(found)


def _events() -> list[bytes]:
    rule = _told(6, _TABLE + wire.attribute(2, wire.asciiz("inbound")))
    author = wire.number_attribute(1, 9) + wire.number_attribute(2, 4711) + wire.attribute(3, b"nft\0")
    end = _told(15, author)
    ours = _told(6, _TABLE, port=77)
    iptables = _told(6, wire.attribute(1, b"filter\0") + wire.attribute(2, b"droplan-in\0"), family=2)
    return [rule + end, _told(2, _TABLE) + rule + end, ours + end, iptables + end, rule]


def _told(kind: int, attributes: bytes, *, port: int = 5, family: int = wire.NFPROTO_INET) -> bytes:
    body = bytes([family, 0, 0, 0]) + attributes
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, port) + body


_IFINFO, _IFADDR = 16, 8


def _link(data: bytes) -> bool:
    """A dump of links: read through a socket, whose other end is no kernel."""
    return _links(_message(16, data), links._RTM_GETLINK, links._IFINFO)


def _address(data: bytes) -> bool:
    return _links(_message(20, data), links._RTM_GETADDR, links._IFADDR)


def _links(said: bytes, kind: int, shape: struct.Struct) -> bool:
    link = [((0, 0, 0, 0, 0), {3: b"eth1\0", 1: b"\2\0\0\0\0\1"})]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(1.0)
        theirs.send(said + _message(wire.NLMSG_DONE, bytes(4)))
        try:
            found = list(links._dumped(ours, kind, shape))
            made = links._links(found, ()) if shape is links._IFINFO else links._links(link, found)
        except (OSError, struct.error):
            return False  # as `read_links` translates them
    assert all({4, 16} >= {len(address) for address in one.addresses} for one in made)
    assert all(one.name.isprintable() and one.mac.isascii() for one in made)
    return bool(made)


def _connection(data: bytes) -> bool:
    """An entry of connection tracking."""
    try:
        found = conntrack._connection(conntrack._attributes(data))
    except (OSError, struct.error):
        return False  # as `Conntrack.open_now` translates them
    if found is None:
        return False
    assert {len(found.source), len(found.destination)} <= {4, 16}
    assert min(found.protocol, found.source_port, found.destination_port) >= 0
    return True


def _connections() -> list[bytes]:
    address = wire.attribute(1, b"\x0a\0\0\1") + wire.attribute(2, b"\x0a\0\0\2")
    transport = wire.attribute(1, b"\x06") + wire.attribute(2, b"\xc0\0") + wire.attribute(3, b"\0\x16")
    both = wire.attribute(1, address) + wire.attribute(2, transport)
    tcp = wire.attribute(1, wire.attribute(1, b"\3"))
    return [
        wire.attribute(1, both) + wire.attribute(4, tcp),
        wire.attribute(1, both) + wire.attribute(3, bytes((0, 0, 0, 2))),
    ]


def _ip_set(data: bytes) -> bool:
    """One message of a listing of ip sets, header and entries, and what they stand for."""
    try:
        header = ipset_wire.read_header(data)
        ipset_wire.read_name(data)
        ipset_wire.read_protocol(data)
        ipset_wire.read_revision(data)
        kept = _entries(data)
    except ValueError:
        return False
    if header is not None:
        assert header.most >= 0
        ipset_shape.ruleset_name(header.name)
    return bool(kept) or header is not None


def _entries(data: bytes) -> list[AddressSet]:
    made = []
    for family in Family:
        for kind in SetKind:
            held = frozenset(ipset_wire.read_entries(data, family.width, ranges=kind is SetKind.RANGES))
            found = ipset_shape.elements(kind, family, held)
            if found is not None:
                made.append(AddressSet("s", family, kind, len(found) + 1, found))
                check_set(made[-1])
    return made


def _ip_sets() -> list[bytes]:
    command = ipset_wire.create("dn-peers", "hash:ip", Family.IPV4, revision=1, most=64, buckets=64)
    adding = [
        *ipset_wire.change(ipset_wire.ADD, "dn-peers", [bytes((10, 0, 0, n)) for n in range(4)], 4),
        *ipset_wire.change(ipset_wire.ADD, "dn-nets", [b"\x0a\0\0\0\x08", b"\xc0\xa8\0\0\x10"], 4),
        *ipset_wire.change(ipset_wire.ADD, "dn-six", [b"\x20\1\x0d\xb8" + bytes(12) + b"\x20"], 16),
    ]
    return [bytes(_BODY) + each.payload for each in (command, *adding)]


def _scrambled(data: bytes, random: "Random") -> bytes:
    return scramble(data, random)


def _link_seeds() -> list[bytes]:
    name = wire.attribute(3, b"eth1\0") + wire.attribute(1, b"\2\0\0\0\0\1")
    return [
        links._IFINFO.pack(0, 1, 2, 0x1003, 0) + name,
        links._IFINFO.pack(0, 772, 1, 0x8, 0) + wire.attribute(3, b"lo\0"),
    ]


def _address_seeds() -> list[bytes]:
    six = wire.attribute(1, b"\x20\1\x0d\xb8" + bytes(11) + b"\1")
    four = wire.attribute(1, b"\x0a\0\0\2") + wire.attribute(2, b"\x0a\0\0\1")
    return [links._IFADDR.pack(2, 24, 0, 0, 0) + four, links._IFADDR.pack(10, 64, 0, 0, 0) + six]


TARGETS = {
    "nft-dump": Target(_dump, _requests, attributes_changed(_BODY)),
    "nft-elements": Target(_elements, _element_seeds, attributes_changed(0)),
    "netlink-datagram": Target(_datagram, _datagrams, _scrambled),
    "nft-event": Target(_event, _events, attributes_changed(20)),
    "links": Target(_link, _link_seeds, attributes_changed(_IFINFO)),
    "addresses": Target(_address, _address_seeds, attributes_changed(_IFADDR)),
    "conntrack": Target(_connection, _connections, attributes_changed(0)),
    "ip-set": Target(_ip_set, _ip_sets, attributes_changed(_BODY)),
}
