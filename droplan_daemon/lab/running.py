"""The lab that was left running: who it is, for the commands that talk to it.

Laws:
1. There is one of them per user and runtime folder. It is running exactly as long as its process
   holds the lock, which the kernel takes back however that process ends.
2. The note says where things are and how to get in; no token is in it, and since it is believed,
   it is read only from a folder that nobody else can write.
"""

import fcntl
import json
import os
import signal
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import Fatal, NotPermitted

from .program import program

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTE, _LOCK = "lab.json", "lab.lock"
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Entrance:
    """How to get into a machine: a command that runs its arguments there, and its environment."""

    command: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """What the running lab says of itself."""

    pid: int
    url: str
    ca_file: str
    machines: dict[str, Entrance]


class Note:
    """The note of the running lab in the runtime folder `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def held(self) -> "Iterator[None]":
        """While this lasts, ours is the running lab. Raises Fatal when there is one already."""
        made = not self._folder.exists()
        lock = self._open_lock()
        try:
            yield
        finally:
            # In this order: who finds no lock file makes another one, who has it open sees it is gone.
            for name in (_NOTE, _LOCK):
                (self._folder / name).unlink(missing_ok=True)
            os.close(lock)
            if made:
                with suppress(OSError):
                    self._folder.rmdir()

    def _open_lock(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._trust()
            lock = os.open(self._folder / _LOCK, flags, 0o600)
        except OSError as error:
            raise NotPermitted(
                f"Cannot use {self._folder}: set RUNTIME_DIRECTORY to another folder."
            ) from error
        if _locked(lock) and os.fstat(lock).st_nlink:
            return lock
        os.close(lock)
        raise Fatal(f"A lab is running already: use it, or end it with `{program()} lab down`.")

    def write(self, running: Running) -> None:
        """Say where things are now."""
        fresh = self._folder / f"{_NOTE}.new"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(asdict(running)), encoding="utf-8")
        fresh.replace(self._folder / _NOTE)

    def read(self) -> Running:
        """The running lab. Raises Fatal when there is none."""
        self._trust()
        if not self._is_held():
            raise Fatal(f"No lab of yours is running: start one with `{program()} lab up`.")
        try:
            said = json.loads((self._folder / _NOTE).read_text(encoding="utf-8"))
            machines = {
                name: Entrance(tuple(m["command"]), m["environ"]) for name, m in said["machines"].items()
            }
            return Running(said["pid"], said["url"], said["ca_file"], machines)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Fatal("The lab is still starting: try again when it says that it is ready.") from error

    def end(self) -> None:
        """Tell the running lab to end, and wait until it has. Raises Fatal when it does not."""
        os.kill(self.read().pid, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while self._is_held():
            if time.monotonic() > deadline:
                raise Fatal("The lab did not end: look at the terminal where it was started.")
            time.sleep(0.05)

    def _trust(self) -> None:
        # In a folder that others can write, the note could be anybody's.
        try:
            found = self._folder.stat()
        except FileNotFoundError:
            return
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise NotPermitted(f"{self._folder} is not yours alone: set RUNTIME_DIRECTORY to another folder.")

    def _is_held(self) -> bool:
        try:
            lock = os.open(self._folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return not _locked(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)


def _locked(lock: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
