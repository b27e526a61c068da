"""State on disk: what is written is the old content or the new one, never anything between.

Laws:
1. A file is replaced by rename, after its bytes have reached the disk; nobody ever reads half
   of one, and a failure at any step leaves the old file and nothing beside it.
2. What is read back is believed only if its checksum, its version and its shape are right;
   anything else is a StoreFailed with a sentence, never an exception of another kind.
3. Failing is never fatal here: the caller goes on enforcing and tries again.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .errors import StoreFailed
from .model.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PRIVATE = 0o600
_STATUS_MODE = 0o640
_FOLDER_MODE = 0o750
_LONGEST = 1 << 20

# What a killed writer left behind goes away with a later write. Long enough that a writer
# that is only slow loses nothing; and if it did, its rename would fail and be tried again.
_STALE = 600.0

_HOST_VERSION = 1


def write_atomic(path: Path, data: bytes, mode: int = _PRIVATE, *, durable: bool = True) -> None:
    """Replace `path` by `data`, all of it or not at all; a missing folder is made.

    `durable` waits until file and folder are on the disk, which a file of /run does not need.

    Raises:
        StoreFailed: with the operating system's errno; the old content stands. (Only when the
            folder itself could not be flushed the new one may stand already.)
    """
    with _translated(path, "written"):
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            temporary = f".{path.name}.{secrets.token_hex(8)}.tmp"
            _write_new(folder, temporary, data, mode, durable=durable)
            _replace(folder, temporary, path.name, durable=durable)
        finally:
            os.close(folder)


def read_whole(path: Path) -> bytes:
    """The bytes of a regular file of bounded size. Raises StoreFailed (ENOENT when there is none)."""
    with _translated(path, "read"):
        # Non-blocking, since a named pipe in its place would wait for a writer for ever.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            data = file.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise StoreFailed(f"{path} is longer than {_LONGEST} bytes and not used")
    return data


def seal(version: int, body: "Mapping[str, Any]") -> bytes:
    """A state file: the body as JSON, with its version and a checksum over both."""
    return _json({"version": version, "sha256": _checksum(version, body), "body": body})


def unseal(data: bytes, version: int) -> Any:
    """The body of a state file of this version. Raises StoreFailed, with no errno."""
    try:
        sealed = json.loads(data)
    except (ValueError, RecursionError):
        sealed = None
    if not isinstance(sealed, dict) or sealed.keys() != {"version", "sha256", "body"}:
        raise StoreFailed("the state file is damaged")
    if sealed["version"] != version:
        raise StoreFailed(f"the state file has another version, and this droplan reads version {version}")
    if sealed["sha256"] != _checksum(sealed["version"], sealed["body"]):
        raise StoreFailed("the state file is damaged: its checksum is wrong")
    return sealed["body"]


class StateFiles:
    """The Store: `host.json` in the state folder, `status.json` in the runtime folder."""

    def __init__(self, state_folder: Path, runtime_folder: Path) -> None:
        self._host = state_folder / "host.json"
        self._status = runtime_folder / "status.json"

    def remember(self, host: Host) -> None:
        """Keep what we learned about ourselves for the next start, unless it is kept. Raises StoreFailed."""
        if self.recall() == replace(host, learned="state"):
            return
        body = {"droplet_id": host.droplet_id, "private": host.private, "public": host.public}
        write_atomic(self._host, seal(_HOST_VERSION, body))

    def recall(self) -> Host | None:
        """The Host remembered last; None when there is none that can be used (see `read_host`)."""
        try:
            return self.read_host()
        except StoreFailed:
            return None

    def read_host(self) -> Host:
        """The Host remembered last. Raises StoreFailed, which says why there is none (ENOENT: not yet)."""
        body = unseal(read_whole(self._host), _HOST_VERSION)
        try:
            kept = _HostBody.model_validate(body)
        except ValidationError:
            raise StoreFailed(f"{self._host} has an unknown shape") from None
        return Host(kept.droplet_id, kept.private, kept.public, learned="state")

    def publish(self, status: "Mapping[str, Any]") -> None:
        """What `droplan status` shows. Raises StoreFailed."""
        write_atomic(self._status, _json(status), _STATUS_MODE, durable=False)

    def read_status(self) -> dict[str, Any]:
        """What was published last. Raises StoreFailed (ENOENT: nothing yet, or no daemon since boot)."""
        data = read_whole(self._status)
        try:
            status = json.loads(data)
        except (ValueError, RecursionError):
            status = None
        if not isinstance(status, dict):
            raise StoreFailed(f"{self._status} is damaged")
        return status


# What the kernel accepts: dev_valid_name in net/core/dev.c.
_INTERFACE = re.compile(r"(?!\.{1,2}$)[^/\s\x00-\x1f:]{1,15}")


def _interface(name: str) -> str:
    if not _INTERFACE.fullmatch(name):
        raise ValueError
    return name


class _HostBody(BaseModel):
    """What host.json keeps of the Host."""

    model_config = ConfigDict(extra="forbid", strict=True)

    droplet_id: Annotated[int, Field(gt=0, lt=1 << 63)]
    private: Annotated[str, AfterValidator(_interface)] | None
    public: Annotated[str, AfterValidator(_interface)] | None


def _json(value: "Mapping[str, Any]") -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode() + b"\n"


def _checksum(version: Any, body: "Mapping[str, Any]") -> str:
    return hashlib.sha256(_json({"version": version, "body": body})).hexdigest()


def _write_new(folder: int, name: str, data: bytes, mode: int, *, durable: bool) -> None:
    """A new file in this folder, or none. O_EXCL refuses whatever stands there, a symbolic link too."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    number = os.open(name, flags, mode, dir_fd=folder)
    try:
        try:
            os.fchmod(number, mode)  # the umask may have taken bits away
            _write_all(number, data)
            if durable:
                os.fsync(number)
            _sweep(folder, name, os.fstat(number).st_mtime)
        finally:
            os.close(number)
    except BaseException:
        _unlink(folder, name)
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
def _translated(path: Path, verb: str) -> "Iterator[None]":
    try:
        yield
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise StoreFailed(f"{path} could not be {verb}: {reason}", errno=error.errno) from error
