"""The file that says what holds for a while."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.checkpoint.sealed import seal, unseal
from droplan_daemon.checkpoint.stances import read_stance, write_stance
from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.stance import Stance

if TYPE_CHECKING:
    from pathlib import Path

_texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=70)
_moments = st.floats(0, 1e10)
stances = st.builds(Stance, st.booleans(), _moments, _texts, _moments, _texts, _texts, _texts)


@given(stances)
def test_what_is_written_is_read(tmp_path: "Path", stance: Stance) -> None:
    """Every Stance comes back as it was, and the file is nobody else's business."""
    path = tmp_path / "stance.json"
    write_stance(path, stance)
    assert stance == read_stance(path)
    assert 0o600 == path.stat().st_mode & 0o777


def test_nothing_said_is_no_file(tmp_path: "Path") -> None:
    """Where there is no file, nothing was ever said."""
    assert Stance() == read_stance(tmp_path / "stance.json")


@given(stances, st.data())
def test_a_damaged_one_is_never_believed(tmp_path: "Path", stance: Stance, data: st.DataObject) -> None:
    """Any byte changed, or the end cut off: an error that says what to do, and no Stance."""
    path = tmp_path / "stance.json"
    write_stance(path, stance)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bad = data.draw(st.sampled_from([whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]]))
    path.write_bytes(bad)
    with pytest.raises(StoreFailed, match="droplan panic --end"):
        read_stance(path)


def test_more_than_a_stance_is_none(tmp_path: "Path") -> None:
    """A key that this version does not know may mean anything: it is not passed over."""
    path = tmp_path / "stance.json"
    write_stance(path, Stance())
    body = unseal(path.read_bytes(), 1)
    path.write_bytes(seal(1, {**body, "until": 7}))
    with pytest.raises(StoreFailed, match="unknown shape"):
        read_stance(path)


def test_what_could_not_be_read_is_not_written(tmp_path: "Path") -> None:
    """A path with a line break in it stops the one command, and not every cycle from now on."""
    path = tmp_path / "stance.json"
    write_stance(path, Stance(panic=True))
    with pytest.raises(StoreFailed, match="path"):
        write_stance(path, Stance(path="/root/new\n.toml"))
    assert read_stance(path).panic


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"panic": 1},
        [],
        "x",
        {"panic": 1, "since": 0, "tried": "", "tried_until": 0, "confirmed": "", "rules": "", "path": ""},
        {
            "panic": True,
            "since": "0",
            "tried": "",
            "tried_until": 0,
            "confirmed": "",
            "rules": "",
            "path": "",
        },
        {
            "panic": True,
            "since": 0,
            "tried": None,
            "tried_until": 0,
            "confirmed": "",
            "rules": "",
            "path": "",
        },
    ],
)
def test_another_shape_is_no_stance(tmp_path: "Path", body: object) -> None:
    """Sealed as it should be, and still not ours."""
    path = tmp_path / "stance.json"
    path.write_bytes(seal(1, body))  # type: ignore[arg-type]
    with pytest.raises(StoreFailed, match="unknown shape"):
        read_stance(path)
