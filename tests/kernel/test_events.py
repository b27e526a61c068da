"""What the kernel tells of other people's changes of our table, and what it need not."""

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.diff import diff
from tests.kernel.ground import SMALL, Kernel, host_set, hosts, until
from tests.kernel.listening import Listening
from tests.kernel.test_tampering import EDITS, _edit

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

BIG = replace(SMALL, sets=SMALL.sets | {"peers": host_set("peers", hosts("10.20.0.0", 10_000), 1 << 14)})

# What other people have in tables of theirs, of every kind that this nft(8) can write.
FOREIGN = """
table ip other {
    set members { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
    map ports { type inet_service : verdict; elements = { 22 : accept, 80 : drop } }
    set timed { type ipv4_addr; flags timeout; elements = { 192.0.2.3 timeout 1h comment "for a while" } }
    set learned { type ipv4_addr; flags dynamic; size 100; }
    counter mine { packets 0 bytes 0 }
    quota most { over 10 mbytes }
    limit slow { rate 1/second }
    chain named_droplan {
        comment "droplan";
        type filter hook input priority 0; policy accept;
        ip saddr @members counter accept comment "droplan: not really"
        tcp dport vmap @ports
        meta l4proto { tcp, udp } ct state vmap { established : accept, invalid : drop }
        add @learned { ip saddr }
    }
}
add table bridge droplan
add chain bridge droplan inbound
add table ip droplan
add set ip droplan peers { type ipv4_addr; elements = { 192.0.2.1 } ; }
add table arp filter
add chain arp filter input { type filter hook input priority 0; policy accept; }
"""


@pytest.fixture
def listening(kernel: Kernel) -> "Iterator[Listening]":
    kernel.become(SMALL)
    with Listening(kernel.namespace, lambda: getattr(kernel.backend, "port", 0)) as made:
        yield made


def _settled(kernel: Kernel, listening: Listening) -> "list[str]":
    """Who was heard, once a change that is heard for certain has been heard."""
    before = len(listening.told)
    kernel.nft('add chain inet droplan end-of-story { comment "x"; }')
    listening.heard(before + 1)
    assert "chain changed" == listening.told[-1].change
    return [told.change for told in listening.told[:-1]]


@pytest.mark.fault("D12")
def test_every_edit_is_told_with_its_author(kernel: Kernel, listening: Listening) -> None:
    """Each way of changing our table is heard as one commit of a process called nft, with its number."""
    for number, (name, edit) in enumerate(EDITS.items()):
        _edit(kernel, edit)
        told = listening.heard(number + 1)[number]
        assert ("nft", True, False) == (told.by, told.pid > 1, told.overrun), name
        assert told.change, name
        kernel.become(SMALL)
    assert len(EDITS) == len(listening.told)


@pytest.mark.fault("D15")
def test_what_we_commit_is_not_told(kernel: Kernel, listening: Listening) -> None:
    """Ten thousand elements of ours are no news, and do not fill the queue; nor does taking them away."""
    for ruleset in (BIG, SMALL, BIG, None, SMALL):
        kernel.become(ruleset)
    assert [] == _settled(kernel, listening)


@pytest.mark.fault("D15")
def test_what_we_commit_fills_no_queue(kernel: Kernel, listening: Listening) -> None:
    """A daemon that has no turn while it commits a hundred thousand elements misses nothing of others."""
    with listening.deaf():
        for ruleset in (BIG, SMALL) * 6:
            kernel.become(ruleset)
        kernel.nft("add rule inet droplan judge accept")
    assert ["rule added"] == [told.change for told in listening.heard()]


@pytest.mark.fault("D16")
def test_other_peoples_tables_are_no_news(kernel: Kernel, listening: Listening) -> None:
    """Whatever syntax and names they have; and our own table is read as well as before."""
    kernel.nft(FOREIGN)
    kernel.nft("flush table ip droplan\ndelete table bridge droplan\nflush chain ip other named_droplan")
    assert SMALL == kernel.holds()
    assert [] == _settled(kernel, listening)


@pytest.mark.fault("D15")
def test_events_that_were_lost_mean_look_again(kernel: Kernel, listening: Listening) -> None:
    """A flood by somebody else overruns the queue: that is told, and what comes after it is heard."""
    flood = ",".join(f"100.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000))
    with listening.deaf():
        kernel.nft("add set inet droplan flood { type ipv4_addr; size 1000000; }")
        kernel.nft(f"add element inet droplan flood {{ {flood} }}")
    assert until(lambda: any(told.overrun for told in listening.told), 10), listening.told
    before = len(listening.told)
    kernel.nft("add rule inet droplan judge accept")
    assert ("nft", "rule added") == (listening.heard(before + 1)[-1].by, listening.told[-1].change)
    assert SMALL != kernel.holds()
    kernel.become(SMALL)
    assert SMALL == kernel.holds()


def test_a_commit_of_ours_beside_anothers_hides_nothing(kernel: Kernel, listening: Listening) -> None:
    """Own and foreign commits in turn: each foreign one is told, no own one is."""
    for number in range(20):
        kernel.nft(f"add element inet droplan peers {{ 192.0.2.{number + 1} }}")
        kernel.become(SMALL)
    found = listening.heard(20)
    assert ["element added"] * 20 == [told.change for told in found]
    assert not diff(kernel.holds(), SMALL)


def test_the_author_is_named_as_the_kernel_knows_him(kernel: Kernel, listening: Listening) -> None:
    """The number is that of the process; whatever its name has in it comes as text."""
    process = kernel.namespace.call(
        subprocess.Popen, ["nft", "flush", "set", "inet", "droplan", "peers"], env=os.environ.copy()
    )
    assert 0 == process.wait(10)
    (told,) = listening.heard()
    assert ("nft", process.pid) == (told.by, told.pid)
