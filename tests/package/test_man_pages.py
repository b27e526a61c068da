"""The manual pages say what the program says, and nothing of it is taken for markup."""

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from droplan_daemon.manual import roff
from droplan_daemon.manual.commands import arguments, commands, parser
from droplan_daemon.settings import keys

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

PAGES = ("droplan.8", "droplan.toml.5")


@pytest.mark.parametrize("program", ["mandoc"], indirect=True)
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_nothing_to_say(manual: "Path", page: str, program: str) -> None:
    """No error and no warning."""
    done = subprocess.run(
        [program, "-T", "lint", "-W", "warning", str(manual / page)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stdout)


@pytest.mark.parametrize("program", ["groff"], indirect=True)
@pytest.mark.parametrize("page", PAGES)
def test_groff_has_nothing_to_say(manual: "Path", page: str, program: str) -> None:
    """With every warning on, but for lines that a terminal is too narrow to justify."""
    done = subprocess.run(
        [program, "-man", "-Tascii", "-ww", "-Wbreak", "-z", str(manual / page)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("program", ["mandoc"], indirect=True)
def test_the_page_has_every_command_and_every_option(manual: "Path", program: str) -> None:
    """What the parser takes stands in droplan(8), each as a term of its own."""
    shown = _shown(program, (manual / "droplan.8").read_text("utf-8"))
    terms = set(shown.split())
    assert [] == [word for word in _words(parser()) if word not in {term.rstrip(",") for term in terms}]
    assert "EXIT STATUS" in shown
    assert re.search(r"\b78 invalid configuration", " ".join(shown.split()))


@pytest.mark.parametrize("program", ["mandoc"], indirect=True)
def test_the_page_has_every_key(manual: "Path", program: str) -> None:
    """Each key of the schema is a term in the section of its table."""
    shown = _shown(program, (manual / "droplan.toml.5").read_text("utf-8"))
    chapters = dict(zip(*(iter(re.split(r"^(\S.*)$", shown, flags=re.MULTILINE)[1:]),) * 2, strict=False))
    missing = [
        key.name
        for key in keys()
        if not re.search(
            rf"^ {{5,7}}{key.name.rpartition('.')[2]}\b", _chapter(chapters, key.section), re.MULTILINE
        )
    ]
    assert [] == missing


def _chapter(chapters: dict[str, str], section: str) -> str:
    wanted = (
        {f"[{section}]".upper(), f"[[{section}]]".upper()} if section else {"KEYS BEFORE THE FIRST SECTION"}
    )
    return next((text for name, text in chapters.items() if name in wanted), "")


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126)), min_size=1).map(" ".join))
@example(".SH no heading")
@example("'br \\fBno\\fR")
@settings(max_examples=60)
def test_no_text_is_markup(text: str) -> None:
    """Whatever words a help text has, the page shows the same words; in `backticks` too."""
    mandoc = shutil.which("mandoc")
    if mandoc is None:
        pytest.skip("no mandoc: install the package mandoc")
    words = text.split()
    marked = roff.prose(" ".join(f"`{word}`" for word in words if "`" not in word))
    plain = "\n".join(
        [roff.title("X", 8, "2026-11-22", "1"), '.SH "Y"', roff.literal(" ".join(words)), ".PP", marked]
    )
    body = _shown(mandoc, plain).split("\n", 3)[3].rpartition("\n\n")[0]
    assert [*words, *(word for word in words if "`" not in word)] == body.split()


def _shown(program: str, page: str) -> str:
    """The page as a terminal of many columns shows it, without bold."""
    done = subprocess.run(
        [program, "-T", "ascii", "-O", "width=900"], input=page, capture_output=True, text=True, check=True
    )
    return re.sub(r".\x08", "", done.stdout)


def _words(command: "argparse.ArgumentParser") -> "Iterator[str]":
    for action in arguments(command):
        yield from action.option_strings
    for name, inner in commands(command).items():
        yield name
        yield from _words(inner)
