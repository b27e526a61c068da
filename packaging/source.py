"""What is packaged: the version, the date, and the files as git knows them.

Law: the same commit gives the same date, so what is built of it is the same twice.
"""

import os
import re
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def version() -> str:
    """The program's version."""
    text = (TOP / "droplan_daemon" / "__init__.py").read_text("utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise SystemExit("droplan_daemon/__init__.py names no __version__")
    return found[1]


def epoch() -> int:
    """Seconds since 1970: $SOURCE_DATE_EPOCH, else the date of the commit, else that of the changelog."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    done = subprocess.run(
        ["git", "-C", TOP, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.stdout.strip() else int((TOP / "CHANGELOG.md").stat().st_mtime)
