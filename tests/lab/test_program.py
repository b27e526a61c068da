"""The name that hints use for the program."""

import sys
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.program import program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("on_path", "called", "expected"),
    [
        (True, "droplan", "droplan"),
        (False, "droplan", "{folder}/droplan"),
        (True, "__main__.py", f"{sys.executable} -m droplan_daemon"),
    ],
    ids=["on PATH", "typed with its folder", "python -m"],
)
def test_a_hint_can_be_typed(
    tmp_path: "Path", monkeypatch: pytest.MonkeyPatch, on_path: bool, called: str, expected: str
) -> None:
    """The short name only where a shell finds this very program by it."""
    (tmp_path / called).write_text("#!/bin/sh\n")
    (tmp_path / called).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin" if on_path else "/usr/bin")
    monkeypatch.setattr(sys, "argv", [f"{tmp_path}/{called}", "lab"])
    assert expected.format(folder=tmp_path) == program()
