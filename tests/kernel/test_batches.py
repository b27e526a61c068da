"""Large transactions, refused ones, and ten thousand of them."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.errors import CommitConflict, CommitRejected
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.plan import AddElements, CreateSet, DeleteRule, Plan, RemoveElements
from droplan_daemon.model.ruleset import AddressSet, Rule, Ruleset, SetKind, ruleset
from tests.kernel.ground import SMALL, Kernel, address, host_set, hosts, span

pytestmark = pytest.mark.kernel

MANY = hosts("10.0.0.0", 20_000)


def _one_set(members: frozenset[bytes], capacity: int) -> Ruleset:
    return ruleset((host_set("peers", members, capacity),), ())


def _add(*members: bytes) -> Plan:
    return Plan((AddElements("peers", Family.IPV4, frozenset(members)),))


def _errno(kernel: Kernel, plan: Plan, at: int | None = None) -> CommitRejected:
    """How the kernel refused it, having changed nothing."""
    before = kernel.observation()
    with pytest.raises(CommitRejected) as refused:
        kernel.commit(plan, at)
    assert before == kernel.observation()
    return refused.value


@pytest.mark.fault("D2", "D9")
@pytest.mark.parametrize("count", [4_093, 4_094, 4_095, 20_000, 100_000])
def test_a_large_set_is_one_transaction(kernel: Kernel, count: int) -> None:
    """However many messages and however much buffer a set needs, it is one commit, and reads back whole."""
    wanted = _one_set(hosts("10.0.0.0", count), 262_144)
    generation = kernel.generation()
    kernel.become(wanted)
    assert generation + 1 == kernel.generation()
    assert wanted == kernel.holds()


@pytest.mark.fault("D8", "D9")
def test_a_large_set_of_ranges_is_one_transaction(kernel: Kernel) -> None:
    """Five thousand IPv6 ranges, the last address of all among them, go in by one commit and out by one."""
    width = Family.IPV6.width
    starts = [(0x20010DB8 << 96) + (n << 8) for n in range(5_000)]
    found = {first.to_bytes(width, "big") + (first + 99).to_bytes(width, "big") for first in starts}
    found.add(address("ffff::") + b"\xff" * width)
    wanted = ruleset((AddressSet("nets", Family.IPV6, SetKind.RANGES, 0, frozenset(found)),), ())
    generation = kernel.generation()
    kernel.become(wanted)
    assert wanted == kernel.holds()
    kernel.become(replace(wanted, sets={"nets": replace(wanted.sets["nets"], elements=frozenset())}))
    assert generation + 2 == kernel.generation()


@pytest.mark.fault("D7")
@pytest.mark.parametrize("where", [0, 1, 4_094, 4_095, 9_999, 19_998, 19_999])
def test_one_bad_element_among_many_is_named(kernel: Kernel, where: int) -> None:
    """An address that is there already refuses all 20,000, and the refusal names it and its Change."""
    bad = sorted(MANY)[where]
    kernel.become(_one_set(frozenset({bad}), 65_536))
    refused = _errno(kernel, Plan((CreateSet(host_set("other", frozenset())), *_add(*MANY).changes)))
    assert (errno.EEXIST, 1, bad) == (refused.errno, refused.change, refused.element)


@pytest.mark.fault("D7")
@pytest.mark.parametrize("where", [0, 4_095, 19_999])
def test_one_missing_element_among_many_is_named(kernel: Kernel, where: int) -> None:
    """An address that is not there refuses the removal of all 20,000, and is named."""
    missing = sorted(MANY)[where]
    kernel.become(_one_set(MANY - {missing}, 65_536))
    refused = _errno(kernel, Plan((RemoveElements("peers", Family.IPV4, MANY),)))
    assert (errno.ENOENT, 0, missing) == (refused.errno, refused.change, refused.element)


@pytest.mark.fault("D7")
@pytest.mark.parametrize("where", [0, 1, 1_500, 2_999])
def test_one_overlapping_range_among_many_is_named(kernel: Kernel, where: int) -> None:
    """A range that overlaps one in the set refuses all 3,000, and is named."""
    ranges = sorted(
        (10 << 24 | n << 8).to_bytes(4, "big") + (10 << 24 | n << 8 | 99).to_bytes(4, "big")
        for n in range(3_000)
    )
    inside = ranges[where][:3] + b"\x05" + ranges[where][:3] + b"\x09"
    kernel.become(ruleset((AddressSet("nets", Family.IPV4, SetKind.RANGES, 0, frozenset({inside})),), ()))
    refused = _errno(kernel, Plan((AddElements("nets", Family.IPV4, frozenset(ranges)),)))
    assert (errno.EEXIST, 0, ranges[where]) == (refused.errno, refused.change, refused.element)


@pytest.mark.fault("D19")
def test_a_full_set_refuses_the_whole(kernel: Kernel) -> None:
    """Eleven into a set of ten is ENFILE; none of them goes in."""
    kernel.become(_one_set(frozenset(), 10))
    refused = _errno(kernel, _add(*hosts("10.0.0.0", 11)))
    assert (errno.ENFILE, 0) == (refused.errno, refused.change)


def test_a_set_that_is_full_to_the_brim_is_no_error(kernel: Kernel) -> None:
    """Ten into a set of ten go in."""
    kernel.become(_one_set(hosts("10.0.0.0", 10), 10))
    assert _one_set(hosts("10.0.0.0", 10), 10) == kernel.holds()


@pytest.mark.fault("D10")
def test_a_stale_generation_is_a_conflict(kernel: Kernel) -> None:
    """A commit for a generation that is past is refused as a conflict, and changes nothing."""
    kernel.become(SMALL)
    looked = kernel.generation()
    kernel.nft("add table inet somebody")
    before = kernel.observation()
    with pytest.raises(CommitConflict):
        kernel.commit(_add(address("10.0.0.9")), looked)
    assert before == kernel.observation()


@pytest.mark.fault("D10")
def test_a_generation_that_moves_between_look_and_send_is_a_conflict(kernel: Kernel) -> None:
    """The kernel itself compares generations, so nobody can slip in after our last look."""
    kernel.become(SMALL)
    kernel.holds()
    assert isinstance(kernel.backend, NftBackend)
    looked, layout = kernel.generation(), kernel.backend._layout
    kernel.nft("add table inet somebody")
    before = kernel.observation()
    kernel.backend._layout = layout  # as if nobody had looked again
    with pytest.raises(CommitConflict):
        kernel.commit(_add(address("10.0.0.9")), looked)
    assert before == kernel.observation()


def test_rules_are_named_by_what_was_observed(kernel: Kernel) -> None:
    """A rule to delete is the one at that place now, after commits of our own and of others."""
    kernel.become(SMALL)
    kernel.nft("insert rule inet droplan judge accept")
    kernel.commit(Plan((DeleteRule("judge", 0, Rule("")),)))
    assert SMALL == kernel.holds()


def test_an_empty_plan_writes_nothing(kernel: Kernel) -> None:
    """Nothing to do is no commit."""
    kernel.become(SMALL)
    generation = kernel.generation()
    assert not kernel.become(SMALL)
    assert generation == kernel.generation()


def test_no_elements_are_no_commit(kernel: Kernel) -> None:
    """A Change of no elements sends nothing, and does not wait for an answer to it."""
    kernel.become(SMALL)
    generation = kernel.generation()
    kernel.commit(_add())
    assert generation == kernel.generation()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_ten_thousand_commits_leave_no_descriptor(kernel: Kernel) -> None:
    """10,000 commits of one element open no further descriptor, and each moves the generation by one."""
    kernel.become(_one_set(frozenset(), 16))
    before, generation = _descriptors(), kernel.generation()

    def commits() -> None:
        member = frozenset({address("10.0.0.1")})
        both = (
            Plan((AddElements("peers", Family.IPV4, member),)),
            Plan((RemoveElements("peers", Family.IPV4, member),)),
        )
        at = generation
        for number in range(10_000):
            kernel.backend.commit(both[number % 2], at)
            at += 1

    kernel.namespace.call(commits)
    assert generation + 10_000 == kernel.generation()
    assert _descriptors() <= before  # what other tests left to the collector may go meanwhile


def test_refused_commits_leave_no_descriptor(kernel: Kernel) -> None:
    """Neither do hundreds of refusals and conflicts, nor do they disturb the commit after them."""
    kernel.become(_one_set(frozenset({address("10.0.0.1")}), 16))
    before, generation = _descriptors(), kernel.generation()

    def refusals() -> None:
        for _ in range(100):
            with pytest.raises(CommitRejected):
                kernel.backend.commit(_add(address("10.0.0.1")), generation)
            with pytest.raises(CommitConflict):
                kernel.backend.commit(_add(address("10.0.0.2")), generation + 1)

    kernel.namespace.call(refusals)
    kernel.commit(_add(address("10.0.0.3")))
    assert _descriptors() <= before  # what other tests left to the collector may go meanwhile
    assert _one_set(frozenset(map(address, ("10.0.0.1", "10.0.0.3"))), 16) == kernel.holds()


@pytest.mark.fault("D3", "D7")
def test_a_thousand_errors_in_one_batch_are_read(kernel: Kernel) -> None:
    """A batch of a thousand mistakes is one refusal, that of the first; the next commit is not disturbed."""
    kernel.become(_one_set(frozenset(), 16))
    wrong = Plan(
        tuple(RemoveElements("peers", Family.IPV4, frozenset({host})) for host in sorted(MANY)[:1_000])
    )
    refused = _errno(kernel, wrong)
    assert (errno.ENOENT, 0) == (refused.errno, refused.change)
    kernel.commit(_add(address("10.0.0.3")))


def test_a_commit_after_close_opens_again(kernel: Kernel) -> None:
    """A closed backend is usable; the table stayed."""
    kernel.become(SMALL)
    kernel.close()
    assert SMALL == kernel.holds()


@pytest.mark.fault("D8")
def test_span_of_everything(kernel: Kernel) -> None:
    """The range of all addresses is one range to the kernel and back."""
    everything = AddressSet(
        "nets", Family.IPV4, SetKind.RANGES, 0, frozenset({span("0.0.0.0", "255.255.255.255")})
    )
    kernel.become(ruleset((everything,), ()))
    assert ruleset((everything,), ()) == kernel.holds()
