"""A kernel to write to."""

from typing import TYPE_CHECKING

import pytest

from tests.kernel.ground import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Namespace


@pytest.fixture
def kernel(namespace: "Namespace") -> "Iterator[Kernel]":
    made = Kernel(namespace)
    yield made
    made.close()
