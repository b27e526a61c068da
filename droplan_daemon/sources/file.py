"""The Fleet as a file lists it: what `GET /v2/droplets` answers, or `doctl … -o json` prints.

Laws:
1. The same shapes as the API's judge it (`payloads`), and the same completeness: a saved page 1
   of 3 is not a Fleet.
2. Every error names the file, and the place in it where there is one.
3. Reading never blocks the loop and never hangs on something that is not a regular file.

`vpcs` and `vpc_peerings` in the API's shapes may stand beside `droplets`.
"""

import asyncio
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from droplan_daemon.errors import SourceDoubtful, SourceUnavailable
from droplan_daemon.model.fleet import Fleet

from .listing import Listing, assemble
from .payloads import DROPLETS, PEERINGS, VPCS, Kind, Shared, read_page, strict_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from droplan_daemon.effects import Clock
    from droplan_daemon.model.budget import Budget

T = TypeVar("T")

CAP = 128 * 1024 * 1024
"""Bytes of a file: 10,000 Droplets, printed with indents, four times over."""

_BOM = b"\xef\xbb\xbf"

Signature = tuple[int, int, int, int]
"""Device, inode, size and time of the last change in nanoseconds."""


class FileSource:
    """A Source without a rate limit. `now` gives seconds since the epoch."""

    def __init__(self, path: "Path", *, now: "Callable[[], float]", cap: int = CAP) -> None:
        self._path = path
        self._now = now
        self._cap = cap

    @property
    def budget(self) -> "Budget | None":
        """None: a file may be read as often as one likes."""
        return None

    async def gather(self) -> Fleet:
        """The Fleet of the file. Raises SourceUnavailable(reason="file") or SourceDoubtful."""
        return await asyncio.to_thread(self._read)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _read(self) -> Fleet:
        try:
            return self._fleet(_listed(_content(self._path, self._cap)))
        except SourceDoubtful as error:
            raise SourceDoubtful(f"{self._path}: {error}", reason=error.reason) from error

    def _fleet(self, body: bytes) -> Fleet:
        shared = Shared()
        droplets = _whole(body, DROPLETS, shared)
        sections = _sections(body)
        vpcs = _whole(body, VPCS, shared) if VPCS.word in sections else None
        peerings = _whole(body, PEERINGS, shared) if PEERINGS.word in sections else None
        return Fleet(
            droplets=tuple(sorted(droplets.items, key=lambda droplet: droplet.id)),
            vpcs=vpcs.items if vpcs else (),
            peerings=peerings.items if peerings else (),
            source=str(self._path),
            taken=self._now(),
            skipped=tuple(s for listing in (droplets, vpcs, peerings) if listing for s in listing.skipped),
        )


class _Sections(BaseModel):
    """Which further listings the file has."""

    vpcs: Any = None
    vpc_peerings: Any = None


def _sections(body: bytes) -> set[str]:
    # A body that read_page accepted is a JSON object.
    return _Sections.model_validate_json(body).model_fields_set


def _whole(body: bytes, kind: Kind[T], shared: Shared) -> Listing[T]:
    """The one page of the file as a Listing; only Droplets are counted by `meta` and `links`."""
    page = read_page(body, kind, shared)
    count = len(page.keys)
    if kind.word != DROPLETS.word:
        page = replace(page, total=count)
    elif page.following is not None or page.total not in {None, count}:
        raise SourceDoubtful(
            f"This is one page of a longer list ({count} of {page.total or 'more'} Droplets):"
            " save every page, or up to 200 Droplets with ?per_page=200.",
            reason="count_mismatch",
        )
    return assemble([replace(page, total=count)], kind.word)


def _listed(content: bytes) -> bytes:
    """The object that the API answers; doctl prints its list alone."""
    body = content.removeprefix(_BOM)
    if body.lstrip()[:1] != b"[":
        return body
    strict_json(body)  # here, where its complaint still has the right column
    return b'{"droplets":%b}' % body


def _content(path: "Path", cap: int) -> bytes:
    try:
        # Non-blocking, for the open of a FIFO would wait for a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(cap + 1) if regular else b""
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "impossible name"
        raise SourceUnavailable(f"{path} cannot be read: {why}.", reason="file") from error
    if not regular:
        raise SourceUnavailable(f"{path} is not a regular file: save the list to one.", reason="file")
    if len(content) > cap:
        raise SourceDoubtful(f"The file is longer than {cap} bytes.", reason="bad_body")
    return content


def signature(path: "Path") -> Signature | None:
    """What tells one content of the file from the next, without reading it; None while it is absent."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


async def changes(path: "Path", clock: "Clock", period: float = 1.0) -> "AsyncIterator[None]":
    """Yield after each change of the file, replacement by rename included, within `period` seconds.

    Polled, because inotify watches inodes and editors replace them. Absence is no change: the
    next content is, even if it is the old one come back under another inode.
    """
    seen = signature(path)
    while True:
        await clock.sleep(period)
        found = signature(path)
        if found not in {None, seen}:
            seen = found
            yield
