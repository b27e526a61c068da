"""A machine for each test, and the shells that it may have."""

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.boot.booting import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Namespace


@pytest.fixture
def machine(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Machine]":
    """A machine that is about to boot; its configuration is the default one."""
    made = Machine(namespace, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["dash", "bash --posix", "busybox sh"])
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What /bin/sh may be."""
    words = tuple(str(request.param).split())
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]}")
    return words
