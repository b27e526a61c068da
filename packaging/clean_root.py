"""A clean Debian in a folder, in which the package is built.

Laws:
1. What is cached is never built in: a build sees it through an overlay that goes away, without a network.
2. The mirror, its keys and its proxy are those of this machine's apt; nothing of them is written down here.
3. A root is whole or not there: it is made beside its place and renamed.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Number and interpreter: it decides which wheels are fetched, and is checked in the root.
RELEASES = {"bookworm": ("12", "3.11"), "trixie": ("13", "3.13")}
_PACKAGES = (
    "debhelper",
    "dpkg-dev",
    "python3-venv",
    "python3-pip",
    "python3-setuptools",
    "python3-wheel",
    "lintian",
    "man-db",
    "nftables",
)
# Count it up when roots are made otherwise: those of former recipes are thrown away.
_RECIPE = 1
_QUIET_APT = "apt-get -qq -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io"


class Unbuildable(Exception):
    """Why there is no clean root, in one sentence that says what to do."""


def clean_root(suite: str) -> Path:
    """The cached root of a Debian, made on first use. Raises Unbuildable."""
    for program in ("debootstrap", "unshare"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            raise Unbuildable(f"{program} is missing: apt-get install debootstrap util-linux")
    if os.geteuid() != 0:
        raise Unbuildable("a clean Debian root takes root's rights: run it with sudo")
    recipe = hashlib.sha256(f"{_RECIPE} {suite} {_PACKAGES}".encode()).hexdigest()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "droplan", "build-roots")
    home.mkdir(parents=True, exist_ok=True)
    place = home / f"{suite}-{recipe[:12]}"
    with (home / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            _discard_old(home, suite)
            _make(suite, place)
    return place


def run_inside(root: Path, build: Path, script: str, *, network: bool = False) -> None:
    """Run a shell script in a throw-away view of `root`, with the folder `build` at /build.

    Mounts and processes end with the script. Raises CalledProcessError.
    """
    isolation = ["--mount", "--pid", "--fork", "--kill-child", *(() if network else ("--net",))]
    with tempfile.TemporaryDirectory(prefix="droplan-build-") as scratch:
        environ = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": "/build",
            "ROOT": str(root),
            "SCRATCH": scratch,
            "BUILD": str(build),
            "SCRIPT": script,
        }
        subprocess.run(["unshare", *isolation, "sh", "-eu", "-c", _ENTER], env=environ, check=True)


# The scratch is a file system of its own: an overlay cannot lie on another one.
_ENTER = """
mount --make-rprivate /
mount -t tmpfs tmpfs "$SCRATCH"
mkdir "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/view"
view=$SCRATCH/view
mount -t overlay -o "lowerdir=$ROOT,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" overlay "$view"
mkdir -p "$view/build"
mount --bind "$BUILD" "$view/build"
mount -t proc proc "$view/proc"
mount --rbind /dev "$view/dev"
unset ROOT SCRATCH BUILD
exec chroot "$view" sh -eu -c 'script=$SCRIPT; unset SCRIPT; cd /build; eval "$script"'
"""


def _make(suite: str, place: Path) -> None:
    half = Path(tempfile.mkdtemp(prefix=f".{suite}-", dir=place.parent))
    try:
        with _log(place) as log:
            _checked(["debootstrap", "--variant=minbase", suite, str(half), _mirror()], log)
            with _apt_of_this_machine(half):
                install = _INSTALL.format(" ".join(_PACKAGES))
                _checked(
                    ["unshare", "--mount", "--pid", "--fork", "sh", "-c", _IN_ROOT, str(half), install], log
                )
        half.chmod(0o755)
        half.rename(place)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


# Maintainer scripts look at /proc.
_IN_ROOT = 'mount --make-rprivate / && mount -t proc proc "$0/proc" && exec chroot "$0" sh -c "$1"'
_INSTALL = (
    "set -e; export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8; "
    f"{_QUIET_APT} update; {_QUIET_APT} install -y --no-install-recommends {{}}; "
    "apt-get clean; rm -rf /var/lib/apt/lists/*"
)


@contextmanager
def _log(place: Path) -> "Iterator[Path]":
    log = place.with_name(f"{place.name}.log")
    log.write_bytes(b"")
    yield log
    log.unlink()


def _checked(command: "Sequence[str]", log: Path) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    with log.open("ab") as output:
        done = subprocess.run(
            command, stdout=output, stderr=output, env={**os.environ, "PATH": path}, check=False
        )
    if done.returncode:
        raise Unbuildable(f"{command[0]} failed with {done.returncode}: the reason is at the end of {log}")


@contextmanager
def _apt_of_this_machine(root: Path) -> "Iterator[None]":
    """Its proxy and its name servers, while packages are installed."""
    options, names = root / "etc/apt/apt.conf.d/99lent", root / "etc/resolv.conf"
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    kept = ("Acquire::http", "Acquire::Check-")
    options.write_text("".join(line for line in dump.splitlines(keepends=True) if line.startswith(kept)))
    if Path("/etc/resolv.conf").is_file():
        shutil.copy("/etc/resolv.conf", names)
    yield
    options.unlink()
    names.unlink(missing_ok=True)


def _mirror() -> str:
    """Where this machine's apt has Debian itself from. Raises Unbuildable."""
    for file in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
            words = line.split()
            if words[:1] in (["deb"], ["URIs:"]):
                found = next((word for word in words if "://" in word and _is_debian(word)), None)
                if found:
                    return found
    raise Unbuildable("this machine's apt has no mirror of Debian: name one in /etc/apt/sources.list")


def _is_debian(address: str) -> bool:
    return "debian" in address.partition("://")[2].partition("/")[2] and "security" not in address


def _discard_old(home: Path, suite: str) -> None:
    """Roots of former recipes, and what was half made when its maker was killed. The lock is held."""
    for old in (*home.glob(f"{suite}-*"), *home.glob(f".{suite}-*")):
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()


def main() -> int:
    """`clean_root.py RELEASE FOLDER SCRIPT`: run a script in a throw-away root, with FOLDER at /build."""
    release, folder, script = sys.argv[1:]
    try:
        run_inside(clean_root(release), Path(folder), script)
    except Unbuildable as error:
        print(f"clean root: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
