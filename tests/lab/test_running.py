"""The note of the running lab: who holds it, and who may believe it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from droplan_daemon.errors import Fatal, NotPermitted
from droplan_daemon.lab.running import Entrance, Note, Running

RUNNING = Running(
    4711, "https://127.0.0.1:1", "/x/ca.pem", {"web-1": Entrance(("nsenter", "--net=x"), {"PS1": "# "})}
)


def test_what_is_written_is_read_while_it_is_held(tmp_path: Path) -> None:
    """Whoever asks while the lab runs gets what it said last; afterwards there is no lab and no file."""
    note = Note(tmp_path / "run")
    with note.held():
        note.write(RUNNING)
        assert RUNNING == Note(tmp_path / "run").read()
    with pytest.raises(Fatal, match="No lab of yours is running"):
        note.read()
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    """Only what the lab made is removed."""
    tmp_path.chmod(0o700)
    with Note(tmp_path).held():
        pass
    assert [] == list(tmp_path.iterdir())


def test_there_is_one_lab_at_a_time(tmp_path: Path) -> None:
    """A second one is refused, and the first one's note stays."""
    note = Note(tmp_path / "run")
    with note.held():
        note.write(RUNNING)
        with pytest.raises(Fatal, match="running already"), Note(tmp_path / "run").held():
            pass
        assert RUNNING == note.read()


def test_a_lab_that_was_killed_is_not_running(tmp_path: Path) -> None:
    """Its note is there still, but nobody holds the lock: it is not believed, and a new lab may come."""
    code = (
        "import os, pathlib, sys; from droplan_daemon.lab.running import Note, Running\n"
        "note = Note(pathlib.Path(sys.argv[1]))\n"
        "with note.held(): note.write(Running(1, '', '', {})); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False, timeout=30)
    assert -9 == killed.returncode
    assert (tmp_path / "run" / "lab.json").exists()
    note = Note(tmp_path / "run")
    with pytest.raises(Fatal, match="No lab of yours is running"):
        note.read()
    with note.held():
        note.write(RUNNING)
        assert RUNNING == note.read()


def test_a_note_that_is_not_written_yet_says_so(tmp_path: Path) -> None:
    """Between start and readiness there is a lab, but no way in."""
    note = Note(tmp_path / "run")
    with note.held(), pytest.raises(Fatal, match="still starting"):
        note.read()


def test_a_folder_that_others_can_write_is_not_believed(tmp_path: Path) -> None:
    """What stands in the note is run by `lab enter`: it must be the user's own."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    with pytest.raises(NotPermitted, match="not yours alone"):
        Note(tmp_path / "run").read()
    with pytest.raises(NotPermitted, match="not yours alone"), Note(tmp_path / "run").held():
        pass


def test_a_folder_of_somebody_else_is_not_believed(tmp_path: Path) -> None:
    """However tight its permissions are."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    (tmp_path / "run").mkdir(mode=0o700)
    os.chown(tmp_path / "run", 65534, 65534)
    with pytest.raises(NotPermitted, match="not yours alone"):
        Note(tmp_path / "run").read()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """NotPermitted, which says what to set."""
    with pytest.raises(NotPermitted, match="RUNTIME_DIRECTORY"), Note(tmp_path / "none" / "run").held():
        pass


def test_ending_what_is_not_running_is_one_sentence(tmp_path: Path) -> None:
    """Fatal, and no signal is sent to anybody."""
    with pytest.raises(Fatal, match="No lab of yours is running"):
        Note(tmp_path).end()
