"""The Debian packages of this checkout: the present version and a later one, built once."""

import hashlib
import tempfile
from functools import cache
from pathlib import Path

from droplan_daemon import __version__
from tests.package.tree import copied, packaging
from tests.systemd.program import REPOSITORY
from tests.systemd.roots import SUITES, Layer, Unavailable

LATER = "99.0.0"
_READ = ("droplan_daemon", "packaging", "systemd", "docs")
_FILES = ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "requirements.txt")


@cache
def packages(release: str) -> Layer:
    """A folder with both, `old.deb` and `new.deb`; no layer to boot. One look at the files for a session."""

    def make(folder: Path, below: tuple[Path, ...]) -> None:
        with tempfile.TemporaryDirectory(prefix="droplan-deb-") as scratch:
            tree = copied(Path(scratch, "droplan"))
            for name, version in (("old", __version__), ("new", LATER)):
                words = ("--release", SUITES[release], "--version", version, "--output", scratch)
                try:
                    packaging(tree, "deb.py", *words)
                except AssertionError as error:
                    raise Unavailable(f"make deb failed: {str(error).strip().splitlines()[-1]}") from error
                found = next(Path(scratch).glob(f"droplan_{version}+*.deb"))
                (folder / f"{name}.deb").write_bytes(found.read_bytes())

    return Layer(f"{release}-packages", _digest(), make)


def _digest() -> str:
    """Over everything that a package is made of."""
    found = hashlib.sha256()
    below = (path for part in _READ for path in sorted((REPOSITORY / part).rglob("*")))
    for path in (*below, *(REPOSITORY / name for name in _FILES)):
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            found.update(f"{path.relative_to(REPOSITORY)}\0{path.stat().st_mode}\0{len(content)}\0".encode())
            found.update(content)
    return found.hexdigest()
