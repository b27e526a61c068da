"""The words with which a unit starts the daemon are read alike with argparse and without."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.cli.parser import parse
from droplan_daemon.cli.unit import told_to_run


@pytest.mark.parametrize("words", [["run"], ["run", "--config", "/etc/x.toml"], ["run", "--config", "a b"]])
def test_they_mean_what_argparse_says(words: list[str]) -> None:
    """Every attribute, and no other."""
    found = told_to_run(words)
    assert found is not None
    assert vars(parse(words)) == vars(found)


@given(st.lists(st.sampled_from(["run", "once", "--config", "--config=x", "x", "--", "-h", "--json", ""])))
def test_whatever_else_is_left_to_argparse(words: list[str]) -> None:
    """Other words, a mistake, and a plea for help."""
    found = told_to_run(words)
    if found is None:
        return
    assert vars(parse(words)) == vars(found)


@pytest.mark.parametrize("words", [["run", "--config"], ["run", "x"], ["run", "--bogus"], ["run", "-h"], []])
def test_mistakes_are_told(words: list[str]) -> None:
    """By the parser, which knows the sentences."""
    assert told_to_run(words) is None


def test_a_daemon_carries_no_argparse() -> None:
    """Up to the moment when the daemon's own configuration is looked for."""
    program = (
        "import sys, droplan_daemon.cli as cli\n"
        "code = cli.main(['run', '--config', '/nonexistent/droplan.toml'])\n"
        "print(code, 'argparse' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "78 False" == done.stdout.strip()
