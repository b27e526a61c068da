"""`droplan try`, `confirm` and `pause` with iptables: real packets, and nobody alive at the end."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.policy.lease import split
from tests.conftest import Namespace
from tests.daemon.machine import until
from tests.leases import holder
from tests.leases.street import OPEN, Street
from tests.leases.tabled import Tabled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.kernel

FULL = bool(os.environ.get("DROPLAN_TEST_FULL"))
ENDS, KILLS = (40, 100) if FULL else (1, 2)
LATEST = 1.0
LASTS = 2.0
LONG = "10m"
VARIANTS = ["nft", pytest.param("legacy", marks=pytest.mark.full)]


@pytest.fixture(params=VARIANTS)
def tabled(request: pytest.FixtureRequest, namespace: Namespace, tmp_path: "Path") -> "Iterator[Tabled]":
    with Tabled(namespace, tmp_path, request.param) as made:
        yield made


@pytest.fixture
def street(tabled: Tabled) -> "Iterator[Street]":
    outside = Namespace()
    try:
        with Street(tabled, outside) as made:
            yield made
    finally:
        outside.close()


def _said(machine: Tabled, *words: str) -> dict[str, object]:
    done = machine.droplan(*words, "--json")
    assert 0 == done.returncode, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_trial_holds_until_the_kernel_ends_it(tabled: Tabled, street: Street) -> None:
    """Tried, the new rules judge; when the time is over the old ones do, and no process of ours is there."""
    assert 0 == tabled.droplan("once").returncode
    before = tabled.observe().ruleset
    street.shut()
    tabled.write(OPEN)
    begun = street.now
    done = tabled.droplan("try", "--for", "3s")
    assert (0, "") == (done.returncode, done.stderr)
    street.open(begun)
    until(lambda: not tabled.observe().leases)
    street.shut()
    assert before == split(tabled.observe().ruleset).base
    tabled.write()
    assert 0 == tabled.droplan("once").returncode
    assert before == tabled.observe().ruleset


def test_a_trial_is_confirmed(tabled: Tabled, street: Street) -> None:
    """From then on the new rules hold, and no lease does."""
    running = tabled.start()
    running.ready()
    street.shut()
    plain = tabled.config.read_text()
    tabled.write(OPEN)
    tried = tabled.folder / "new.toml"
    tried.write_text(tabled.config.read_text())
    tabled.config.write_text(plain)
    done = tabled.droplan("try", "--for", LONG, config=tried)
    assert 0 == done.returncode, done.stderr
    street.open()
    begun = street.now
    assert 0 == tabled.droplan("confirm").returncode
    until(lambda: (found := tabled.observe().ruleset) is not None and not found.leases)
    later = street.now
    street.open(later)
    assert set() == set(range(begun, later)) - street.heard


@pytest.mark.full
def test_a_pause_ends_by_itself(tabled: Tabled, street: Street) -> None:
    """While it lasts strangers get in and are counted; then they are kept out, with no process alive."""
    assert 0 == tabled.droplan("once").returncode
    street.shut()
    begun = street.now
    _said(tabled, "pause", "--for", "4s")
    street.open(begun)
    assert tabled.observe().counters["pause.private-in", "denied"] > 0
    until(lambda: not tabled.observe().leases)
    street.shut()


@pytest.mark.full
def test_a_pause_is_ended_at_once(tabled: Tabled, street: Street) -> None:
    """`--end` gives the plain rules back; where there is no pause it says so."""
    assert 0 == tabled.droplan("once").returncode
    before = tabled.observe().ruleset
    _said(tabled, "pause", "--for", LONG)
    street.open()
    assert True is _said(tabled, "pause", "--end")["ended"]
    assert before == tabled.observe().ruleset
    street.shut()
    assert False is _said(tabled, "pause", "--end")["ended"]


@pytest.mark.full
def test_a_daemon_keeps_what_lasts(tabled: Tabled, street: Street) -> None:
    """It repairs nothing away, follows the fleet behind it, arms nothing, and cleans up when it is over."""
    running = tabled.start()
    running.ready()
    street.shut()
    begun = street.now
    _said(tabled, "pause", "--for", "8s")
    first = tabled.observe().leases.get("pause", 8.0)
    tabled.world.add_droplet("web-3", vpc=tabled.vpc.id)
    tabled.polled(3)
    seen = tabled.observe()
    assert 0 < seen.leases.get("pause", 1.0) <= first
    street.open(begun)
    until(lambda: (found := tabled.observe().ruleset) is not None and not found.leases)
    street.shut()
    found = tabled.observe().ruleset
    assert found
    assert 4 == len(found.sets["private-peers-4"].elements)


@pytest.mark.parametrize("words", [("pause", "--for", LONG), pytest.param(("try",), marks=pytest.mark.full)])
def test_without_ip_sets_it_is_refused(tabled: Tabled, words: tuple[str, ...]) -> None:
    """One sentence says why, and nothing has changed."""
    tabled.ipset = "false"
    tabled.write()
    assert 0 == tabled.droplan("once").returncode
    before = tabled.namespace.run("iptables-save")
    tabled.write(OPEN)
    done = tabled.droplan(*words)
    assert 0 != done.returncode
    assert "need ip sets" in done.stderr
    assert before.count("\n-A") == tabled.namespace.run("iptables-save").count("\n-A")


def _held(machine: Tabled, seconds: float) -> "subprocess.Popen[bytes]":
    return machine.namespace.call(
        subprocess.Popen,
        [sys.executable, holder.__file__, str(seconds), machine.variant],
        env=machine.environ,
        stdout=subprocess.PIPE,
    )


def _killed(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait(10)


@pytest.mark.fault("H4")
@pytest.mark.timeout(1200)
def test_the_kernel_ends_a_lease_in_time(
    tabled: Tabled, street: Street, figure: "Callable[[str], None]"
) -> None:
    """Whoever set it was SIGKILLed at once: each lease is over within a second of its time."""
    assert 0 == tabled.droplan("once").returncode
    late = []
    for _ in range(ENDS):
        begun = street.now
        with _held(tabled, LASTS) as process, ExitStack() as stack:
            stack.callback(_killed, process)
            assert process.stdout
            end = float(process.stdout.readline()) + LASTS
        until(lambda: not tabled.observe().leases)
        street.shut()
        late.append(max(0.0, street.last - end))
        assert street.opened(begun)
    figure(f"lease by iptables: {ENDS} of {ENDS} over, at most {max(late) * 1000:.0f} ms late (bar 1,000)")
    assert max(late) <= LATEST


@pytest.mark.full
@pytest.mark.fault("H3")
@pytest.mark.timeout(1200)
def test_killed_at_any_moment(tabled: Tabled, street: Street) -> None:
    """SIGKILL while a pause is put there: old verdicts or the pause until its end, and then none of it."""
    assert 0 == tabled.droplan("once").returncode
    before = tabled.observe().ruleset
    with _held(tabled, LASTS) as whole:
        assert whole.stdout
        whole.stdout.readline()
        _killed(whole)
    until(lambda: not tabled.observe().leases)
    randomness = Random(KILLS)
    for _ in range(KILLS):
        assert 0 == tabled.droplan("once").returncode
        assert before == tabled.observe().ruleset
        with _held(tabled, LASTS) as process:
            until(lambda: "dp-pause" in tabled.namespace.run("ipset", "list", "-n"))
            time.sleep(randomness.random() * 0.08)  # it is writing now, or has written
            _killed(process)
        until(lambda: not tabled.observe().leases)
        street.shut()
