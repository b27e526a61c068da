"""The reachability table, for people. PURE.

Laws:
1. At most 100 columns for up to six targets and three ports, indented by three, and the same text
   with and without colour.
2. It has a part for each network, with a row for each origin that is on it. Where all rows of a part
   agree, or all but one, those are one row: one reads what differs.
"""

from collections import ChainMap
from typing import TYPE_CHECKING

from .console import Ink
from .probe import Verdict
from .reach import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .console import Console
    from .reach import Finding

    Cells = Mapping[str, str]
    """The words of a row by target; a station's own has none."""

_LABEL, _COLUMN = 21, 12
_FEWEST = 3
"""Rows that are worth becoming one."""

_NAMES = {"eth1": "private, from \\ to", "eth0": "public, from \\ to"}


def table(findings: "Sequence[Finding]", console: "Console") -> str:
    """Both in the order of the origins; a cell has the open ports, or what stood in their place."""
    origins = list(dict.fromkeys(f.way.origin.label for f in findings))
    targets = sorted({f.way.target.label for f in findings}, key=origins.index)
    lines: list[str] = []
    for network in NETWORKS:
        rows = {origin: _cells(findings, origin, network) for origin in origins}
        present = {origin: cells for origin, cells in rows.items() if set(cells.values()) - {"-"}}
        head = _cut(_NAMES[network], _LABEL) + "".join(_cut(name, _COLUMN) for name in targets)
        lines += [""] * bool(lines) + [console.paint(head.rstrip(), Ink.FAINT)]
        lines += [_line(label, cells, targets, console) for label, cells in _merged(present)]
    return "\n".join(lines)


def _cells(findings: "Sequence[Finding]", origin: str, network: str) -> "Cells":
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if (finding.way.origin.label, finding.way.network) == (origin, network):
            found.setdefault(finding.way.target.label, []).append(finding)
    return {target: _words(there) for target, there in found.items()}


def _words(found: "Sequence[Finding]") -> str:
    """`22 80`, or what stood in the place of all of them; what is neither open nor dropped is always said."""
    ports = [str(finding.way.port) for finding in found if finding.word == Verdict.OPEN]
    others = {finding.word for finding in found} - {Verdict.OPEN.value}
    return " ".join((*ports, *sorted(others - {Verdict.DROPPED.value} if ports else others)))


def _merged(rows: "Mapping[str, Cells]") -> "Iterator[tuple[str, Cells]]":
    for alone in (None, *rows):
        alike = [cells for origin, cells in rows.items() if origin != alone]
        if len(alike) >= _FEWEST and _agree(alike):
            yield from ((origin, cells) for origin, cells in rows.items() if origin == alone)
            yield f"everybody{' else' if alone else ''} ({len(alike)})", dict(ChainMap(*map(dict, alike)))
            return
    yield from rows.items()


def _agree(rows: "Sequence[Cells]") -> bool:
    targets = {target for cells in rows for target in cells}
    return all(len({cells[target] for cells in rows if target in cells}) == 1 for target in targets)


def _line(label: str, cells: "Cells", targets: "Sequence[str]", console: "Console") -> str:
    words = "".join(_painted(cells.get(target, ""), console) for target in targets)
    return f"{_cut(label, _LABEL)}{words}".rstrip()


def _painted(words: str, console: "Console") -> str:
    shown = words[: _COLUMN - 1]
    ink = {"": None, "-": None, Verdict.DROPPED.value: Ink.BAD}.get(words, Ink.GOOD)
    return (console.paint(shown, ink) if ink else shown) + " " * (_COLUMN - len(shown))


def _cut(text: str, width: int) -> str:
    return f"{text[: width - 1]:<{width}}"
