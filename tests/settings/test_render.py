"""Problems as a person and as a program read them."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.errors import Problem
from droplan_daemon.settings import describe
from droplan_daemon.settings.render import WIDTH, human, plain


def test_a_problem_shows_its_line_and_a_caret() -> None:
    """Place and sentence, the line with a caret under the column, and what would be right."""
    problem = Problem("unknown key `mod`", "mod", 2, 3, "did you mean `mode`?")
    assert (
        "droplan.toml:2:3: unknown key `mod`\n    2 |   mod = 1\n      |   ^\n    did you mean `mode`?"
    ) == human("droplan.toml", [problem], "# x\r\n  mod = 1\r\n")


def test_a_problem_without_a_place_is_a_sentence_and_a_hint() -> None:
    """What does not stand in the file has no excerpt."""
    assert "a.toml: error: no\n    yes" == human("a.toml", [Problem("no", hint="yes")], "x", label="error: ")


@pytest.mark.parametrize("line", [0, 3, 99])
def test_a_place_that_is_not_there_any_more_is_no_excerpt(line: int) -> None:
    """The file may have changed since it was read."""
    assert f"a:{line}:1: no" == human("a", [Problem("no", "", line, 1)], "x\ny")


TEXT = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=250)


@given(before=TEXT, after=TEXT)
def test_whatever_a_line_holds_it_fits_and_the_caret_stands_right(before: str, after: str) -> None:
    """At most 100 columns, nothing unprintable, and the caret at the cell where the right half begins."""
    problem = Problem("no", "k", 1, len(before) + 1)
    _, line, caret, *_ = human("a", [problem], f"{before}{after}\n").split("\n")
    assert all(char.isprintable() for char in line + caret)
    assert max(map(_cells, (line, caret))) <= WIDTH
    assert caret.endswith("^")


def _cells(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


CARETS = [
    ("\t\tx = 1", 3, "x"),
    ("ü = 漢字; x", 9, "x"),
    ("a" * 200 + "x", 201, "x"),
    ("漢" * 55 + "x" + "漢" * 80, 56, "x"),
    ("\x1b[2Jx", 5, "x"),
]


@pytest.mark.parametrize(("text", "column", "char"), CARETS)
def test_the_caret_stands_under_its_character(text: str, column: int, char: str) -> None:
    """Tabs, wide characters, long lines and escapes do not push the caret aside."""
    _, line, caret = human("a", [Problem("no", "k", 1, column)], text).split("\n")
    assert _cells(line) <= WIDTH
    under = _cells(caret) - 1
    cells = 0
    for shown in line:
        if cells == under:
            assert char == shown
            return
        cells += _cells(shown)
    pytest.fail("the caret stands beyond the line")


def test_long_sentences_are_wrapped() -> None:
    """No line of a report is wider than a hundred columns."""
    problem = Problem("word " * 50, "k", 1, 1, "hint " * 50)
    assert all(len(line) <= WIDTH for line in human("a", [problem], "x").split("\n"))


def test_the_same_for_a_program() -> None:
    """A dict for each Problem, ready for JSON."""
    expected = {"file": "a", "key": "k", "line": 1, "column": 2, "message": "m", "hint": "h"}
    assert [expected] == json.loads(json.dumps(plain("a", [Problem("m", "k", 1, 2, "h")])))


def test_describe_reads_the_line_even_of_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    """The line is shown as far as it can be read, and a file that is gone costs only the excerpt."""
    path = tmp_path / "droplan.toml"
    path.write_bytes(b"a = '\xe9'")
    assert "    1 | a = '\ufffd'\n      |      ^" in describe(path, [Problem("no", "", 1, 6)])
    path.unlink()
    assert f"{path}:1:6: no" == describe(path, [Problem("no", "", 1, 6)])
