"""A file of the host's, replaced as its owner would wish.

Laws:
1. The new file has the mode, the owner and the labels of the old one, and stands where a
   symbolic link points, if one stands in its place.
2. What was there before is kept beside it as `NAME.droplan-bak`; one that could not be used as it
   stood (somebody's unfinished work) is never overwritten by the next: it moves on to `.droplan-bak.1`.
3. A failure leaves the old file as it was.
"""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.checkpoint.atomic import write_atomic
from droplan_daemon.errors import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable

# As netfilter-persistent makes them: rules tell how a network is built.
NEW_MODE = 0o640
BACKUP = ".droplan-bak"
_LABELS = ("security.selinux", "system.posix_acl_access")
_LONGEST = 64 << 20


@dataclass(frozen=True, slots=True)
class Old:
    """What stands in a file: where it really is, its content, and whose it is."""

    path: Path
    text: str
    status: os.stat_result
    labels: tuple[tuple[str, bytes], ...]


def read(path: Path) -> Old | None:
    """What stands there; None: nothing. Raises StoreFailed."""
    real = Path(os.path.realpath(path))
    try:
        # Non-blocking, since a named pipe in its place would wait for a writer for ever.
        number = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status, labels = os.fstat(number), tuple(_labels(number))
            data = _content(number) if stat.S_ISREG(status.st_mode) else None
        finally:
            os.close(number)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise StoreFailed(f"{path} could not be read: {reason}", errno=error.errno) from error
    if data is None:
        raise StoreFailed(f"{path} is not a regular file, and left alone", errno=errno.EINVAL)
    if len(data) > _LONGEST:
        raise StoreFailed(f"{path} is longer than {_LONGEST} bytes, and left alone")
    return Old(real, data.decode("utf-8", "surrogateescape"), status, labels)


def _content(number: int) -> bytes:
    with os.fdopen(number, "rb", closefd=False) as file:
        return file.read(_LONGEST + 1)


def _labels(number: int) -> list[tuple[str, bytes]]:
    found = []
    for name in _LABELS:
        with suppress(OSError):
            found.append((name, os.getxattr(number, name)))
    return found


def replace(path: Path, text: str, old: Old | None) -> None:
    """Put `text` there, all of it or not at all, looking like the old file. Raises StoreFailed."""
    data = text.encode("utf-8", "surrogateescape")
    if old is None:
        write_atomic(Path(os.path.realpath(path)), data, NEW_MODE)
        return
    write_atomic(old.path, data, stat.S_IMODE(old.status.st_mode), dress=_like(old))


def back_up(old: Old, usable: "Callable[[str], bool]") -> Path:
    """Keep a copy beside the file; where. `usable` says which earlier copies may go. Raises StoreFailed."""
    place = old.path.with_name(old.path.name + BACKUP)
    earlier = read(place)
    if earlier and earlier.text != old.text and not usable(earlier.text):
        _copy(earlier, _free(place))
    _copy(old, place)
    return place


def _copy(old: Old, place: Path) -> None:
    replace(place, old.text, Old(place, "", old.status, old.labels))


def _free(place: Path) -> Path:
    numbered = (place.with_name(f"{place.name}.{number}") for number in count(1))
    return next(path for path in numbered if not path.exists())


def _like(old: Old) -> "Callable[[int], None]":
    """What makes an open new file look like the old one."""

    def dress(number: int) -> None:
        made = os.fstat(number)
        if (made.st_uid, made.st_gid) != (old.status.st_uid, old.status.st_gid):
            os.fchown(number, old.status.st_uid, old.status.st_gid)
            os.fchmod(number, stat.S_IMODE(old.status.st_mode))  # chown takes set-id bits away
        for name, value in old.labels:
            # A file system that has labels gives the new file its own, which does as well.
            with suppress(OSError):
                os.setxattr(number, name, value)

    return dress
