"""Shared by all tests: a network namespace to do things in, and hypothesis profiles."""

import ctypes
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")

_CLONE_NEWNET = 0x40000000

settings.register_profile(
    "droplan",
    # `make test` says the same of the same code; new examples are what `make test-full` looks for.
    derandomize=not os.environ.get("DROPLAN_TEST_FULL"),
    deadline=None,  # a shared machine pauses tests for longer than any deadline
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("droplan")


def pytest_configure() -> None:
    """A shell without job control ignores these two for what it starts in the background, and so would we."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session", autouse=True)
def _machine_as_it_was() -> "Iterator[None]":
    """No test touches the configuration of the machine that it runs on."""
    before = _configured()
    yield
    assert before == _configured(), "a test wrote to this machine's own /etc/droplan"


def _configured() -> dict[str, int]:
    """What stands in the service's folder, and when it was written."""
    folder = Path("/etc/droplan")
    if not os.access(folder, os.R_OK | os.X_OK):
        return {}
    return {str(path): path.lstat().st_mtime_ns for path in (folder, *folder.iterdir())}


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> "Callable[[str], None]":
    """Tell a figure, at the end of the run: a bar that was kept says by how much."""
    return request.config.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
    """What tests measured."""
    figures = config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("figures")
    for line in sorted(figures):
        terminalreporter.line(line)


class Namespace:
    """A network namespace that lives as long as one thread; calls and programs run inside it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.call(_unshare)

    def call(self, function: "Callable[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.submit(function, *args, **kwargs).result()

    def run(self, *argv: str, text: str = "", check: bool = True) -> str:
        done = self.call(
            subprocess.run, list(argv), input=text, capture_output=True, text=True, check=False, timeout=60
        )
        if check and done.returncode:
            pytest.fail(f"{argv}: {done.stderr}")
        return str(done.stdout)

    def close(self) -> None:
        self._thread.shutdown()


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def namespace() -> "Iterator[Namespace]":
    """A fresh network namespace; skipped, by name, where the kernel gives none."""
    try:
        made = Namespace()
    except OSError as error:
        pytest.skip(f"no network namespace: {error.strerror}; run as root, or with unshare -Urn")
    yield made
    made.close()
