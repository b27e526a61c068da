"""The command line as a stranger uses it: as a process, on a Droplet or anywhere."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from droplan_daemon.lab.scopes import LAB_TOKEN
from droplan_daemon.lab.world import World
from tests.daemon.machine import NOBODY, PACKAGES, PROGRAM, Machine
from tests.sources.samples import api_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Namespace


class Droplan(Protocol):
    def __call__(
        self, *words: str, environ: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]": ...


@pytest.fixture
def machine(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Machine]":
    """web-1 of the lab, in a namespace of its own."""
    with Machine(namespace, tmp_path) as made:
        yield made


@pytest.fixture
def droplan(tmp_path: "Path") -> Droplan:
    """`droplan` anywhere: no token, no daemon, folders of its own."""

    def run(*words: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PROGRAM, *words],
            env={
                "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
                "PYTHONPATH": str(PACKAGES),
                "COLUMNS": "100",
                "STATE_DIRECTORY": str(tmp_path / "state"),
                "RUNTIME_DIRECTORY": str(tmp_path / "run"),
                **(environ or {}),
            },
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def nobody() -> tuple[str, ...]:
    """What to put before a command to run it as another user, without any capability."""
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all")
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    probe = (*prefix, PROGRAM[0], "-c", "import droplan_daemon")
    if subprocess.run(probe, env={"PYTHONPATH": str(PACKAGES)}, check=False, capture_output=True).returncode:
        pytest.skip("another user may not read this checkout")
    return prefix


@pytest.fixture
def public_folder() -> "Iterator[Path]":
    """A folder that other users may look into."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def fleet_file(tmp_path: "Path") -> "Path":
    """Four Droplets as `GET /v2/droplets` answers."""
    world = World()
    vpc = world.add_vpc("lab", ip_range="10.10.0.0/20")
    for name, tags in (("tunnel-1", ("bastion",)), ("web-1", ("web",)), ("web-2", ("web",)), ("mysql-1", ())):
        world.add_droplet(name, vpc=vpc.id, tags=tags)
    page = json.loads(api_pages(world)[0])
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(page))
    assert LAB_TOKEN not in path.read_text()
    return path
