"""Machines under a real systemd; skipped, by name, where there can be none."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.systemd.container import require, sweep
from tests.systemd.program import installed
from tests.systemd.roots import Layer, Unavailable, ready
from tests.systemd.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 1800
"""Seconds for one test: the first one of a release may have to build its root."""


class MakeServer(Protocol):
    """Makes machines that end with the test."""

    def __call__(self, *, persistent: bool = False, peers: int = 3) -> Server: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "systemd":
            item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture(params=["debian12", pytest.param("debian13", marks=pytest.mark.full)])
def release(request: pytest.FixtureRequest) -> str:
    """The Debian that is booted."""
    return str(request.param)


@pytest.fixture(scope="session")
def root() -> "Iterator[Callable[[Layer], tuple[Path, ...]]]":
    """Gives the folders of a layer, built at most once."""
    known: dict[str, tuple[Path, ...] | Unavailable] = {}
    sweep()
    with ExitStack() as held:

        def get(layer: Layer) -> "tuple[Path, ...]":
            if layer.digest not in known:
                try:
                    require()
                    known[layer.digest] = held.enter_context(ready(layer))
                except Unavailable as error:
                    known[layer.digest] = error
            found = known[layer.digest]
            if isinstance(found, Unavailable):
                pytest.skip(f"no root of Debian to boot: {found}")
            return found

        yield get


@pytest.fixture
def make_server(
    release: str, root: "Callable[[Layer], tuple[Path, ...]]", tmp_path: "Path"
) -> "Iterator[MakeServer]":
    with ExitStack() as held:

        def make(*, persistent: bool = False, peers: int = 3) -> Server:
            layers = root(installed(release, persistent=persistent))
            return held.enter_context(Server(layers, tmp_path, peers=peers))

        yield make


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """A machine with droplan installed and configured, booted, the service not enabled yet."""
    return make_server().boot()
