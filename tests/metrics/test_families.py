"""How it is written: what promtool and prometheus_client make of it."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from droplan_daemon.metrics.families import MOST_WARNINGS, Family, Sample, families
from droplan_daemon.metrics.listening import Listener
from droplan_daemon.metrics.tally import Tally
from droplan_daemon.metrics.text import render
from tests.metrics.outcomes import DOWN, committed, full, view

Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _read(text: str) -> Read:
    """Every sample by name and labels, as Prometheus's own parser has it; none twice."""
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}
    assert len(samples) == len(found)
    return found


def test_promtool_has_nothing_to_say() -> None:
    """Names, units, types and help as Prometheus wants them."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: install the package prometheus")
    text = render(families(*full()))
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_both_ways_tell_the_same() -> None:
    """The file and the listener: same names, labels and values, strange characters included."""
    found = families(*full())
    listener = Listener("127.0.0.1", 1)
    listener._families = found
    registry = CollectorRegistry(auto_describe=False)
    registry.register(listener)
    served = generate_latest(registry).decode()
    assert _read(render(found)) == _read(served)
    helps = re.compile(r"^# (?:HELP|TYPE) .*$", re.MULTILINE)
    assert sorted(helps.findall(render(found))) == sorted(helps.findall(served))


def test_every_number_is_where_it_belongs() -> None:
    """A whole page of a daemon in the middle of its life."""
    tally, told = full()
    found = _read(render(families(tally, told)))
    expected = {
        ("droplan_build_info", (("version", "1.2.3"),)): 1,
        ("droplan_ready", ()): 1,
        ("droplan_enforcing", ()): 1,
        ("droplan_peers", ()): 2,
        ("droplan_droplets", ()): 3,
        ("droplan_polls_total", (("outcome", "failed"),)): 1,
        ("droplan_polls_total", (("outcome", "unchanged"),)): 1,
        ("droplan_last_outcome", (("outcome", "unchanged"),)): 1,
        ("droplan_last_outcome", (("outcome", "failed"),)): 0,
        ("droplan_last_poll_timestamp_seconds", ()): 1_000_003,
        ("droplan_last_good_poll_timestamp_seconds", ()): 1_000_003,
        ("droplan_next_poll_timestamp_seconds", ()): 1_000_030,
        ("droplan_api_budget_limit", ()): 5000,
        ("droplan_api_budget_remaining", ()): 4310,
        ("droplan_commits_total", ()): 1,
        ("droplan_commit_duration_seconds_count", ()): 1,
        ("droplan_commit_duration_seconds_bucket", (("le", "0.005"),)): 1,
        ("droplan_commit_duration_seconds_bucket", (("le", "+Inf"),)): 1,
        ("droplan_drift_repairs_total", ()): 1,
        ("droplan_denied_packets_total", (("direction", "inbound"), ("interface", "eth1"))): 7,
        (
            "droplan_rule_packets_total",
            (("direction", "inbound"), ("interface", "eth1"), ("rule", 'a "b" \\ c')),
        ): 1,
        ("droplan_conditions", (("name", "metrics.listen.failed"),)): 1,
        ("droplan_checkpoint_current", ()): 1,
        ("droplan_warnings", ()): 2,
        ("droplan_warning_info", (("warning", 'allow "x": nobody has\\nthe tag'),)): 1,
    }
    assert expected.items() <= found.items(), set(expected.items()) - set(found.items())


def test_what_is_not_known_is_not_told() -> None:
    """Before the first answer there are no peers, not none; a time that never was is no 1970."""
    names = {family.name for family in families(Tally(), view(ready=False))}
    unknown = {"droplan_peers", "droplan_last_poll_timestamp_seconds", "droplan_checkpoint_current"}
    assert set() == unknown & names
    assert {"droplan_ready", "droplan_polls_total", "droplan_build_info"} <= names


def test_a_failing_poll_takes_no_number_away() -> None:
    """Peers, budget and counters stay as they were last known."""
    before = {family.name for family in families(*full())}
    tally, told = full()
    failing = replace(told, standing=replace(told.standing, outcome=DOWN))
    assert before - {"droplan_checkpoint_current"} == {family.name for family in families(tally, failing)}


def test_warnings_are_bounded_and_never_told_twice() -> None:
    """A file with a hundred mistakes makes twenty series; two that are cut alike make one."""
    first = committed()
    long = tuple("x" * 300 + str(number) for number in range(100))
    told = view(first, world=first)
    for warnings, expected in ((long, 1), (tuple(map(str, range(100))), MOST_WARNINGS)):
        world = replace(first.world, warnings=warnings)
        shown = families(Tally(), replace(told, standing=replace(told.standing, world=world)))
        info = next(family for family in shown if family.name == "droplan_warning_info")
        assert expected == len(info.samples)


@given(st.text(max_size=300), st.text(max_size=50))
def test_any_label_is_read_back(value: str, meaning: str) -> None:
    """Whatever stands in a label or a sentence: one line each, and the same number comes out."""
    text = render([Family("droplan_x", "gauge", meaning, (Sample(2.5, (("name", value),)),))])
    assert [2.5] == list(_read(text).values())
    assert 3 == text.count("\n")
