"""`systemctl reload`: it returns when it is done, and fails when it was refused."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.faults import Fault, Status
from tests.systemd.container import until
from tests.systemd.server import CONFIG

if TYPE_CHECKING:
    from tests.systemd.server import Server

pytestmark = pytest.mark.full

DROP_IN = Path(__file__).parents[2] / "docs" / "examples" / "monitoring" / "textfile.conf"


@pytest.mark.fault("H2")
def test_reload_returns_when_it_is_done(server: "Server") -> None:
    """Enforced: exit 0, the kernel holds it. Refused: it fails, and says why. API down: exit 0."""
    server.enable()
    server.says("enforcing 3 peers")
    before = server.pid
    server.configure("[private]\nallow_peers = false")
    server.systemctl("reload", "droplan")
    assert "private-peers-4" not in server.ruleset
    assert ("active", before) == (server.show("ActiveState"), server.pid)
    rules = server.rules()

    server.box.shell(f"echo 'mode = enforced' >> {CONFIG}")
    begin = time.monotonic()
    done = server.box.attempt("systemctl", "reload", "droplan")
    assert done.returncode, done.stdout
    assert time.monotonic() - begin < 60
    assert ("active", before, rules) == (server.show("ActiveState"), server.pid, server.rules())
    assert "new configuration refused: line" in server.status
    text = server.box.run("systemctl", "status", "--no-pager", "--full", "droplan", check=False)
    assert "the new configuration is refused, and the old one goes on" in text, text
    assert "config.rejected" in server.log

    server.around.cloud.faults.add(Fault(Status(503)))
    server.configure()
    server.systemctl("reload", "droplan")
    assert "private-peers-4" in server.ruleset
    assert ("active", before) == (server.show("ActiveState"), server.pid)
    server.around.cloud.faults.clear()
    server.says("enforcing 3 peers")


def test_metrics_leave_the_sandbox_by_a_file(server: "Server") -> None:
    """With the drop-in and the folder of the manual; without them it is told, and nothing else suffers."""
    path = "/var/lib/node_exporter/droplan.prom"
    server.configure(f'[metrics]\ntextfile = "{path}"')
    server.enable()
    until(lambda: "metrics.textfile.failed" in server.log, 30, lambda: server.log)
    server.box.run("groupadd", "--system", "droplan-metrics")
    server.box.run("install", "-d", "-m", "2775", "-g", "droplan-metrics", "/var/lib/node_exporter")
    server.drop_in("textfile", DROP_IN.read_text())
    server.systemctl("restart", "droplan")
    until(lambda: "droplan_ready 1" in server.box.run("cat", path, check=False), 30, lambda: server.log)
    assert server.box.run("stat", "--format=%a", path).strip() == "644"
