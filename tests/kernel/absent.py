"""A machine that lacks programs, or IPv6: what one thread of a namespace, and what it starts, sees of it.

Law: nothing is changed for anybody else. What is seen ends with the thread.
"""

import ctypes
import os
from pathlib import Path

_SBIN = Path("/usr/sbin").resolve()
_NETWORK = Path("/proc/sys/net")
_CLONE_NEWNS = 0x20000
_MNT_DETACH = 2
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000


def own_mounts() -> None:
    """From now on mounts are this thread's own. Call it in the thread."""
    _checked(_libc().unshare(_CLONE_NEWNS))
    _mount("none", Path("/"), _MS_REC | _MS_PRIVATE)


def bind(source: Path, target: Path) -> None:
    """Have one place stand for another."""
    _mount(str(source), target, _MS_BIND)


def programs(folder: Path, *prefixes: str) -> None:
    """No program whose name begins so is there any more, every other one is. Call it in the thread."""
    own_mounts()
    real, seen = folder / "real", folder / "seen"
    real.mkdir()
    seen.mkdir()
    bind(_SBIN, real)
    for program in real.iterdir():
        if not program.name.startswith(prefixes):
            (seen / program.name).symlink_to(program)
    bind(seen, _SBIN)


def unbind() -> None:
    """Every program is there again."""
    _checked(_libc().umount2(str(_SBIN).encode(), _MNT_DETACH))


def ipv6(folder: Path) -> None:
    """As where the kernel was started with ipv6.disable=1: it has no settings. Call it in the thread."""
    own_mounts()
    settings = folder / "net"
    settings.mkdir()
    bind(settings, _NETWORK)


def _mount(source: str, target: Path, flags: int) -> None:
    _checked(_libc().mount(source.encode(), str(target).encode(), None, flags, None))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(answer: int) -> None:
    if answer:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
