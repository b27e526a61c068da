"""By which SSH connection whoever runs this command is logged in.

sudo(8) takes SSH_CONNECTION out of the environment, so those of the processes that we come from are asked.

Laws: reads one variable, and nothing else of anybody's environment; who cannot be asked is passed over.
Source: sshd(8), proc_pid_environ(5), proc_pid_stat(5).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.connection import Connection
from droplan_daemon.model.ruleset import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "SSH_CONNECTION"
_PROC = Path("/proc")
_DEEPEST = 64  # processes between a shell's login and us: a loop in a made-up /proc ends


def caller(said: str, pid: int, proc: Path = _PROC) -> Connection | None:
    """The connection: by what our own environment says (`said`), or else by our ancestors'; None: by none.

    `pid` is our own.
    """
    for text in (said, *_inherited(pid, proc)):
        if found := _connection(text):
            return found
    return None


def _connection(text: str) -> Connection | None:
    """`CLIENT PORT SERVER PORT`; None for anything else."""
    try:
        client, client_port, server, server_port = text.split()
        ends = parse_address(client), parse_address(server)
        return Connection(*ends, Protocol.TCP, int(client_port), int(server_port))
    except ValueError:
        return None


def _inherited(pid: int, proc: Path) -> "Iterator[str]":
    """What the variable says in each process that we come from, the nearest first."""
    for _ in range(_DEEPEST):
        pid = _parent(pid, proc)
        if pid <= 1:
            return
        yield _said(pid, proc)


def _parent(pid: int, proc: Path) -> int:
    """0: nobody, or nobody knows."""
    try:
        _, _, rest = (proc / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")
        return int(rest.split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _said(pid: int, proc: Path) -> str:
    begin = f"{VARIABLE}=".encode()
    try:
        for entry in (proc / str(pid) / "environ").read_bytes().split(b"\0"):
            if entry.startswith(begin):
                return entry.removeprefix(begin).decode("ascii", "replace")
    except OSError:
        pass
    return ""
