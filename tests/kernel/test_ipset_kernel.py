"""Ip sets in a real kernel: what we ask for is what it holds, and nobody else's set is touched."""

import errno
import os
import subprocess
import sys
import threading
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2 import IPSet

from droplan_daemon.backends import ipset_wire as wire
from droplan_daemon.backends.ipset_shape import ODD_OPTIONS, ODD_TYPE, kernel_name, spare_name
from droplan_daemon.backends.ipset_socket import IpsetSocket
from droplan_daemon.backends.ipset_text import render
from droplan_daemon.errors import CommitConflict, CommitRejected, NotPermitted
from droplan_daemon.model.addresses import Family, collapse
from droplan_daemon.model.ruleset import AddressSet, SetKind
from tests.kernel.ipset_ground import Ground, Sets, as_printed, by_name, ground, peers, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

FULL = bool(os.environ.get("DROPLAN_TEST_FULL"))
PEERS = "private-peers-4"


@pytest.fixture
def sets(namespace: "Namespace") -> "Iterator[Ground]":
    made = ground(namespace)
    yield made
    made.close()


def _members(family: Family, kind: SetKind) -> st.SearchStrategy[frozenset[bytes]]:
    bits = 8 * family.width
    if kind is SetKind.HOSTS:
        bases = [1, 10 << (bits - 8), (1 << bits) - 12]
        near = st.sampled_from(bases).flatmap(lambda base: st.integers(base, base + 11))
        return st.frozensets(near.map(lambda n: n.to_bytes(family.width, "big")), max_size=12)
    near = st.sampled_from([0, 10 << (bits - 8), (1 << bits) - 64]).flatmap(lambda b: st.integers(b, b + 63))
    prefix = st.builds(
        lambda at, length: ip_network((at.to_bytes(family.width, "big"), length), strict=False),
        near,
        st.integers(bits - 7, bits) | st.integers(0, bits),
    )
    return st.lists(prefix, max_size=8).map(collapse)


@st.composite
def address_sets(draw: st.DrawFn, name: str) -> AddressSet:
    family, kind = draw(st.sampled_from(Family)), draw(st.sampled_from(SetKind))
    members = draw(_members(family, kind))
    room = draw(st.sampled_from([0, 12, 1_024, 65_536]))
    return AddressSet(name, family, kind, room, members)


_NAMES = (PEERS, "nets", "public-region-abcdefghijklmn-6")
worlds = st.sets(st.sampled_from(_NAMES)).flatmap(
    lambda names: st.fixed_dictionaries({name: address_sets(name) for name in sorted(names)})
)


def test_any_walk_is_read_back(sets: Ground) -> None:
    """From any sets to any others, of whatever type and size: the kernel then holds exactly these."""

    @settings(max_examples=2_000 if FULL else 150)
    @given(worlds, st.booleans())
    def leads(desired: Sets, rules_change: bool) -> None:
        sets.become(desired, rules_change=rules_change)
        assert desired == sets.observe()
        assert {kernel_name(name) for name in desired} == {
            header.name for header in sets.namespace.call(sets.sets.headers)
        }

    leads()


def test_ipset_prints_what_was_written(sets: Ground) -> None:
    """ipset(8) lists the members that we wrote, of every type and family."""

    @settings(max_examples=200 if FULL else 25)
    @given(worlds)
    def agrees(desired: Sets) -> None:
        sets.become(desired)
        assert as_printed(desired) == sets.seen_by_ipset()

    agrees()


def test_the_text_gives_the_same_sets(sets: Ground) -> None:
    """Loaded into an empty kernel, loaded twice, and over older members: the sets that netlink would give."""

    @settings(max_examples=100 if FULL else 12)
    @given(worlds, worlds)
    def same(older: Sets, desired: Sets) -> None:
        sets.become({})
        schemas = {name: made for name, made in older.items() if name in desired}
        fitting = {n: m for n, m in schemas.items() if m.schema == desired[n].schema}
        sets.become(fitting)
        for _ in range(2):
            sets.ipset("-exist", "restore", text=render(desired))
            assert desired == sets.observe()
            assert {kernel_name(name) for name in desired} == sets.names()

    same()


def test_the_text_over_another_size_changes_nothing(sets: Ground) -> None:
    """A set that stands with another capacity: ipset(8) refuses, and every set is as it was."""
    sets.become(by_name(peers(1, 5, name="a"), peers(1, 5, name="b", capacity=32)))
    before = sets.save()
    text = render(by_name(peers(9, 5, name="a"), peers(9, 5, name="b", capacity=64)))
    with pytest.raises(pytest.fail.Exception, match="set with the same name already exists"):
        sets.ipset("-exist", "restore", text=text)
    assert before == sets.save()


def test_the_text_after_a_crash(sets: Ground) -> None:
    """A spare that a crash left with other members does not get into the set."""
    desired = by_name(peers(1, 5))
    sets.ipset("create", spare_name(PEERS), "hash:ip", "maxelem", "16384")
    sets.ipset("add", spare_name(PEERS), "192.0.2.1")
    sets.ipset("-exist", "restore", text=render(desired))
    assert desired == sets.observe()


def test_pyroute2_reads_what_was_written(sets: Ground) -> None:
    """The library that we did not use to write finds the same addresses."""
    desired = by_name(peers(1, 40))
    sets.become(desired)

    def read() -> set[str]:
        with IPSet() as other:
            (found,) = other.list(kernel_name(PEERS))
            rows = found.get_attr("IPSET_ATTR_ADT").get_attrs("IPSET_ATTR_DATA")
            return {row.get_attr("IPSET_ATTR_IP_FROM").get_attr("IPSET_ATTR_IPADDR_IPV4") for row in rows}

    assert {f"10.0.0.{n}" for n in range(1, 41)} == sets.namespace.call(read)


FOREIGN = """\
create mine hash:ip timeout 300 comment
add mine 192.0.2.1 timeout 0 comment "mine"
create dpx hash:net
add dpx 10.0.0.0/8
create list-of list:set
add list-of mine
create ports bitmap:port range 1-100
add ports 22
create d hash:ip,port
add d 192.0.2.1,tcp:80
"""


def test_sets_of_others_stay(sets: Ground) -> None:
    """Sets of every other name and type are the same, to the byte, after ours came, changed and went."""
    sets.ipset("restore", text=FOREIGN)
    before = sets.save()
    for desired in (by_name(peers(1, 3)), by_name(peers(50, 900)), by_name(peers(1, 3, name="x")), {}):
        sets.become(desired)
        assert desired == sets.observe()
    assert before == sets.save()


ODD = [
    ("with a time limit", "create {} hash:ip maxelem 16384 timeout 60", ODD_OPTIONS),
    ("with comments", "create {} hash:ip maxelem 16384 comment", ODD_OPTIONS),
    ("by network", "create {} hash:ip maxelem 16384 netmask 24", ODD_OPTIONS),
    ("that lets anybody in when full", "create {} hash:ip maxelem 16384 forceadd", ODD_OPTIONS),
    ("of ports", "create {} bitmap:port range 1-10", ODD_TYPE),
    ("of ports of hosts", "create {} hash:ip,port", ODD_TYPE),
    ("of exceptions", "create {0} hash:net maxelem 16777215\nadd {0} 10.0.0.0/8 nomatch", ODD_OPTIONS),
    (
        "of prefixes in prefixes",
        "create {0} hash:net maxelem 16777215\nadd {0} 10.0.0.0/8\nadd {0} 10.1.0.0/16",
        ODD_OPTIONS,
    ),
]


@pytest.mark.parametrize(("_", "script", "capacity"), ODD, ids=[row[0] for row in ODD])
def test_sets_that_droplan_never_makes(sets: Ground, _: str, script: str, capacity: int) -> None:
    """A set under our name that is not ours equals none that is desired, and is made anew."""
    sets.ipset("restore", text=script.format(kernel_name(PEERS)))
    assert capacity == sets.observe()[PEERS].capacity
    desired = by_name(peers(1, 3))
    sets.become(desired)
    assert desired == sets.observe()
    assert {kernel_name(PEERS)} == sets.names()


def test_what_a_crash_left_goes(sets: Ground) -> None:
    """Spares, and names that are no set's, are destroyed at the next change, whatever type they have."""
    sets.become(by_name(peers(1, 3)))
    for name in (spare_name(PEERS), "dn-gone", "dp-+odd"):
        sets.ipset("create", name, "hash:net")
    assert by_name(peers(1, 3)) == sets.observe()
    sets.prepare(sets.observe(), by_name(peers(9, 900)))
    assert {kernel_name(PEERS)} == sets.names()
    assert by_name(peers(9, 900)) == sets.observe()


def _rules(sets: Ground, *names: str) -> None:
    """Rules of iptables that name these sets, in place of those before, in one transaction."""
    rules = "".join(f"-A droplan-test -m set --match-set {name} src -j ACCEPT\n" for name in names)
    text = f"*filter\n:droplan-test - [0:0]\n-F droplan-test\n{rules}COMMIT\n"
    sets.namespace.run(program("iptables-restore"), "--noflush", "-w", text=text)


def _named(sets: Ground) -> list[str]:
    lines = sets.namespace.run(program("iptables-save"), "-t", "filter").splitlines()
    return [line.split()[5] for line in lines if "--match-set" in line]


OTHER_KINDS = [
    AddressSet(PEERS, Family.IPV4, SetKind.RANGES, 0, collapse([ip_network("10.0.0.0/8")])),
    AddressSet(PEERS, Family.IPV6, SetKind.HOSTS, 16, frozenset({b"\x20\x01" + bytes(13) + b"\1"})),
    peers(7, 1),
]


@pytest.mark.parametrize("new", OTHER_KINDS, ids=["ranges", "family", "members"])
def test_sets_and_rules_change_together(sets: Ground, new: AddressSet) -> None:
    """The old rules see the old set until the new rules, which see the new one; then the names are right."""
    old, desired = by_name(peers(1, 3)), by_name(new)
    sets.become(old)
    _rules(sets, kernel_name(PEERS))
    assert {PEERS} == sets.prepare(old, desired, rules_change=True)
    assert old == sets.observe()
    if new.family is Family.IPV6:  # iptables(8) would refuse: such a rule belongs to ip6tables
        _rules(sets)
    else:
        _rules(sets, spare_name(PEERS))
    sets.namespace.call(sets.sets.settle, {PEERS}, desired)
    assert desired == sets.observe()
    _rules(sets)
    sets.namespace.call(sets.sets.retire, old, desired)
    assert desired == sets.observe()
    assert {kernel_name(PEERS)} == sets.names()


def test_killed_between_the_two_sets_of_rules(sets: Ground) -> None:
    """Rules that a crash left with the spare keep their set; the next change leads out of it."""
    old, new = by_name(peers(1, 3)), by_name(peers(5, 3))
    sets.become(old)
    _rules(sets, kernel_name(PEERS))
    assert {PEERS} == sets.prepare(old, new, rules_change=True)
    _rules(sets, spare_name(PEERS))

    again = ground(sets.namespace)  # as after a restart
    assert frozenset() == again.prepare(again.observe(), new, rules_change=True)
    assert [spare_name(PEERS)] == _named(again)
    _rules(again, kernel_name(PEERS))
    again.namespace.call(again.sets.retire, old, new)
    assert new == again.observe()
    assert {kernel_name(PEERS)} == again.names()
    again.close()


def test_a_set_in_use_stays(sets: Ground) -> None:
    """A set that somebody's rule still names is not destroyed; the sentence names it."""
    old = by_name(peers(1, 3))
    sets.become(old)
    _rules(sets, kernel_name(PEERS))
    with pytest.raises(CommitConflict, match=f"{kernel_name(PEERS)} is in use"):
        sets.become({})
    assert old == sets.observe()


def test_a_set_that_somebody_lists_still_changes(sets: Ground) -> None:
    """A listing that is never read to its end (`ipset list | less`) keeps no peer out and no stranger in."""
    old, new = by_name(peers(1, 9_000)), by_name(peers(2_000, 9_000))
    sets.become(old)
    with sets.listener(kernel_name(PEERS)):
        sets.ipset("create", "mine", "hash:ip")
        with pytest.raises(pytest.fail.Exception, match="busy"):
            sets.ipset("swap", "mine", kernel_name(PEERS))
        sets.ipset("destroy", "mine")
        sets.prepare(old, new)
        assert new == sets.observe()
        assert {kernel_name(PEERS)} == sets.names()


REFUSED = [
    ("too many members", peers(1, 9, capacity=4), "full"),
    ("no address", AddressSet(PEERS, Family.IPV4, SetKind.HOSTS, 4, frozenset({bytes(4)})), "0.0.0.0"),
    ("no name", peers(1, 1, name="x" * 40), "name"),
    ("no size", peers(1, 1, capacity=1 << 40), "capacity"),
]


@pytest.mark.parametrize(("_", "wrong", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_the_kernel_refuses(sets: Ground, _: str, wrong: AddressSet, words: str) -> None:
    """A set that cannot be made is refused with the reason, and no set at all has changed."""
    old = by_name(peers(1, 3, name="a"))
    sets.become(old)
    with pytest.raises(CommitRejected, match=words):
        sets.prepare(old, by_name(peers(1, 5, name="a"), wrong))
    assert old == sets.observe()
    assert {"dp-a"} == sets.names()


def test_sets_that_changed_meanwhile(sets: Ground) -> None:
    """Somebody destroyed what was observed: a conflict, and the next look leads to what is desired."""
    old, new = by_name(peers(1, 3)), by_name(peers(2, 3))
    sets.become(old)
    sets.ipset("destroy", kernel_name(PEERS))
    with pytest.raises(CommitConflict, match="changed since"):
        sets.prepare(old, new)
    sets.become(new)
    assert new == sets.observe()


def test_members_that_changed_meanwhile(sets: Ground) -> None:
    """Members that are there or gone already are no reason to leave out the others."""
    old, new = by_name(peers(1, 3)), by_name(peers(3, 3))
    sets.become(old)
    sets.ipset("add", kernel_name(PEERS), "10.0.0.4")
    sets.ipset("del", kernel_name(PEERS), "10.0.0.1")
    sets.prepare(old, new)
    assert new == sets.observe()


def test_nobody_is_out_while_sets_change(sets: Ground) -> None:
    """A peer that stays is a member at every moment of 200 small and large changes."""
    both = frozenset({(10 << 24).to_bytes(4, "big")})

    def world(n: int) -> Sets:
        some = peers(1 + 37 * n, 700 if n % 3 else 20)
        return by_name(AddressSet(PEERS, Family.IPV4, SetKind.HOSTS, 16_384, some.elements | both))

    sets.become(world(0))
    probe = next(wire.change(_TEST, kernel_name(PEERS), [*both], 4))
    watch = sets.namespace.call(_Watch, probe)
    thread = threading.Thread(target=watch.look)
    thread.start()
    try:
        for n in range(200):
            sets.prepare(world(n), world(n + 1))
        watch.seen_at_least(50)
    finally:
        watch.over.set()
        thread.join()
    assert world(200) == sets.observe()
    assert watch.missed == []


_TEST = 11  # IPSET_CMD_TEST


class _Watch:
    """Asks the kernel all the time whether an address is a member; its socket stays in its namespace."""

    def __init__(self, probe: wire.Command) -> None:
        # A test takes one entry, not a list of them: the same attributes without the list.
        entry = probe.payload[probe.payload.index(b"\x10\x00\x07\x80") :]
        self._probe = wire.Command(_TEST, wire.ask_entries(probe.name).payload + entry, probe.name)
        self._socket = IpsetSocket(10)
        self._socket._socket()
        self.over = threading.Event()
        self.looked = 0
        self.missed: list[int] = []

    def look(self) -> None:
        while not self.over.is_set():
            self.missed += [refused.number for refused in self._socket.tell([self._probe])]
            self.looked += 1
        self._socket.close()

    def seen_at_least(self, times: int) -> None:
        deadline = time.monotonic() + 30
        while self.looked < times:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_watch_would_have_noticed(sets: Ground) -> None:
    """An address that is no member is reported, so that the test above can fail."""
    sets.become(by_name(peers(1, 3)))
    watch = sets.namespace.call(_Watch, next(wire.change(_TEST, kernel_name(PEERS), [b"\x0b\0\0\0"], 4)))
    thread = threading.Thread(target=watch.look)
    thread.start()
    try:
        watch.seen_at_least(1)
    finally:
        watch.over.set()
        thread.join()
    assert watch.missed


@pytest.mark.fault("G1")
def test_killed_at_any_moment(sets: Ground) -> None:
    """A writer that is killed leaves every set as it was or as it should be, and the next one goes on."""
    count = 400 if FULL else 100
    done = sets.namespace.call(
        subprocess.run,
        [sys.executable, "-m", "tests.kernel.ipset_kills", str(count)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.stderr == ""
    *kills, last = done.stdout.splitlines()
    assert len(kills) == count
    assert {"one", "other", "one,other"} >= {line.removeprefix("killed ") for line in kills}
    assert last == "left 0"


def test_without_the_right_to(sets: Ground) -> None:
    """An unprivileged process is told so, as the loop understands it."""
    script = (
        "import os\n"
        "from droplan_daemon.backends.ipset import IpSets\n"
        "from droplan_daemon.errors import NotPermitted\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try:\n    IpSets().observe()\n"
        "except NotPermitted as error:\n    print('NotPermitted', error.exit_code)"
    )
    if os.geteuid():
        pytest.skip("only root can lay down its rights")
    shown = sets.namespace.run(sys.executable, "-c", script)
    assert shown.split() == ["NotPermitted", str(NotPermitted.exit_code)]


def test_every_refusal_of_a_datagram_is_read(sets: Ground) -> None:
    """What follows a refused command is carried out; each refusal is told with its command."""
    commands = [wire.destroy("dp-none"), wire.swap("dp-a", "dp-none"), wire.destroy("dp-a")]
    sets.become(by_name(peers(1, 1, name="a")))
    speaker = IpsetSocket()
    refused = sets.namespace.call(speaker.tell, commands)
    sets.namespace.call(speaker.close)
    assert [("dp-none", errno.ENOENT), ("dp-a", wire.NAME_TAKEN)] == [
        (item.command.name, item.number) for item in refused
    ]
    assert {} == sets.observe()
