"""What a machine has when it starts: a state folder, its links and serial number, and an empty kernel."""

import hashlib
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.backends.nft_text import render
from droplan_daemon.checkpoint import script
from droplan_daemon.model.checkpoint import Checkpoint
from droplan_daemon.model.fleet import Fleet
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import InterfacePolicy, Policy
from droplan_daemon.model.ruleset import Ruleset
from tests.kernel.ground import SMALL, Kernel
from tests.kernel.wires import compiled

if TYPE_CHECKING:
    from tests.conftest import Namespace

LIBRARY = Path(__file__).resolve().parents[2] / "systemd"
RESTORE = LIBRARY / "restore"
DROPLET = 3164444
MAC, OTHER_MAC = "04:01:2a:0f:2a:02", "04:01:2a:0f:2a:99"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
OPEN = '[boot]\nwithout_checkpoint = "open"\n'

NOBODY = replace(
    compiled(Policy(private=InterfacePolicy(managed=True, allow_peers=False), denied_log=None)),
    comment="closed by droplan, for want of a ruleset to restore",
)
"""What closed is. Its comment is not the daemon's, so that the daemon swaps the whole table."""

_LINE = re.compile(r"<([0-7])>([a-z]+\.[a-z]+)((?: [a-z_]+=(?:[^\" ]+|\"[^\"]*\"))*)")
_FIELD = re.compile(r"([a-z_]+)=(?:\"([^\"]*)\"|(\S+))")


def sealed(
    body: str,
    *,
    number: int = 7,
    droplet: int = DROPLET,
    links: tuple[tuple[str, str], ...] = (("eth1", MAC),),
    saved: float = 1_763_779_200.0,
) -> bytes:
    """A boot script with this body, as the daemon writes it."""
    host = Host(droplet, "eth1", "eth0")
    empty = Ruleset()
    checkpoint = Checkpoint(host, links, Fleet(()), empty, "nftables", number, saved, "a-boot-id")
    return script.render(checkpoint, body)


def resealed(rest: bytes) -> bytes:
    """A script whose checksum is right, whatever stands below it."""
    return b"# droplan ruleset 1\n# sha256 %b\n%b" % (hashlib.sha256(rest).hexdigest().encode(), rest)


@dataclass(frozen=True, slots=True)
class Line:
    """One line for the journal."""

    priority: int
    event: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """How the script ended, and what it said."""

    code: int
    lines: tuple[Line, ...]

    @property
    def events(self) -> list[str]:
        return [line.event for line in self.lines]

    @property
    def reasons(self) -> dict[str, str]:
        """Why a file was refused, by its name."""
        found = (line.fields for line in self.lines if line.event == "state.rejected")
        return {Path(one["file"]).name: one["reason"] for one in found}

    def of(self, event: str) -> Line:
        (line,) = (line for line in self.lines if line.event == event)
        return line


@dataclass(slots=True)
class Machine:
    """A machine that boots in this namespace; its folders are below `folder`."""

    namespace: "Namespace"
    folder: Path
    kernel: Kernel = field(init=False)

    def __post_init__(self) -> None:
        self.kernel = Kernel(self.namespace)
        self.state.mkdir(mode=0o700)
        self.link("eth0", "04:01:2a:0f:2a:01")
        self.link("eth1", MAC)

    def close(self) -> None:
        self.kernel.close()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def system(self) -> Path:
        return self.folder / "sys"

    @property
    def config(self) -> Path:
        return self.folder / "droplan.toml"

    @property
    def current(self) -> Path:
        return self.state / "ruleset.nft"

    @property
    def previous(self) -> Path:
        return self.state / "ruleset.1.nft"

    def link(self, name: str, mac: str) -> None:
        place = self.system / "class" / "net" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "address").write_text(f"{mac}\n")

    def maker(self, vendor: str, serial: str) -> None:
        """What the BIOS tells."""
        place = self.system / "class" / "dmi" / "id"
        place.mkdir(parents=True, exist_ok=True)
        (place / "sys_vendor").write_text(f"{vendor}\n")
        (place / "product_serial").write_text(f"{serial}\n")

    def keep(self, ruleset: Ruleset = SMALL, path: Path | None = None, *, number: int = 7) -> None:
        """A boot script of this Ruleset on disk."""
        self.write(path or self.current, sealed(render(ruleset, "droplan"), number=number))

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        path.chmod(0o600)

    def boot(
        self, *words: str, shell: tuple[str, ...] = ("/bin/sh",), environ: dict[str, str] | None = None
    ) -> Told:
        """Run the script as the unit does."""
        done = self.namespace.call(
            subprocess.run,
            [*shell, str(RESTORE), *words],
            env=self.environ | (environ or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert b"" == done.stdout
        return Told(done.returncode, tuple(map(_line, done.stderr.decode().splitlines())))

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "STATE_DIRECTORY": str(self.state),
            "CONFIG": str(self.config),
            "LIBRARY": str(LIBRARY),
            "SYSTEM": str(self.system),
        }

    def programs(self, *names: str) -> str:
        """A PATH on which there are only these, and what every system has."""
        place = self.folder / "bin"
        place.mkdir(exist_ok=True)
        plain = ("sh", "awk", "sed", "head", "tail", "ls", "sha256sum", "cat", "tr", "date", "grep")
        for name in (*plain, *names):
            found = next(folder for folder in PATH.split(":") if (Path(folder) / name).exists())
            (place / name).unlink(missing_ok=True)
            (place / name).symlink_to(Path(found) / name)
        return str(place)


def _line(text: str) -> Line:
    matched = _LINE.fullmatch(text)
    assert matched, f"not a line for the journal: {text!r}"
    fields = {name: quoted or plain for name, quoted, plain in _FIELD.findall(matched[3])}
    return Line(int(matched[1]), matched[2], fields)
