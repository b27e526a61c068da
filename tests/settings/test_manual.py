"""The manual says what the program does."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.model.policy import Lifeline
from droplan_daemon.model.selector import Kind
from droplan_daemon.policy.selector import parse
from droplan_daemon.settings import Key, keys
from droplan_daemon.settings.keys import header
from droplan_daemon.settings.manual import reference

if TYPE_CHECKING:
    from .conftest import Loading

MANUAL = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN = "<!-- reference: begin (made by droplan_daemon.settings.manual) -->\n"
END = "<!-- reference: end -->"


def test_the_manual_has_the_reference() -> None:
    """Between its two marks the manual holds what the schema says; the failure shows what to put there."""
    _, _, rest = MANUAL.read_text(encoding="utf-8").partition(BEGIN)
    assert reference() == rest.partition(END)[0]


EXAMPLES = [
    example
    for page in (MANUAL, MANUAL.with_name("policy.md"), MANUAL.parents[1] / "README.md")
    for example in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_manual_are_valid(loaded: "Loading", example: str) -> None:
    """Every TOML example of the reference, of the guide and of the README loads, without a warning."""
    assert () == loaded(example).warnings


# `ca_file` names a file that must exist.
# What a rule and an override must have, whatever else they say.
BESIDE = {"allow": {"from": '"any"'}, "override": {"on": '"all"', "mode": '"audit"'}}
CHECKED = [key for key in keys() if key.name != "source.ca_file"]


@pytest.mark.parametrize("key", CHECKED, ids=lambda key: key.name)
def test_the_example_of_every_key_is_valid(loaded: "Loading", key: Key) -> None:
    """The example (or default) of each key is a value that the key takes."""
    name = key.name.rpartition(".")[2]
    beside = BESIDE.get(key.section, {})
    whole = "".join(f"{other} = {value}\n" for other, value in beside.items() if name not in {other, "to"})
    text = f"{name} = {key.example}\n{whole}"
    loaded(f"{header(key.section)}\n{text}" if key.section else text)


POLICY = MANUAL.with_name("policy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        *re.findall(r"^\| `([^|]*)` \|", POLICY[: POLICY.index("## Rules")], re.MULTILINE),
        *POLICY.partition("then `or`:\n\n```\n")[2].partition("\n```")[0].splitlines(),
    ],
)
def test_the_selectors_of_the_guide_are_selectors(text: str) -> None:
    """Each term of the table and each example below it parses."""
    for one in text.split("`, `"):
        parse(one)


def test_the_guide_names_every_term_and_every_lifeline() -> None:
    """A term or a lifeline that is not in the guide's tables is a secret."""
    for kind in Kind:
        assert kind is Kind.PREFIX or f"| `{kind.value}" in POLICY
    for lifeline in Lifeline:
        assert f"| `{lifeline.name.lower()}` |" in POLICY
