"""docs/failure-modes.md says what is tested, and every fault is."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.catalogue import Fault, Section
from tests.faults.page import render
from tests.faults.proofs import IdNotLiteral, Proof, in_file, proofs
from tests.faults.sections import SECTIONS, every_fault

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "failure-modes.md"


def test_the_page_is_what_would_be_written() -> None:
    """`python -m tests.faults` would change nothing."""
    assert render(SECTIONS, proofs(ROOT)) == PAGE.read_text(encoding="utf-8")


def test_every_fault_has_a_test_or_a_reason() -> None:
    """A fault that nothing proves, and of which nobody says why, is a hole."""
    proved = {proof.fault for proof in proofs(ROOT)}
    holes = [
        fault.id for fault in every_fault() if not (fault.pending or fault.untestable or fault.id in proved)
    ]
    assert [] == holes


def test_every_marker_names_a_fault() -> None:
    """A test that proves something about a fault that nobody described is a slip of the pen."""
    known = {fault.id for fault in every_fault()}
    assert [] == [proof for proof in proofs(ROOT) if proof.fault not in known]


def test_ids_are_unique_and_stand_in_their_section() -> None:
    """A3 stands in section A, once."""
    assert [] == [name for name, times in Counter(fault.id for fault in every_fault()).items() if times > 1]
    misplaced = [
        fault.id
        for section in SECTIONS
        for fault in section.faults
        if not fault.id.startswith(section.letter)
    ]
    assert [] == misplaced


def test_texts_are_whole_and_on_one_line() -> None:
    """A row has all of its cells, and a line break would end the table."""
    texts = [
        (fault.id, text) for fault in every_fault() for text in (fault.fault, fault.happens, fault.shows)
    ]
    assert [] == [where for where, text in texts if not text.strip() or "\n" in text]


@pytest.mark.parametrize(
    "text",
    [
        '@pytest.mark.fault("A1")\ndef test_it(): ...',
        '@pytest.mark.fault("A1")\nasync def test_it(): ...',
        '@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.fault("A1"))])\ndef test_it(x): 0',
        '@pytest.mark.fault("A1")\nclass TestAll:\n    def test_it(self): ...',
        'pytestmark = pytest.mark.fault("A1")\ndef test_it(): ...',
        'pytestmark = [pytest.mark.kernel, pytest.mark.fault("A1")]\ndef test_it(): ...',
    ],
)
def test_markers_are_found_wherever_pytest_takes_them(text: str) -> None:
    """On a test, a class, one parameter, or a whole file."""
    assert [Proof("tests/x.py", "test_it", "A1")] == list(in_file("tests/x.py", text))


def test_what_is_no_marker_of_ours_is_none() -> None:
    """Other marks, other names, and functions that are no tests."""
    text = '@pytest.mark.full\n@fault("A1")\ndef test_it(): ...\n@pytest.mark.fault("A2")\ndef ground(): ...'
    assert [] == list(in_file("tests/x.py", text))


def test_an_id_that_cannot_be_read_is_refused() -> None:
    """A computed id would be in no page."""
    with pytest.raises(IdNotLiteral, match="line 1"):
        list(in_file("tests/x.py", "@pytest.mark.fault(*IDS)\ndef test_it(): ..."))


def test_a_row_names_its_tests_and_what_is_left_out() -> None:
    """Every proof, by file; a bar within a text does not end its cell."""
    fault = Fault("A1", "x | y", "z", "`w`", untestable="a power cut")
    section = Section("A", "All", "", (fault,))
    text = render(
        [section], [Proof("tests/u/test_a.py", "test_b", "A1"), Proof("tests/u/test_a.py", "test_a", "A1")]
    )
    evidence = "[u/test_a.py](../tests/u/test_a.py): `test_a`, `test_b`<br>Not tested: a power cut"
    assert f"| A1 | x \\| y | z | `w` | {evidence} |" in text.splitlines()
