"""A folder with a configuration file in it, and what loading that file comes to."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from droplan_daemon.errors import ConfigInvalid, Problem
from droplan_daemon.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CANARY = "dop_v1_" + "0badc0de" * 8


class Loading(Protocol):
    def __call__(
        self, text: str | bytes, environ: "Mapping[str, str] | None" = None, *, need_token: bool = False
    ) -> Settings: ...


class Faults(Protocol):
    def __call__(
        self, text: str | bytes, environ: "Mapping[str, str] | None" = None, *, need_token: bool = False
    ) -> tuple[Problem, ...]: ...


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "droplan.toml"


@pytest.fixture
def loaded(file: Path) -> Loading:
    """Load a file with this text; without an environment, and without asking for a token."""

    def loading(
        text: str | bytes, environ: "Mapping[str, str] | None" = None, *, need_token: bool = False
    ) -> Settings:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(file, environ or {}, need_token=need_token)

    return loading


@pytest.fixture
def faults(loaded: Loading) -> Faults:
    """The Problems of a file with this text."""

    def finding(
        text: str | bytes, environ: "Mapping[str, str] | None" = None, *, need_token: bool = False
    ) -> tuple[Problem, ...]:
        with pytest.raises(ConfigInvalid) as caught:
            loaded(text, environ, need_token=need_token)
        return caught.value.problems

    return finding


@pytest.fixture
def canary() -> str:
    """What a real token looks like."""
    return CANARY


@pytest.fixture
def nobody(file: Path) -> "Iterator[None]":
    """A file without permissions, and no right to read it all the same."""
    file.touch(mode=0o000)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)
