"""Builds dist/droplan_VERSION_amd64.deb for a Debian, in a clean root of it.

Laws:
1. With a network: fetching what requirements-metrics.txt locks. Without one: everything after.
2. The same commit and the same release give the same package, byte for byte.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

from clean_root import RELEASES, Unbuildable, clean_root, run_inside
from sbom import bill, deb
from source import TOP, epoch, version

_PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64")
# With the extra that `[metrics] listen` takes, for nobody can add to a package; only a listener loads it.
_LOCK = TOP / "requirements-metrics.txt"
_WORK = TOP / "build" / "deb"


def main() -> int:
    """Build for the releases that were asked for."""
    args = _arguments()
    os.umask(0o022)
    try:
        for release in args.release or RELEASES:
            began = time.monotonic()
            made = build(release, args.version or version(), args.output.resolve(), lint=args.lint)
            print(f"{made} ({time.monotonic() - began:.0f} s)")
    except Unbuildable as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"deb: {error.cmd[0]} failed with {error.returncode}; what it said is above", file=sys.stderr)
        return 1
    return 0


def build(release: str, number: str, output: Path, *, lint: bool) -> Path:
    """The package of one release, as a file in `output`. Raises Unbuildable, CalledProcessError."""
    root = clean_root(release)
    name = f"droplan_{number}+deb{RELEASES[release][0]}"
    place = _WORK / release
    shutil.rmtree(place, ignore_errors=True)
    source = place / "droplan"
    _lay_out(source, release, name.partition("_")[2])
    script = _BUILD.format(epoch=epoch(), python=RELEASES[release][1]) + (_LINT if lint else "")
    run_inside(root, place, script)
    output.mkdir(parents=True, exist_ok=True)
    subject = deb(name.partition("_")[2], release)
    fetched = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (source / "vendor").iterdir()]
    lock = (source / "requirements.txt").read_text("utf-8")
    bom = bill(subject, lock, epoch(), python=RELEASES[release][1], extra="metrics", fetched=fetched)
    (output / f"{name}_amd64.cdx.json").write_text(bom, "utf-8")
    return Path(shutil.copy(place / f"{name}_amd64.deb", output))


# dpkg-buildpackage -d: build-essential is for compilers, and nothing is compiled.
_BUILD = """
cd /build/droplan
test "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = {python}
export SOURCE_DATE_EPOCH={epoch} DEB_BUILD_OPTIONS=nocheck
dpkg-buildpackage --build=binary --no-sign -d >../build.log 2>&1 || {{ tail -n 40 ../build.log; exit 1; }}
"""
_LINT = """
lintian --allow-root --fail-on error,warning --tag-display-limit 0 --no-cfg ../droplan_*.changes
"""


def _lay_out(source: Path, release: str, number: str) -> None:
    """Everything that the build reads, in one folder."""
    shutil.copytree(
        TOP / "packaging" / "debian", source / "debian", ignore=shutil.ignore_patterns("README.md")
    )
    shutil.copytree(TOP / "systemd", source / "systemd")
    shutil.copy(_LOCK, source / "requirements.txt")
    shutil.copy(TOP / "CHANGELOG.md", source)
    (source / "debian" / "source").mkdir(exist_ok=True)
    (source / "debian" / "source" / "format").write_text("3.0 (native)\n", "utf-8")
    (source / "debian" / "changelog").write_text(_changelog(number, release), "utf-8")
    _python("-m", "hatchling", "build", "-t", "wheel", "-d", str(source / "own"))
    _python("-m", "droplan_daemon.manual", str(source / "manual"))
    (source / "manual" / "docs").mkdir()
    for page in (*sorted((TOP / "docs").glob("*.md")), TOP / "docs" / "examples"):
        target = source / "manual" / "docs" / page.name
        shutil.copytree(page, target) if page.is_dir() else shutil.copy(page, target)
    _fetch(source / "vendor", RELEASES[release][1])
    for file in source.rglob("*"):
        os.utime(file, (epoch(), epoch()))


def _fetch(folder: Path, python: str) -> None:
    """What the lock names, for an interpreter that need not be this one."""
    platforms = [f"--platform={platform}" for platform in _PLATFORMS]
    _python(
        *("-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes"),
        *("-r", str(_LOCK), "--python-version", python, "--implementation", "cp"),
        *(*platforms, "-d", str(folder)),
    )


def _python(*words: str) -> None:
    """Run a module; what it says counts only where it failed."""
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch()), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, *words], cwd=TOP, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()


def _changelog(number: str, release: str) -> str:
    date = formatdate(epoch(), localtime=False).replace("-0000", "+0000")
    return (
        f"droplan ({number}) {release}; urgency=medium\n\n"
        "  * See /usr/share/doc/droplan/CHANGELOG.md.gz for what is new.\n\n"
        f" -- droplan maintainers <droplan@localhost.invalid>  {date}\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deb", description=__doc__.splitlines()[0])
    parser.add_argument("--release", action="append", choices=list(RELEASES), help="default: every one")
    parser.add_argument("--version", metavar="NUMBER", help="instead of the program's own")
    parser.add_argument("--output", type=Path, default=TOP / "dist", metavar="FOLDER", help="default: dist")
    parser.add_argument("--lint", action="store_true", help="run lintian, and fail on errors and warnings")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
