"""Saves that end badly: strace kills, or fails, one system call of one of them.

strace counts the calls of each process by itself and strikes at the STRIKE-th of a kind. A child that is
to be struck at the n-th call of a kind first makes STRIKE - n calls of that kind that do nothing; so one
run of strace serves them all.

`python -m tests.checkpoint.saver FOLDER OPTIONS [KIND:N …]`: without strikes one save between two
getpgid(2); with them a child for each, and then JSON about what each left. OPTIONS are a JSON list.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from droplan_daemon.checkpoint import StateFiles, script
from droplan_daemon.errors import StoreFailed
from tests.checkpoint.kept import big_checkpoint

STRIKE = 400
NOWHERE = "/nowhere/at/all"
CLOSED = 999

IDLE: dict[str, Callable[[], object]] = {
    "openat": lambda: os.open(NOWHERE, os.O_RDONLY),
    "read": lambda: os.read(CLOSED, 1),
    "write": lambda: os.write(CLOSED, b""),
    "close": lambda: os.close(CLOSED),
    "fsync": lambda: os.fsync(CLOSED),
    "fchmod": lambda: os.fchmod(CLOSED, 0),
    "mkdir": lambda: os.mkdir(NOWHERE),  # noqa: PTH102 - exactly one system call
    "newfstatat": lambda: os.stat(NOWHERE),  # noqa: PTH116 - exactly one system call
    "linkat": lambda: os.link(NOWHERE, NOWHERE, follow_symlinks=False, src_dir_fd=0),
    "renameat": lambda: os.rename(NOWHERE, NOWHERE, src_dir_fd=0),
    "unlink": lambda: os.unlink(NOWHERE),  # noqa: PTH108 - exactly one system call
}
"""One call of each kind that changes nothing."""


def save(folder: Path, number: int) -> None:
    """As a cycle does it."""
    files = StateFiles(folder, folder)
    files.latest()
    files.save(big_checkpoint(3, number), f"{number}\n")


def left(folder: Path) -> dict[str, Any]:
    """What the next start finds, and whether it can go on from there."""
    files = StateFiles(folder, folder)
    found: dict[str, Any] = {"checkpoint": files.recover().checkpoint.number}
    found["rejected"] = [error.reason for error in files.recover().rejected]
    scripts = [script.parse(path.read_bytes()) for path in files.scripts("nftables")]
    found["scripts"] = [one.number for one in scripts]
    found["true"] = all(one.body == f"{one.number}\n" for one in scripts)
    found["whole"] = files.holds(files.load())
    save(folder, 9)
    found["after"] = [files.load().number, files.holds(files.load())]
    return found


def _struck(folder: Path, kind: str, index: int) -> dict[str, Any]:
    """What one strike leaves."""
    place = folder / f"{kind}-{index}"
    shutil.copytree(folder / "template", place)
    status = _in_a_child(lambda: _doomed(place, kind, index))
    ended = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    temporary = len([entry for entry in place.iterdir() if entry.name.endswith(".tmp")])
    return {"strike": f"{kind}:{index}", "ended": ended, "temporary": temporary, **left(place)}


def _doomed(place: Path, kind: str, index: int) -> int:
    for _ in range(STRIKE - index):
        with contextlib.suppress(OSError):
            IDLE[kind]()
    try:
        save(place, 3)
    except StoreFailed as error:
        return error.errno or 1
    return 0


def _in_a_child(work: Callable[[], int]) -> int:
    """Its wait status; each process has counts of its own, so only in one that is doomed do they add up."""
    child = os.fork()
    if not child:
        code = 255
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def _traced(options: list[str]) -> "subprocess.Popen[bytes]":
    """Strace on this process and its children, from now on: importing makes more calls than STRIKE."""
    strace = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", *options, "-p", str(os.getpid())])
    end = time.monotonic() + 30
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        if strace.poll() is not None or time.monotonic() > end:
            sys.exit("strace may not attach")
        time.sleep(0.05)
    return strace


def main() -> None:
    """See the top."""
    folder, options, strikes = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    if not strikes:
        save(folder / "template", 1)
        save(folder / "template", 2)
        shutil.copytree(folder / "template", folder / "trial")
        os.getpgid(0)
        save(folder / "trial", 3)
        os.getpgid(0)
        return
    strace = _traced(options)
    for number, strike in enumerate(strikes):
        kind, _, index = strike.partition(":")
        _in_a_child(partial(_noted, folder, number, kind, int(index)))
    strace.terminate()
    strace.wait()
    sys.stdout.write(
        json.dumps([json.loads((folder / f"{n}.json").read_bytes()) for n in range(len(strikes))])
    )


def _noted(folder: Path, number: int, kind: str, index: int) -> int:
    (folder / f"{number}.json").write_text(json.dumps(_struck(folder, kind, index)))
    return 0


if __name__ == "__main__":
    main()
