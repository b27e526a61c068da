"""docs/failure-modes.md as text, from the catalogue and the proofs. PURE.

A description stands beside the names of the tests that prove it, never instead of them.
"""

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .catalogue import Fault, Section
    from .proofs import Proof

HEAD = """\
# What can go wrong, and what happens then

What happens when the API lies, dies or stays away, when the kernel refuses, the disk is full, somebody else
writes to our table, or a process is killed: each row below is a fault that the test suite makes happen, and
the last column names the tests that do. This page is written by `python -m tests.faults` from
`tests/faults/` and from the tests' markers, and a test fails when it is out of date.

In short, when the API

- **lies**: an answer is believed as a whole or not at all. One that contradicts itself, cannot be read,
  lacks this very Droplet or hides what the policy asks for changes nothing (A3 to A6, A8, A10, A13, A15,
  A16). One that is in order, but takes many away at once, lets newcomers in, and the others stay until
  three in a row agree or you say `droplan accept` (A19, A21, H5);
- **dies**: nothing changes, and it is asked again, more and more slowly, down to every five minutes (A1,
  A2, A9, A11, A12, B1 to B3);
- **stays away**: for days nobody is removed, and there are alarms after ten minutes, an hour and a day
  (J6; `[peers] max_stale` is another choice). Who restarts or boots meanwhile has what was enforced last
  (B7, E5, E9).

A *poll* is one complete question to the API, every 30 seconds unless `interval` says otherwise; the
*state* is what was enforced last, kept on disk; STATUS is the line that `systemctl status droplan`
shows.

What holds for every fault, where its row does not say otherwise:

- **The enforced ruleset stays** the last good one: no error, no doubt and no silence takes anybody away.
- **The log has one line when it begins and one when it is over** (the same name with `.over`), and at most
  one reminder a minute between.
- **It shows**: in the status line of `systemctl status droplan`, in `droplan status`, and as a metric
  (`droplan_conditions{name="…"}`).
- **The process lives.** `droplan run` ends with 0 on SIGTERM, with 78 on a bad configuration or a kernel
  that cannot do it, with 77 when a capability is missing; anything else is a defect.
"""

_COLUMNS = ("", "Fault", "What happens", "What you see", "Proved by")


def render(sections: "Iterable[Section]", proofs: "Iterable[Proof]") -> str:
    """The whole page."""
    known = _by_fault(proofs)
    return "\n".join([HEAD, *(_section(section, known) for section in sections)])


def _by_fault(proofs: "Iterable[Proof]") -> "dict[str, list[Proof]]":
    ordered = sorted(proofs, key=lambda proof: (proof.fault, proof.path, proof.test))
    return {fault: list(found) for fault, found in groupby(ordered, key=lambda proof: proof.fault)}


def _section(section: "Section", known: "dict[str, list[Proof]]") -> str:
    rows = (_row(_cells(fault, known.get(fault.id, []))) for fault in section.faults)
    lines = [
        f"## {section.letter}. {section.title}",
        *(["", section.about] if section.about else []),
        "",
        _row(_COLUMNS),
        _row("---" for _ in _COLUMNS),
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _cells(fault: "Fault", proofs: "list[Proof]") -> "tuple[str, ...]":
    return fault.id, fault.fault, fault.happens, fault.shows, "<br>".join(_evidence(fault, proofs))


def _evidence(fault: "Fault", proofs: "list[Proof]") -> "Iterator[str]":
    for path, tests in groupby(proofs, key=lambda proof: proof.path):
        names = ", ".join(f"`{proof.test}`" for proof in tests)
        yield f"[{path.removeprefix('tests/')}](../{path}): {names}"
    if fault.untestable:
        yield f"Not tested: {fault.untestable}"
    if fault.pending:
        yield "*not yet*"


def _row(cells: "Iterable[str]") -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
