"""Configuration and fleet in, ruleset out.

A case is a folder: `policy.toml`, `fleet.json`, `as` (the Droplet to be), where wanted `environment`
(NAME=value lines), and `ruleset.nft`, which is what `droplan show` prints. To renew what is
expected, run `DROPLAN_RENEW_GOLDEN=1 .venv/bin/pytest tests/golden` and read the difference with
`git diff tests/golden` as you would read a program: it is what every Droplet will enforce.
"""

import os
from pathlib import Path

import pytest

from droplan_daemon.cli import main

HERE = Path(__file__).parent
CASES = sorted(folder for folder in HERE.iterdir() if (folder / "as").exists())
RENEW = bool(os.environ.get("DROPLAN_RENEW_GOLDEN"))
_OURS = ("DO_KEY", "DO_TAG", "DO_INTERVAL", "PUBLIC", "CREDENTIALS_DIRECTORY")


def _shown(case: Path, capsys: pytest.CaptureFixture[str]) -> str:
    name = (case / "as").read_text().strip()
    config, fleet = str(case / "policy.toml"), str(case / "fleet.json")
    assert 0 == main(["show", "--config", config, "--fleet", fleet, "--as", name])
    return capsys.readouterr().out


@pytest.fixture
def surroundings(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the case, and nothing of ours beside it."""
    for name in _OURS:
        monkeypatch.delenv(name, raising=False)
    file = case / "environment"
    for line in file.read_text().splitlines() if file.exists() else ():
        monkeypatch.setenv(*line.split("=", 1))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_ruleset_is_the_expected_one(
    case: Path, surroundings: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """`droplan show` prints what the folder expects, to the letter."""
    shown = _shown(case, capsys)
    if RENEW:
        (case / "ruleset.nft").write_text(shown)
    assert (case / "ruleset.nft").read_text() == shown


def test_every_folder_is_a_case() -> None:
    """A folder that lacks a part of a case is a mistake, not a case less."""
    parts = {"policy.toml", "fleet.json", "as", "ruleset.nft"}
    folders = [folder for folder in HERE.iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    assert [] == [folder.name for folder in folders if not parts <= {f.name for f in folder.iterdir()}]
