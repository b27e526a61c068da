"""Fifty thousand sets of ranges, one after the other, into a real kernel: none is refused.

What the kernel should hold is reckoned here once more, by the ends of the prefixes alone.
"""

import os
from collections import Counter
from ipaddress import IPv4Network, IPv6Network
from random import Random
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitRejected
from droplan_daemon.model.addresses import Element, Family, collapse
from droplan_daemon.model.ruleset import AddressSet, Ruleset, SetKind, ruleset

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.ground import Kernel

CASES = 50_000 if os.environ.get("DROPLAN_TEST_FULL") else 5_000
Network = IPv4Network | IPv6Network

pytestmark = [pytest.mark.kernel, pytest.mark.fault("D8")]


def _prefixes(dice: Random, family: Family) -> list[Network]:
    """Some that nest, touch, repeat, and lie at both ends of the address space."""
    bits = family.width * 8
    kind = IPv4Network if family is Family.IPV4 else IPv6Network
    bases = (0, 10 << (bits - 8), (1 << bits) - 64)
    found = []
    for _ in range(dice.randrange(12)):
        length = dice.randint(bits - 7, bits) if dice.random() < 0.8 else dice.randint(0, bits)
        found.append(kind((dice.choice(bases) + dice.randrange(64), length), strict=False))
    return found


def _merged(networks: list[Network]) -> frozenset[Element]:
    """The same as ranges that neither touch nor overlap, by nothing but their ends."""
    ends: list[list[int]] = []
    for first, last in sorted((int(one.network_address), int(one.broadcast_address)) for one in networks):
        if ends and first <= ends[-1][1] + 1:
            ends[-1][1] = max(last, ends[-1][1])
        else:
            ends.append([first, last])
    width = networks[0].max_prefixlen // 8 if networks else 0
    return frozenset(first.to_bytes(width, "big") + last.to_bytes(width, "big") for first, last in ends)


def _holding(family: Family, members: frozenset[Element]) -> Ruleset:
    return ruleset((AddressSet("nets", family, SetKind.RANGES, 0, members),), ())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", list(Family), ids=str)
def test_no_set_of_ranges_is_refused(
    kernel: "Kernel", figure: "Callable[[str], None]", family: Family
) -> None:
    """Each is held as it is reckoned here; from each to the next is one commit, of the difference alone."""
    dice, count = Random(family), CASES // 2
    refused = Counter[int]()

    def run() -> None:
        kernel.backend.commit(diff(None, _holding(family, frozenset())), kernel.backend.generation())
        found = kernel.backend.observe()
        for _ in range(count):
            networks = _prefixes(dice, family)
            wanted = _holding(family, collapse(networks))
            assert _merged(networks) == wanted.sets["nets"].elements
            try:
                kernel.backend.commit(diff(found.ruleset, wanted), found.generation)
            except CommitRejected as error:
                refused[error.errno] += 1
            found = kernel.backend.observe()
            assert wanted == found.ruleset

    kernel.namespace.call(run)
    figure(f"sets of {family.name} ranges into the kernel: {count:,}, refused: {refused.total()}")
    assert Counter() == refused
