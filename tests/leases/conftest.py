"""A Droplet for each test, and a street in front of it: somebody who is no peer, and sends packets."""

from typing import TYPE_CHECKING

import pytest

from tests.conftest import Namespace
from tests.daemon.machine import Machine
from tests.leases.street import Street

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def machine(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Machine]":
    with Machine(namespace, tmp_path) as made:
        yield made


@pytest.fixture
def street(machine: Machine) -> "Iterator[Street]":
    outside = Namespace()
    try:
        with Street(machine, outside) as made:
            yield made
    finally:
        outside.close()
