"""What is told of a reload, and who takes it for an answer."""

from typing import TYPE_CHECKING, Any

import pytest
import structlog

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.cli import reloading
from droplan_daemon.errors import ConfigInvalid, Problem, Refusal
from droplan_daemon.model.policy import Policy
from tests.unit.test_herald import DOWN, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def desk() -> "Iterator[Desk]":
    yield Desk()
    structlog.reset_defaults()


def _told(desk: Desk) -> dict[str, Any] | None:
    found: dict[str, Any] | None = desk.shelf.statuses[-1]["reload"]
    return found


def test_before_the_first_there_is_none(desk: Desk) -> None:
    """A daemon that was started has reloaded nothing."""
    desk.good()
    assert None is _told(desk)


def test_it_is_enforced_with_the_next_good_outcome(desk: Desk) -> None:
    """And not before; what fails meanwhile is why it waits, and what fails later is another matter."""
    desk.good()
    desk.herald.reloading()
    begun = desk.clock.monotonic()
    desk.herald.reloaded(Policy())
    desk.bad(DOWN)
    assert {"begun": begun, "state": "waiting", "message": "The API answered 500."} == _told(desk)
    desk.bad(Refusal("not so", reason="self_missing"))
    assert {"begun": begun, "state": "failed", "message": "not so"} == _told(desk)
    desk.bad(DOWN)
    assert {"begun": begun, "state": "failed", "message": "The API answered 500."} == _told(desk)
    desk.good()
    assert {"begun": begun, "state": "enforced", "message": ""} == _told(desk)
    desk.bad(DOWN)
    assert {"begun": begun, "state": "enforced", "message": ""} == _told(desk)


def test_it_is_refused_at_once(desk: Desk) -> None:
    """With file, line and mistake, and how many there are; a good cycle of the old one changes nothing."""
    desk.good()
    desk.herald.reloading()
    mistakes = (Problem("unknown key `x`", "x", 3), Problem("no token", "source.token_file"))
    desk.herald.rejected(ConfigInvalid("droplan.toml", mistakes), None)
    desk.good()
    message = "droplan.toml: line 3: unknown key `x` (and 1 more: droplan check)"
    found = _told(desk)
    assert found
    assert ("refused", message) == (found["state"], found["message"])


def test_each_reload_has_its_own_beginning(desk: Desk) -> None:
    """By which who asked knows what was read after he asked."""
    for _ in range(2):
        desk.herald.reloading()
        first = desk.clock.monotonic()
        desk.herald.reloaded(Policy())
        desk.good()
        found = _told(desk)
        assert found
        assert first == found["begun"]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ({"pid": 7, "reload": {"begun": 10.5, "state": "enforced"}}, True),
        ({"pid": 7, "reload": {"begun": 10.0, "state": "enforced"}}, True),
        ({"pid": 7, "reload": {"begun": 9.9, "state": "enforced"}}, False),
        ({"pid": 8, "reload": {"begun": 10.5, "state": "enforced"}}, False),
        ({"pid": 7, "reload": {"begun": "11", "state": "enforced"}}, False),
        ({"pid": 7, "reload": ["begun"]}, False),
        ({"pid": 7, "reload": None}, False),
        ({"pid": 7}, False),
    ],
)
def test_only_an_answer_to_this_request_counts(
    tmp_path: "Path", status: dict[str, Any], *, answer: bool
) -> None:
    """Of this process, read after the signal was sent at 10.0; nothing else, whatever shape it has."""
    files = StateFiles(tmp_path / "state", tmp_path / "run")
    files.publish(status)
    assert answer == bool(reloading._told(files, 7, 10.0))
