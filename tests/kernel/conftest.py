"""A kernel to write to."""

from typing import TYPE_CHECKING

import pytest

from tests.kernel.ground import Kernel
from tests.kernel.variants import BACKENDS, EACH
from tests.kernel.wires import Wires

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Namespace


@pytest.fixture
def kernel(namespace: "Namespace") -> "Iterator[Kernel]":
    made = Kernel(namespace)
    yield made
    made.close()


@pytest.fixture(params=EACH)
def wires(request: pytest.FixtureRequest) -> "Iterator[Wires]":
    try:
        made = Wires(BACKENDS[request.param])
    except OSError as error:
        pytest.skip(f"no network namespace: {error.strerror}; run as root, or with unshare -Urn")
    with made:
        yield made
