"""Files about what is held, what was accepted, and when somebody answered last."""

import resource
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.checkpoint import StateFiles, seal
from droplan_daemon.checkpoint.doubts import VERSION, decode, encode
from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.checkpoint import Heard
from droplan_daemon.model.doubt import AGREEING, Absences

if TYPE_CHECKING:
    from pathlib import Path

HELD = Absences({"private-peers-4": {bytes((10, 0, 0, 1)): 1}, "fleet": {bytes(8): 2}})
some = st.dictionaries(
    st.sampled_from(["s", "fleet", "self"]),
    st.dictionaries(st.binary(min_size=1, max_size=16), st.integers(0, AGREEING - 1), min_size=1, max_size=5),
)


@pytest.fixture
def files(tmp_path: "Path") -> StateFiles:
    return StateFiles(tmp_path / "state", tmp_path / "run")


@given(groups=some)
def test_what_is_read_back_is_what_was_written(groups: dict[str, dict[bytes, int]]) -> None:
    """Groups, elements and counts."""
    assert Absences(groups) == decode(encode(Absences(groups)))


def test_nothing_held_is_no_file(files: StateFiles, tmp_path: "Path") -> None:
    """It comes with the first hold and goes with the last."""
    assert Absences() == files.absences()
    files.keep_absences(HELD)
    assert HELD == files.absences()
    files.keep_absences(Absences())
    assert [] == list((tmp_path / "state").iterdir())


@pytest.mark.fault("E1", "A19")
def test_counts_of_before_are_not_believed_after_a_full_disk(files: StateFiles) -> None:
    """What cannot be written leaves nothing, for a restart would take it for answers in a row."""
    files.keep_absences(HELD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(StoreFailed):
            files.keep_absences(Absences({"fleet": {bytes(8): 1}}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert Absences() == files.absences()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"groups": []},
        {"groups": {"s": {}}},
        {"groups": {"s": {"zz": 1}}},
        {"groups": {"s": {"0a": AGREEING}}},
        {"groups": {"s": {"0a": -1}}},
        {"groups": {"s": {"0a": True}}},
        {"groups": {"s": {"": 1}}},
        {"groups": {"": {"0a": 1}}},
        {"groups": {}, "more": 1},
    ],
)
def test_what_has_another_shape_is_nothing(
    files: StateFiles, tmp_path: "Path", body: dict[str, object]
) -> None:
    """Then it is counted anew; whoever asks for it is told."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "doubts.json").write_bytes(seal(VERSION, body))
    assert Absences() == files.absences()
    with pytest.raises(StoreFailed) as caught:
        files.read_absences()
    assert "shape" == caught.value.reason


def test_a_damaged_file_is_nothing(files: StateFiles, tmp_path: "Path") -> None:
    """One byte is enough."""
    files.keep_absences(HELD)
    path = tmp_path / "state" / "doubts.json"
    path.write_bytes(path.read_bytes().replace(b"fleet", b"fleeT"))
    assert Absences() == files.absences()


def test_what_was_accepted_is_used_up_once(files: StateFiles) -> None:
    """And what was accepted since it was read is not lost."""
    assert frozenset() == files.accepted()
    files.accept(frozenset({"one"}))
    read = files.accepted()
    files.accept(frozenset({"two"}))
    files.settle(read)
    assert frozenset({"two"}) == files.accepted()
    files.settle(frozenset({"two"}))
    assert frozenset() == files.accepted()


def test_when_somebody_answered_is_kept(files: StateFiles, tmp_path: "Path") -> None:
    """By both clocks and the boot; another shape is not known."""
    assert files.heard() is None
    files.keep_heard(Heard(1_800_000_000.5, "boot", 17.25))
    assert Heard(1_800_000_000.5, "boot", 17.25) == files.heard()
    (tmp_path / "state" / "heard.json").write_bytes(seal(VERSION, {"at": "now", "boot": "", "uptime": 1}))
    assert files.heard() is None
