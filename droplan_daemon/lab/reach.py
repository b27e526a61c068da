"""Who reaches whom, and whether it is as it must be.

Laws:
1. Every verdict is what a real TCP connection met. A network on which a station has several
   addresses (IPv4 and IPv6) has one verdict only when all of them agree.
2. A connection that must not be, and is, counts at once. One that must be and met silence is
   asked once more: a busy machine can be slow, but it is never permissive.
"""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from .probe import Question, Verdict, ask_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .netns import Namespace

NETWORKS = ("eth1", "eth0")
"""The private network, then the public one."""

_SECOND_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Station:
    """A machine that asks or is asked: its label, its addresses, the port of its service.

    `peer` says that it is a Droplet of the account, `addresses` what it has on each network.
    """

    label: str
    machine: "Namespace"
    peer: bool
    addresses: "Mapping[str, tuple[str, ...]]"
    port: int = 22


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of asking `target` from `origin` over one network; empty: there is no way to ask."""

    origin: Station
    target: Station
    network: str
    verdicts: frozenset[Verdict]

    @property
    def word(self) -> str:
        """The verdict as a word of four letters or fewer; `-` when nothing was asked."""
        if not self.verdicts:
            return "-"
        return next(iter(self.verdicts)).value if len(self.verdicts) == 1 else "both"


def everybody(_origin: Station) -> Verdict:
    """Without droplan everybody gets in."""
    return Verdict.OPEN


def peers_only(origin: Station) -> Verdict:
    """With droplan peers get in and nobody else."""
    return Verdict.OPEN if origin.peer else Verdict.DROPPED


async def survey(
    origins: "Sequence[Station]", targets: "Sequence[Station]", expected: "Callable[[Station], Verdict]"
) -> list[Finding]:
    """Ask every target from every other origin, over both networks, all at once."""
    ways = [(o, t, n) for o, t, n in product(origins, targets, NETWORKS) if o.label != t.label]
    verdicts = await ask_all(question for way in ways for question in _questions(*way))
    slow = [
        question
        for way in ways
        for question in _questions(*way)
        if expected(way[0]) is Verdict.OPEN and verdicts[question] is Verdict.DROPPED
    ]
    verdicts |= await ask_all(slow, _SECOND_PATIENCE)
    return [Finding(*way, frozenset(verdicts[q] for q in _questions(*way))) for way in ways]


def complaint(findings: "Sequence[Finding]", expected: "Callable[[Station], Verdict]") -> str | None:
    """One sentence about the first Finding that is not as it must be; None when all are."""
    for found in findings:
        wanted = expected(found.origin)
        if found.verdicts and found.verdicts != {wanted}:
            return (
                f"From {found.origin.label} to {found.target.label} over {found.network} "
                f"is '{found.word}', and it must be '{wanted}'."
            )
    return None


def _questions(origin: Station, target: Station, network: str) -> list[Question]:
    # Without an address of a family on this network there is no way to ask in it.
    families = {":" in address for address in origin.addresses.get(network, ())}
    there = target.addresses.get(network, ())
    return [Question(origin.machine, a, target.port) for a in there if (":" in a) in families]
