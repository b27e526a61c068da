"""The source as packages are made of it, and the programs that make them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
EPOCH = "1700000000"
_NOT_SOURCE = (".*", "build", "dist", "__pycache__", "*.egg-info")


def copied(target: Path) -> Path:
    """A copy of the source, without what is built of it."""
    shutil.copytree(TOP, target, ignore=shutil.ignore_patterns(*_NOT_SOURCE))
    # hatchling leaves out what git would.
    shutil.copy(TOP / ".gitignore", target)
    return target


def packaging(tree: Path, program: str, *words: str, umask: int = 0o022) -> str:
    """Run a program of the tree's packaging/; what it printed."""
    done = subprocess.run(
        [sys.executable, str(tree / "packaging" / program), *words],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout
