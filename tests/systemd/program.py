"""How the program gets into a root: the layers with droplan as it is installed.

The dependencies are the locked ones, verified by hash, for the Python of that Debian; the program is
this checkout. Layout: `/usr/lib/droplan`, `/usr/bin/droplan`, units in `/usr/lib/systemd/system`.
"""

import hashlib
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.systemd.roots import Layer, Unavailable, base, with_packages, within

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYTHON = {"debian12": "3.11", "debian13": "3.13"}

_VENV = "/usr/lib/droplan/venv"
_UNITS = Path("usr/lib/systemd/system")
_LISTENER = """\
[Unit]
Description=Answers on TCP port 80 and UDP port 7, from before the network is up
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target

[Service]
Type=notify
ExecStart=/usr/bin/python3 -IS /usr/lib/listener.py
OOMScoreAdjust=-900

[Install]
WantedBy=sysinit.target
"""


@cache
def installed(release: str, *, persistent: bool = False) -> Layer:
    """Debian with droplan; `persistent`: with iptables-persistent and ipset-persistent, too.

    The checkout is looked at once in a session.
    """
    below = base(release)
    if persistent:
        below = with_packages(below, f"{release}-persistent", "iptables-persistent ipset-persistent")
    return _program(_libraries(_witness(below), release))


def bare(release: str) -> Layer:
    """Debian without droplan, with what answers a prober."""
    return _witness(base(release))


def _witness(below: Layer) -> Layer:
    """The program that a prober outside talks to."""
    source = (HERE / "listener.py").read_text()

    def make(folder: Path, below: tuple[Path, ...]) -> None:
        _write(folder / "usr/lib/listener.py", source)
        _write(folder / _UNITS / "listener.service", _LISTENER)
        wants = folder / "etc/systemd/system/sysinit.target.wants"
        wants.mkdir(parents=True)
        (wants / "listener.service").symlink_to(f"/{_UNITS}/listener.service")

    return Layer(f"{below.name}-listener", source + _LISTENER, make, below)


def _libraries(below: Layer, release: str) -> Layer:
    """The virtual environment, with the locked dependencies."""
    locked = REPOSITORY / "requirements.txt"

    def make(folder: Path, below: tuple[Path, ...]) -> None:
        with tempfile.TemporaryDirectory(prefix="droplan-wheels-") as wheels:
            fetch = ["download", "--no-deps", "--require-hashes", "--python-version", PYTHON[release]]
            _pip(*fetch, "--dest", wheels, "--requirement", str(locked))
            for source in Path(wheels).glob("*.tar.gz"):
                _pip("wheel", "--no-deps", "--wheel-dir", wheels, str(source))
                source.unlink()
            script = (
                f"python3 -m venv {_VENV}; {_VENV}/bin/pip install -q --no-index --no-deps /run/build/*.whl"
            )
            within(folder, below, script, bind=Path(wheels))

    return Layer(f"{below.name}-libraries", f"{_VENV} {locked.read_text()}", make, below)


def _program(below: Layer) -> Layer:
    """This checkout's package, units and boot files."""
    files = dict(_program_files())
    digest = hashlib.sha256()
    for path, (content, mode) in files.items():
        digest.update(f"{path}\0{mode}\0{len(content)}\0".encode() + content)

    def make(folder: Path, below: tuple[Path, ...]) -> None:
        packages = next(p for b in below for p in (b / _VENV[1:] / "lib").glob("python3.*/site-packages"))
        site = next(packages.relative_to(b) for b in below if packages.is_relative_to(b))
        for path, (content, mode) in files.items():
            place = folder / site / path if path.parts[0] == "droplan_daemon" else folder / path
            _write(place, content, mode)
        # As pip and the package do: the service could not, in a system that it cannot write to.
        within(folder, below, f"{_VENV}/bin/python -m compileall -q /{site}/droplan_daemon", bind=HERE)

    return Layer(f"{below.name}-program", f"compiled {digest.hexdigest()}", make, below)


def _program_files() -> "Iterator[tuple[Path, tuple[bytes, int]]]":
    for path in sorted((REPOSITORY / "droplan_daemon").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(REPOSITORY), (path.read_bytes(), 0o644)
    start = f"#!{_VENV}/bin/python\nimport sys\nfrom droplan_daemon.cli import main\nsys.exit(main())\n"
    yield Path("usr/bin/droplan"), (start.encode(), 0o755)
    for path in sorted((REPOSITORY / "systemd").rglob("*")):
        if not path.is_file():
            continue
        content, executable = path.read_bytes(), path.read_bytes().startswith(b"#!")
        if path.suffix in {".service", ".target"}:
            yield _UNITS / path.name, (content, 0o644)
        else:
            below = path.relative_to(REPOSITORY / "systemd")
            yield Path("usr/lib/droplan") / below, (content, 0o755 if executable else 0o644)


def _write(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise Unavailable(f"pip {words[0]} failed: {done.stderr.strip().splitlines()[-1]}")
