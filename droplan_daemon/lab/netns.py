"""Network namespaces that belong to this process and vanish with it.

Laws:
1. A Namespace has no name in the file system. It is held by one thread and one descriptor of
   this process and by the programs started in it, and these are killed by the kernel when
   that thread ends: after `kill -9` nothing is left, not even a mount.
2. The thread that holds a Namespace never leaves it, and no other thread enters it. Code is
   sent there with `call`; a socket made there stays there, whoever uses it.
3. The main thread stays where the user is, so that the user's loopback can reach the lab.

Knows nothing of Droplets, links or firewalls.
"""

import ctypes
import errno
import os
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from droplan_daemon.errors import Fatal, KernelUnsupported, NotPermitted

from .program import program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

P = ParamSpec("P")
T = TypeVar("T")

# linux/sched.h; os.unshare() only came with Python 3.12.
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

# linux/capability.h
CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21


class Namespace:
    """One network namespace, with its loopback down and nothing else in it.

    `name` is for people only. Raises NotPermitted or KernelUnsupported when it cannot be made.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._programs: list[subprocess.Popen[bytes]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        try:
            self.fd = self.call(_isolate)
        except OSError as error:
            self._thread.shutdown()
            raise _explain(error) from error

    def call(self, function: "Callable[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns, or raises, when run inside; meant for milliseconds."""
        return self._thread.submit(function, *args, **kwargs).result()

    def open_socket(self, family: socket.AddressFamily, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A non-blocking socket of this namespace."""
        return self.call(socket.socket, family, kind | socket.SOCK_NONBLOCK)

    def listen(self, address: str, port: int, backlog: int = 128) -> socket.socket:
        """A listening TCP socket; `::` listens for IPv4 too."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = self.open_socket(family)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind((address, port))
            listening.listen(backlog)
        except OSError:
            listening.close()
            raise
        return listening

    def start(
        self,
        command: "Sequence[str]",
        *,
        environ: "Mapping[str, str]",
        folder: Path,
        output: int = subprocess.DEVNULL,
    ) -> "subprocess.Popen[bytes]":
        """A program inside, both of its outputs to `output`; it is killed when this Namespace closes."""
        program: subprocess.Popen[bytes] = self.call(
            subprocess.Popen,
            [_setpriv(), "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            cwd=folder,
            # A Ctrl-C at the terminal is the lab's to handle, in its own order.
            start_new_session=True,
        )
        self._programs.append(program)
        return program

    def entrance(self) -> tuple[str, ...]:
        """The command that runs its further arguments inside, while this process lives."""
        pid = os.getpid()
        user = (f"--user=/proc/{pid}/ns/user", "--preserve-credentials") if _in_own_user_namespace() else ()
        return "nsenter", *user, f"--net=/proc/{pid}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of it; programs that are still running inside are killed."""
        for started in self._programs:
            started.kill()
            started.wait()
        self._thread.shutdown()
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def gain_rights() -> None:
    """Make this process able to create network namespaces; an ordinary user gets a user namespace.

    Like `unshare --user --map-root-user`, and like it only before the first thread starts.
    Raises NotPermitted with what to do about it.
    """
    if _capable(CAP_SYS_ADMIN) and _capable(CAP_NET_ADMIN):
        return
    uid, gid = os.geteuid(), os.getegid()
    try:
        _unshare(CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
    except OSError as error:
        raise _explain(error) from error


def _isolate() -> int:
    _unshare(CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _capable(capability: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> capability & 1)


def _in_own_user_namespace() -> bool:
    return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]


def _setpriv() -> str:
    path = shutil.which("setpriv")
    if path is None:
        raise Fatal("The program setpriv is missing: install the package util-linux.")
    return path


# What forbids an ordinary user's namespaces, and the value that does: Debian's patch of old,
# Ubuntu's AppArmor restriction since 23.10, and the kernel's own limit.
_SWITCHES = (
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "10000"),
)


def _explain(error: OSError) -> Fatal:
    if error.errno in {errno.EINVAL, errno.ENOSYS}:
        return KernelUnsupported(
            "This kernel has no network namespaces, which the lab is made of: use a stock Debian kernel.",
            feature="network namespaces",
        )
    return NotPermitted(remedy(_read_switch))


def _read_switch(name: str) -> str | None:
    try:
        return Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except OSError:
        return None


def remedy(read: "Callable[[str], str | None]", called: str | None = None) -> str:
    """One sentence that says how to get namespaces; `read` gives a sysctl's value or None."""
    again = f"sudo {called or program()} lab"
    for name, forbidding, allowing in _SWITCHES:
        if read(name) == forbidding:
            return (
                f"{name} = {forbidding} keeps ordinary users from making namespaces: run it as root "
                f"({again} …), or allow it with: sudo sysctl -w {name}={allowing}"
            )
    return (
        f"This user may not make network namespaces here: run it as root ({again} …), and in a container "
        "one that has CAP_SYS_ADMIN and CAP_NET_ADMIN (docker run --privileged)."
    )
