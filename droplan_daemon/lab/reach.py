"""Who reaches whom on which ports, and whether it is as it must be.

Laws:
1. Every verdict is what a real TCP connection met. A way on which a station has several
   addresses (IPv4 and IPv6) has one verdict only when all of them agree.
2. A connection that must not be, and is, counts at once. One that must be and met silence is
   asked once more: a busy machine can be slow, but it is never permissive.

What must be is somebody else's: a promise, written down and never computed by what it judges.
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
    """A machine that asks or is asked: its label, and its addresses on each network.

    `role` says what it is for (its tag); a machine that is in no account has none.
    """

    label: str
    machine: "Namespace"
    role: str
    addresses: "Mapping[str, tuple[str, ...]]"


@dataclass(frozen=True, slots=True)
class Way:
    """From one station to a TCP port of another, over one network."""

    origin: Station
    target: Station
    network: str
    port: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What was met on a way; no verdicts: there is no way to ask."""

    way: Way
    verdicts: frozenset[Verdict]

    @property
    def word(self) -> str:
        """The verdict as a word of four letters or fewer; `-` when nothing was asked."""
        if not self.verdicts:
            return "-"
        return next(iter(self.verdicts)).value if len(self.verdicts) == 1 else "both"


def everybody(_way: Way) -> Verdict:
    """Without droplan everybody gets in everywhere."""
    return Verdict.OPEN


async def survey(
    origins: "Sequence[Station]",
    targets: "Sequence[Station]",
    ports: "Sequence[int]",
    promise: "Callable[[Way], Verdict]",
) -> list[Finding]:
    """Ask every port of every target from every other origin, over both networks, all at once."""
    everywhere = product(origins, targets, NETWORKS, ports)
    ways = (Way(*parts) for parts in everywhere)
    asked = [(way, _questions(way)) for way in ways if way.origin.label != way.target.label]
    verdicts = await ask_all(question for _, questions in asked for question in questions)
    slow = [
        question
        for way, questions in asked
        for question in questions
        if promise(way) is Verdict.OPEN and verdicts[question] is Verdict.DROPPED
    ]
    verdicts |= await ask_all(slow, _SECOND_PATIENCE)
    return [Finding(way, frozenset(verdicts[q] for q in questions)) for way, questions in asked]


def complaint(findings: "Sequence[Finding]", promise: "Callable[[Way], Verdict]") -> str | None:
    """One sentence about the first Finding that is not as it must be; None when all are."""
    for found in findings:
        way, wanted = found.way, promise(found.way)
        if found.verdicts and found.verdicts != {wanted}:
            return (
                f"From {way.origin.label} to port {way.port} of {way.target.label} over {way.network} "
                f"is '{found.word}', and it must be '{wanted}'."
            )
    return None


def _questions(way: Way) -> list[Question]:
    # Without an address of a family on this network there is no way to ask in it.
    families = {":" in address for address in way.origin.addresses.get(way.network, ())}
    there = way.target.addresses.get(way.network, ())
    return [Question(way.origin.machine, a, way.port) for a in there if (":" in a) in families]
