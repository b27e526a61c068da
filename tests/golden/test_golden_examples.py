"""The examples of the manual, each server of each, to the letter.

`docs/examples/NAME/rulesets/DROPLET.nft` is what `droplan show --as DROPLET` prints for the example's
own files, `expected.json` what `droplan matrix --json` does, and a page's block that begins with
`$ droplan` what that command prints in the example's folder. Renewed like the other golden files:
`DROPLAN_RENEW_GOLDEN=1`, then read the difference.
"""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from droplan_daemon.cli import main

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
RENEW = bool(os.environ.get("DROPLAN_RENEW_GOLDEN"))
_SHOWN = re.compile(r"(?<=```console\n)\$ droplan (?P<words>[^\n]*)\n(?P<output>.*?)(?=```)", re.DOTALL)
_OURS = ("DO_KEY", "DO_TAG", "DO_INTERVAL", "PUBLIC", "CREDENTIALS_DIRECTORY")


def _names(example: Path) -> list[str]:
    return [droplet["name"] for droplet in json.loads((example / "fleet.json").read_text())["droplets"]]


def _files(example: Path) -> list[str]:
    return ["--config", str(example / "droplan.toml"), "--fleet", str(example / "fleet.json")]


FOLDERS = sorted(fleet.parent for fleet in EXAMPLES.glob("*/fleet.json"))
SERVERS = [(folder, name) for folder in FOLDERS for name in _names(folder)]


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _OURS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("example", "server"), SERVERS, ids=lambda part: part.name if isinstance(part, Path) else part
)
def test_each_server_of_an_example_gets_the_expected_ruleset(
    example: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`droplan show` prints what the folder `rulesets` has for it."""
    assert 0 == main(["show", *_files(example), "--as", server])
    shown, expected = capsys.readouterr().out, example / "rulesets" / f"{server}.nft"
    if RENEW:
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(shown)
    assert expected.read_text() == shown


@pytest.mark.parametrize("example", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_reaches_what_it_expects(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`droplan matrix --expect expected.json` finds no difference, and says so with its exit code."""
    expected = example / "expected.json"
    if RENEW:
        assert 0 == main(["matrix", *_files(example), "--json"])
        expected.write_text(capsys.readouterr().out)
    assert 0 == main(["matrix", *_files(example), "--expect", str(expected)])


@pytest.mark.parametrize("example", FOLDERS, ids=lambda folder: folder.name)
def test_a_page_shows_what_its_commands_print(
    example: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each `$ droplan` of the README, run in the example's folder, ends with 0 and prints what follows it."""

    def answer(shown: re.Match[str]) -> str:
        assert 0 == main(shlex.split(shown["words"]))
        return f"$ droplan {shown['words']}\n{capsys.readouterr().out}"

    monkeypatch.chdir(example)
    page = example / "README.md"
    printed = _SHOWN.sub(answer, page.read_text())
    if RENEW:
        page.write_text(printed)
    assert printed == page.read_text()
    assert _SHOWN.search(printed)


@pytest.mark.parametrize("example", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_is_complete_and_without_a_warning(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has its page, a ruleset for each of its servers and for nobody else, and `check` finds no fault."""
    assert (example / "README.md").read_text().startswith("# ")
    assert sorted(_names(example)) == sorted(f.stem for f in (example / "rulesets").iterdir())
    assert 0 == main(["check", *_files(example), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert ([], []) == (document["warnings"], document["fleet_warnings"])
