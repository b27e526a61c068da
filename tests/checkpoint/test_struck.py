"""A save that is killed, or whose system call fails, at any point: the old state or the new one."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoint.saver import IDLE, STRIKE

REPOSITORY = Path(__file__).resolve().parents[2]
HARMLESS = {
    "getpgid",
    "getdents64",
    "lseek",
    "ioctl",
    "fcntl",
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "getrandom",
    "geteuid",
}
CHANGING = ("openat", "write", "fsync", "fchmod", "linkat", "renameat")


def _run(folder: Path, options: list[str], strikes: list[str], *, prefix: tuple[str, ...] = ()) -> str:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.checkpoint.saver", str(folder), json.dumps(options), *strikes],
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
    )
    if "strace may not attach" in done.stderr:
        pytest.skip("strace may not attach to a process (ptrace_scope)")
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


@pytest.fixture
def calls(tmp_path: Path) -> Counter[str]:
    """How many calls of each kind one save makes; the folder has two saves to begin with."""
    _run(tmp_path, [], [], prefix=("strace", "-f", "-qq", "-o", str(tmp_path / "trace")))
    kinds = [
        line.split(maxsplit=1)[1].partition("(")[0] for line in (tmp_path / "trace").read_text().splitlines()
    ]
    first, last = (n for n, kind in enumerate(kinds) if kind == "getpgid")
    found = Counter(kinds[first + 1 : last])
    assert found.keys() <= IDLE.keys() | HARMLESS
    return found


def _strikes(calls: Counter[str], kinds: tuple[str, ...]) -> list[str]:
    return [f"{kind}:{n}" for kind in kinds for n in range(1, calls[kind] + 1)]


def _injected(kinds: tuple[str, ...], what: str) -> list[str]:
    return [
        "-e",
        f"trace={','.join(kinds)}",
        *(w for k in kinds for w in ("-e", f"inject={k}:{what}:when={STRIKE}")),
    ]


def _usable(found: dict[str, Any]) -> bool:
    """Old or new, scripts that are what they say, and a next save that is whole."""
    newest = (found["checkpoint"], found["scripts"][0])
    return (
        newest in {(2, 2), (3, 2), (3, 3)}
        and found["true"]
        and found["whole"] == (newest[0] == newest[1])
        and found["rejected"] == []
        and found["after"] == [9, True]
    )


@pytest.mark.fault("E4")
def test_killed_at_any_call_the_state_is_old_or_new(tmp_path: Path, calls: Counter[str]) -> None:
    """SIGKILL at each system call of a save: Checkpoint and script are each the old or the new one.

    The Checkpoint is never the older of the two; a pair of different age is noticed, and the next save whole.
    """
    kinds = tuple(kind for kind in IDLE if calls[kind])
    strikes = _strikes(calls, kinds)
    results = json.loads(_run(tmp_path, _injected(kinds, "signal=SIGKILL"), strikes))
    assert strikes == [found["strike"] for found in results]
    assert {-9} == {found["ended"] for found in results}
    assert [] == [found for found in results if not _usable(found)]
    pairs = [(found["checkpoint"], found["scripts"][0]) for found in results]
    assert {(2, 2), (3, 2), (3, 3)} == set(pairs)


@pytest.mark.fault("E1", "E2", "E3", "E8")
@pytest.mark.parametrize(
    "name",
    [
        "EIO",
        "ENOSPC",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("EROFS", "EACCES", "EDQUOT")),
    ],
)
def test_a_failing_call_is_told_and_the_old_state_stands(
    tmp_path: Path, calls: Counter[str], name: str
) -> None:
    """Any call that writes fails: the errno is told, old or new is there, and nothing beside it."""
    strikes = _strikes(calls, CHANGING)
    results = json.loads(_run(tmp_path, _injected(CHANGING, f"error={name}"), strikes))
    assert [] == [found for found in results if not _usable(found) or found["temporary"]]
    told = Counter(found["ended"] for found in results)
    # A call that only reads (is the old generation good?) may fail without a word.
    assert {getattr(errno, name), 0} >= told.keys()
    assert told[getattr(errno, name)] >= calls["write"] + calls["fsync"] + calls["fchmod"] + calls["renameat"]
