"""What the program says of itself."""

import re
from typing import TYPE_CHECKING

import pytest

from droplan_daemon import __version__

if TYPE_CHECKING:
    from tests.cli.conftest import Droplan

COMMANDS = (
    "run",
    "once",
    "plan",
    "show",
    "check",
    "status",
    "peers",
    "explain",
    "matrix",
    "flush",
    "accept",
    "try",
    "confirm",
    "pause",
    "panic",
    "restore",
    "save",
    "migrate",
    "doctor",
    "lab",
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_examples_and_fits(droplan: "Droplan", command: str) -> None:
    """Each help ends well, has examples of the very command, and no line of more than 100 columns."""
    done = droplan(*filter(None, (command, "--help")), environ={"COLUMNS": "200"})
    assert (0, "") == (done.returncode, done.stderr)
    examples = done.stdout.partition("examples:\n")[2]
    assert re.search(rf"droplan\b.*\b{command}\b", examples)
    assert [] == [line for line in examples.splitlines() if len(line) > 100]
    narrow = droplan(*filter(None, (command, "--help")))
    assert [] == [line for line in narrow.stdout.splitlines() if len(line) > 100]


def test_the_help_names_every_command(droplan: "Droplan") -> None:
    """And says what the exit codes mean."""
    text = droplan("--help").stdout
    assert [] == [command for command in COMMANDS if not re.search(rf"^ +{command}  ", text, re.MULTILINE)]
    assert [] == [code for code in ("0", "1", "2", "77", "78") if not re.search(rf"\b{code} \w", text)]


def test_the_version_is_the_packages(droplan: "Droplan") -> None:
    """One place says which version it is."""
    assert f"droplan {__version__}\n" == droplan("--version").stdout


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nonsense",),
        ("plan", "--nonsense"),
        ("show", "--format", "word"),
        ("plan", "--fleet"),
        ("run", "--json"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(droplan: "Droplan", words: tuple[str, ...]) -> None:
    """On standard error, with the usage; nothing is done."""
    done = droplan(*words)
    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("usage: droplan")
    assert "droplan" in done.stderr.splitlines()[-1]
