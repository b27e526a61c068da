"""The metrics of a real daemon, by file and by listener."""

import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.faults import Fault, Status
from tests.daemon.machine import Machine, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

PORT = 9753
BOTH = f'[metrics]\nlisten = "127.0.0.1:{PORT}"\ntextfile = "{{}}"'


@pytest.fixture
def machine(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Machine]":
    with Machine(namespace, tmp_path) as made:
        yield made


def _served(machine: Machine) -> str:
    """What a Prometheus on this machine gets; empty when nobody answers."""
    fetch = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).read().decode())"
    done = machine.namespace.call(
        subprocess.run,
        [sys.executable, "-c", fetch, f"http://127.0.0.1:{PORT}/metrics"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout


def _value(text: str, series: str) -> float:
    """The number of one series; -1.0 without it."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else -1.0


def test_a_daemon_tells_its_numbers_both_ways(machine: Machine) -> None:
    """Peers, polls, packets and a failing API; counters go on over a reload."""
    path = machine.folder / "droplan.prom"
    machine.write(BOTH.format(path))
    running = machine.start()
    running.ready()
    until(lambda: _value(path.read_text(), "droplan_ready") == 1)  # READY is told a moment before
    for text in (path.read_text(), _served(machine)):
        assert (3, 1) == (_value(text, "droplan_peers"), _value(text, "droplan_ready"))
    machine.cloud.faults.add(Fault(Status(503)))
    failed = 'droplan_polls_total{outcome="failed"}'
    until(lambda: _value(path.read_text(), failed) >= 1)
    assert 1 == _value(path.read_text(), 'droplan_conditions{name="api.fetch.failed"}')
    machine.cloud.faults.clear()
    machine.write(BOTH.format(path) + '\n[peers]\ntag = "web"')
    running.process.send_signal(signal.SIGHUP)
    running.ready(times=2)
    until(lambda: _value(_served(machine), "droplan_peers") == 1)
    text = _served(machine)
    assert _value(text, failed) >= 1
    assert (2, 1) == (
        _value(text, "droplan_commits_total"),
        _value(text, 'droplan_reloads_total{result="accepted"}'),
    )
    assert 0 < _value(text, "droplan_commit_duration_seconds_sum") < 30
    machine.write("")
    running.process.send_signal(signal.SIGHUP)
    running.ready(times=3)
    assert "" == _served(machine)


def test_metrics_that_cannot_be_told_stop_nothing(machine: Machine) -> None:
    """A port in use, a folder that is missing: ready all the same, told once each, and mended by itself."""
    folder = machine.folder / "node_exporter"
    taken = machine.namespace.call(_listening)
    machine.write(BOTH.format(folder / "droplan.prom"))
    running = machine.start()
    running.ready()
    told = str(machine.status["untold"])
    assert f"nobody can ask for metrics on 127.0.0.1:{PORT}: address already in use" in told
    assert f"make the folder {folder}" in told
    machine.polled(4)
    names = ("metrics.listen.failed", "metrics.textfile.failed")
    assert [1, 1] == [len(running.lines(name)) for name in names]
    assert "metrics" in machine.droplan("status").stdout
    taken.close()
    folder.mkdir()
    for name in names:
        running.logs(f"{name}.over")
    until(lambda: _value(_served(machine), "droplan_peers") == 3)
    assert [] == machine.status["untold"]


def _listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", PORT))


def test_listening_without_its_package_is_refused_with_what_to_do(machine: Machine) -> None:
    """Exit 78, the line, and both ways out."""
    machine.write('[metrics]\nlisten = "127.0.0.1:9753"')
    hidden = machine.folder / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'prometheus_client' else find(name, *more)\n"
    )
    environ = {"PYTHONPATH": f"{hidden}:{machine.environ['PYTHONPATH']}"}
    done = machine.droplan("check", environ=environ)
    assert 78 == done.returncode, done.stderr
    said = " ".join(done.stderr.split())
    assert "droplan.toml:2:10: `metrics.listen` needs the Python package prometheus_client" in said
    assert "install droplan-daemon[metrics], or use metrics.textfile" in done.stderr
