"""Rules that keep the daemon itself from the API, which is out there behind eth0: they are taken back."""

import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.server import LabServer, serving
from tests.conftest import Namespace
from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.daemon.machine import Machine

pytestmark = [pytest.mark.kernel, pytest.mark.fault("B4")]

API, OWN = "192.0.2.1", "192.0.2.2"
CUT_OFF = '[public]\nmanaged = true\noutbound = "drop"\n[lifelines]\napi = false\n'
NOT_CUT_OFF = '[public]\nmanaged = true\noutbound = "drop"\n'


@pytest.fixture
def outside(machine: "Machine") -> "Iterator[Machine]":
    """The machine with its API at the other end of the cable of eth0."""
    internet, authority = Namespace(), Authority()
    there = str(internet.call(threading.get_native_id))
    run = machine.namespace.run
    run("ip", "link", "set", "eth0-far", "netns", there)
    for where, name, address in ((machine.namespace, "eth0", OWN), (internet, "eth0-far", API)):
        where.run("ip", "address", "add", f"{address}/24", "dev", name)
        where.run("ip", "link", "set", name, "up")
    listening = internet.call(socket.create_server, (API, 443))
    authority.write(machine.folder / "ca.pem")
    api = LabServer(machine.api, sock=listening, tls=authority.server(API))
    with serving(api):
        machine.url = f"https://{API}"
        machine.write()
        yield machine
    internet.close()


def test_a_reload_that_cuts_the_daemon_off_is_taken_back(outside: "Machine") -> None:
    """The rules of before stand, the reload fails and says what to do; the fleet goes on being followed."""
    running = outside.start()
    running.ready()
    before = outside.observe().ruleset
    outside.write(CUT_OFF)
    done = outside.droplan("reload", "--timeout", "50")
    assert 1 == done.returncode
    assert "the API can no longer be reached, so those of before are in force again" in done.stderr
    assert before == outside.observe().ruleset
    assert "probe=api" in running.lines("commit.rolled_back")[0]
    generation = outside.generation
    outside.polled(3)
    assert (generation, 1) == (outside.generation, len(running.lines("commit.rolled_back")))
    assert "those of before are in force again" in running.status
    outside.write(NOT_CUT_OFF)
    assert 0 == outside.droplan("reload", "--timeout", "50").returncode
    running.logs("commit.rolled_back.over")
    outside.polled()


@pytest.mark.full
def test_once_takes_it_back_too(outside: "Machine") -> None:
    """Exit 1 with the same sentence; on a machine without rules there are none again."""
    outside.write(CUT_OFF)
    done = outside.droplan("once")
    assert (1, None) == (done.returncode, outside.observe().ruleset)
    assert "the API can no longer be reached" in done.stderr


@pytest.mark.full
def test_a_restart_is_no_way_round(outside: "Machine") -> None:
    """The daemon ends and starts with rules that cut it off: what stood stands, and it hears the API."""
    running = outside.start()
    running.ready()
    before = outside.observe().ruleset
    assert 0 == running.end(signal.SIGTERM)
    outside.write(CUT_OFF)
    again = outside.start(log="again")
    again.logs("commit.rolled_back")
    outside.polled(2)
    assert before == outside.observe().ruleset
    assert [] == again.told("READY")
    outside.write(NOT_CUT_OFF)
    again.process.send_signal(signal.SIGHUP)
    again.ready()
    until(lambda: outside.peers == outside.addresses(*PEERS))
