"""The two renderings of a Ruleset, nft text and netlink, make the kernel hold the same."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from droplan_daemon.backends.nft_text import render
from droplan_daemon.model.ruleset import Action, Chain, Interface, Rule, Verdict, ruleset
from tests.kernel.ground import SMALL, Kernel, hosts
from tests.strategies import rulesets

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Ruleset

EXAMPLES = 2_000 if os.environ.get("DROPLAN_TEST_FULL") else 100
BEFORE = {
    "nothing there": "",
    "ours there": render(SMALL, "droplan"),
    "an empty table": "table inet droplan {}",
    "a dormant table": "table inet droplan { flags dormant; }",
    "a table that somebody else filled": """
        table inet droplan {
            map marks { type ipv4_addr : mark; elements = { 10.0.0.1 : 7 } }
            set peers { type inet_service; elements = { 22 } }
            chain judge { type filter hook forward priority 0; policy drop; tcp dport @peers accept; }
            chain other { ip saddr { 10.0.0.1, 10.0.0.2 } meta mark set ip saddr map @marks jump judge2; }
            chain judge2 { quota over 10 mbytes drop; }
        }""",
}

GOLDEN = sorted(Path(__file__).parents[1].glob("golden/*/ruleset.nft"))

pytestmark = pytest.mark.kernel


def _has_words(found: "Ruleset") -> bool:
    """nft(8) has no words for a rule that does nothing, and the compiler never writes one."""
    rules = (rule for chain in found.chains.values() for rule in chain.rules)
    return all(rule.matches or rule.counter or rule.log or rule.verdict for rule in rules)


worlds = rulesets().filter(_has_words)


def _load(kernel: Kernel, wanted: "Ruleset | None") -> None:
    kernel.nft(render(wanted, "droplan"))


def test_any_ruleset_is_the_same_by_text_and_by_netlink(kernel: Kernel) -> None:
    """nft(8) sees no difference between script and commit, and `observe` gives back what was meant."""

    @settings(max_examples=EXAMPLES)
    @given(worlds)
    def same(wanted: "Ruleset") -> None:
        _load(kernel, wanted)
        by_text = kernel.dump()
        assert wanted == kernel.holds()
        kernel.become(None)
        kernel.become(wanted)
        assert by_text == kernel.dump()
        assert wanted == kernel.holds()

    same()


def test_from_a_loaded_script_a_diff_leads_anywhere(kernel: Kernel) -> None:
    """A table that boot loaded as a script can be changed by netlink into any other, and is then the same."""

    @settings(max_examples=EXAMPLES)
    @given(worlds, worlds)
    def leads(loaded: "Ruleset", wanted: "Ruleset") -> None:
        _load(kernel, loaded)
        kernel.become(wanted)
        changed = kernel.dump()
        assert wanted == kernel.holds()
        _load(kernel, wanted)
        assert kernel.dump() == changed

    leads()


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
def test_the_script_replaces_whatever_was_there(kernel: Kernel, before: str) -> None:
    """Over an absent, present, dormant or foreign table the script gives the Ruleset, in one commit."""
    kernel.nft(before)
    generation = kernel.generation()
    _load(kernel, SMALL)
    assert SMALL == kernel.holds()
    assert generation + 1 == kernel.generation()


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
def test_the_script_of_nothing_removes_the_table(kernel: Kernel, before: str) -> None:
    """`render(None)` leaves no table, whatever there was, and is no error where there was none."""
    kernel.nft(before)
    _load(kernel, None)
    assert kernel.holds() is None
    assert [] == kernel.dump()


@pytest.mark.parametrize("name", ["eth*", "*", "e'h", "e;h", "e#h", "e$h", "e\\h", "é", "a-very-long-nam"])
def test_odd_names_of_interfaces_mean_themselves(kernel: Kernel, name: str) -> None:
    """Whatever the kernel lets an interface be called, the script means that one interface."""
    rule = Rule("odd", (Interface(name),), verdict=Verdict(Action.DROP))
    wanted = ruleset((), (Chain("judge", None, (rule,)),))
    _load(kernel, wanted)
    assert wanted == kernel.holds()


def test_loading_twice_is_loading_once(kernel: Kernel) -> None:
    """The second loading of a script changes nothing that can be seen."""
    _load(kernel, SMALL)
    once = kernel.dump()
    _load(kernel, SMALL)
    assert once == kernel.dump()


def test_a_script_that_nft_refuses_changes_nothing(kernel: Kernel) -> None:
    """A script with a mistake at its very end leaves the table of before: the whole is one transaction."""
    kernel.become(SMALL)
    before = kernel.raw()
    script = render(SMALL, "droplan") + "add rule inet droplan nowhere accept\n"
    kernel.namespace.run("nft", "-f", "-", text=script, check=False)
    assert before == kernel.raw()


def test_the_script_of_ten_thousand_peers_loads(kernel: Kernel) -> None:
    """A set too large for one netlink message comes out of a script as it comes out of a commit."""
    large = replace(SMALL.sets["peers"], capacity=16_384, elements=hosts("10.9.0.0", 10_000))
    wanted = replace(SMALL, sets=SMALL.sets | {"peers": large})
    _load(kernel, wanted)
    assert wanted == kernel.holds()
    assert not kernel.become(wanted)


@pytest.mark.parametrize("script", GOLDEN, ids=lambda path: path.parent.name)
def test_golden_scripts_mean_the_same_by_netlink(kernel: Kernel, script: Path) -> None:
    """What nft(8) made of a golden script, read by us and written by us, is to nft(8) the same again."""
    kernel.nft(script.read_text())
    by_text, seen = kernel.dump(), kernel.holds()
    assert seen is not None
    kernel.become(None)
    kernel.become(seen)
    assert by_text == kernel.dump()
    assert script.read_text().split("\n", 1)[1] == render(seen, "droplan")
