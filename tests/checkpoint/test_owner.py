"""Root and the daemon's user write to one folder, and both must be able to read it."""

import os
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.checkpoint import write_atomic
from droplan_daemon.checkpoint.atomic import write_generation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")

DAEMON = 64999


def _owner(path: "Path") -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode & 0o777


@pytest.mark.parametrize("owner", [0, DAEMON])
def test_what_root_writes_belongs_to_the_folders_owner(tmp_path: "Path", owner: int) -> None:
    """After `sudo droplan once` the daemon, which is nobody's superuser, reads its state as before."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, owner, owner)
    first, second = folder / "checkpoint.json", folder / "checkpoint.1.json"
    write_atomic(folder / "host.json", b"1")
    for content in (b"1", b"2"):
        write_generation(first, content, second, whole=lambda _: True)
    assert {(owner, owner, 0o600)} == {_owner(path) for path in folder.iterdir()}
    assert (b"2", b"1") == (first.read_bytes(), second.read_bytes())
