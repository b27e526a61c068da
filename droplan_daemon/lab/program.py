"""The name by which this program was called, for sentences that tell what to type."""

import shutil
import sys
from pathlib import Path


def program() -> str:
    """`droplan` where PATH leads to it, else the path that was typed: `.venv/bin/droplan`."""
    called = Path(sys.argv[0])
    if called.name != "droplan":
        return f"{sys.executable} -m droplan_daemon"
    found = shutil.which("droplan")
    return "droplan" if found and Path(found).resolve() == called.resolve() else sys.argv[0]
