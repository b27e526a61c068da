"""State files: the old content or the new one, whatever fails; and nothing unusable is believed."""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.checkpoint import StateFiles, read_whole, seal, unseal, write_atomic
from droplan_daemon.checkpoint.atomic import LONGEST
from droplan_daemon.checkpoint.sealed import seal_json
from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.host import Host

HOST = Host(42, private="eth1", public="eth0", learned="metadata")
REMEMBERED = Host(42, private="eth1", public="eth0", learned="state")


@pytest.fixture
def files(tmp_path: Path) -> StateFiles:
    return StateFiles(tmp_path / "state", tmp_path / "run")


@pytest.fixture
def host_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "host.json"


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """New bytes, the mode that was asked for whatever the umask, and nothing else in the folder."""
    path = tmp_path / "a"
    before = os.umask(0o777)
    try:
        for data in (b"old", b"", b"x" * 100_000):
            write_atomic(path, data, 0o640)
            assert (data, 0o640) == (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    finally:
        os.umask(before)
    assert ["a"] == _names(tmp_path)


@pytest.mark.fault("E3")
def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    """Without systemd nobody else makes the folder; it is not open to everybody."""
    write_atomic(tmp_path / "one" / "two" / "a", b"x")
    assert 0 == stat.S_IMODE((tmp_path / "one" / "two").stat().st_mode) & 0o007


def test_a_link_in_place_of_the_file_is_replaced_not_followed(tmp_path: Path) -> None:
    """Where the path is a symbolic link, what it points to is not touched."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "a").symlink_to("victim")
    write_atomic(tmp_path / "a", b"x")
    assert (b"precious", b"x") == ((tmp_path / "victim").read_bytes(), (tmp_path / "a").read_bytes())
    assert not (tmp_path / "a").is_symlink()


def test_a_link_at_the_temporary_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who guesses the temporary name gains nothing: the write fails and follows no link."""
    monkeypatch.setattr("droplan_daemon.checkpoint.atomic.secrets.token_hex", lambda _: "guessed")
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / ".a.guessed.tmp").symlink_to("victim")
    with pytest.raises(StoreFailed) as caught:
        write_atomic(tmp_path / "a", b"x")
    assert (errno.EEXIST, b"precious") == (caught.value.errno, (tmp_path / "victim").read_bytes())


def test_what_killed_writers_left_goes_away(tmp_path: Path) -> None:
    """A temporary file is swept when it is old, and belongs to the same name; a young one may be in use."""
    for name, age in ((".a.1.tmp", 3600), (".a.2.tmp", 0), (".ab.1.tmp", 3600), ("a.tmp", 3600)):
        (tmp_path / name).touch()
        now = (tmp_path / name).stat().st_mtime
        os.utime(tmp_path / name, (now - age, now - age))
    write_atomic(tmp_path / "a", b"x")
    assert [".a.2.tmp", ".ab.1.tmp", "a", "a.tmp"] == _names(tmp_path)


def _in_a_file_place(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "a"


def _a_folder(tmp_path: Path) -> Path:
    (tmp_path / "a" / "full").mkdir(parents=True)
    return tmp_path / "a"


IMPOSSIBLE = [(_in_a_file_place, errno.EEXIST), (_a_folder, errno.EISDIR)]


@pytest.mark.fault("E3")
@pytest.mark.parametrize(("make", "number"), IMPOSSIBLE)
def test_a_place_that_takes_no_file(tmp_path: Path, make: Callable[[Path], Path], number: int) -> None:
    """The operating system's errno is told, and nothing is left behind."""
    path = make(tmp_path)
    before = _names(tmp_path)
    with pytest.raises(StoreFailed) as caught:
        write_atomic(path, b"x")
    assert (number, before) == (caught.value.errno, _names(tmp_path))


@pytest.mark.fault("E3")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    """A folder that we may not write: EACCES, and the old file stands."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    tmp_path.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(StoreFailed) as caught:
            write_atomic(path, b"new")
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o700)
    assert (errno.EACCES, b"old") == (caught.value.errno, path.read_bytes())


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB and few inodes."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k,nr_inodes=3", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.fault("E1", "E8")
def test_a_full_disk_keeps_the_old_file(tiny: Path) -> None:
    """ENOSPC, by bytes and by inodes: the old file stands and nothing beside it."""
    write_atomic(tiny / "a", b"old")
    for _ in range(3):
        with pytest.raises(StoreFailed) as caught:
            write_atomic(tiny / "a", b"x" * 100_000)
        assert (errno.ENOSPC, ["a"], b"old") == (caught.value.errno, _names(tiny), (tiny / "a").read_bytes())
    (tiny / "b").touch()
    with pytest.raises(StoreFailed) as caught:
        write_atomic(tiny / "a", b"new")
    assert (errno.ENOSPC, ["a", "b"], b"old") == (caught.value.errno, _names(tiny), (tiny / "a").read_bytes())


@pytest.mark.fault("E1")
def test_a_file_that_may_not_grow_keeps_the_old_one(tmp_path: Path) -> None:
    """EFBIG from a limit, after a short write, is told like any other error."""
    write_atomic(tmp_path / "a", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreFailed) as caught:
            write_atomic(tmp_path / "a", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert (errno.EFBIG, b"old", ["a"]) == (
        caught.value.errno,
        (tmp_path / "a").read_bytes(),
        _names(tmp_path),
    )


WRITER = """
import sys
from pathlib import Path
from droplan_daemon.checkpoint import write_atomic
from droplan_daemon.errors import StoreFailed
try:
    write_atomic(Path(sys.argv[1]), b"new" * 1000)
except StoreFailed as error:
    print(error.errno)
"""


def _write_under_strace(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    command = [strace, "-qq", "-o", str(path.parent.parent / "trace"), *options]
    return subprocess.run(
        [*command, sys.executable, "-c", WRITER, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},  # the same calls each time
    )


@pytest.mark.fault("E2")
@pytest.mark.parametrize(
    ("call", "content"),
    [
        ("fsync:error=EIO:when=1", b"old"),
        ("fsync:error=EIO:when=2", b"new" * 1000),
        ("rename,renameat,renameat2:error=EIO", b"old"),
        ("fchmod:error=EIO", b"old"),
    ],
)
def test_an_input_output_error_is_told(tmp_path: Path, call: str, content: bytes) -> None:
    """EIO at any step is a StoreFailed; only when the folder cannot be flushed does the new file stand."""
    path = tmp_path / "folder" / "a"
    path.parent.mkdir()
    path.write_bytes(b"old")
    done = _write_under_strace(path, "-e", f"inject={call}")
    assert (f"{errno.EIO}\n", "") == (done.stdout, done.stderr)
    assert (content, ["a"]) == (path.read_bytes(), _names(path.parent))


CALLS = "openat,write,fchmod,fsync,close,rename,renameat,renameat2"


@pytest.mark.fault("E4")
def test_killed_at_any_call_the_file_is_old_or_new(tmp_path: Path) -> None:
    """SIGKILL at each system call of a write: the file reads old, or new, never torn."""
    path = tmp_path / "folder" / "a"
    path.parent.mkdir()
    _write_under_strace(path, "-e", f"trace={CALLS}")
    lines = (tmp_path / "trace").read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if "folder" in line)
    calls = [line.partition("(")[0] for line in lines]
    ends = []
    for n in range(first, len(calls)):
        path.write_bytes(b"old")
        when = calls[: n + 1].count(calls[n])  # strace counts each system call by itself
        _write_under_strace(path, "-e", f"inject={calls[n]}:signal=SIGKILL:when={when}")
        left = [path.parent / name for name in _names(path.parent) if name != "a"]
        ends.append((path.read_bytes(), len(left)))
        for name in left:
            name.unlink()
    assert {(b"old", 0), (b"old", 1), (b"new" * 1000, 0)} == set(ends)


def test_a_host_is_remembered(files: StateFiles, host_file: Path) -> None:
    """What was learned comes back as learned from the state; the file is ours alone to read."""
    assert files.recall() is None
    files.remember(HOST)
    assert REMEMBERED == files.recall()
    assert 0o600 == stat.S_IMODE(host_file.stat().st_mode)


def test_what_is_remembered_is_not_written_again(files: StateFiles, host_file: Path) -> None:
    """The same Host again costs no write; another one does."""
    files.remember(HOST)
    inode = host_file.stat().st_ino
    files.remember(Host(42, private="eth1", public="eth0", learned="addresses"))
    assert inode == host_file.stat().st_ino
    files.remember(Host(43))
    assert Host(43, learned="state") == files.recall()


def test_nothing_yet_has_its_errno(files: StateFiles) -> None:
    """A first start is told apart from a damaged file by ENOENT."""
    for read in (files.read_host, files.read_status):
        with pytest.raises(StoreFailed) as caught:
            read()
        assert errno.ENOENT == caught.value.errno


BODY = {"droplet_id": 42, "private": "eth1", "public": None}
UNUSABLE = [
    ("empty", b""),
    ("no JSON", b"droplan"),
    ("not UTF-8", b"\xff"),
    ("a list", b"[]"),
    ("deep", b"[" * 100_000),
    ("a long number", b'{"version": ' + b"9" * 5000 + b"}"),
    ("too long", b" " * (LONGEST + 1)),
    ("another version", seal(2, BODY)),
    ("true is no version", seal(1, BODY).replace(b'"version":1', b'"version":true')),
    ("no checksum", b'{"version":1,"body":{}}'),
    ("another checksum", seal(1, BODY).replace(b'"sha256":"', b'"sha256":"0')),
    ("a changed body", seal(1, BODY).replace(b"42", b"43")),
    ("a list within", seal_json(1, b"[]")),
    ("a text within", seal_json(1, b'"eth1"')),
    ("an unknown field", seal(1, BODY | {"x": 1})),
    ("a missing field", seal(1, {"droplet_id": 42})),
    ("a Droplet of true", seal(1, BODY | {"droplet_id": True})),
    ("a Droplet of zero", seal(1, BODY | {"droplet_id": 0})),
    ("a Droplet in text", seal(1, BODY | {"droplet_id": "42"})),
    ("an interface too long", seal(1, BODY | {"public": "x" * 16})),
    ("an interface with a blank", seal(1, BODY | {"public": "a b"})),
    ("an interface with a line break", seal(1, BODY | {"public": "eth0\n"})),
    ("an empty interface", seal(1, BODY | {"public": ""})),
    ("two dots", seal(1, BODY | {"public": ".."})),
]


@pytest.mark.fault("E5", "E6")
@pytest.mark.parametrize(("name", "data"), UNUSABLE)
def test_an_unusable_state_is_none(files: StateFiles, host_file: Path, name: str, data: bytes) -> None:
    """Damaged, foreign, newer or malformed: recall is None, and read_host says why in a sentence."""
    host_file.parent.mkdir()
    host_file.write_bytes(data)
    assert files.recall() is None
    with pytest.raises(StoreFailed) as caught:
        files.read_host()
    assert caught.value.errno is None
    assert str(caught.value)
    files.remember(HOST)
    assert REMEMBERED == files.recall()


@pytest.mark.fault("E5")
@given(position=st.integers(0, len(seal(1, BODY)) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, position: int, bit: int) -> None:
    """One flipped bit anywhere in the file never makes another Host of it."""
    data = bytearray(seal(1, BODY))
    data[position] ^= 1 << bit
    folder = tmp_path_factory.mktemp("flip")
    (folder / "host.json").write_bytes(data)
    assert StateFiles(folder, folder).recall() in {None, Host(42, "eth1", None, learned="state")}


def test_a_named_pipe_is_not_waited_for(files: StateFiles, host_file: Path) -> None:
    """A pipe, a folder or a loop of links in place of the file ends with an error at once."""
    host_file.parent.mkdir()
    os.mkfifo(host_file)
    assert files.recall() is None
    host_file.unlink()
    host_file.symlink_to(host_file)
    assert files.recall() is None
    with pytest.raises(StoreFailed, match="it is a symbolic link, which is not followed"):
        read_whole(host_file)
    with contextlib.suppress(StoreFailed):
        read_whole(host_file.parent)


JSON = st.dictionaries(
    st.text(),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text()),
)


@given(JSON, st.integers(0, 9))
def test_what_is_sealed_is_unsealed(body: dict[str, Any], version: int) -> None:
    """Any JSON body comes back equal under its version, and not under another."""
    sealed = seal(version, body)
    assert body == unseal(sealed, version)
    with pytest.raises(StoreFailed):
        unseal(sealed, version + 1)


def test_a_status_is_published_for_the_group(files: StateFiles, tmp_path: Path) -> None:
    """status.json is plain JSON, readable for owner and group; values of ours become text."""
    files.publish({"peers": 3, "path": Path("/x"), "next": None})
    assert {"peers": 3, "path": "/x", "next": None} == files.read_status()
    path = tmp_path / "run" / "status.json"
    assert (0o640, files.read_status()) == (stat.S_IMODE(path.stat().st_mode), json.loads(path.read_bytes()))


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_a_damaged_status_is_told(files: StateFiles, tmp_path: Path, data: bytes) -> None:
    """A status that is no JSON object is a StoreFailed."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_bytes(data)
    with pytest.raises(StoreFailed):
        files.read_status()
