"""What tests of the state folder need."""

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def shell() -> "Callable[[str], str]":
    def run(line: str) -> str:
        return subprocess.run(
            ["sh", "-c", line], check=True, capture_output=True, text=True, timeout=60
        ).stdout

    return run
