"""`droplan reload` beside the real daemon: when it returns, and what it says."""

import json
import os
import signal
import subprocess
import sys
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.delivery import BlackHole
from droplan_daemon.lab.faults import Deliver, Fault, Status
from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel

TAGGED = '[peers]\ntag = "web"'
MISTAKE = "[peers]\nscoop = 'vpc'\n"


def _reload(machine: "Machine", *words: str, pid: int | None = None) -> "subprocess.CompletedProcess[str]":
    environ = {} if pid is None else {"MAINPID": str(pid)}
    return machine.droplan("reload", *words, environ=environ)


def test_it_returns_when_the_new_policy_is_enforced(machine: "Machine") -> None:
    """The kernel holds it by then, by hand and with systemd's MAINPID alike."""
    running = machine.start()
    running.ready()
    for policy, peers, pid in ((TAGGED, ("web-2",), None), ("", PEERS, running.process.pid)):
        machine.write(policy)
        done = _reload(machine, pid=pid)
        assert (0, machine.addresses(*peers)) == (done.returncode, machine.peers), done.stderr
        assert ("the new configuration is enforced\n", "") == (done.stdout, done.stderr)
    quiet = _reload(machine, "--quiet")
    assert (0, "", "") == (quiet.returncode, quiet.stdout, quiet.stderr)


def test_what_is_hardly_meant_is_said(machine: "Machine") -> None:
    """A rule for a tag that no Droplet has is enforced; what that means is told at once."""
    machine.start().ready()
    machine.write('[[allow]]\nname = "web"\nfrom = "tag:wbe"\nports = ["80/tcp"]')
    done = _reload(machine)
    assert (0, "the new configuration is enforced\n") == (done.returncode, done.stdout)
    assert "warning: allow 'web', from `tag:wbe`: no Droplet has the tag 'wbe'" in done.stderr
    assert "'wbe'" in json.loads(_reload(machine, "--json").stdout)["warnings"][0]
    assert "" == _reload(machine, "--quiet").stderr


@pytest.mark.fault("H2")
def test_a_refused_one_fails_and_says_why(machine: "Machine") -> None:
    """Exit 78 with the file, the line and the mistake; the old policy stays; the next good one counts."""
    running = machine.start()
    running.ready()
    generation = machine.generation
    machine.write(MISTAKE)
    done = _reload(machine)
    assert (78, "") == (done.returncode, done.stdout)
    expected = f"the old one goes on: {machine.config}: line 2: unknown key `scoop` in [peers]"
    assert expected in done.stderr
    assert (generation, machine.addresses(*PEERS)) == (machine.generation, machine.peers)
    assert "new configuration refused: line 2" in running.status
    assert {"ok": False, "state": "refused"}.items() <= json.loads(_reload(machine, "--json").stdout).items()
    machine.write(TAGGED)
    assert (0, machine.addresses("web-2")) == (_reload(machine).returncode, machine.peers)


def test_without_the_api_it_is_enforced_for_those_that_were_known(machine: "Machine") -> None:
    """Exit 0 and a word about it; the trouble goes on being told; who joined meanwhile is let in later."""
    running = machine.start()
    running.ready()
    machine.cloud.faults.add(Fault(Status(503)))
    new = machine.world.add_droplet("web-3", vpc=machine.vpc.id, tags=("web",))
    machine.write(TAGGED)
    done = _reload(machine)
    assert (0, "") == (done.returncode, done.stdout), done.stderr
    assert "nobody answers now, so it is enforced for the Droplets that were known" in done.stderr
    assert machine.addresses("web-2") == machine.peers
    running.says("now failing: The API at 127.0.0.1 answered 503")
    machine.cloud.faults.clear()
    expected = {*machine.addresses("web-2"), str(new.address("private"))}
    until(lambda: machine.peers == expected)


def test_what_does_not_pass_by_itself_is_not_waited_for(machine: "Machine") -> None:
    """A token that is not accepted any more: exit 1 at once with the reason, not when the time is up."""
    machine.write('[peers]\nscope = "region"\n[private]\nmanaged = false\n[public]\nmanaged = true')
    running = machine.start()
    running.ready()
    before = machine.observe().ruleset
    machine.cloud.faults.add(Fault(Status(401)))
    machine.write("")
    done = _reload(machine)
    assert (1, True) == (done.returncode, "is in order, but not enforced yet" in done.stderr), done.stderr
    assert (before, None) == (machine.observe().ruleset, running.process.poll())
    machine.cloud.faults.clear()
    assert (0, machine.addresses(*PEERS)) == (_reload(machine).returncode, machine.peers)


@pytest.mark.full
def test_what_was_known_says_too_little(machine: "Machine") -> None:
    """A Fleet without VPCs is nothing to judge VPCs by: the old rules stand, exit 1 says why."""
    machine.write('[peers]\nscope = "region"\n[private]\nmanaged = false\n[public]\nmanaged = true')
    running = machine.start()
    running.ready()
    before = machine.observe().ruleset
    machine.cloud.faults.add(Fault(Status(503)))
    machine.write("")
    done = _reload(machine, "--timeout", "8")
    assert 1 == done.returncode
    expected = (
        "is in order, but not enforced yet: The API at 127.0.0.1 answered 503: the trouble is on its side."
    )
    assert expected in done.stderr
    assert before == machine.observe().ruleset
    machine.cloud.faults.clear()
    assert (0, machine.addresses(*PEERS)) == (_reload(machine).returncode, machine.peers)


@pytest.mark.full
def test_it_is_about_this_request(machine: "Machine") -> None:
    """What an earlier reload came to is no answer: a daemon that is busy elsewhere is waited for."""
    running = machine.start()
    running.ready()
    assert 0 == _reload(machine).returncode
    machine.cloud.faults.add(Fault(Deliver(BlackHole())))
    machine.polled()
    machine.write(MISTAKE)
    done = _reload(machine, "--timeout", "1")
    assert 1 == done.returncode
    assert "the daemon said nothing of a reload for 1 s" in done.stderr
    assert running.process.poll() is None


@pytest.mark.full
def test_many_at_once_all_get_their_answer(machine: "Machine") -> None:
    """Each returns with the policy in the kernel that stood in the file when it began."""
    machine.start().ready()
    machine.write(TAGGED)
    codes: list[int] = []
    threads = [Thread(target=lambda: codes.append(_reload(machine).returncode)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ([0] * 4, machine.addresses("web-2")) == (codes, machine.peers)


@pytest.mark.full
def test_a_daemon_that_ends_meanwhile_is_told(machine: "Machine") -> None:
    """Nobody waits for the dead; and without any daemon there is a sentence that says what to do."""
    none = _reload(machine)
    assert (1, True) == (none.returncode, "systemctl start droplan" in none.stderr)
    running = machine.start()
    running.ready()
    machine.cloud.faults.add(Fault(Deliver(BlackHole())))
    machine.polled()
    done: list[subprocess.CompletedProcess[str]] = []
    thread = Thread(target=lambda: done.append(_reload(machine)))
    thread.start()
    running.end(signal.SIGKILL)
    thread.join()
    assert 1 == done[0].returncode
    gone = _reload(machine)
    assert (1, "droplan: no daemon runs; start it with: systemctl start droplan\n") == (
        gone.returncode,
        gone.stderr,
    )


def test_a_stranger_with_its_number_is_left_alone(machine: "Machine", tmp_path: "Path") -> None:
    """A status file may be older than the process that has its number now: SIGHUP would end that."""
    running = machine.start()
    running.ready()
    running.end(signal.SIGTERM)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        path = machine.folder / "run" / "status.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": stranger.pid}))
        done = _reload(machine)
        assert (1, None) == (done.returncode, stranger.poll())
        stranger.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else takes root")
def test_who_may_not_signal_is_told_so(machine: "Machine") -> None:
    """Exit 77."""
    running = machine.start()
    running.ready()
    done = _nobody(machine, running.process.pid)
    assert (77, True) == (done.returncode, "sudo droplan reload" in done.stderr), done.stderr


def _nobody(machine: "Machine", pid: int) -> "subprocess.CompletedProcess[str]":
    prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    return machine.droplan("reload", environ={"MAINPID": str(pid)}, prefix=prefix)


@pytest.mark.fault("H2")
@pytest.mark.skipif(os.geteuid() != 0, reason="giving up a right takes root")
def test_a_backend_that_this_machine_cannot_have_is_refused(machine: "Machine") -> None:
    """Exit 78 at once with what is missing; the daemon goes on with the old configuration."""
    running = machine.start(prefix=("setpriv", "--bounding-set=-net_raw"))
    running.ready()
    generation = machine.generation
    machine.write('[firewall]\nbackend = "iptables"')
    done = _reload(machine)
    assert (78, True) == (done.returncode, "CAP_NET_RAW" in done.stderr), done.stderr
    assert (generation, None) == (machine.generation, running.process.poll())
