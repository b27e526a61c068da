"""A saved listing becomes a Fleet, or an error that names the file."""

import asyncio
import json
import os
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.errors import DroplanError, SourceDoubtful, SourceUnavailable
from droplan_daemon.lab.fleets import big_fleet
from droplan_daemon.model.fleet import Peering, Vpc
from droplan_daemon.sources.file import FileSource, changes
from tests.sources.samples import NOW, api_pages, body, droplet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from droplan_daemon.lab.world import World
    from droplan_daemon.model.fleet import Fleet


def _gathered(path: "Path", **options: Any) -> "Fleet":
    return asyncio.run(FileSource(path, now=lambda: NOW, **options).gather())


def _failure(path: "Path", **options: Any) -> DroplanError:
    with pytest.raises(DroplanError) as caught:
        _gathered(path, **options)
    assert str(path) in str(caught.value)
    return caught.value


@pytest.fixture
def path(tmp_path: "Path") -> "Path":
    return tmp_path / "fleet.json"


def test_what_curl_saved_is_a_fleet(path: "Path", world: "World") -> None:
    """`GET /v2/droplets?per_page=200` as it is."""
    path.write_bytes(api_pages(world)[0])
    fleet = _gathered(path)
    assert sorted(d.id for d in world.droplets.values() if d.name != "gpu-1") == [
        d.id for d in fleet.droplets
    ]
    assert (str(path), NOW, ()) == (fleet.source, fleet.taken, fleet.skipped)
    assert FileSource(path, now=lambda: NOW).budget is None


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", [b"", b"\n ", b"\xef\xbb\xbf"])
def test_what_doctl_printed_is_a_fleet(path: "Path", indent: int | None, before: bytes) -> None:
    """`doctl compute droplet list -o json`: the list alone, indented or not, in any order."""
    path.write_bytes(before + json.dumps([droplet(9), droplet(1)], indent=indent).encode())
    assert [1, 9] == [d.id for d in _gathered(path).droplets]


@pytest.mark.parametrize(
    "raw", [b"[]", b'{"droplets": []}', b'{"droplets": [], "links": {}, "meta": {"total": 0}}']
)
def test_an_empty_list_is_an_empty_fleet(path: "Path", raw: bytes) -> None:
    """Whether that may be acted on is for `safety` to say."""
    path.write_bytes(raw)
    assert () == _gathered(path).droplets


def test_vpcs_and_peerings_may_stand_beside_droplets(path: "Path") -> None:
    """In the API's shapes; `meta` counts Droplets alone."""
    vpcs = [{"id": v, "name": v, "region": "nyc3", "ip_range": "10.10.0.0/20"} for v in ("a", "b")]
    peerings = [
        {"id": "p", "vpc_ids": ["a", "b"], "status": "ACTIVE"},
        {"id": "q", "vpc_ids": ["a", "c"], "status": "DELETING"},
    ]
    path.write_bytes(body(droplet(1), vpcs=vpcs, vpc_peerings=peerings))
    fleet = _gathered(path)
    assert tuple(Vpc(v, v, "nyc3", "10.10.0.0/20") for v in ("a", "b")) == fleet.vpcs
    assert (Peering(frozenset({"a", "b"})),) == fleet.peerings


def test_one_odd_droplet_is_named(path: "Path") -> None:
    """As with the API."""
    path.write_bytes(body(droplet(1), droplet(2, name=7), droplet(3)))
    fleet = _gathered(path)
    assert ([1, 3], [2]) == ([d.id for d in fleet.droplets], [s.id for s in fleet.skipped])


@pytest.mark.parametrize(
    ("raw", "reason", "hint"),
    [
        (body(droplet(1), meta={"total": 3}), "count_mismatch", "one page"),
        (body(droplet(1), meta={"total": 0}), "count_mismatch", "one page"),
        (body(droplet(1), links={"pages": {"next": "https://a/?page=2"}}), "count_mismatch", "one page"),
        (body(droplet(1), droplet(1)), "unstable", "twice"),
        (body(droplet(1, name=7), droplet(2, name=7)), "many_skipped", "malformed"),
        (b"", "bad_json", "line 1, column 1"),
        (b'{"droplets": [\n  {"id": 1,}\n]}', "bad_json", "line 2, column 12"),
        (b'[\n  {"id": 1}\n  {"id": 2}\n]', "bad_json", "line 3, column 3"),
        (b"[1,}", "bad_json", "line 1, column 4"),
        (b'{"droplets": ["\xff"]}', "bad_json", "not UTF-8"),
        (b'{"message": "Unable to authenticate you"}', "bad_body", "droplets"),
        (b'{"droplets": [], "vpcs": 7}', "bad_body", "vpcs"),
        (b'{"droplets": [], "droplets": []}', "bad_json", "repeated key"),
        (b"<html></html>", "bad_json", "line 1, column 1"),
        (b"[" * 100_000, "bad_json", "deep"),
        (b"\0" * 100, "bad_json", "line 1, column 1"),
    ],
)
def test_a_file_that_is_no_whole_list_is_doubtful(path: "Path", raw: bytes, reason: str, hint: str) -> None:
    """The sentence names the file and what is wrong where."""
    path.write_bytes(raw)
    error = _failure(path)
    assert (SourceDoubtful, reason) == (type(error), error.reason)
    assert hint in str(error)


def test_one_page_of_three_is_refused(path: "Path") -> None:
    """Saved with curl and forgotten: 200 of 401 Droplets would cut the others."""
    path.write_bytes(api_pages(big_fleet(401))[0])
    assert "count_mismatch" == _failure(path).reason


def test_a_file_beyond_the_cap_is_not_read(path: "Path") -> None:
    """Nor is its memory spent."""
    with path.open("wb") as file:
        file.truncate(2**26)
    tracemalloc.start()
    try:
        assert "bad_body" == _failure(path, cap=2**20).reason
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def _fifo(path: "Path") -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: None,
        lambda path: path.mkdir(),
        _fifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("nowhere"),
    ],
)
def test_what_is_no_readable_file_is_unavailable(path: "Path", make: "Callable[[Path], None]") -> None:
    """Absent, a folder, a pipe without a writer, a device, a loop: an error at once."""
    make(path)
    error = _failure(path)
    assert (SourceUnavailable, "file") == (type(error), error.reason)


@given(st.binary(max_size=200) | st.builds(lambda raw: b"[" + raw, st.binary(max_size=200)))
def test_any_content_raises_nothing_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    """Random bytes."""
    path = tmp_path_factory.getbasetemp() / "random.json"
    path.write_bytes(raw)
    with suppress(DroplanError):
        _gathered(path)


class _Script:
    """A Clock whose sleeps carry out one step of a script each, and then end the test."""

    def __init__(self, *steps: "Callable[[], object]") -> None:
        self._steps = list(steps)

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    def boottime(self) -> float:
        return NOW

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        assert seconds == 1.0
        if not self._steps:
            raise asyncio.CancelledError
        self._steps.pop(0)()


def _noticed(path: "Path", *steps: "Callable[[], object]") -> list[int]:
    """After which steps a change was noticed."""
    clock, noticed = _Script(*steps), list[int]()

    async def watch() -> None:
        async for _ in changes(path, clock):
            noticed.append(len(steps) - len(clock._steps))

    with suppress(asyncio.CancelledError):
        asyncio.run(watch())
    return noticed


def test_each_change_is_noticed_once(path: "Path") -> None:
    """Rewriting, replacement by rename, and coming into being; not rest, and not absence."""
    other = path.with_suffix(".new")

    def replace() -> None:
        other.write_bytes(b"[]  ")
        other.rename(path)

    def nothing() -> None:
        pass

    steps: list[Callable[[], object]] = [
        nothing,
        lambda: path.write_bytes(b"[]"),
        nothing,
        lambda: path.write_bytes(b"[] "),
        replace,
        nothing,
        path.unlink,
        nothing,
        replace,
        lambda: os.utime(path, ns=(1, 1)),
    ]
    assert [2, 4, 5, 9, 10] == _noticed(path, *steps)


def test_a_file_of_equal_size_and_age_is_another_file(path: "Path") -> None:
    """Replaced by a copy that kept its times: the inode tells."""
    other = path.with_suffix(".new")
    for file in (path, other):
        file.write_bytes(b"[]")
        os.utime(file, ns=(1, 1))
    assert [1] == _noticed(path, lambda: other.rename(path))


def test_a_file_in_a_folder_that_vanishes_is_only_absent(tmp_path: "Path") -> None:
    """The watch goes on."""
    folder = tmp_path / "etc"
    path = folder / "fleet.json"
    steps: list[Callable[[], object]] = [
        folder.mkdir,
        lambda: path.write_bytes(b"[]"),
        path.unlink,
        folder.rmdir,
        folder.mkdir,
    ]
    assert [2] == _noticed(path, *steps)
