"""The programs that a figure needs: the lab's API, and the real daemon as systemd would run it.

Laws:
1. The daemon runs in an environment with its core dependencies and nothing else, from the lock
   file with its hashes: what developers have installed changes what httpx imports. Its bytecode is
   there, as it is where it was installed: to compile takes a second, and leaves 0.5 MB of gaps.
2. Every program is killed by the kernel when the Namespace that it runs in ends.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .api import Site

if TYPE_CHECKING:
    from droplan_daemon.lab.netns import Namespace

ROOT = Path(__file__).resolve().parents[2]
_CORE = ROOT / "build" / "bench-venv"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE = 60.0


def core_python() -> Path:
    """The interpreter of the core-only environment, which is made when it is missing or outdated."""
    locked = ROOT / "requirements.txt"
    stamp, wanted = _CORE / "bench.stamp", hashlib.sha256(locked.read_bytes()).hexdigest()
    python = _CORE / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        sys.stderr.write("setting up a core-only environment under build/\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_CORE)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--use-pep517"]
        done = subprocess.run(
            [*pip, "--require-hashes", "-r", str(locked)], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"pip could not install requirements.txt: {done.stderr[-2000:]}")
        stamp.write_text(wanted)
    return python


@cache
def _compiled() -> None:
    subprocess.run([str(core_python()), "-m", "compileall", "-q", str(ROOT / "droplan_daemon")], check=True)


class Api:
    """`tests.bench.api` in a namespace, while the context lasts."""

    def __init__(self, machine: "Namespace", folder: Path, *arguments: str) -> None:
        # Not Namespace.start: what the server says, and its end, go through its pipes.
        self._process = machine.call(
            subprocess.Popen,
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "tests.bench.api", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={"PATH": _PATH, "LANG": "C.UTF-8"},
        )
        self.folder = folder
        self.site = Site(**self._said())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def await_poll(self, number: int) -> None:
        """Until the poll with this number (from 1) begins."""
        while self._said()["poll"] < number:
            pass

    def _said(self) -> "dict[str, Any]":
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the emulated API ended early")
        return dict(json.loads(line))


@dataclass(slots=True)
class Daemon:
    """`droplan run` in a namespace against an Api; `folder` is its own."""

    machine: "Namespace"
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(
        self, site: Site, *, interval: str, program: tuple[str, ...] = ("-m", "droplan_daemon")
    ) -> float:
        """Start it; seconds until READY=1."""
        self._prepare(site, interval)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notes:
            address = self.folder / "notify"
            address.unlink(missing_ok=True)
            notes.bind(str(address))
            notes.settimeout(_PATIENCE)
            with (self.folder / "log").open("ab") as log:
                begun = time.perf_counter()
                self.process = self.machine.start(
                    [
                        str(core_python()),
                        *program,
                        "run",
                        "--config",
                        str(self.folder / "droplan.toml"),
                    ],
                    environ=self._environ(),
                    folder=self.folder,
                    output=log.fileno(),
                )
            while b"READY=1" not in notes.recv(4096):
                pass
            return time.perf_counter() - begun

    def _prepare(self, site: Site, interval: str) -> None:
        _compiled()
        for name in ("state", "run"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        token = self.folder / "token"
        token.write_text(site.token)
        token.chmod(0o600)
        (self.folder / "droplan.toml").write_text(
            "[source]\n"
            f'url = "{site.url}"\nmetadata_url = "{site.metadata_url}"\nca_file = "{site.ca_file}"\n'
            f'token_file = "{token}"\ninterval = "{interval}"\n'
        )

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "STATE_DIRECTORY": str(self.folder / "state"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
        }

    def resident(self, line: str = "VmRSS") -> float:
        """Its resident memory in MB of 1,000,000 bytes; `VmHWM` is the most that it ever was."""
        assert self.process
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = next(row for row in status.splitlines() if row.startswith(f"{line}:"))
        return int(found.split()[1]) * 1024 / 1e6

    def stop(self) -> None:
        """SIGTERM, and its end."""
        if self.process:
            self.process.terminate()
            self.process.wait(_PATIENCE)
            self.process = None


def wake(machine: "Namespace") -> None:
    """Loopback up."""
    inside(machine, "ip", "link", "set", "lo", "up")


def wire_up(machine: "Namespace", site: Site) -> None:
    """The two interfaces of the Droplet with its MACs and addresses."""
    # The ends of one wire: some kernels have no dummy interfaces.
    pair = f"link add eth0 address {site.public_mac} type veth peer name eth1 address {site.private_mac}"
    addresses = (f"addr add {site.public} dev eth0", f"addr add {site.private} dev eth1")
    commands = (pair, "link set eth0 up", "link set eth1 up", *addresses)
    inside(machine, "ip", "-batch", "-", text="\n".join(commands))


def inside(machine: "Namespace", *command: str, text: str = "") -> str:
    """What a program prints that runs in a namespace; an error of its own is raised."""
    done = machine.call(
        subprocess.run, list(command), input=text.encode(), stdout=subprocess.PIPE, check=True, env=_paths()
    )
    return bytes(done.stdout).decode()


def _paths() -> dict[str, str]:
    return {**os.environ, "PATH": f"{_PATH}:{os.environ.get('PATH', '')}"}
