"""The real daemon, run in a machine of the lab as systemd would run it.

Laws:
1. It is the program that a Droplet runs, with the same arguments, environment and folders; the
   lab tells it nothing that DigitalOcean would not.
2. It is ready when it says so on its notification socket (sd_notify(3)), not before.
3. What it prints goes into a file; a daemon that dies is an error that quotes its last line.
"""

import asyncio
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import Fatal

if TYPE_CHECKING:
    from .netns import Namespace

# droplan's package may be imported from a checkout, and the daemon does not start there.
_PACKAGES = Path(__file__).resolve().parents[2]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The one command that writes to the disk of which the machines have no copy.
_NO_MIGRATION = """\
case " $* " in *" --dry-run "*) ;; *" migrate "*)
  echo "droplan: a machine of the lab has this machine's disk, which migrate would change: add --dry-run" >&2
  exit 2 ;;
esac
"""

# What a person's shell does not have already.
_FOLDERS = frozenset({"STATE_DIRECTORY", "RUNTIME_DIRECTORY"})
_OWN = _FOLDERS | {"PYTHONPATH"}

_LARGEST_NOTE = 4096


class Daemon:
    """`droplan run` in one machine; `folder` is its own, with `droplan.toml` in it already.

    `status` is the line that it told systemd last, `ready_after` the seconds that it took to be
    ready (None: it is not yet).
    """

    def __init__(self, machine: "Namespace", folder: Path) -> None:
        self.machine = machine
        self.folder = folder
        self.status = ""
        self.ready_after: float | None = None
        self._begun = 0.0
        self._notes: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every droplan command in this machine."""
        return {
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "PYTHONPATH": str(_PACKAGES),
            "STATE_DIRECTORY": str(self.folder / "state"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
        }

    def write_shortcut(self) -> Path:
        """A folder for PATH, whose `droplan` is this machine's, for a person's shell inside."""
        shortcut = self.folder / "bin" / "droplan"
        shortcut.parent.mkdir(exist_ok=True)
        given = shlex.join(f"{key}={value}" for key, value in self.environ.items() if key in _OWN)
        *program, option, config = self._command()
        ours = f'set -- "$@" {shlex.join((option, config))}'
        command = f'exec env {given} {shlex.join(program)} "$@"'
        with_config = f'case " $*" in *" {option}"*) ;; *) {ours} ;; esac'
        shortcut.write_text(f"#!/bin/sh\n{_NO_MIGRATION}{with_config}\n{command}\n")
        shortcut.chmod(0o755)
        return shortcut.parent

    @property
    def folders(self) -> dict[str, str]:
        """The part of `environ` that makes a droplan this machine's."""
        return {key: value for key, value in self.environ.items() if key in _FOLDERS}

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._begun

    @property
    def exit_code(self) -> int | None:
        """How it ended; None: it has not."""
        return self._process.poll() if self._process else None

    async def start(self) -> None:
        """Start it; `ready` waits for it."""
        for name in ("state", "run"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        self._notes = _notification_socket(self.folder / "notify")
        asyncio.get_running_loop().add_reader(self._notes, self._hear)
        self._begun = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = self.machine.start(
                self._command("run"),
                environ={**self.environ, "NOTIFY_SOCKET": str(self.folder / "notify")},
                folder=self.folder,
                output=log.fileno(),
            )

    async def ready(self, deadline: float = 20.0) -> float:
        """Seconds from start to READY=1. Raises Fatal when it dies, or is not ready by `deadline`."""
        while self.ready_after is None:
            self._check()
            if time.monotonic() - self._begun > deadline:
                raise Fatal(f"The daemon of {self.machine.name} is not ready: {self.said()}")
            await asyncio.sleep(0.01)
        return self.ready_after

    async def stop(self, patience: float = 5.0) -> None:
        """SIGTERM, and SIGKILL after `patience` seconds; its rules stay in the machine."""
        if self._notes is not None:
            asyncio.get_running_loop().remove_reader(self._notes)
            self._notes.close()
            self._notes = None
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, patience)
            except subprocess.TimeoutExpired:
                self._process.kill()

    async def ask(self, *arguments: str, deadline: float = 20.0) -> str:
        """What another droplan command prints in this machine. Raises Fatal when it fails."""
        process = self.machine.start(
            self._command(*arguments), environ=self.environ, folder=self.folder, output=subprocess.PIPE
        )
        try:
            output, _ = await asyncio.to_thread(process.communicate, timeout=deadline)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise Fatal(f"droplan {arguments[0]} in {self.machine.name} did not end.") from error
        text = output.decode(errors="replace").rstrip()
        if process.returncode != 0:
            raise Fatal(f"droplan {arguments[0]} failed in {self.machine.name}: {_last_line(text)}")
        return text

    def said(self) -> str:
        """The last line that it printed."""
        log = self.folder / "log"
        return _last_line(log.read_text(errors="replace") if log.exists() else "")

    def _command(self, *arguments: str) -> list[str]:
        config = str(self.folder / "droplan.toml")
        return [sys.executable, "-m", "droplan_daemon", *arguments, "--config", config]

    def _check(self) -> None:
        if self.exit_code is not None:
            raise Fatal(f"The daemon of {self.machine.name} ended with {self.exit_code}: {self.said()}")

    def _hear(self) -> None:
        if self._notes is None:
            return
        for line in self._notes.recv(_LARGEST_NOTE).decode(errors="replace").splitlines():
            key, _, value = line.partition("=")
            if key == "STATUS":
                self.status = value
            elif key == "READY" and self.ready_after is None:
                self.ready_after = time.monotonic() - self._begun


def _notification_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    notes.bind(str(path))
    return notes


def _last_line(text: str) -> str:
    lines = text.rstrip().splitlines()
    return lines[-1] if lines else "it said nothing"
