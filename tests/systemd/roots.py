"""Debian roots that systemd can boot: built once, kept outside of the repository, in layers.

Laws:
1. A layer's name has a digest over what it is made from, its parents included: a stale one is never
   used, and whoever changes a recipe gets a new one.
2. A layer is built under a lock in a folder beside its place and renamed into it: nobody meets half
   of one. While a Root is in use its layers are locked against pruning.
3. What a build needs of this machine (mirror, proxy, resolver) is read from its own settings, at
   build time.

What cannot be built is `Unavailable`, with a sentence that says why; tests then skip by that name.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PACKAGES = (
    "systemd,systemd-sysv,dbus,nftables,iptables,ipset,iproute2,procps,python3,python3-venv,"
    "ca-certificates,libfaketime"
)
_TOOLS = ("debootstrap", "unshare", "chroot", "apt-get")
_BUILD_LIMIT = 900
_STALE = 86_400
_KEPT = 3
"""How many layers of one name are kept: the newest."""

SUITES = {"debian12": "bookworm", "debian13": "trixie"}


class Unavailable(Exception):
    """This machine cannot build or boot a root; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One folder of a stack: `make` fills it, over what `below` has; `recipe` is all that it depends on."""

    name: str
    recipe: str
    make: "Callable[[Path, tuple[Path, ...]], None]"
    below: "Layer | None" = None

    @property
    def digest(self) -> str:
        base = self.below.digest if self.below else ""
        return hashlib.sha256(f"{base}\0{self.recipe}".encode()).hexdigest()[:16]


def cache() -> Path:
    """Where roots are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "droplan" / "roots"


@contextmanager
def ready(layer: Layer) -> "Iterator[tuple[Path, ...]]":
    """The folders of this layer and of all below it, topmost first, built if need be. Raises Unavailable."""
    with ExitStack() as held:
        folders: tuple[Path, ...] = ()
        for each in _stack(layer):
            folders = (held.enter_context(_locked(each, folders)), *folders)
        yield folders


def _stack(layer: Layer | None) -> list[Layer]:
    return [] if layer is None else [*_stack(layer.below), layer]


@contextmanager
def _locked(layer: Layer, below: tuple[Path, ...]) -> "Iterator[Path]":
    place = cache() / f"{layer.name}-{layer.digest}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        if not place.is_dir():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.is_dir():
                _build(layer, below, place)
                _prune(layer.name, place)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield place


def _build(layer: Layer, below: tuple[Path, ...], place: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f".{layer.name}-", dir=place.parent))
    unfinished.chmod(0o755)
    try:
        layer.make(unfinished, below)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _prune(name: str, newest: Path) -> None:
    """Forget old layers of this name that nobody uses, and what builds that were killed have left."""
    for left in newest.parent.glob(f".{name}-*"):
        if time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)
    digest = 1 + 16
    old = [p for p in newest.parent.glob(f"{name}-*") if p.is_dir() and len(p.name) == len(name) + digest]
    for folder in sorted(old, key=lambda p: p.stat().st_ctime, reverse=True)[_KEPT:]:
        with folder.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            doomed = folder.with_name(f".{folder.name}.old")
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def base(release: str) -> Layer:
    """A minimal Debian with systemd, networkd, nft, iptables and Python; nothing of ours."""
    suite = SUITES[release]
    settle = (
        "systemctl enable systemd-networkd.service && "
        "systemctl mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer "
        "fstrim.timer e2scrub_all.timer dpkg-db-backup.timer console-getty.service && "
        "mkdir -p /var/log/journal && rm -rf /var/cache/apt/*.bin /var/cache/apt/archives/*.deb"
    )

    def make(folder: Path, below: tuple[Path, ...]) -> None:
        for tool in _TOOLS:
            if shutil.which(tool) is None:
                raise Unavailable(f"the program {tool} is missing")
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite, str(folder), mirror()]
        _done(command, f"debootstrap of {suite} failed")
        _done(["chroot", str(folder), "sh", "-ec", settle], f"{suite} could not be settled")

    return Layer(release, f"{suite} {_PACKAGES} {settle}", make)


def with_packages(layer: Layer, name: str, packages: str) -> Layer:
    """The same with further packages of the distribution, separated by spaces."""

    def make(folder: Path, below: tuple[Path, ...]) -> None:
        settings = _done(["apt-config", "dump"], "apt-config failed")
        proxies = "".join(f"{x}\n" for x in settings.splitlines() if "::proxy" in x.lower())
        script = (
            "mount -t proc proc /proc; cp /run/build/resolv.conf /etc/resolv.conf; "
            "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; "
            "export DEBIAN_FRONTEND=noninteractive APT_CONFIG=/run/build/apt.conf; apt-get -qq update; "
            f"apt-get -qq install -y --no-install-recommends {packages} >&2; "
            "rm -f /usr/sbin/policy-rc.d /etc/resolv.conf /var/cache/apt/*.bin; "
            "rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb"
        )
        with tempfile.TemporaryDirectory(prefix="droplan-build-") as scratch:
            Path(scratch, "apt.conf").write_text(proxies)
            shutil.copy("/etc/resolv.conf", scratch)
            within(folder, below, script, bind=Path(scratch))

    return Layer(name, packages, make, layer)


def within(folder: Path, below: tuple[Path, ...], script: str, *, bind: Path) -> str:
    """Run a shell script as root of this stack, `bind` at /run/build; what changes lands in `folder`."""
    with tempfile.TemporaryDirectory(prefix="droplan-build-", dir=folder.parent) as scratch:
        work, merged = Path(scratch, "work"), Path(scratch, "merged")
        work.mkdir()
        merged.mkdir()
        lower = ":".join(map(str, below))
        outer = (
            f"mount -t overlay overlay -o lowerdir={lower},upperdir={folder},workdir={work} {merged}; "
            f"mkdir -p {merged}/run; mount -t tmpfs tmpfs {merged}/run; mkdir {merged}/run/build; "
            f'mount --bind {bind} {merged}/run/build; exec chroot {merged} sh -ec "$1"'
        )
        return _done(["unshare", "--mount", "sh", "-ec", outer, "sh", script], "a layer could not be built")


def mirror() -> str:
    """Where this machine gets Debian from."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    lines = _done(["apt-get", "indextargets", "--format", form], "apt knows no sources").splitlines()
    found = [line.split() for line in lines]
    plain = [uri for uri, release, component in found if component == "main" and "-" not in release]
    if not plain:
        raise Unavailable("apt has no Debian mirror configured")
    return plain[0]


def _done(command: list[str], complaint: str) -> str:
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    proxies = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    try:
        done = subprocess.run(
            command,
            env=environ | proxies,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{complaint}: not done after {_BUILD_LIMIT} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{complaint}: {said[-1] if said else done.returncode}")
    return done.stdout
