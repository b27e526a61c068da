"""`droplan doctor` on a Droplet with a DigitalOcean around it."""

import json
import signal
import subprocess
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.faults import Fault, Headers, Status
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.scopes import FULL, scoped
from tests.cli.conftest import nobody, public_folder
from tests.daemon.machine import CANARY, PROGRAM, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.doctor.conftest import Bench

pytestmark = pytest.mark.kernel
__all__ = ["nobody", "public_folder"]

READS = ("droplet:read", "vpc:read", "vpc_peering:read")
TAGGED = '[peers]\ntag = "web"\n'
WALL = """table inet other {
    chain wall { type filter hook input priority 0; policy drop; iifname lo accept; }
}
"""
OLD = """*filter
:INPUT ACCEPT [0:0]
:droplan-peers - [0:0]
-A INPUT -i eth1 -j droplan-peers
-A INPUT -i eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i eth1 -j DROP
-A droplan-peers -s 10.10.0.2/32 -j ACCEPT
COMMIT
"""


def test_a_fresh_droplet(bench: "Bench") -> None:
    """With a token of just the scopes needed, a missing daemon alone is wrong; looking changes nothing."""
    bench.tokens({CANARY: scoped(*READS)})
    generation, before = bench.generation, sorted(bench.folder.rglob("*"))
    told = bench.doctor()
    assert (1, ["service.down"]) == (told.code, told.ids("error", "warning"))
    assert {"token.rights", "state.none", "api.reachable", "fleet.good", "host.known"} <= set(told.ids())
    assert [f"this is web-1 (id {bench.own.id}); 3 of 5 Droplets are peers"] == told.what("fleet.good")
    assert (generation, before) == (bench.generation, sorted(bench.folder.rglob("*")))
    assert CANARY not in told.text


def test_a_droplet_that_is_kept(bench: "Bench") -> None:
    """With a daemon that runs and a checkpoint there is nothing to do, and the exit code says so."""
    daemon = bench.start()
    daemon.ready()
    until((bench.folder / "state" / "ruleset.nft").exists, 60, "the boot script")
    until(lambda: bench.droplan("status").returncode == 0, 60, "a status that is well")
    attached = Fault(Status(200, {"firewalls": [{"name": "edge"}]}), path="/v2/droplets/*/firewalls")
    bench.cloud.faults.add(attached)
    told = bench.doctor()
    assert (0, []) == (told.code, told.ids("error", "warning"))
    assert ["edge" in what for what in told.what("cloud_firewall.attached")] == [True]
    assert {"service.good", "state.good", "token.wide"} <= set(told.ids())
    daemon.end(signal.SIGTERM)
    (bench.folder / "state" / "ruleset.nft").unlink()
    (bench.folder / "state").chmod(0o755)
    told = bench.doctor()
    assert ["service.down", "state.open", "state.script"] == sorted(told.ids("error", "warning"))


def test_what_a_token_lacks(bench: "Bench") -> None:
    """Each missing scope is named: where the API says 403, and where it says 200 and hides."""
    bench.write(TAGGED)
    bench.tokens({CANARY: scoped("droplet:read")})
    lacking = bench.doctor().what("api.scope")
    assert [f"the token lacks the scope {name}" for name in (*READS[1:], "tag:read")] == lacking
    bench.tokens({})
    assert ["api.unauthorized"] == bench.doctor().ids("error")


def test_walls_and_clocks_and_limits(bench: "Bench") -> None:
    """A foreign policy, a clock ten minutes ahead and a used up rate limit are told at once, worst first."""
    bench.namespace.run("nft", "-f", "-", text=WALL)
    date = formatdate(time.time() - 600, usegmt=True)
    bench.cloud.faults.add(Fault(Headers({"date": date, "ratelimit-remaining": "3"})))
    told = bench.doctor()
    assert ["clock.wrong", "api.limited", "firewall.drops", "service.down"] == told.ids("error", "warning")
    assert ["table inet other, chain wall"] == [text[:28] for text in told.what("firewall.drops")]


def test_a_fleet_that_shares_one_limit(bench: "Bench") -> None:
    """How far apart polls will be is worked out from the rate limit and the size of the fleet."""
    bench.write(interval="5s")
    bench.cloud.limiter = Limiter(Limits(hourly=200, burst=200))
    told = bench.doctor()
    assert ["5 Droplets share the token's 200 requests an hour"] == [
        text.partition(",")[0] for text in told.what("api.stretched")
    ]


def test_nobody_answers(bench: "Bench") -> None:
    """An API that is down, a metadata service that is silent: each told once, and the rest all the same."""
    bench.cloud.faults.add(Fault(Status(503)))
    told = bench.doctor(environ={"DO_KEY": ""})
    assert ["api.unreachable"] == told.ids("error")
    assert ["metadata.reachable"] == [name for name in told.ids() if name.startswith("metadata")]
    bench.write(source='metadata_url = "http://127.0.0.1:9"')
    assert "metadata.unreachable" in bench.doctor().ids("warning")


def test_a_configuration_with_a_mistake(bench: "Bench") -> None:
    """It is told with its line, the API is not asked, and everything else is looked at."""
    bench.write("mode = 7\n")
    told = bench.doctor()
    assert ["config.invalid"] == told.ids("error")
    assert [f"{bench.config}:1: "] == [
        what[: len(f"{bench.config}:1: ")] for what in told.what("config.invalid")
    ]
    assert ["the API could not be looked at: it takes a configuration without a mistake, and a token"] == [
        what for what in told.what("unlooked") if "API" in what
    ]
    assert [] == bench.api.paths
    assert {"backend.chosen", "firewall.good", "metadata.reachable"} <= set(told.ids())


def test_files_that_others_may_touch(bench: "Bench") -> None:
    """The token's file and the configuration's folder have modes, and a token has one line."""
    bench.token_file.chmod(0o644)
    bench.config.chmod(0o666)
    told = bench.doctor()
    assert {"token.readable", "config.writable"} <= set(told.ids("error", "warning"))
    assert [] == told.what("config.caution")
    bench.token_file.write_text(f"{CANARY}\nand more\n")
    told = bench.doctor()
    assert ["token.unusable"] == [name for name in told.ids("error") if name.startswith("token")]
    assert CANARY not in told.text


def test_a_disk_of_another_droplet(bench: "Bench") -> None:
    """A boot script that is behind is told of, and what was kept on another machine is an error."""
    bench.droplan("once")
    script = bench.folder / "state" / "ruleset.nft"
    older = script.read_bytes()
    bench.world.add_droplet("web-3", vpc=bench.vpc.id)
    bench.droplan("once")
    newer = script.read_bytes()
    script.write_bytes(older)
    assert "state.script" in bench.doctor().ids("warning")
    script.write_bytes(newer)
    assert "state.good" in bench.doctor().ids()
    bench.namespace.run("ip", "link", "set", "eth1", "address", "02:00:00:00:00:99")
    assert "state.foreign" in bench.doctor().ids("error")


def test_a_host_of_iptables(bench: "Bench") -> None:
    """Rules by iptables: a policy DROP behind ours is no wall, and the old program's chains are found."""
    bench.write('[firewall]\nbackend = "iptables"\n')
    bench.namespace.run("iptables-nft-restore", text=OLD)
    told = bench.doctor()
    assert ["the old droplan is still here: droplan-peers of iptables-nft"] == told.what("old.droplan")
    assert ["backend.blocked"] == told.ids("error")
    bench.namespace.run("nft", "flush", "ruleset")
    done = bench.droplan("once")
    assert (0, "") == (done.returncode, done.stderr)
    bench.namespace.run("iptables-nft", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
    bench.namespace.run("iptables-nft", "-P", "INPUT", "DROP")
    told = bench.doctor()
    assert ["service.down"] == told.ids("error", "warning")
    assert ["rules by iptables"] == [what[:17] for what in told.what("backend.chosen")]
    assert {"state.good", "old.gone", "firewall.good"} <= set(told.ids())


def test_lines_for_a_person(bench: "Bench") -> None:
    """A line each with severity, what, fix and id, then a sum; --verbose has what is fine."""
    bench.tokens({CANARY: FULL})
    done = bench.droplan("doctor")
    *lines, last = done.stdout.splitlines()
    assert (1, "") == (done.returncode, done.stderr)
    assert all(line.startswith(("warning: ", "unknown: ", "note: ")) and " -> " in line for line in lines)
    assert all(line.endswith("]") for line in lines)
    assert "--verbose" in last
    more = bench.droplan("doctor", "--verbose").stdout.splitlines()
    assert lines == more[: len(lines)]
    assert {"fine"} == {line.partition(":")[0] for line in more[len(lines) : -1]}


def test_who_is_not_root(bench: "Bench", nobody: tuple[str, ...], public_folder: "Path") -> None:
    """Is told what could not be looked at, and never that it is fine."""
    config = public_folder / "droplan.toml"
    config.write_text(f'[source]\ntoken_file = "{bench.token_file}"\n')
    done = bench.namespace.call(
        subprocess.run,
        [*nobody, *PROGRAM, "doctor", "--json", "--config", str(config)],
        env=bench.environ,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout)["findings"]
    missed = [f["what"].partition(" could not")[0] for f in found if f["severity"] == "unknown"]
    assert {"the token", "the API", "the backend", "iptables' rules", "the state folder"} <= set(missed)
    assert "token.unusable" not in {f["id"] for f in found}
    rooms = ("kernel", "firewall", "state", "backend", "old", "service", "token", "api")
    assert [] == [
        f["id"] for f in found if f["severity"] == "fine" and f["id"] in {f"{r}.good" for r in rooms}
    ]
