"""`droplan check --fleet`: the policy beside the fleet that it is for, without a token or a network."""

import json
from pathlib import Path

import pytest

from droplan_daemon.cli import main

FLEET = {
    "droplets": [
        {
            "id": number,
            "name": f"web-{number}",
            "tags": ["web"],
            "region": {"slug": "nyc3"},
            "vpc_uuid": vpc,
            "networks": {
                "v4": [
                    {"ip_address": f"10.0.0.{number}", "type": "private"},
                    {"ip_address": f"203.0.113.{number}", "type": "public"},
                ],
                "v6": [],
            },
        }
        for number, vpc in ((1, "ab"), (2, "ab"), (3, "cd"))
    ]
}
POLICY = """
[private]
allow_peers = false
[[allow]]
name = "typo"
from = "tag:wbe"
[[allow]]
name = "other vpc"
on   = "vpc:ab"
from = "name:web-3"
"""
TYPO = (
    "allow 'typo', from `tag:wbe`: "
    "no Droplet has the tag 'wbe'; the nearest that exists is 'web'; it matches nothing"
)
OTHER = (
    "allow 'other vpc', from `name:web-3`: "
    "none of the Droplets that it matches has a private address towards this one"
)


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DO_KEY", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "droplan.toml").write_text(POLICY)
    (tmp_path / "fleet.json").write_text(json.dumps(FLEET))
    return ["--config", str(tmp_path / "droplan.toml"), "--fleet", str(tmp_path / "fleet.json")]


def test_check_says_what_fits_nobody_and_succeeds(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A doubt is a warning, and the exit code stays 0; what only some VPC cannot see is none."""
    assert 0 == main(["check", *arguments])
    lines = capsys.readouterr().out.splitlines()
    assert [f"warning: {TYPO}"] == [line for line in lines[:-1] if not line.startswith("log in to")]
    assert "2 rules" in lines[-1]


def test_check_looks_from_the_droplet_that_is_named(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With --as the doubts of that Droplet are told, and as a document with --json."""
    assert 0 == main(["check", *arguments, "--as", "web-1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (True, [TYPO, OTHER]) == (found["ok"], found["fleet_warnings"])


def test_a_mistake_in_a_rule_fails_the_check(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with a mistake is refused with 78 and the place, fleet or not."""
    path = Path(arguments[1])
    path.write_text(POLICY.replace('"tag:wbe"', '"tag:web and"'))
    assert 78 == main(["check", *arguments])
    told = capsys.readouterr().err
    assert told.startswith(f"{path}:6:20: ")
    assert 'from = "tag:web and"' in told


def test_a_fleet_that_cannot_be_read_fails_the_check(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing fleet file is an error in one sentence, not a fleet without Droplets."""
    Path(arguments[3]).unlink()
    assert 1 == main(["check", *arguments])
    assert "cannot be read" in capsys.readouterr().err
