"""The words with which the unit starts the daemon, read without argparse: 0.5 MB for as long as it runs.

Law: what is read here is read alike by `parser.parse`; anything else, and every mistake, is for it.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from . import commands

if TYPE_CHECKING:
    from collections.abc import Sequence


def told_to_run(words: "Sequence[str]") -> SimpleNamespace | None:
    """What `run`, or `run --config FILE`, stands for; None: they are other words."""
    match list(words):
        case ["run"]:
            return SimpleNamespace(command=commands.run, config=None)
        case ["run", "--config", path] if not path.startswith("-"):
            return SimpleNamespace(command=commands.run, config=Path(path))
        case _:
            return None
