"""A Droplet on a bench: its namespace, links, folders, token, and the DigitalOcean around it."""

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Self

import pytest

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.diff import diff
from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.metadata import Metadata, fixed
from droplan_daemon.lab.scopes import FULL, Grant, Tokens
from droplan_daemon.lab.server import LabServer, serving
from droplan_daemon.lab.world import World
from droplan_daemon.model.addresses import format_address
from droplan_daemon.model.policy import Policy
from droplan_daemon.policy.compile import compile_ruleset
from tests.unit.cycles import HOST, droplet, fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from droplan_daemon.effects import Observation
    from droplan_daemon.lab.account import LabDroplet
    from droplan_daemon.lab.messages import Application, Request, Response
    from tests.conftest import Namespace

CANARY = "dop_v1_" + "c0ffee17" * 8
NOBODY = 65534
PACKAGES = Path(__file__).resolve().parents[2]
DROPLETS = "/v2/droplets"
PROGRAM = (sys.executable, "-m", "droplan_daemon")

# Without the delays that are there for whoever tampers as often as a test does.
PATIENT = (
    sys.executable,
    "-c",
    "import sys; from droplan_daemon import cli, pacing; pacing.FREE = 10**9; sys.exit(cli.main())",
)

# So many that pacing never stretches the interval of a test.
PLENTY = Limits(hourly=10_000_000, burst=10_000_000)


def until(there: "Callable[[], object]", seconds: float = 30.0, what: str = "") -> None:
    """Look every 10 ms; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:g} s: {what or there}")
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Note:
    """One datagram to systemd: when it came, and its lines as a mapping."""

    at: float
    fields: dict[str, str]


class Running:
    """`droplan run`, and what it tells systemd."""

    def __init__(self, process: "subprocess.Popen[bytes]", notes: socket.socket, log: Path) -> None:
        self.process = process
        self.notes: list[Note] = []
        self._log = log
        self._socket = notes
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def log(self) -> list[str]:
        """Every line that it printed."""
        return self._log.read_text().splitlines()

    def lines(self, word: str) -> list[str]:
        """The log lines with this event."""
        return [line for line in self.log if f" {word} " in f"{line} "]

    def told(self, key: str) -> list[str]:
        """Every value of this key, oldest first."""
        return [note.fields[key] for note in list(self.notes) if key in note.fields]

    @property
    def status(self) -> str:
        """The STATUS told last."""
        return (self.told("STATUS") or [""])[-1]

    def ready(self, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until READY was told so often."""
        until(lambda: len(self.told("READY")) >= times or self.process.poll() is not None, seconds, "READY")
        assert len(self.told("READY")) >= times, "\n".join(self.log)

    def says(self, word: str, seconds: float = 30.0) -> None:
        """Wait until STATUS has this."""
        until(lambda: word in self.status, seconds, f"STATUS with {word!r}, not {self.status!r}")

    def logs(self, word: str, seconds: float = 30.0) -> None:
        """Wait for a line with this event."""
        until(lambda: self.lines(word), seconds, f"{word} in the log")

    def fed(self, times: int = 1) -> None:
        """Wait for so many more signs of life."""
        enough = len(self.told("WATCHDOG")) + times
        until(lambda: len(self.told("WATCHDOG")) >= enough, what="WATCHDOG")

    def end(self, number: int, seconds: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                data = self._socket.recv(4096)
            except OSError:
                return
            if not data:
                return
            pairs = (line.partition("=") for line in data.decode().splitlines())
            self.notes.append(Note(time.monotonic(), {key: value for key, _, value in pairs}))


class Overheard:
    """An Application, and the paths that it was asked for."""

    def __init__(self, application: "Application") -> None:
        self.paths: list[str] = []
        self._application = application

    def answer(self, request: "Request") -> "Response":
        self.paths.append(request.path)
        return self._application.answer(request)


class Machine:
    """The Droplet `web-1`, with three peers in its VPC and a stranger in another."""

    def __init__(self, namespace: "Namespace", folder: Path) -> None:
        self.namespace = namespace
        self.folder = folder
        self.world = World()
        self.vpc = self.world.add_vpc("lab", ip_range="10.10.0.0/20")
        away = self.world.add_vpc("away", ip_range="10.20.0.0/20")
        self.world.add_droplet("tunnel-1", vpc=self.vpc.id, tags=("bastion",))
        self.own = self.world.add_droplet("web-1", vpc=self.vpc.id, tags=("web",))
        self.world.add_droplet("web-2", vpc=self.vpc.id, tags=("web",))
        self.world.add_droplet("mysql-1", vpc=self.vpc.id)
        self.world.add_droplet("far-1", vpc=away.id)
        self.cloud = DigitalOcean(self.world, limiter=Limiter(PLENTY))
        self.api = Overheard(self.cloud)
        self.metadata = Metadata(self.world, fixed(self.own.id))
        self.token_file = folder / "token"
        self.config = folder / "droplan.toml"
        self.url = self.ca_file = ""
        self._stack = ExitStack()
        self._backend: NftBackend | None = None

    def __enter__(self) -> Self:
        self._wire()
        authority = Authority()
        self.ca_file = str(authority.write(self.folder / "ca.pem"))
        listening = self.namespace.call(socket.create_server, ("127.0.0.1", 0))
        asked = self.namespace.call(socket.create_server, ("169.254.169.254", 80))
        api = LabServer(self.api, sock=listening, tls=authority.server())
        self._stack.enter_context(serving(api, LabServer(self.metadata, sock=asked)))
        self.url = api.url
        self.tokens({CANARY: FULL})
        self.token_file.write_text(f"{CANARY}\n")
        self.token_file.chmod(0o600)
        self.write()
        self._backend = self.namespace.call(NftBackend)
        return self

    def __exit__(self, *_: object) -> None:
        if self._backend:
            self.namespace.call(self._backend.close)
        self._stack.close()

    def _wire(self) -> None:
        """eth0 and eth1 as a Droplet has them, by MAC; the far ends lead nowhere."""
        run = self.namespace.run
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
        links = (("eth0", self.own.public_mac, "public"), ("eth1", self.own.private_mac, "private"))
        for name, mac, kind in links:
            run("ip", "link", "add", name, "address", mac, "type", "veth", "peer", "name", f"{name}-far")
            network = self.own.network("public" if kind == "public" else "private")
            assert network
            run("ip", "address", "add", f"{network.address}/{network.prefix}", "dev", name)
            run("ip", "link", "set", name, "up")

    def tokens(self, grants: dict[str, Grant]) -> None:
        """The account knows these tokens and no others."""
        self.cloud.tokens = Tokens(grants)

    def write(self, more: str = "", *, source: str = "", interval: str = "0.2s") -> None:
        """The policy file: this API and this token; `source` are further lines of [source]."""
        self.config.write_text(
            f'{more}\n[source]\nurl = "{self.url}"\nca_file = "{self.ca_file}"\n'
            f'token_file = "{self.token_file}"\ninterval = "{interval}"\n{source}\n'
        )

    @property
    def environ(self) -> dict[str, str]:
        """What every program of this machine sees; the token is in a file."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(PACKAGES),
            "STATE_DIRECTORY": str(self.folder / "state"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
        }

    def droplan(
        self,
        *words: str,
        environ: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        config: Path | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command in the namespace, to its end."""
        return self.namespace.call(
            subprocess.run,
            [*prefix, *PROGRAM, *words, "--config", str(config or self.config)],
            env=self.environ | (environ or {}),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(
        self,
        *,
        environ: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        log: str = "log",
        program: tuple[str, ...] = PROGRAM,
    ) -> Running:
        """Start the daemon; it ends with the machine."""
        notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self.folder / "notify"
        path.unlink(missing_ok=True)
        notes.bind(str(path))
        with (self.folder / log).open("ab") as output:
            process = self.namespace.call(
                subprocess.Popen,
                [*prefix, *program, "run", "--config", str(self.config)],
                env={**self.environ, "NOTIFY_SOCKET": str(path), **(environ or {})},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        running = Running(process, notes, self.folder / log)
        self._stack.callback(running.close)
        return running

    def polled(self, times: int = 1) -> None:
        """Wait for so many more polls to begin."""
        most = self.api.paths.count(DROPLETS) + times
        until(lambda: self.api.paths.count(DROPLETS) >= most, 60, f"{times} more polls")

    def observe(self) -> "Observation":
        """What the kernel of this namespace holds."""
        assert self._backend
        return self.namespace.call(self._backend.observe)

    def protect(self) -> None:
        """Put some ruleset of ours into the kernel, without running a program."""
        assert self._backend
        own = droplet(1)
        desired = compile_ruleset(Policy(), fleet(own, droplet(2), droplet(9)), HOST, own)
        self.namespace.call(self._backend.commit, diff(None, desired), self.generation)

    @property
    def generation(self) -> int:
        assert self._backend
        return self.namespace.call(self._backend.generation)

    @property
    def peers(self) -> set[str]:
        """The private addresses that the kernel lets in; empty without our table."""
        ruleset = self.observe().ruleset
        found = ruleset.sets.get("private-peers-4") if ruleset else None
        return {format_address(element) for element in found.elements} if found else set()

    def addresses(self, *names: str) -> set[str]:
        """The private addresses of Droplets by name."""
        return {str(self.droplet(name).address("private")) for name in names}

    def droplet(self, name: str) -> "LabDroplet":
        return next(d for d in self.world.droplets.values() if d.name == name)

    @property
    def status(self) -> dict[str, object]:
        """The status file."""
        return StateFiles(self.folder / "state", self.folder / "run").read_status()

    def written(self) -> "Iterator[Path]":
        """Every file that droplan may have written."""
        ours = {self.token_file, self.config}
        return (path for path in self.folder.rglob("*") if path.is_file() and path not in ours)


PEERS = ("tunnel-1", "web-2", "mysql-1")
