"""What the kernel's events say, told from bytes: whose table, what was done, by whom."""

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.backends.nft_events import Hearing
from droplan_daemon.backends.nft_wire import NFNL_SUBSYS_NFTABLES, asciiz, attribute, number_attribute
from droplan_daemon.effects import Disturbance

if TYPE_CHECKING:
    from collections.abc import Iterable

INET, IPV4, IPV6, BRIDGE = 1, 2, 10, 7
NEWTABLE, DELTABLE, NEWRULE, DELRULE, NEWELEMENT, NEWGEN, UNKNOWN = 0, 2, 6, 8, 12, 15, 99
OURS, THEIRS = 4711, 815


def event(kind: int, payload: bytes, *, family: int = INET, port: int = THEIRS) -> bytes:
    """One message of the multicast group, as the kernel sends it."""
    body = struct.pack(">BBH", family, 0, 0) + payload
    return struct.pack("=IHHII", 16 + len(body), NFNL_SUBSYS_NFTABLES << 8 | kind, 0, 1, port) + body


def about(table: str, more: bytes = b"") -> bytes:
    return attribute(1, asciiz(table)) + more


def generation(*, name: str = "nft", pid: int = 321, port: int = THEIRS) -> bytes:
    payload = number_attribute(1, 9) + number_attribute(2, pid) + attribute(3, asciiz(name))
    return event(NEWGEN, payload, family=0, port=port)


def heard(*datagrams: bytes, own: int = OURS) -> list[Disturbance]:
    hearing = Hearing()
    return [told for data in datagrams for told in hearing.heard(data, own)]


def test_a_change_of_ours_is_told_with_its_author() -> None:
    """Once for each commit, when the message with the generation has come, each kind of change once."""
    rule = event(NEWRULE, about("droplan"))
    expected = Disturbance("nft", 321, "rule added, rule deleted")
    assert [expected] == heard(rule + rule, rule + event(DELRULE, about("droplan")), generation())
    assert [] == heard(rule)


def test_a_table_that_is_gone_took_the_rest_with_it() -> None:
    """A flush of everything is one word, not a list of all that was in it."""
    gone = event(DELRULE, about("droplan")) + event(DELTABLE, about("droplan"))
    assert [Disturbance("nft", 321, "table deleted")] == heard(gone, generation())


def test_what_is_done_by_us_is_not_told() -> None:
    """Our commits come from the port of our socket; another's that come between are told."""
    mine = event(NEWRULE, about("droplan"), port=OURS), generation(port=OURS, name="droplan")
    assert [] == heard(*mine)
    theirs = event(NEWRULE, about("droplan")), generation()
    assert 1 == len(heard(*mine, *theirs, *mine))


FOREIGN = {
    "another table": event(NEWRULE, about("filter")),
    "our name in another family": event(NEWRULE, about("droplan"), family=BRIDGE),
    "a name that begins like ours": event(NEWRULE, about("droplan2")),
    "a rule that speaks of us": event(NEWRULE, about("other", attribute(7, b"jump droplan"))),
    "iptables' own chains": event(NEWRULE, about("filter", attribute(2, asciiz("DOCKER"))), family=IPV4),
    "nat of iptables with our name": event(
        NEWRULE, about("nat", attribute(2, asciiz("droplan"))), family=IPV4
    ),
    "iptables' own chains beside a word of ours": (
        event(NEWRULE, about("filter", attribute(2, asciiz("DOCKER"))), family=IPV4)
        + event(NEWRULE, about("other", attribute(7, b"jump droplan")))
    ),
    "another subsystem": generation()[:4] + struct.pack("=H", 5 << 8) + generation()[6:],
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_what_is_done_to_others_is_nothing(data: bytes) -> None:
    """However much it looks like ours, and whatever is in it."""
    assert [] == heard(data, generation())


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_our_chains_among_those_of_iptables_are_ours(family: int) -> None:
    """With iptables-nft droplan's chains, and the jumps to them, stand in the table `filter`."""
    rule = event(DELRULE, about("filter", attribute(2, asciiz("droplan-input"))), family=family)
    assert [Disturbance("iptables", 321, "rule deleted")] == heard(rule, generation(name="iptables"))


def test_what_a_newer_kernel_tells_is_a_change_all_the_same() -> None:
    """A kind of message that nobody knows today, about our table."""
    assert [Disturbance("nft", 321, "something changed")] == heard(
        event(UNKNOWN, about("droplan")), generation()
    )


def test_what_was_lost_is_forgotten() -> None:
    """A commit whose end was lost is not put down to the next process that commits something."""
    hearing = Hearing()
    assert [] == list(hearing.heard(event(NEWRULE, about("droplan")), OURS))
    hearing.forget()
    assert [] == list(hearing.heard(generation(name="innocent"), OURS))


@given(st.lists(st.binary(max_size=200) | st.sampled_from([event(NEWRULE, about("droplan")), generation()])))
def test_nonsense_is_an_error_of_one_kind(parts: "Iterable[bytes]") -> None:
    """Bytes in any order come to Disturbances or to a ValueError, after which all is looked at."""
    hearing = Hearing()
    for data in (b"".join(parts), *parts):
        try:
            for told in hearing.heard(data, OURS):
                assert told.change
        except ValueError:
            hearing.forget()


@given(st.integers(1, 31))
def test_a_message_that_is_cut_short_is_an_error(missing: int) -> None:
    """A datagram that was longer than what was read of it is no quiet nothing."""
    whole = event(NEWRULE, about("droplan")) * 2
    with pytest.raises(ValueError, match=r"cut short|out of bounds"):
        heard(whole[:-missing])
