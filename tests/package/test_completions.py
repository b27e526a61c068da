"""The shells complete what the program takes."""

import subprocess
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.manual.commands import arguments, commands, parser

if TYPE_CHECKING:
    from pathlib import Path

_BASH = r"""
source "$1/droplan.bash"; cd "$1"; shift
function=$(complete -p droplan | sed 's/.*-F \([^ ]*\) .*/\1/')
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
$function droplan "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""
_FISH = 'source $argv[1]/droplan.fish; cd $argv[1]; complete -C "$argv[2]"'
_EVERY = sorted(commands(parser()))
_OF_PLAN = sorted(name for action in arguments(commands(parser())["plan"]) for name in action.option_strings)
_CASES = [
    ("", _EVERY),
    ("pl", ["plan"]),
    ("plan --", [*_OF_PLAN, "--help"]),
    ("plan --config droplan.toml --ex", ["--exit-code"]),
    ("explain --interface ", ["private", "public"]),
    ("lab ", sorted(commands(commands(parser())["lab"]))),
    ("check --config droplan.to", ["droplan.toml", "droplan.toml.5"]),
]


def _bash(folder: "Path", line: str) -> str:
    return _run("bash", "--norc", "-c", _BASH, "bash", str(folder), *f"droplan {line}".split(" "))


def _fish(folder: "Path", line: str) -> str:
    return _run("fish", "--no-config", "-c", _FISH, str(folder), f"droplan {line}")


@pytest.mark.parametrize("program", ["bash", "fish"], indirect=True)
@pytest.mark.parametrize(("line", "offered"), _CASES)
def test_what_is_offered(manual: "Path", program: str, line: str, offered: list[str]) -> None:
    """Commands, options, choices and files, where they are asked for, and nothing else."""
    said = {"bash": _bash, "fish": _fish}[program](manual, line)
    assert sorted(offered) == sorted(word.partition("\t")[0] for word in said.splitlines() if word)


@pytest.mark.parametrize("program", ["zsh"], indirect=True)
def test_zsh_can_read_its_own(manual: "Path", program: str) -> None:
    """The file is zsh, begins with its tag, and names every command."""
    _run(program, "-n", str(manual / "_droplan"))
    text = (manual / "_droplan").read_text("utf-8")
    assert text.startswith("#compdef droplan\n")
    assert [] == [name for name in _EVERY if f" {name}:'" not in text]


def _run(*words: str) -> str:
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout
