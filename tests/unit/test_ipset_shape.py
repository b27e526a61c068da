"""Ip sets on paper: names, sizes, prefixes, messages and the text that boot loads."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network, summarize_address_range

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink.ipset import ipset_msg

from droplan_daemon.backends import ipset_wire as wire
from droplan_daemon.backends import nft_wire as netlink
from droplan_daemon.backends.ipset_shape import (
    LONGEST_NAME,
    ODD_OPTIONS,
    buckets,
    capacity_of,
    elements,
    entries,
    kernel_name,
    max_elements,
    ruleset_name,
    spare_name,
)
from droplan_daemon.backends.ipset_steps import steps
from droplan_daemon.backends.ipset_text import render
from droplan_daemon.model.addresses import Family, collapse, parse_address
from droplan_daemon.model.ruleset import AddressSet, SetKind

families = st.sampled_from(Family)
kinds = st.sampled_from(SetKind)
names = st.from_regex(r"(private-|public-|)[a-zA-Z0-9_.:-]{1,23}", fullmatch=True)


@st.composite
def spans(draw: st.DrawFn, family: Family) -> frozenset[bytes]:
    """Disjoint ranges that do not touch, near both ends of the address space and in between."""
    width = family.width
    top = (1 << (8 * width)) - 1
    near = st.sampled_from([0, 10 << (8 * width - 8), top - 99]).flatmap(lambda b: st.integers(b, b + 99))
    bounds = sorted(draw(st.sets(near, max_size=8)) | draw(st.sets(st.integers(0, top), max_size=2)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    apart: list[tuple[int, int]] = []
    for first, last in pairs:
        if not apart or first > apart[-1][1] + 1:
            apart.append((first, last))
    return frozenset(a.to_bytes(width, "big") + b.to_bytes(width, "big") for a, b in apart)


def ranges(family: Family, found: frozenset[bytes], capacity: int = 0) -> AddressSet:
    return AddressSet("nets", family, SetKind.RANGES, capacity, found)


@pytest.mark.parametrize("family", list(Family), ids=str)
def test_ranges_become_prefixes_and_back(family: Family) -> None:
    """Any ranges are cut into prefixes that give exactly the same ranges again."""

    @given(spans(family))
    def holds(found: frozenset[bytes]) -> None:
        assert found == elements(SetKind.RANGES, family, entries(ranges(family, found)))

    holds()


def _halved(network: IPv4Network | IPv6Network) -> list[IPv4Network | IPv6Network]:
    return [network] if network.prefixlen else [*network.subnets()]


@pytest.mark.parametrize("family", list(Family), ids=str)
def test_prefixes_are_the_fewest(family: Family) -> None:
    """The standard library summarises each range into the same prefixes, but for /0, which is two halves."""
    everything = frozenset({bytes(family.width) + b"\xff" * family.width})

    @example(everything)
    @given(spans(family))
    def holds(found: frozenset[bytes]) -> None:
        kind = IPv4Address if family is Family.IPV4 else IPv6Address
        networks = [
            network
            for span in found
            for network in summarize_address_range(
                kind(span[: family.width]),
                kind(span[family.width :]),
            )
        ]
        expected = {
            half.network_address.packed + bytes([half.prefixlen])
            for network in networks
            for half in _halved(network)
        }
        assert expected == entries(ranges(family, found))

    holds()


def test_everything_is_two_halves() -> None:
    """The whole address space, which no ip set takes as /0, is two prefixes, and one range when read."""
    everything = collapse([ip_network("0.0.0.0/0")])
    cut = entries(ranges(Family.IPV4, everything))
    assert {bytes([0, 0, 0, 0, 1]), bytes([128, 0, 0, 0, 1])} == cut
    assert everything == elements(SetKind.RANGES, Family.IPV4, cut)


@pytest.mark.parametrize("family", list(Family), ids=str)
def test_the_longest_cut_fits_its_capacity(family: Family) -> None:
    """The range that takes the most prefixes is let in by the size that a capacity of one declares."""
    first, last = bytes(family.width - 1) + b"\1", b"\xff" * (family.width - 1) + b"\xfe"
    widest = ranges(family, frozenset({first + last}), 1)
    assert max_elements(widest) == len(entries(widest))


def test_prefixes_that_droplan_never_cuts_are_seen() -> None:
    """A prefix inside another changes nobody's verdict today; it is no set of ours all the same."""
    nested = frozenset({bytes([10, 0, 0, 0, 24]), bytes([10, 0, 0, 0, 25])})
    assert elements(SetKind.RANGES, Family.IPV4, nested) is None


@given(kinds, families, st.integers(0, 60_000))
def test_capacities_come_back(kind: SetKind, family: Family, capacity: int) -> None:
    """Every capacity, and none, is read back from the size that the kernel was told."""
    assert capacity == capacity_of(
        kind, family, max_elements(AddressSet("s", family, kind, capacity, frozenset()))
    )


@given(kinds, families, st.integers(0, 0xFFFFFFFF))
def test_sizes_of_others_are_odd(kind: SetKind, family: Family, most: int) -> None:
    """A size is either what some capacity gives, or it is said to be none of ours."""
    capacity = capacity_of(kind, family, most)
    if capacity != ODD_OPTIONS:
        assert most == max_elements(AddressSet("s", family, kind, capacity, frozenset()))


@pytest.mark.parametrize("capacity", [0xFFFFFF, 1 << 32, -1])
def test_capacities_beyond_the_kernel(capacity: int) -> None:
    """A capacity that would be read back as another one is refused."""
    with pytest.raises(ValueError, match="capacity"):
        max_elements(AddressSet("s", Family.IPV4, SetKind.HOSTS, capacity, frozenset()))


@given(st.integers(0, 200_000))
def test_buckets_are_few_and_enough(members: int) -> None:
    """A full set has at most four members a bucket; the kernel wants powers of two from 64 on."""
    size = buckets(AddressSet("s", Family.IPV4, SetKind.HOSTS, members, frozenset()), 0)
    assert size & (size - 1) == 0
    assert 64 <= size <= 65_536
    assert members <= 4 * size
    assert size == 64 or members > 2 * size


@given(names)
def test_names_come_back(name: str) -> None:
    """A name is read back from the kernel's, fits into it, and its spare is another; or it is refused."""
    try:
        found = kernel_name(name)
    except ValueError:
        assert len("dp-" + name) > LONGEST_NAME
        return
    assert name == ruleset_name(found)
    assert len(found) <= LONGEST_NAME
    assert "dn-" + found.removeprefix("dp-") == spare_name(name)


NAMES = [
    ("private-peers-4", "dp-private-peers-4"),
    ("private-name-a-web-server-1-4", "dp-+name-a-web-server-1-4"),
    ("private-region-abcdefghijklmn-4", "dp-+region-abcdefghijklmn-4"),
    ("public-region-abcdefghijklmn-6", "dp-=region-abcdefghijklmn-6"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_names_are_readable(name: str, expected: str) -> None:
    """A set has its own name in the kernel; only the longest have their first word shortened."""
    assert expected == kernel_name(name)


@pytest.mark.parametrize("name", ["", "a b", "-" * 40, 'a"b', "a\nadd x", "+peers", "ä", "x" * 29])
def test_names_that_no_set_can_have(name: str) -> None:
    """A name that the kernel or ipset(8) would take for something else is refused."""
    with pytest.raises(ValueError, match="name"):
        kernel_name(name)


@pytest.mark.parametrize(
    "name", ["dp-+peers-4", "dp-", "dp-a b", "dn-peers", "mine", "dp-+" + "x" * 27 + "y"]
)
def test_names_that_droplan_never_gives(name: str) -> None:
    """Another spelling of a name is not that name."""
    assert ruleset_name(name) is None


HOSTS = AddressSet(
    "peers-4",
    Family.IPV4,
    SetKind.HOSTS,
    16,
    frozenset({parse_address("10.0.0.2"), parse_address("10.0.0.3")}),
)
NETS = AddressSet("nets-6", Family.IPV6, SetKind.RANGES, 0, collapse([ip_network("2001:db8::/32")]))

TEXT = """\
create dp-peers-4 hash:ip family inet hashsize 64 maxelem 16
create dp-nets-6 hash:net family inet6 hashsize 64 maxelem 16777215
create dn-peers-4 hash:ip family inet hashsize 64 maxelem 16
flush dn-peers-4
add dn-peers-4 10.0.0.2
add dn-peers-4 10.0.0.3
swap dn-peers-4 dp-peers-4
destroy dn-peers-4
create dn-nets-6 hash:net family inet6 hashsize 64 maxelem 16777215
flush dn-nets-6
add dn-nets-6 2001:db8::/32
swap dn-nets-6 dp-nets-6
destroy dn-nets-6
"""


def test_the_text_of_two_sets() -> None:
    """Every set is named before anything changes; then each is built beside and swapped in."""
    assert render({"peers-4": HOSTS, "nets-6": NETS}) == TEXT
    assert render({}) == ""


# As strace(1) shows them of ipset(8), but for the version (6, which every kernel speaks) and line numbers.
CREATED = """
58000000 0206 0000 01000000 00000000 02000000 05000100 06000000 09000200 646e2d78 00000000
0c000300 68617368 3a697000 05000400 06000000 05000500 02000000
14000780 08001240 00000040 08001340 00000010
"""
ADDED = """
54000000 0906 0000 01000000 00000000 02000000 05000100 06000000 09000200 646e2d78 00000000
08000940 00000000 24000880 10000780 0c000180 08000140 0a000001 10000780 0c000180 08000140 0a000002
"""
SWAPPED = """
34000000 0606 0000 01000000 00000000 02000000 05000100 06000000 09000200 646e2d78 00000000
09000300 64702d78 00000000
"""
BYTES = [
    (wire.create("dn-x", "hash:ip", Family.IPV4, revision=6, most=16, buckets=64), CREATED),
    (next(wire.change(wire.ADD, "dn-x", [b"\x0a\0\0\1", b"\x0a\0\0\2"], 4)), ADDED),
    (wire.swap("dn-x", "dp-x"), SWAPPED),
]


@pytest.mark.parametrize(("command", "expected"), BYTES)
def test_messages_are_those_of_ipset(command: wire.Command, expected: str) -> None:
    """What goes to the kernel is what ipset(8) sends."""
    sent = bytearray(wire.message(command, netlink.NLM_F_ACK, 1))
    sent[6:8] = bytes(2)
    assert bytearray.fromhex(expected).hex() == sent.hex()


@settings(max_examples=30)
@given(st.sampled_from([4, 16]), st.booleans(), st.integers(0, 9000))
def test_entries_fill_few_messages(width: int, prefixed: bool, count: int) -> None:
    """All entries are sent, each once, in messages whose attributes the kernel can measure."""
    sent = [n.to_bytes(width, "big") + (b"\x20" if prefixed else b"") for n in range(count)]
    commands = list(wire.change(wire.ADD, "dn-x", sent, width))
    read = [e for c in commands for e in wire.read_entries(bytes(4) + c.payload, width, ranges=prefixed)]
    assert sent == read
    assert all(len(command.payload) < (1 << 16) + 64 for command in commands)
    assert len(commands) <= 1 + count // (1_500 if width == 16 else 2_500)


def test_pyroute2_reads_our_messages() -> None:
    """An independent reader finds the same addresses and prefixes in what we send."""
    (command,) = wire.change(wire.ADD, "dn-x", [parse_address("2001:db8::") + b"\x20"], 16)
    read = ipset_msg(wire.message(command, 0, 7))
    read.decode()
    (entry,) = read.get_attr("IPSET_ATTR_ADT").get_attrs("IPSET_ATTR_DATA")
    assert read.get_attr("IPSET_ATTR_SETNAME") == "dn-x"
    assert entry.get_attr("IPSET_ATTR_CIDR") == 32
    assert entry.get_attr("IPSET_ATTR_IP_FROM").get_attr("IPSET_ATTR_IPADDR_IPV6") == "2001:db8::"


@st.composite
def nested(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Attributes that are well formed but for what stands in them."""
    out = b""
    for _ in range(draw(st.integers(0, 3))):
        inner = draw(nested(depth - 1)) if depth and draw(st.booleans()) else draw(st.binary(max_size=20))
        out += netlink.attribute(draw(st.integers(0, 30)) | draw(st.sampled_from([0, 0x8000])), inner)
    return out


@given(st.binary(max_size=120) | nested(), st.sampled_from([4, 16]), st.booleans())
def test_listings_of_anything(data: bytes, width: int, prefixed: bool) -> None:
    """Whatever a listing says, it is read or it is a ValueError."""
    for read in (wire.read_header, wire.read_name, wire.read_protocol, wire.read_revision):
        try:
            read(bytes(4) + data)
        except ValueError:
            continue
    try:
        found = list(wire.read_entries(bytes(4) + data, width, ranges=prefixed))
    except ValueError:
        return
    assert all(len(entry) == width + prefixed for entry in found)


def _revision(kind: SetKind, family: Family) -> int:
    return 0


def _hosts(first: int, count: int, capacity: int = 16_384) -> dict[str, AddressSet]:
    members = frozenset((first + n).to_bytes(4, "big") for n in range(count))
    return {"peers-4": AddressSet("peers-4", Family.IPV4, SetKind.HOSTS, capacity, members)}


# What changes, whether the rules do, and the commands: those that no rule sees, those that rules see.
STEPS = [
    ("nothing", (1, 9), (1, 9), False, [], []),
    ("nothing, with the rules", (1, 9), (1, 9), True, [], []),
    ("one comes, one goes", (1, 9), (2, 9), False, [], [wire.ADD, wire.DELETE]),
    ("five hundred", (1, 900), (251, 900), False, [], [wire.ADD, wire.DELETE]),
    ("many", (1, 900), (800, 900), False, [wire.CREATE, wire.ADD], [wire.SWAP]),
    ("one comes, with the rules", (1, 9), (1, 10), True, [wire.CREATE, wire.ADD], []),
    ("no room for both", (1, 12, 16), (20, 12, 16), False, [wire.CREATE, wire.ADD], [wire.SWAP]),
    ("another capacity", (1, 9), (1, 9, 32_768), False, [wire.CREATE, wire.ADD], [wire.SWAP]),
]


@pytest.mark.parametrize(
    ("_", "old", "new", "rules_change", "unseen", "seen"), STEPS, ids=[s[0] for s in STEPS]
)
def test_which_way_a_set_changes(
    _: str,
    old: tuple[int, ...],
    new: tuple[int, ...],
    rules_change: bool,
    unseen: list[int],
    seen: list[int],
) -> None:
    """Few members change in place; many, or too many, are a second set; with the rules it stays beside."""
    made = steps(_hosts(*old), _hosts(*new), _revision, rules_change=rules_change)
    assert unseen == [command.kind for command in made.unseen]
    assert seen == [command.kind for command in made.seen]
    assert made.beside == ({"peers-4"} if rules_change and unseen else set())


def test_additions_come_before_removals_over_all_sets() -> None:
    """A peer that moves from one set to another is in one of them at every moment."""
    before = {name: AddressSet(name, Family.IPV4, SetKind.HOSTS, 8, frozenset()) for name in "abc"}
    peer = frozenset({b"\x0a\0\0\1"})
    full = {n: AddressSet(n, Family.IPV4, SetKind.HOSTS, 8, peer) for n in "abc"}
    made = steps(before | {"a": full["a"]}, before | {"b": full["b"]}, _revision, rules_change=False)
    assert [(wire.ADD, "dp-b"), (wire.DELETE, "dp-a")] == [(c.kind, c.name) for c in made.seen]
