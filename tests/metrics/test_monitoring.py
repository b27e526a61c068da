"""The alerts, the dashboard and the manual are about metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from droplan_daemon.metrics.families import families
from tests.metrics.outcomes import full

DOCS = Path(__file__).parents[2] / "docs"
MONITORING = DOCS / "examples" / "monitoring"
_NAME = re.compile(r"\bdroplan_[a-z_]+\b")
_LABELLED = re.compile(r"\b(droplan_[a-z_]+)\b(?:\{([^}]*)\})?")


def _promtool(*words: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: install the package prometheus")
    done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False, timeout=120)
    assert 0 == done.returncode, done.stdout + done.stderr


def _series() -> dict[str, set[str]]:
    """The labels of each series that is exported, by name."""
    return {
        family.name + sample.suffix: {name for name, _ in sample.labels}
        for family in families(*full())
        for sample in family.samples
    }


def _dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return loaded


def test_alerts_are_rules() -> None:
    """For promtool, which also knows the functions in their texts."""
    _promtool("check", "rules", str(MONITORING / "alerts.yml"))


def test_each_alert_fires_when_it_should() -> None:
    """On the Droplet in trouble, and not on the one beside it."""
    _promtool("test", "rules", str(MONITORING / "alerts_test.yml"))


@pytest.mark.parametrize("name", ["alerts.yml", "alerts_test.yml", "dashboard.json"])
def test_what_is_asked_for_is_exported(name: str) -> None:
    """Every metric, and every label of a selector or of `by`."""
    text = (MONITORING / name).read_text()
    series = _series()
    assert set() == set(_NAME.findall(text)) - set(series)
    for metric, selector in _LABELLED.findall(text):
        asked = set(re.findall(r"\b([a-z]+)\\?(?:=|!=|=~)", selector)) - {"instance"}
        assert asked <= series[metric], metric
    grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", text) for label in by.split(",")}
    assert grouped - {"instance", "alertname"} <= set().union(*series.values())


def test_every_alert_is_tried() -> None:
    """An alert that no test makes fire may never fire."""
    alerts = re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text())
    tried = set(re.findall(r"Droplan\w+", (MONITORING / "alerts_test.yml").read_text()))
    assert set(alerts) == tried


def test_the_dashboard_is_whole() -> None:
    """Each panel has its own id, a place that no other has, and targets with names of their own."""
    panels = _dashboard()["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        names = [target["refId"] for target in panel["targets"]]
        assert len(names) == len(set(names))


def test_the_manual_names_every_metric() -> None:
    """And no other, with its type and its labels."""
    rows = re.findall(r"^\| (`droplan_.*?) \| (\w+) \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    told = {}
    for names, kind in rows:
        for name, labels in re.findall(r"`(droplan_\w+)(?:\{(.*?)\})?`", names):
            told[name] = (kind, {label for label in labels.split(",") if label})
    expected = {
        family.name: (family.kind, {name for s in family.samples for name, _ in s.labels} - {"le"})
        for family in families(*full())
    }
    assert expected == told
