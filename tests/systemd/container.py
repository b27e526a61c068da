"""One machine under a real systemd: a throw-away copy of a root, booted by systemd-nspawn.

Laws:
1. Its root is an overlay that is mounted in a mount namespace of its own: it vanishes with it.
2. Each boot has a network namespace of its own, made and wired before PID 1 starts: as on a real
   machine, nothing in the kernel's tables survives a reboot, and the interfaces are there at once.
3. Its processes are in a control group that carries this run's mark; closing ends everything in it,
   and the kernel ends it when the test process dies.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from droplan_daemon.lab.netns import Namespace
from tests.systemd.roots import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REBOOT = 133
"""What systemd-nspawn exits with when the container asked for a reboot (EXIT_ON_REBOOT)."""

_MARK = "droplan-test"
_TOOLS = ("systemd-nspawn", "unshare", "nsenter", "setpriv", "ip")
_POWEROFF = signal.SIGRTMIN + 4
_NUMBERS = count(1)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The overlay, then our control groups, then systemd-nspawn in place of this shell.
_START = """
mount -t overlay overlay -o "$1" "$2"
shift 2
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done
shift
exec "$@"
"""


def require() -> None:
    """Raises Unavailable, by name, where no container can be booted."""
    if os.geteuid():
        raise Unavailable("a container under systemd-nspawn needs root")
    for tool in _TOOLS:
        if shutil.which(tool, path=_PATH) is None:
            raise Unavailable(f"the program {tool} is missing")
    if "overlay" not in Path("/proc/filesystems").read_text():
        raise Unavailable("this kernel has no overlay file system")
    if not _hierarchies():
        raise Unavailable("no control group hierarchy is mounted")


def sweep() -> None:
    """Remove what runs that were killed have left: folders and groups that bear a dead process's mark."""
    for parent in (Path(tempfile.gettempdir()), *_hierarchies()):
        for left in parent.glob(f"{_MARK}-*-*"):
            pid = left.name.removeprefix(f"{_MARK}-").partition("-")[0]
            if pid.isdecimal() and not Path("/proc", pid).exists():
                _remove(left) if (left / "cgroup.procs").exists() else shutil.rmtree(left, ignore_errors=True)


def until(
    there: "Callable[[], object]",
    seconds: float = 30.0,
    what: "str | Callable[[], str]" = "",
    pause: float = 0.02,
) -> None:
    """Look again and again; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(pause)


class Container:
    """A machine that is switched off at first.

    `wire` puts interfaces into each boot's namespace, `unwire` takes them away when it has ended.
    `boots` counts how often it was switched on.
    """

    def __init__(
        self,
        layers: tuple[Path, ...],
        wire: "Callable[[Namespace], None]",
        unwire: "Callable[[], None]",
    ) -> None:
        self.name = f"{_MARK}-{os.getpid()}-{next(_NUMBERS)}"
        self.boots = 0
        self.network: Namespace | None = None
        self._layers = layers
        self.wire = wire
        self._unwire = unwire
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        for part in ("upper", "work", "root"):
            (self._folder / part).mkdir()
        self._groups: list[Path] = []
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def console(self) -> str:
        """What systemd wrote to the console, all boots."""
        path = self._folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def place(self, path: str, content: str | bytes = "", mode: int = 0o644) -> None:
        """Write a file while it is switched off."""
        assert self._nspawn is None, "switched on: use write()"
        target = self._folder / "upper" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def offline(self, script: str) -> str:
        """Run a shell script in the root while it is switched off; what it prints."""
        assert self._nspawn is None, "switched on: use run()"
        outer = 'mount -t overlay overlay -o "$1" "$2"; exec chroot "$2" sh -ec "$3"'
        command = ["unshare", "--mount", "sh", "-ec", outer, "sh", self._overlay, self._root, script]
        done = subprocess.run(
            command, env={"PATH": _PATH}, capture_output=True, text=True, check=False, timeout=120
        )
        assert 0 == done.returncode, f"{script}: {done.stderr}"
        return done.stdout

    def power_on(self) -> None:
        """Start PID 1 and return; `booted` waits for the end of the boot."""
        self.boots += 1
        self.network = Namespace(f"{self.name}-{self.boots}")
        self.wire(self.network)
        # New ones for each boot: a group that was killed once may kill what is born into it later.
        self._groups = [parent / f"{self.name}-{self.boots}" for parent in _hierarchies()]
        for group in self._groups:
            group.mkdir()
        # Where systemd-nspawn keeps its propagation folders; a machine without systemd has none.
        Path("/run/systemd/nspawn/propagate").mkdir(parents=True, exist_ok=True)
        inner = [
            "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe",
            "--link-journal=no", "--resolv-conf=off", "--timezone=off", f"--machine={self.name}",
            f"--directory={self._root}", "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
            "--network-namespace-path=/proc/self/ns/net",
        ]  # fmt: skip
        start = ["sh", "-ec", _START, "sh", self._overlay, self._root, *map(str, self._groups), "--", *inner]
        # systemd-nspawn itself is inside, for it mounts /sys, which shows the network of who mounts it.
        enter = "nsenter", f"--net=/proc/{os.getpid()}/fd/{self.network.fd}", "--"
        # In a process namespace of their own all of them end with its first one, and that one with us.
        alone = "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"
        # A container boots into one hierarchy, the unified one, whatever the machine has.
        environ = {"PATH": _PATH, "EXIT_ON_REBOOT": "1", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with (self._folder / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *enter, *alone, *start],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        until(self._find_init, 30, lambda: f"no PID 1: {self.console[-2000:]}")

    def booted(self, seconds: float = 60) -> None:
        """Wait until systemd has started everything that it starts."""
        until(
            lambda: self.state in {"running", "degraded"},
            seconds,
            lambda: f"{self.state}; {self.console[-2000:]}",
        )

    @property
    def state(self) -> str:
        """What `systemctl is-system-running` says."""
        return self.run("systemctl", "is-system-running", check=False).strip()

    @property
    def init(self) -> int:
        """Its PID 1, as this machine numbers it."""
        return self._init

    def entrance(self) -> tuple[str, ...]:
        """The command that runs its further arguments inside."""
        return "nsenter", "--target", str(self._init), "--all", "--"

    def run(self, *argv: str, text: str | None = None, check: bool = True, seconds: float = 120) -> str:
        """Run a program inside, as root; what it prints, both outputs."""
        done = self.attempt(*argv, text=text, seconds=seconds)
        if check and done.returncode:
            pytest.fail(f"{argv} exited {done.returncode}: {done.stdout}")
        return done.stdout

    def attempt(
        self,
        *argv: str,
        text: str | None = None,
        seconds: float = 120,
        environ: "Mapping[str, str] | None" = None,
    ) -> "subprocess.CompletedProcess[str]":
        """The same, with its exit code and without a verdict."""
        return subprocess.run(
            [*self.entrance(), *argv],
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "TERM": "dumb", **(environ or {})},
            input=text or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
        )

    def shell(self, script: str, *, check: bool = True, seconds: float = 120) -> str:
        """Run a shell script inside."""
        return self.run("sh", "-ec", script, check=check, seconds=seconds)

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file inside, at once or not at all."""
        quiet = 'umask 077; cat > "$1.new"; chmod "$2" "$1.new"; mv "$1.new" "$1"'
        self.run("sh", "-ec", quiet, "sh", path, f"{mode:o}", text=content)

    def reboot(self) -> None:
        """`systemctl reboot`, up to PID 1 of the next boot."""
        self.run("systemctl", "--no-block", "reboot")
        assert self._ended(90) == REBOOT, self.console[-2000:]
        self.power_on()

    def power_off(self) -> None:
        """An orderly end."""
        if self._nspawn:
            os.kill(self._init, _POWEROFF)
            self._ended(90)

    def power_cut(self) -> None:
        """The plug is pulled: every process ends at once, nothing is saved."""
        if self._nspawn:
            self._kill()
            self._ended(30)

    def close(self) -> None:
        """End it if it runs, and remove all of it."""
        with suppress(Exception):
            self.power_cut()
        self._let_go()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def off(self) -> "Iterator[Self]":
        """Switched off for a while, and on again."""
        self.power_off()
        yield self
        self.power_on()

    @property
    def _overlay(self) -> str:
        lower = ":".join(map(str, self._layers))
        return f"lowerdir={lower},upperdir={self._folder}/upper,workdir={self._folder}/work"

    @property
    def _root(self) -> str:
        return str(self._folder / "root")

    def _find_init(self) -> bool:
        """PID 1 once it is systemd: before that it is systemd-nspawn's own stub."""
        assert self._nspawn
        if self._nspawn.poll() is not None:
            pytest.fail(f"systemd-nspawn ended with {self._nspawn.returncode}: {self.console[-2000:]}")
        for pid in _children(self._nspawn.pid):
            with suppress(OSError):
                if Path(f"/proc/{pid}/exe").readlink().name == "systemd" and _first_of_its_kind(pid):
                    self._init = pid
                    return True
        return False

    def _ended(self, seconds: float) -> int:
        """Wait for the end; systemd-nspawn's exit code."""
        assert self._nspawn
        try:
            code = self._nspawn.wait(seconds)
        except subprocess.TimeoutExpired:
            said = self.console[-2000:]
            self._kill()
            self._nspawn.wait(30)
            pytest.fail(f"{self.name} did not end within {seconds:g} s: {said}")
        finally:
            self._nspawn, self._init = None, 0
            self._let_go()
        return code

    def _let_go(self) -> None:
        """What a boot had of this machine."""
        self._unwire()
        if self.network:
            self.network.close()
            self.network = None
        for group in self._groups:
            _remove(group)
        self._groups = []

    def _kill(self) -> None:
        assert self._nspawn
        with suppress(OSError):
            if self._init:
                os.kill(self._init, signal.SIGKILL)
        self._nspawn.kill()
        for group in self._groups:
            with suppress(OSError):
                (group / "cgroup.kill").write_text("1")


def _children(pid: int) -> list[int]:
    """Children and grandchildren."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return [*found, *(below for child in found for below in _children(child))]


def _first_of_its_kind(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return line.split()[-1] == "1"


def _hierarchies() -> list[Path]:
    """Where our control groups go: below our own, in the unified hierarchy and in systemd's old one."""
    own = dict(_own_groups())
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()[:3]
        name = "" if kind == "cgroup2" else "name=systemd"
        if kind == "cgroup2" or (kind == "cgroup" and name in options.split(",")):
            place = Path(before.split()[4]) / own.get(name, "/").lstrip("/")
            found += [place] if place.is_dir() else []
    return found


def _own_groups() -> "Iterator[tuple[str, str]]":
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, name, path = line.split(":", 2)
        yield name, path


def _remove(group: Path) -> None:
    for _ in range(50):
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        if not group.exists():
            return
        time.sleep(0.02)
