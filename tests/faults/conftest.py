"""A Droplet for each test that makes something go wrong around a real daemon."""

from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Namespace


@pytest.fixture
def machine(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Machine]":
    """web-1 of the lab, in a namespace of its own; its daemon writes metrics into a file."""
    with Machine(namespace, tmp_path) as made:
        metered(made)
        yield made


def metered(machine: Machine, more: str = "") -> None:
    """Write the policy file, with metrics in `droplan.prom`."""
    machine.write(f'[metrics]\ntextfile = "{machine.folder / "droplan.prom"}"\n{more}')
