"""Completions for bash, zsh and fish, by shtab, from the command line's own parser."""

import argparse
from pathlib import Path

import shtab

from .commands import arguments, commands, parser

FILES = {"bash": "droplan.bash", "zsh": "_droplan", "fish": "droplan.fish"}


def completion(shell: str) -> str:
    """The script of one shell: "bash", "zsh" or "fish"."""
    root = parser()
    _mark(root)
    script: str = shtab.complete(root, shell=shell)
    return "\n".join(line.rstrip() for line in script.splitlines()) + "\n"


def _mark(command: argparse.ArgumentParser) -> None:
    """Where a file is asked for, files are offered."""
    for action in arguments(command):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    for inner in commands(command).values():
        _mark(inner)
