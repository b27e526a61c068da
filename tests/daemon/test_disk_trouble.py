"""A state folder that cannot be written, around the real daemon: it enforces, says so, and saves later."""

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.errors import StoreFailed
from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.daemon.machine import Machine

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system takes root"),
]


@pytest.fixture
def disk(machine: "Machine") -> "Iterator[Path]":
    """The state folder, on a file system of its own with eight inodes."""
    folder = machine.folder / "state"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=8", "tmpfs", str(folder))
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _remount(folder: "Path", how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def _use_up(folder: "Path") -> None:
    """All inodes but those that are in use."""
    for number in range(8):
        try:
            (folder / f"ballast-{number}").touch()
        except OSError:
            return


def _free(folder: "Path") -> None:
    for path in folder.glob("ballast-*"):
        path.unlink()


TROUBLES: "dict[str, tuple[Callable[[Path], None], Callable[[Path], None], str]]" = {
    "read-only": (lambda folder: _remount(folder, "ro"), lambda folder: _remount(folder, "rw"), "EROFS"),
    "no inodes": (_use_up, _free, "ENOSPC"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("read-only", marks=pytest.mark.fault("E3")),
        pytest.param("no inodes", marks=pytest.mark.fault("E8")),
    ],
)
def test_a_disk_that_takes_nothing_is_told_and_tried_again(
    machine: "Machine", disk: "Path", name: str
) -> None:
    """A newcomer gets in all the same; one line with the errno, STATUS, the old state; then it is saved."""
    begin, end, number = TROUBLES[name]
    running = machine.start()
    running.ready()
    files = StateFiles(disk, machine.folder / "run")
    until(lambda: _saved(files) == len(PEERS))
    begin(disk)
    machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    until(lambda: machine.peers == machine.addresses(*PEERS, "web-3"))
    running.logs("state.write.failed")
    running.says("not saved: ")
    machine.polled(2)
    (line,) = running.lines("state.write.failed")
    assert f"errno={number}" in line
    assert len(PEERS) == _saved(files)
    end(disk)
    running.logs("state.write.failed.over")
    until(lambda: _saved(files) == len(PEERS) + 1)


def _saved(files: StateFiles) -> int:
    """How many private peers boot would let in; none without a state."""
    try:
        return len(files.load().ruleset.sets["private-peers-4"].elements)
    except StoreFailed:
        return 0


@pytest.mark.fault("E3")
def test_a_folder_that_is_gone_is_made_again(machine: "Machine") -> None:
    """Somebody removes the state folder under the daemon: with the next change all of it is there again."""
    running = machine.start()
    running.ready()
    files = StateFiles(machine.folder / "state", machine.folder / "run")
    until(lambda: _saved(files) == len(PEERS))
    shutil.rmtree(machine.folder / "state")
    machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    until(lambda: machine.peers == machine.addresses(*PEERS, "web-3"))
    until(lambda: _saved(files) == len(PEERS) + 1)
    until(lambda: files.holds(files.load()), what="the boot script beside it")
