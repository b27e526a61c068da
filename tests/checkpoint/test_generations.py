"""Files of the state folder: two generations of Checkpoint and script, and what is taken of them."""

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.checkpoint import StateFiles, script
from droplan_daemon.checkpoint.atomic import LONGEST
from droplan_daemon.checkpoint.sealed import seal_json
from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.ruleset import Chain, Foreign, Rule, ruleset
from tests.checkpoint.kept import LINKS, big_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLD, NEW, NEWER = (big_checkpoint(3, number) for number in (1, 2, 3))


@pytest.fixture
def files(tmp_path: "Path") -> StateFiles:
    return StateFiles(tmp_path / "state", tmp_path / "run")


@pytest.fixture
def folder(tmp_path: "Path", files: StateFiles) -> "Path":
    """Two saves."""
    files.save(OLD, "old\n")
    files.save(NEW, "new\n")
    return tmp_path / "state"


def _bodies(folder: "Path", *names: str) -> list[str]:
    return [script.parse((folder / name).read_bytes()).body for name in names]


def test_two_generations_are_kept(files: StateFiles, folder: "Path") -> None:
    """The last and the one before it, of both files, ours alone to read; nothing else is left."""
    names = ["checkpoint.1.json", "checkpoint.json", "ruleset.1.nft", "ruleset.nft"]
    assert names == sorted(entry.name for entry in folder.iterdir())
    assert {0o600} == {stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()}
    assert ["new\n", "old\n"] == _bodies(folder, "ruleset.nft", "ruleset.1.nft")
    assert (NEW, 2) == (files.load(), files.latest())
    (folder / "checkpoint.json").unlink()
    assert (OLD, 2) == (files.load(), files.latest())


@pytest.mark.fault("F4")
def test_the_higher_number_counts_and_no_clock(files: StateFiles, folder: "Path") -> None:
    """Whatever the files' names and times say."""
    current, previous = folder / "checkpoint.json", folder / "checkpoint.1.json"
    kept = current.read_bytes()
    current.write_bytes(previous.read_bytes())
    previous.write_bytes(kept)
    os.utime(previous, (0, 0))
    assert NEW == files.load()


def _truncate(path: "Path") -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: "Path") -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _link(path: "Path") -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def _pipe(path: "Path") -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: "Path") -> None:
    path.unlink()
    path.mkdir()


def _huge(path: "Path") -> None:
    os.truncate(path, LONGEST + 1)


DAMAGE: "list[tuple[str, Callable[[Path], object], str]]" = [
    ("truncated", _truncate, "damaged"),
    ("bit-flipped", _flip, "checksum"),
    ("empty", lambda path: os.truncate(path, 0), "damaged"),
    ("absent", lambda path: path.unlink(), "missing"),
    ("a link", _link, "store"),
    ("a pipe", _pipe, "store"),
    ("a folder", _folder, "store"),
    ("huge", _huge, "too_long"),
    ("newer", lambda path: path.write_bytes(seal_json(2, b"{}")), "version"),
    ("another shape", lambda path: path.write_bytes(seal_json(1, b'{"number":9,"x":1}')), "shape"),
]


@pytest.mark.fault("E5", "E6")
@pytest.mark.parametrize(("name", "damage", "reason"), DAMAGE, ids=[name for name, _, _ in DAMAGE])
def test_a_damaged_generation_gives_way(
    files: StateFiles, folder: "Path", name: str, damage: "Callable[[Path], object]", reason: str
) -> None:
    """The previous one is used and it is said why; the next save puts both right and keeps the good one."""
    damage(folder / "checkpoint.json")
    found = files.recover()
    assert (OLD, [reason]) == (found.checkpoint, [error.reason for error in found.rejected])
    assert "checkpoint.json" in str(found.rejected[0])
    if name == "a folder":  # which rename does not replace: an operator must look
        with pytest.raises(StoreFailed):
            files.save(NEWER, "newer\n")
        return
    files.save(NEWER, "newer\n")
    assert NEWER == files.load()
    (folder / "checkpoint.json").unlink()
    if name != "another shape":  # whose checksum is right, so that it counts as good until it is decoded
        assert OLD == files.load()


@pytest.mark.fault("E5", "E6")
@pytest.mark.parametrize(("name", "damage", "reason"), DAMAGE, ids=[name for name, _, _ in DAMAGE])
def test_without_a_good_generation_it_is_said_what_was_tried(
    files: StateFiles, folder: "Path", name: str, damage: "Callable[[Path], object]", reason: str
) -> None:
    """Both damaged: one StoreFailed whose sentence has both files and whose reason is the damage."""
    for path in (folder / "checkpoint.json", folder / "checkpoint.1.json"):
        damage(path)
    with pytest.raises(StoreFailed) as caught:
        files.load()
    assert reason == caught.value.reason
    assert "checkpoint.json" in str(caught.value)
    assert "checkpoint.1.json" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_a_file_of_another_user_is_not_believed(files: StateFiles, folder: "Path") -> None:
    """Whoever could write it there is neither root, nor us, nor who owns the folder."""
    os.chown(folder / "checkpoint.json", 12345, 12345)
    assert OLD == files.load()
    os.chown(folder, 12345, 12345)  # a service's own user, whose state root reads
    assert NEW == files.load()


def test_a_first_start_is_no_damage(files: StateFiles) -> None:
    """Nothing there is `missing`, and the number to go on from is 0."""
    with pytest.raises(StoreFailed) as caught:
        files.load()
    assert ("missing", 0) == (caught.value.reason, files.latest())
    files.save(OLD, "x")
    assert () == files.recover().rejected


def test_scripts_of_the_other_backend_go_after_the_change(files: StateFiles, folder: "Path") -> None:
    """What boot loads is of one backend, the one that is in use; and back again."""
    files.save(replace(NEWER, backend="iptables"), "#: ipset\n")
    assert ["ruleset.iptables"] == sorted(p.name for p in folder.glob("ruleset*"))
    files.save(replace(OLD, number=4), "nft\n")
    assert ["ruleset.nft"] == sorted(p.name for p in folder.glob("ruleset*"))


@pytest.mark.fault("E4")
def test_a_save_is_whole_only_with_its_script(files: StateFiles, folder: "Path") -> None:
    """One generation of each: killed between the two, the next cycle notices."""
    assert files.holds(NEW)
    assert not files.holds(OLD)
    (folder / "ruleset.1.nft").replace(folder / "ruleset.nft")
    assert not files.holds(NEW)
    (folder / "ruleset.nft").unlink()
    assert not files.holds(NEW)


def test_retired_scripts_are_gone(files: StateFiles, folder: "Path") -> None:
    """Both generations of them; the Checkpoint stays for the daemon."""
    assert [True, False] == [files.retire(), files.retire()]
    assert ([], NEW) == (list(folder.glob("ruleset*")), files.load())


def test_what_is_no_ruleset_of_ours_is_not_kept(files: StateFiles, folder: "Path") -> None:
    """A match that droplan never writes makes the save fail, and the old state stands."""
    odd = ruleset((), (Chain("inbound", None, (Rule("x", (Foreign("?"),)),)),))
    with pytest.raises(StoreFailed):
        files.save(replace(NEWER, ruleset=odd), "x")
    assert NEW == files.load()


def test_a_script_can_be_checked_by_a_shell(folder: "Path", shell: "Callable[[str], str]") -> None:
    """The digest in line 2 is that of all that follows it."""
    path = folder / "ruleset.nft"
    counted = shell(f"tail -n +3 {path} | sha256sum").split()[0]
    assert f"# sha256 {counted}" == path.read_text().splitlines()[1]
    found = script.parse(path.read_bytes())
    assert (2, 1, LINKS, "2027-01-15T08:00:00Z") == (found.number, found.droplet_id, found.links, found.saved)


@pytest.mark.fault("E5")
def test_a_damaged_script_is_noticed(folder: "Path") -> None:
    """Any flipped bit, and any cut: StoreFailed with a reason."""
    data = (folder / "ruleset.nft").read_bytes()
    cuts = [data[:n] for n in range(len(data))]
    flips = [data[:n] + bytes([data[n] ^ (1 << (n % 8))]) + data[n + 1 :] for n in range(len(data))]
    for damaged in (*cuts, *flips, b"", b"\xff" * 100):
        with pytest.raises(StoreFailed) as caught:
            script.parse(damaged)
        assert caught.value.reason in {"damaged", "version", "checksum"}
