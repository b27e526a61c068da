"""The guard at work: a real daemon, a real kernel, and an API that takes too much away."""

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from droplan_daemon.lab.faults import Edit, Fault, Status
from tests.daemon.machine import DROPLETS, PEERS, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.lab.messages import Json
    from tests.daemon.machine import Machine, Running

pytestmark = pytest.mark.kernel

MANY = tuple(f"worker-{n}" for n in range(9))


@pytest.fixture
def large(machine: "Machine") -> "Machine":
    """With nine more peers, and a poll only when somebody asks for one."""
    for name in MANY:
        machine.world.add_droplet(name, vpc=machine.vpc.id)
    machine.write(interval="1h")
    return machine


def _poll(machine: "Machine", running: "Running") -> None:
    """One more poll, to its end."""
    before = machine.status["next_poll_at"]
    running.process.send_signal(signal.SIGUSR1)
    until(lambda: machine.status["next_poll_at"] != before, what="one more poll")


def _empty(machine: "Machine", *names: str) -> None:
    for name in names:
        machine.world.destroy_droplet(machine.droplet(name).id)


def _running(machine: "Machine") -> "Running":
    running = machine.start()
    running.ready()
    until(lambda: machine.status["outcome"] in {"committed", "unchanged"} and machine.status["next_poll_at"])
    return running


@pytest.mark.fault("A19")
def test_a_shrinking_fleet_is_held_until_three_polls_agree(large: "Machine") -> None:
    """Nobody goes and who comes is in; journal, STATUS, status and its JSON say so; one line ends it."""
    running = _running(large)
    everybody = large.addresses(*PEERS, *MANY)
    _empty(large, *MANY)
    _poll(large, running)
    assert "held: 9 of 13 Droplets" in large.droplan("plan").stderr
    large.world.add_droplet("fresh", vpc=large.vpc.id)
    _poll(large, running)
    assert everybody < large.peers
    assert large.addresses("fresh") < large.peers
    running.says("9 of 13 Droplets are missing in the answer and stay for now")
    told = large.droplan("status").stdout
    assert "2 of 3 answers say so; to believe it at once: droplan accept" in told
    doubts: Any = json.loads(large.droplan("status", "--json").stdout)["doubts"]
    assert {("private-peers-4", 9, 2), ("fleet", 9, 2)} == {(d["set"], d["held"], d["polls"]) for d in doubts}
    _poll(large, running)
    assert large.addresses(*PEERS, "fresh") == large.peers
    running.logs("guard.shrink.held.over")
    assert 1 == len(running.lines("guard.shrink.held"))
    assert "removed=9" in running.lines("guard.shrink.held")[0]


@pytest.mark.fault("A19")
def test_the_operator_may_believe_it_at_once(large: "Machine") -> None:
    """`droplan accept` says what it is, wakes the daemon, and leaves nothing behind."""
    running = _running(large)
    _empty(large, *MANY)
    _poll(large, running)
    assert large.addresses(*PEERS) < large.peers
    done = large.droplan("accept")
    assert (0, "") == (done.returncode, done.stderr)
    assert "9 addresses of private-peers-4 that the answer lacks may go" in done.stdout
    assert "the daemon looks again now" in done.stdout
    until(lambda: large.addresses(*PEERS) == large.peers, what="nobody else is let in")
    until(lambda: not (large.folder / "run" / "accept.json").exists(), what="what was accepted is used up")
    assert "nothing to accept" in large.droplan("accept").stdout


@pytest.mark.fault("A19")
def test_once_by_cron_counts_on(large: "Machine") -> None:
    """Three runs of `droplan once` are three answers; two and an `accept` are enough."""
    everybody = large.addresses(*PEERS, *MANY)
    assert 0 == large.droplan("once").returncode
    _empty(large, *MANY)
    for _ in range(2):
        done = large.droplan("once")
        assert (0, everybody) == (done.returncode, large.peers), done.stderr
        assert "held: 9 of 12" in done.stderr
    told = json.loads(large.droplan("accept", "--json").stdout)
    assert (False, {"fleet": 9, "private-peers-4": 9}) == (
        told["woken"],
        {one["what"]: one["count"] for one in told["accepted"]},
    )
    assert (0, large.addresses(*PEERS)) == (large.droplan("once").returncode, large.peers)


@pytest.mark.fault("A3")
@pytest.mark.parametrize("listed", [0, 1], ids=["nobody", "only us"])
def test_an_answer_in_which_everybody_is_gone_takes_nobody(large: "Machine", listed: int) -> None:
    """Without us it is refused; with us alone it is held."""
    running = _running(large)
    everybody = large.addresses(*PEERS, *MANY)

    def gone(body: "Json") -> "Json":
        if "droplets" not in body:
            return body
        droplets = [d for d in body["droplets"] if d["id"] == large.own.id][:listed]
        return {**body, "droplets": droplets, "links": {}, "meta": {"total": len(droplets)}}

    large.cloud.faults.add(Fault(Edit(gone), path=DROPLETS))
    _poll(large, running)
    running.logs("guard.shrink.held" if listed else "api.snapshot.rejected")
    assert everybody == large.peers
    large.cloud.faults.clear()
    _poll(large, running)
    running.logs("guard.shrink.held.over" if listed else "api.snapshot.rejected.over")
    assert everybody == large.peers


@pytest.mark.fault("A21")
def test_another_region_is_confirmed_before_it_is_believed(large: "Machine") -> None:
    """It is told what this Droplet was, and nobody leaves; three answers, and it is so."""
    large.write('[peers]\nscope = "region"', interval="1h")
    running = _running(large)
    everybody = large.peers
    assert large.addresses(*PEERS, *MANY) <= everybody
    large.cloud.faults.add(Fault(Edit(_moved(large.own.id)), path=DROPLETS))
    for _ in range(2):
        _poll(large, running)
        assert everybody == large.peers
    running.logs("identity.changed")
    assert f"region {large.own.region}" in running.lines("identity.changed")[0]
    _poll(large, running)
    running.logs("identity.changed.over")
    assert set() == large.peers


def _moved(own: int) -> "Callable[[Json], Json]":
    def edit(body: "Json") -> "Json":
        if "droplets" not in body:
            return body
        away = {"slug": "syd1", "name": "Sydney 1", "sizes": [], "features": [], "available": True}
        return {**body, "droplets": [d | {"region": away} if d["id"] == own else d for d in body["droplets"]]}

    return edit


@pytest.mark.fault("H5")
def test_a_slip_in_a_tag_is_refused_and_can_be_meant(machine: "Machine") -> None:
    """`plan` says it before; a reload fails and the old peers stay; `accept` carries it out."""
    running = _running(machine)
    machine.write('[peers]\ntag = "wbe"')
    planned = machine.droplan("plan")
    assert (1, True) == (planned.returncode, "peers.tag is 'wbe'" in planned.stderr), planned
    done = machine.droplan("reload", "--timeout", "30")
    assert (1, True) == (done.returncode, "droplan accept" in done.stderr), done
    assert machine.addresses(*PEERS) == machine.peers
    running.logs("guard.refused")
    assert "reason=tag_unknown" in running.lines("guard.refused")[0]
    accepted = machine.droplan("accept")
    assert "peers.tag is 'wbe', whoever has it" in accepted.stdout
    until(lambda: set() == machine.peers, what="nobody is a peer")
    running.logs("guard.refused.over")


@pytest.mark.fault("J6")
@pytest.mark.full
def test_droplets_go_when_nobody_has_answered_for_as_long_as_the_operator_allows(machine: "Machine") -> None:
    """A minute of errors: until then everybody stays, then nobody; one answer brings them back."""
    machine.write('[peers]\nmax_stale = "1m"')
    running = _running(machine)
    machine.cloud.faults.add(Fault(Status(503)))
    begun = time.monotonic()
    while not running.lines("peers.expired") and time.monotonic() < begun + 150:
        assert machine.peers or time.monotonic() > begun + 59
        running.process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
    assert set() == machine.peers
    running.says("no Droplet is let in any more")
    machine.cloud.faults.clear()
    running.process.send_signal(signal.SIGUSR1)
    until(lambda: machine.addresses(*PEERS) == machine.peers, 60, "everybody is back")
    running.logs("peers.expired.over")
