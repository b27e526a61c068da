"""`python -m droplan_daemon.manual FOLDER`: write everything there. SOURCE_DATE_EPOCH dates the pages."""

import os
import sys
import time
from pathlib import Path

from . import commands, configuration
from .completion import FILES, completion

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
date = time.strftime("%Y-%m-%d", time.gmtime(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
made = {
    "droplan.8": commands.page(date),
    "droplan.toml.5": configuration.page(date),
    "droplan.toml": configuration.file(),
    **{name: completion(shell) for shell, name in FILES.items()},
}
for name, text in made.items():
    (folder / name).write_text(text, encoding="utf-8")
