"""A Droplet for each test."""

from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Namespace


@pytest.fixture
def machine(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Machine]":
    """web-1 of the lab, in a namespace of its own."""
    with Machine(namespace, tmp_path) as made:
        yield made
