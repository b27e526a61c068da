"""The reachability table, for people. PURE.

Law: at most 100 columns for up to six targets, indented by three, and the same text with and without colour.
"""

from typing import TYPE_CHECKING

from .console import Ink
from .probe import Verdict
from .reach import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .console import Console
    from .reach import Finding

_LABEL, _COLUMN, _WORD = 21, 12, 4
_INKS = {Verdict.OPEN.value: Ink.GOOD, Verdict.DROPPED.value: Ink.BAD}


def table(findings: "Sequence[Finding]", console: "Console") -> str:
    """Rows are origins, columns targets, both in the order of the origins; a cell is eth1, eth0."""
    origins = list(dict.fromkeys(f.origin.label for f in findings))
    targets = sorted({f.target.label for f in findings}, key=origins.index)
    words = {(f.origin.label, f.target.label, f.network): f.word for f in findings}
    head = _cut("from \\ to", _LABEL) + "".join(_cut(name, _COLUMN) for name in targets)
    units = " " * _LABEL + "".join(_cut(" ".join(NETWORKS), _COLUMN) for _ in targets)
    rows = (
        _cut(origin, _LABEL)
        + "".join(
            _cell([words.get((origin, target, network), "") for network in NETWORKS], console)
            for target in targets
        ).rstrip()
        for origin in origins
    )
    return "\n".join((*(console.paint(line.rstrip(), Ink.FAINT) for line in (head, units)), *rows))


def _cell(words: "Sequence[str]", console: "Console") -> str:
    painted = (_painted(word, console) + " " * (_WORD - len(word)) for word in words)
    return " ".join(painted) + " " * (_COLUMN - (_WORD + 1) * len(words) + 1)


def _painted(word: str, console: "Console") -> str:
    ink = _INKS.get(word)
    return console.paint(word, ink) if ink else word


def _cut(text: str, width: int) -> str:
    return f"{text[: width - 1]:<{width}}"
