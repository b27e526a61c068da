"""What can go wrong, in the words of an operator: the rows of docs/failure-modes.md. PURE.

Laws:
1. One Fault is one row, its id never changes: tests name it (`@pytest.mark.fault("A1")`).
2. A Fault has a test, or a reason why this machine cannot have one.
3. Texts say what an operator sees, in Markdown on one line; which test proves it is never written
   by hand, it is read from the tests (`proofs`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    `fault` is what goes wrong, `happens` what droplan does then, `shows` what the operator sees of it
    (events of the log in backticks). `untestable` is why no test can make it happen on one machine,
    or what of it a test leaves out. `pending`: the row and its tests are not written yet.
    """

    id: str
    fault: str
    happens: str
    shows: str
    untestable: str = ""
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Faults of one kind, with a sentence or two on what they have in common."""

    letter: str
    title: str
    about: str
    faults: tuple[Fault, ...]
