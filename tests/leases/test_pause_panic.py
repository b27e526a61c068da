"""`droplan pause` and `droplan panic` on a real kernel, and what outlives them."""

import json
import signal
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.lab.faults import Fault, Status
from droplan_daemon.model.ruleset import Action, Verdict
from droplan_daemon.policy.lease import audited, split, standing
from tests.daemon.machine import PEERS, until
from tests.leases.street import OPEN

if TYPE_CHECKING:
    from droplan_daemon.model.ruleset import Ruleset
    from tests.daemon.machine import Machine, Running
    from tests.leases.street import Street

pytestmark = pytest.mark.kernel

LONG = "10m"


def _files(machine: "Machine") -> StateFiles:
    return StateFiles(machine.folder / "state", machine.folder / "run")


def _leases(machine: "Machine") -> frozenset[str] | None:
    found = machine.observe().ruleset
    return found.leases if found else None


def _said(machine: "Machine", *words: str) -> dict[str, object]:
    done = machine.droplan(*words, "--json")
    assert 0 == done.returncode, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_pause_ends_by_itself(machine: "Machine", street: "Street") -> None:
    """While it lasts strangers get in and are counted; then they are kept out, with no process alive."""
    assert 0 == machine.droplan("once").returncode
    street.shut()
    begun = street.now
    _said(machine, "pause", "--for", "4s")
    street.open(begun)
    seen = machine.observe()
    assert seen.counters["pause.private-in", "denied"] > 0
    until(lambda: not machine.observe().leases)
    street.shut()


def test_a_pause_is_ended_at_once(machine: "Machine", street: "Street") -> None:
    """`--end` gives the plain rules back; where there is no pause it says so."""
    assert 0 == machine.droplan("once").returncode
    before = machine.observe().ruleset
    _said(machine, "pause", "--for", LONG)
    street.open()
    assert True is _said(machine, "pause", "--end")["ended"]
    assert before == machine.observe().ruleset
    street.shut()
    assert False is _said(machine, "pause", "--end")["ended"]


def test_a_daemon_keeps_a_pause(machine: "Machine", street: "Street") -> None:
    """It follows the fleet behind the pause and in it, repairs nothing, and cleans up when it is over."""
    running = machine.start()
    running.ready()
    _said(machine, "pause", "--for", LONG)
    street.open()
    running.says("nothing is dropped for")
    machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    until(lambda: machine.addresses(*PEERS, "web-3") == machine.peers)
    found = split(machine.observe().ruleset)
    assert found.base
    assert audited(found.base) == found.trial
    _said(machine, "pause", "--for", "2s")
    running.logs("pause.ended")
    until(lambda: frozenset() == _leases(machine))
    street.shut()
    assert not _repairs(running)


def _repairs(running: "Running") -> list[str]:
    return [line for line in running.log if "tamper" in line or "ruleset.repaired" in line]


def test_in_audit_there_is_nothing_to_pause(machine: "Machine") -> None:
    """Nothing is dropped anyway: nothing is written, and that is said."""
    machine.write('mode = "audit"\n')
    assert 0 == machine.droplan("once").returncode
    before = machine.generation
    assert _said(machine, "pause")["until"] is None
    assert before == machine.generation


def test_nothing_can_be_paused_that_is_not_enforced(machine: "Machine") -> None:
    """On a machine without a table it says how to get one."""
    done = machine.droplan("pause")
    assert (1, True) == (done.returncode, "droplan once" in done.stderr)


def test_one_lease_at_a_time(machine: "Machine") -> None:
    """During a trial there is no pause, during a pause no trial, during a panic neither."""
    assert 0 == machine.droplan("once").returncode
    _said(machine, "pause", "--for", LONG)
    own = machine.config.read_text()
    machine.write(OPEN)
    assert "droplan pause --end" in machine.droplan("try").stderr
    _said(machine, "pause", "--end")
    _said(machine, "try", "--for", LONG)
    assert "on trial" in machine.droplan("pause").stderr
    machine.config.write_text(own)
    _said(machine, "panic")
    for words in ("try", "pause"):
        assert "droplan panic --end" in machine.droplan(words).stderr
    assert "it was ended before its time" in machine.droplan("confirm").stderr
    ends = [machine.droplan("panic", "--end").stdout.split(":")[0] for _ in range(2)]
    assert ["the panic is over", "there is no panic"] == ends


def test_a_panic_closes_everything_but_management(machine: "Machine", street: "Street") -> None:
    """Strangers who had a way in have none; peers keep 22/tcp and nothing else; the end gives it all back."""
    machine.write(OPEN)
    assert 0 == machine.droplan("once").returncode
    before = machine.observe().ruleset
    street.open()
    _said(machine, "panic")
    street.shut()
    assert _only_management(machine)
    _said(machine, "panic", "--end")
    assert before == machine.observe().ruleset
    street.open()


def _only_management(machine: "Machine") -> bool:
    """Whether the rules of the private interface accept nothing that a port map does not lead to."""
    found = machine.observe().ruleset
    assert found
    entries = {entry[:2] for one in found.maps.values() for entry in one.entries}
    return {(22, 22)} == entries and "peers" not in {rule.name for rule in found.chains["private-in"].rules}


def test_a_panic_ends_a_trial_and_outlives_everything(machine: "Machine", street: "Street") -> None:
    """With the API away: it is on at once, after a crash, and in what the next boot loads."""
    running = machine.start()
    running.ready()
    machine.write(OPEN)
    _said(machine, "try", "--for", LONG)
    street.open()
    machine.cloud.faults.add(Fault(Status(503)))
    _said(machine, "panic")
    street.shut()
    assert frozenset() == _leases(machine)
    running.says("panic:")
    panicking = machine.observe().ruleset
    assert panicking == _files(machine).load().ruleset
    running.process.kill()
    running.process.wait(10)
    again = machine.start(log="again")
    again.ready()
    assert panicking == machine.observe().ruleset
    machine.namespace.run("nft", "flush", "ruleset")
    until(lambda: panicking == machine.observe().ruleset)
    assert 0 == again.end(signal.SIGTERM)
    machine.namespace.run("nft", "flush", "ruleset")
    assert 0 == machine.droplan("restore").returncode
    assert panicking == machine.observe().ruleset


def test_a_daemon_follows_a_panic_and_its_end(machine: "Machine", street: "Street") -> None:
    """Neither is taken for tampering; STATUS says when there is one; peers are back when it is over."""
    running = machine.start()
    running.ready()
    before = machine.observe().ruleset
    _said(machine, "panic")
    running.says("panic:")
    machine.polled(2)
    assert machine.observe().ruleset != before
    assert isinstance(machine.status["panic"], float)
    _said(machine, "panic", "--end")
    until(lambda: machine.status["panic"] is None)
    assert before == machine.observe().ruleset
    running.logs("panic.on.over")
    assert not _repairs(running)


def test_a_second_panic_is_the_first(machine: "Machine") -> None:
    """It goes on since it began, and one end ends it."""
    assert 0 == machine.droplan("once").returncode
    _said(machine, "panic")
    since = _files(machine).stance().since
    _said(machine, "panic")
    assert since == _files(machine).stance().since
    _said(machine, "panic", "--end")
    assert not _files(machine).stance().panic


def test_a_panic_where_nothing_was_enforced(machine: "Machine", street: "Street") -> None:
    """The first thing that droplan ever does here: the API is asked, and everything is closed."""
    street.open()
    _said(machine, "panic")
    street.shut()


def test_what_says_whether_there_is_a_panic_is_damaged(machine: "Machine") -> None:
    """The kernel stays as it is, and the error says how to go on."""
    assert 0 == machine.droplan("once").returncode
    _said(machine, "panic")
    before = machine.generation
    (machine.folder / "state" / "stance.json").write_text("{}")
    done = machine.droplan("once")
    assert (1, True) == (done.returncode, "droplan panic --end" in done.stderr)
    assert before == machine.generation
    _said(machine, "panic", "--end")
    assert 0 == machine.droplan("once").returncode


def test_a_panic_that_cannot_be_enforced_yet_is_said_to_wait(machine: "Machine") -> None:
    """With nothing kept and no answer nothing is closed: an error, and the next command closes it."""
    machine.cloud.faults.add(Fault(Status(502)))
    done = machine.droplan("panic")
    assert 1 == done.returncode
    assert "the panic is written down" in done.stderr
    machine.cloud.faults.clear()
    assert 0 == machine.droplan("once").returncode
    assert _only_management(machine)


def test_a_panic_that_cannot_be_written_down_is_none(machine: "Machine") -> None:
    """It would not survive a restart: the kernel stays as it is, and that is said with the reason."""
    assert 0 == machine.droplan("once").returncode
    before = machine.generation
    (machine.folder / "state" / "stance.json" / "in the way").mkdir(parents=True)
    done = machine.droplan("panic")
    assert 1 == done.returncode
    assert done.stderr.startswith("droplan: nothing is changed: ")
    assert before == machine.generation


def test_the_drops_of_a_pause(machine: "Machine") -> None:
    """Whatever stands during a pause drops nothing, and what stands behind it does."""
    assert 0 == machine.droplan("once").returncode
    _said(machine, "pause", "--for", LONG)
    seen = machine.observe()
    now, then = standing(seen.ruleset, seen.leases), standing(seen.ruleset, {})
    assert (False, True) == (_drops(now), _drops(then))


def _drops(found: "Ruleset | None") -> bool:
    chains = found.chains.values() if found else ()
    return any(rule.verdict == Verdict(Action.DROP) for chain in chains for rule in chain.rules)
