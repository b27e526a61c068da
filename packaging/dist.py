"""Builds dist/: the wheel, the sdist, and the bill of materials of both.

Law: the same commit gives the same files, byte for byte.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from sbom import bill, program
from source import TOP, epoch, version


def main() -> int:
    """Build, and say what was made."""
    parser = argparse.ArgumentParser(prog="dist", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=TOP / "dist", metavar="FOLDER", help="default: dist")
    output = parser.parse_args().output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    made = [*_built(output), output / f"droplan_daemon-{version()}.cdx.json"]
    made[-1].write_text(
        bill(program(version()), (TOP / "requirements.txt").read_text("utf-8"), epoch()), "utf-8"
    )
    for file in made:
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file}")
    return 0


def _built(output: Path) -> list[Path]:
    """The wheel and the sdist. The umask is set, for the sdist has the modes of the files."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(output)]
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
    subprocess.run(
        command, cwd=TOP, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stem = f"droplan_daemon-{version()}"
    return [output / f"{stem}.tar.gz", output / f"{stem}-py3-none-any.whl"]


if __name__ == "__main__":
    sys.exit(main())
