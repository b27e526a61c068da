"""A Droplet of Debian's with droplan installed, as its operator has it before the eyes."""

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from droplan_daemon.lab.scopes import FULL, Tokens
from tests.systemd.container import Container, until
from tests.systemd.surroundings import STRANGER, TOKEN, Probing, Record, Span, Surroundings

if TYPE_CHECKING:
    from pathlib import Path

    from droplan_daemon.lab.netns import Namespace

UNIT = "droplan.service"
CONFIG = "/etc/droplan/droplan.toml"
TOKEN_FILE = "/etc/droplan/token"
FEW = 20
"""So many probes at least make a statement; they leave every 20 ms."""


class Server:
    """`around` is everything outside, `box` the machine. Switched off at first, the service not enabled.

    `configured`: droplan.toml and the token are there.
    """

    def __init__(
        self, layers: "tuple[Path, ...]", folder: "Path", *, peers: int = 3, configured: bool = True
    ) -> None:
        self.around = Surroundings(folder, peers=peers)
        self.box = Container(layers, self._wire, self.around.unwire)
        self.macs: tuple[str, str] | None = None
        self._configured = configured
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.around)
        self._stack.enter_context(self.box)
        for path, content in self.around.networkd.items():
            self.box.place(path, content)
        self.box.place("/etc/droplan/ca.pem", self.around.authority.pem)
        if self._configured:
            self.box.place(CONFIG, self.around.configuration())
            self.box.place(TOKEN_FILE, f"{TOKEN}\n", 0o600)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def boot(self) -> Self:
        """Switch it on and wait until it is up."""
        self.box.power_on()
        self.box.booted()
        return self

    def probe(self) -> Record:
        """A peer and a stranger knock, and a peer asks over UDP, from now on."""
        peer, own = (self.around.address(d) for d in (self.around.peers[0], self.around.own))
        return self.around.probing(
            Probing("peer", "tcp", peer, own),
            Probing("peer-udp", "udp", peer, own),
            Probing("stranger", "tcp", STRANGER, own),
            # From a new port each time: a flow that was open before the kernel tracked any may outlive the
            # first enforcement, which is a limit that decision 2 names and no gap.
            Probing("stranger-udp", "fresh", STRANGER, own),
        )

    def enable(self) -> None:
        """`systemctl enable --now droplan`; it returns when the daemon is ready."""
        self.systemctl("enable", "--now", "droplan")

    def systemctl(self, *words: str) -> str:
        return self.box.run("systemctl", *words)

    def configure(self, more: str = "", *, interval: str = "1s", source: str = "") -> None:
        """Another droplan.toml."""
        self.box.write(CONFIG, self.around.configuration(more, interval=interval, source=source))

    def drop_in(self, name: str, text: str, unit: str = UNIT) -> None:
        """What `systemctl edit` would write."""
        folder = f"/etc/systemd/system/{unit}.d"
        self.box.shell(f"mkdir -p {folder}")
        self.box.write(f"{folder}/{name}.conf", text)
        self.systemctl("daemon-reload")

    def undo(self, name: str, unit: str = UNIT) -> None:
        """Take it away again."""
        self.box.shell(f"rm /etc/systemd/system/{unit}.d/{name}.conf")
        self.systemctl("daemon-reload")

    def show(self, key: str, unit: str = UNIT) -> str:
        """One property of a unit; empty while systemd itself does not listen yet."""
        done = self.box.attempt("systemctl", "show", "--value", "--property", key, unit)
        return "" if done.returncode else done.stdout.strip()

    @property
    def status(self) -> str:
        """The line that the daemon gave systemd last."""
        return self.show("StatusText")

    @property
    def pid(self) -> int:
        """Of the daemon, inside; 0 when it does not run."""
        return int(self.show("MainPID") or 0)

    def says(self, text: str, seconds: float = 30) -> None:
        """Wait until the status line has this."""
        until(
            lambda: text in self.status,
            seconds,
            lambda: f"{text!r} in the status: {self.status!r}\n{self.log}",
        )

    def ready(self, seconds: float = 30) -> None:
        """Wait until the service is active."""
        until(
            lambda: self.show("ActiveState") == "active",
            seconds,
            lambda: f"{self.show('ActiveState')}\n{self.log}",
        )

    @property
    def log(self) -> str:
        """What the service told the journal, all boots."""
        return self.box.run("journalctl", "--no-pager", "--output=cat", "--unit=droplan*", check=False)

    def journal(self, *words: str) -> list[dict[str, Any]]:
        """Entries of the journal of this boot, with all their fields."""
        text = self.box.run("journalctl", "--no-pager", "--boot", "--output=json", *words)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def moment(self, key: str, unit: str) -> float:
        """A monotonic time stamp of a unit, in seconds; 0: it never happened."""
        return int(self.show(f"{key}Monotonic", unit) or 0) / 1e6

    @property
    def ruleset(self) -> str:
        """Our table as nft lists it; empty without one."""
        return self.box.run("nft", "list", "table", "inet", "droplan", check=False)

    def rules(self) -> list[str]:
        """Our table without its counters; empty without one."""
        done = self.box.attempt("nft", "--stateless", "list", "table", "inet", "droplan")
        return done.stdout.splitlines() if done.returncode == 0 else []

    def tokens(self, *tokens: str) -> None:
        """The account knows these and no others."""
        self.around.cloud.tokens = Tokens(dict.fromkeys(tokens, FULL))

    def _wire(self, machine: "Namespace") -> None:
        self.around.wire(machine, macs=self.macs)


def spell(record: Record, name: str = "peer", probes: int = FEW, seconds: float = 30) -> Span:
    """Wait until so many probes of this name left from now on and had time to be answered; that time."""
    begin = time.monotonic()

    def whole() -> Span:
        return Span(begin, time.monotonic() - 0.5)

    until(lambda: len(record.sent(name, whole())) >= probes, seconds, f"{probes} probes of {name}")
    return whole()
