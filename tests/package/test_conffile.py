"""The configuration file that the package installs."""

import dataclasses
import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.manual.configuration import file
from droplan_daemon.settings import Key, keys, load

if TYPE_CHECKING:
    from pathlib import Path

# What must stand beside a key in its own table, whatever else it says.
_BESIDE = {"allow": {"from"}, "override": {"on", "mode"}}


def test_it_says_nothing(tmp_path: "Path") -> None:
    """Installed as it is, the file is zero configuration: it comes to what an empty one comes to."""
    for name, text in (("empty", ""), ("shipped", file())):
        (tmp_path / name).write_text(text)
    empty, shipped = (load(tmp_path / name, {}, need_token=False) for name in ("empty", "shipped"))
    assert dataclasses.replace(empty, path=shipped.path, digest=shipped.digest) == shipped
    assert () == shipped.warnings
    assert {} == tomllib.loads(file())


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.name)
def test_every_key_is_there_and_explained(key: Key) -> None:
    """Its meaning stands above it, and its default, where it has one, behind it."""
    above, found, below = _chapter(key.section).partition(f"\n#{_short(key)} = ")
    assert found
    said = " ".join(line.removeprefix("#").strip() for line in above.rpartition("\n\n")[2].splitlines())
    assert " ".join(key.meaning.split()) in said
    assert (key.default or key.example) == below.partition("\n")[0]


# A path that is named must be there.
@pytest.mark.parametrize(
    "key", [key for key in keys() if key.name != "source.ca_file"], ids=lambda key: key.name
)
def test_a_key_out_of_its_comment_is_valid(tmp_path: "Path", key: Key) -> None:
    """As the file says: take the # away from a key and from its section."""
    wanted = {_short(key), *_BESIDE.get(key.section, ())} - ({"from"} if key.name == "allow.to" else set())
    chapter = _chapter(key.section)
    for name in wanted:
        chapter = chapter.replace(f"\n#{name} = ", f"\n{name} = ")
    text = re.sub(r"^#\[", "[", chapter, flags=re.MULTILINE)
    (tmp_path / "droplan.toml").write_text(text)
    load(tmp_path / "droplan.toml", {}, need_token=False)
    assert 1 == text.count(f"\n{_short(key)} = ")


def _short(key: Key) -> str:
    return key.name.rpartition(".")[2]


def _chapter(section: str) -> str:
    """The part of the file that a table has."""
    parts = re.split(r"^# -+\n", file(), flags=re.MULTILINE)
    return (
        next(part for part in parts if re.search(rf"^#\[+{section}\]", part, re.MULTILINE))
        if section
        else parts[0]
    )
