"""The generated files, and the tree that packages are made of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.tree import EPOCH, TOP, copied


@pytest.fixture(scope="session")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m droplan_daemon.manual` writes."""
    folder = tmp_path_factory.mktemp("manual")
    environ = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    command = [sys.executable, "-m", "droplan_daemon.manual", str(folder)]
    subprocess.run(command, cwd=TOP, env=environ, check=True, timeout=120)
    return folder


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source twice: as it is, and with other times and tighter modes."""
    one, other = (copied(tmp_path_factory.mktemp(name) / "droplan") for name in ("one", "another"))
    for number, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
        path.chmod(path.stat().st_mode & 0o700)
    return one, other


@pytest.fixture
def program(request: pytest.FixtureRequest) -> str:
    """The program that the test is parametrised with, or a skip that names it."""
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"no {name}: install the package {name}")
    return name
