"""Files on disk: what is written is the old content or the new one, never anything between.

Laws:
1. A file is replaced by rename, after its bytes have reached the disk; nobody ever reads half
   of one, and a failure at any step leaves the old file and nothing beside it. It belongs to who
   wrote it; what root writes in somebody else's folder belongs to whom the folder does.
2. What is read is a regular file of bounded size, owned by us, by root or by who owns its folder,
   and never through a symbolic link.
3. Every failure is a StoreFailed with a sentence.
"""

import contextlib
import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

from droplan_daemon.errors import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PRIVATE = 0o600
_FOLDER_MODE = 0o700

LONGEST = 64 << 20
"""Bytes of the longest file that is read: 10,000 Droplets take 1.5 MB, a hundred thousand 15."""

# What a killed writer left behind goes away with a later write. Long enough that a writer
# that is only slow loses nothing; and if it did, its rename would fail and be tried again.
_STALE = 600.0


def write_atomic(
    path: "Path",
    data: bytes,
    mode: int = _PRIVATE,
    *,
    durable: bool = True,
    dress: "Callable[[int], None] | None" = None,
) -> None:
    """Replace `path` by `data`, all of it or not at all; a missing folder is made.

    `durable` waits until file and folder are on the disk, which a file of /run does not need.
    `dress` is given the open new file before it gets its name: for its owner and its labels.

    Raises:
        StoreFailed: with the operating system's errno; the old content stands. (Only when the
            folder itself could not be flushed the new one may stand already.)
    """
    _written(path, data, mode, None, durable=durable, dress=dress)


def write_generation(
    path: "Path", data: bytes, previous: "Path", *, whole: "Callable[[bytes], bool]"
) -> None:
    """The same, durable and private, and what stood at `path` is kept at `previous` in the same folder.

    Only content that is `whole` is kept: what is damaged takes no good generation's place. At every
    moment `path` is there, the old one or the new one. Raises StoreFailed.
    """
    try:
        keep = whole(read_whole(path))
    except StoreFailed:
        keep = False
    _written(path, data, _PRIVATE, previous.name if keep else None, durable=True)


def read_whole(path: "Path") -> bytes:
    """The bytes of a regular file of bounded size. Raises StoreFailed (ENOENT when there is none)."""
    with _translated(path, "read"):
        # Non-blocking, since a named pipe in its place would wait for a writer for ever.
        try:
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed") from error
            raise
        with os.fdopen(number, "rb") as file:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if found.st_uid not in {0, os.geteuid(), path.parent.stat().st_uid}:
                raise OSError(errno.EPERM, "it belongs to another user")
            # Asked for what there is: a buffer of the bound would be 64 MB.
            data = file.read(min(found.st_size, LONGEST) + 1)
    if len(data) > LONGEST:
        raise StoreFailed(f"{path} is longer than {LONGEST} bytes and not used", reason="too_long")
    return data


def remove(path: "Path") -> bool:
    """Remove the file, durably; whether there was one. Raises StoreFailed."""
    with _translated(path, "removed"):
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True


def _written(
    path: "Path",
    data: bytes,
    mode: int,
    previous: str | None,
    *,
    durable: bool,
    dress: "Callable[[int], None] | None" = None,
) -> None:
    with _translated(path, "written"):
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            temporary = f".{path.name}.{secrets.token_hex(8)}.tmp"
            _write_new(folder, temporary, data, mode, durable=durable, dress=dress)
            if previous is not None:
                _keep(folder, path.name, previous, temporary)
            _replace(folder, temporary, path.name, durable=durable)
        finally:
            os.close(folder)


def _write_new(
    folder: int,
    name: str,
    data: bytes,
    mode: int,
    *,
    durable: bool,
    dress: "Callable[[int], None] | None" = None,
) -> None:
    """A new file in this folder, or none. O_EXCL refuses whatever stands there, a symbolic link too."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    number = os.open(name, flags, mode, dir_fd=folder)
    try:
        try:
            os.fchmod(number, mode)  # the umask may have taken bits away
            _hand_over(number, folder)
            if dress is not None:
                dress(number)
            _write_all(number, data)
            if durable:
                os.fsync(number)
            _sweep(folder, name, os.fstat(number).st_mtime)
        finally:
            os.close(number)
    except BaseException:
        _unlink(folder, name)
        raise


def _hand_over(number: int, folder: int) -> None:
    """A file of root's in the folder of the daemon's user is that user's, who could not read it else."""
    owner = os.fstat(folder)
    if os.geteuid() == 0 and owner.st_uid != 0:
        with contextlib.suppress(OSError):  # not every file system has owners, nor every root CAP_CHOWN
            os.fchown(number, owner.st_uid, owner.st_gid)


def _keep(folder: int, name: str, previous: str, temporary: str) -> None:
    """The file under a second name, replaced by rename as well, so that neither name is ever absent."""
    beside = f".{previous}.{secrets.token_hex(8)}.tmp"
    try:
        os.link(name, beside, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        os.rename(beside, previous, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _unlink(folder, beside)
        _unlink(folder, temporary)
        raise


def _replace(folder: int, temporary: str, name: str, *, durable: bool) -> None:
    try:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _unlink(folder, temporary)
        raise
    if durable:
        os.fsync(folder)


def _write_all(number: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]


def _sweep(folder: int, ours: str, now: float) -> None:
    """Remove what writers of the same file left behind when they were killed.

    `now` is the file system's time, so a wrong clock of ours does no harm.
    """
    prefix = ours.removesuffix(".tmp").rpartition(".")[0] + "."
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not (entry.name.startswith(prefix) and entry.name.endswith(".tmp")):
                continue
            if now - entry.stat(follow_symlinks=False).st_mtime > _STALE:
                _unlink(folder, entry.name)


def _unlink(folder: int, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _translated(path: "Path", verb: str) -> "Iterator[None]":
    try:
        yield
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        message = f"{path} could not be {verb}: {reason}"
        raise StoreFailed(message, errno=error.errno, reason=_reason(error)) from error


def _reason(error: OSError) -> str:
    return "missing" if error.errno in {errno.ENOENT, errno.ENOTDIR} else "store"
