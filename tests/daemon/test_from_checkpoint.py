"""The real daemon after a restart: the last committed state is enforced before anybody is asked."""

import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.lab.delivery import BlackHole
from droplan_daemon.lab.faults import Deliver, Fault, Status
from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.daemon.machine import Machine, Running

pytestmark = pytest.mark.kernel

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture
def kept(machine: "Machine") -> "Machine":
    """A machine whose daemon has run and was stopped; then it was booted anew, and the API is down."""
    _live_once(machine)
    machine.namespace.run("nft", "delete", "table", "inet", "droplan")
    machine.cloud.faults.add(Fault(Status(503)))
    return machine


def _live_once(machine: "Machine") -> None:
    running = machine.start(log="first")
    running.ready()
    assert 0 == running.end(signal.SIGTERM)


def _store(machine: "Machine") -> StateFiles:
    return StateFiles(machine.folder / "state", machine.folder / "run")


def _state(machine: "Machine", name: str) -> "Path":
    return machine.folder / "state" / name


@pytest.mark.fault("B7")
def test_it_is_ready_without_the_api(kept: "Machine") -> None:
    """READY with the kept peers in the kernel; STATUS says that they are restored, then who is there."""
    running = kept.start()
    running.ready()
    assert kept.addresses(*PEERS) == kept.peers
    first = next(note.fields["STATUS"] for note in running.notes if "READY" in note.fields)
    assert re.match(r"restored: 3 peers as of \d+ s ago, asking who is there now", first)
    running.says("now failing: The API at 127.0.0.1 answered 503")
    assert running.status.startswith("restored: 3 peers")
    assert "peers=3" in running.lines("boot.restored")[0]
    kept.cloud.faults.clear()
    running.says("enforcing 3 peers (vpc lab)")


@pytest.mark.fault("B7")
def test_it_needs_no_network_at_all(kept: "Machine") -> None:
    """Neither metadata nor the API answer, or even refuse: the kept state stands all the same."""
    kept.namespace.run("ip", "address", "flush", "dev", "eth0")
    kept.namespace.run("ip", "address", "del", "169.254.169.254/32", "dev", "lo")
    kept.cloud.faults.clear()
    kept.cloud.faults.add(Fault(Deliver(BlackHole())))
    kept.start().ready()
    assert kept.addresses(*PEERS) == kept.peers


def test_a_kernel_that_holds_it_is_adopted(machine: "Machine") -> None:
    """A restart while the API is down: READY, and nothing is written to the kernel or the disk."""
    _live_once(machine)
    machine.cloud.faults.add(Fault(Status(503)))
    before = machine.generation, _state(machine, "checkpoint.json").stat().st_ino
    running = machine.start()
    running.ready()
    running.says("now failing")
    assert before == (machine.generation, _state(machine, "checkpoint.json").stat().st_ino)


def test_what_is_on_disk_follows_the_fleet(machine: "Machine") -> None:
    """A new peer is in the Checkpoint and in the boot script, which loads as it is."""
    running = machine.start()
    running.ready()
    made = machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    address = str(made.address("private"))
    script = _state(machine, "ruleset.nft")
    until(lambda: address in machine.peers)
    until(lambda: script.exists() and address in script.read_text())
    until(
        lambda: (
            5 <= len(_store(machine).load().fleet.droplets) and _store(machine).holds(_store(machine).load())
        )
    )
    held = machine.observe().ruleset
    running.end(signal.SIGTERM)
    machine.namespace.run("nft", "delete", "table", "inet", "droplan")
    machine.namespace.run("nft", "-f", str(script))
    assert held == machine.observe().ruleset


def test_a_cloned_machine_enforces_nothing_of_it(kept: "Machine") -> None:
    """Another MAC, metadata silent: no table, no READY, and the log says why; the API then decides."""
    kept.namespace.run("ip", "link", "set", "eth1", "address", "02:00:00:00:00:99")
    kept.metadata.faults.add(Fault(Status(500)))
    running = kept.start()
    running.logs("state.rejected")
    assert "reason=cloned" in running.lines("state.rejected")[0]
    running.says("not enforcing yet, now failing")
    assert ([], None) == (running.told("READY"), kept.observe().ruleset)


def test_a_fleet_without_vpcs_is_nothing_to_judge_vpcs_by(machine: "Machine") -> None:
    """The file was changed meanwhile and asks for VPCs now: what stands stays until somebody answers."""
    machine.write('[peers]\nscope = "region"\n[private]\nmanaged = false\n[public]\nmanaged = true')
    _live_once(machine)
    before = machine.observe().ruleset
    machine.cloud.faults.add(Fault(Status(503)))
    machine.write("")
    running = machine.start()
    running.says("not enforcing yet, now failing")
    assert "reason=no_vpcs" in running.lines("state.rejected")[0]
    assert ([], before) == (running.told("READY"), machine.observe().ruleset)
    machine.cloud.faults.clear()
    running.ready()
    assert machine.addresses(*PEERS) == machine.peers


@pytest.mark.fault("E5")
def test_a_damaged_checkpoint_gives_way_to_the_one_before(kept: "Machine") -> None:
    """Bits flipped: the generation before is enforced, and the log says which reason it had."""
    _state(kept, "checkpoint.1.json").write_bytes(_state(kept, "checkpoint.json").read_bytes())
    damaged = bytearray(_state(kept, "checkpoint.json").read_bytes())
    damaged[-20] ^= 1
    _state(kept, "checkpoint.json").write_bytes(damaged)
    running = kept.start()
    running.ready()
    (line,) = running.lines("state.rejected")
    assert "reason=checksum" in line
    assert "used=previous" in line
    assert kept.addresses(*PEERS) == kept.peers


@pytest.mark.fault("E5")
def test_without_anything_usable_it_waits_for_the_api(kept: "Machine") -> None:
    """Both generations cut short: told once, no READY; with an answer it enforces and saves anew."""
    for name in ("checkpoint.json", "checkpoint.1.json"):
        _state(kept, name).write_bytes(b'{"version":1')
    running = kept.start()
    running.says("not enforcing yet, now failing")
    assert 1 == len(running.lines("state.rejected"))
    assert [] == running.told("READY")
    kept.cloud.faults.clear()
    running.ready()
    until(lambda: _state(kept, "checkpoint.json").stat().st_size > 100)
    assert 4 <= len(_store(kept).load().fleet.droplets)


@pytest.mark.fault("E9")
def test_a_month_old_state_is_restored_and_called_stale(kept: "Machine") -> None:
    """Saved in another boot, thirty days ago by the wall clock."""
    store = _store(kept)
    old = replace(store.load(), saved_at=time.time() - 30 * 86_400, boot="another", number=99)
    store.save(old, "#\n")
    running = kept.start()
    running.ready()
    assert "stale=1" in running.lines("boot.restored")[0]
    running.says("restored: 3 peers as of 30 d ago, which is long")


@pytest.mark.fault("F2")
def test_a_clock_at_1970_makes_the_age_unknown(kept: "Machine") -> None:
    """The state was saved in a later year than the clock knows: restored, of unknown age."""
    store = _store(kept)
    store.save(
        replace(store.load(), saved_at=time.time() + 56 * 365 * 86_400, boot="another", number=99), "#\n"
    )
    running = kept.start()
    running.ready()
    running.says("restored: 3 peers as of an unknown time")


def test_once_keeps_and_uses_what_is_kept(machine: "Machine") -> None:
    """For cron: it writes the same state as the daemon, and the daemon starts from it."""
    assert 0 == machine.droplan("once").returncode
    assert _store(machine).holds(_store(machine).load())
    assert 0 == machine.droplan("once").returncode
    assert 1 == _store(machine).load().number
    machine.namespace.run("nft", "delete", "table", "inet", "droplan")
    machine.cloud.faults.add(Fault(Status(503)))
    machine.start().ready()
    assert machine.addresses(*PEERS) == machine.peers


def test_flush_leaves_nothing_for_the_next_boot(machine: "Machine") -> None:
    """The boot scripts go too; beside a daemon, which would put all of it back, nothing is done."""
    running = machine.start()
    running.ready()
    until(lambda: _state(machine, "ruleset.nft").exists())
    beside = machine.droplan("flush")
    assert (1, True) == (beside.returncode, "systemctl disable --now droplan" in beside.stderr)
    assert machine.addresses(*PEERS) == machine.peers
    assert 0 == running.end(signal.SIGTERM)
    done = machine.droplan("flush")
    assert (0, 2) == (done.returncode, len(done.stdout.splitlines()))
    assert ([], None) == (list((machine.folder / "state").glob("ruleset*")), machine.observe().ruleset)
    machine.start(log="again").ready()
    assert machine.addresses(*PEERS) == machine.peers
    until(lambda: _state(machine, "ruleset.nft").exists())


@pytest.fixture
def tiny(machine: "Machine") -> "Iterator[Path]":
    """A state folder of 16 KiB."""
    folder = machine.folder / "state"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("mounting a small tmpfs takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.fault("E1")
@needs_root
def test_a_full_disk_is_told_once_and_tried_again(machine: "Machine", tiny: "Path") -> None:
    """ENOSPC: READY and the rules all the same; one line, the errno, STATUS; then it is saved."""
    (tiny / "ballast").write_bytes(b"x" * 16_000)
    running = machine.start()
    running.ready()
    running.says("not saved: ")
    assert machine.addresses(*PEERS) == machine.peers
    before = running.status
    until(lambda: running.status != before, what="another poll")
    (line,) = running.lines("state.write.failed")
    assert "errno=ENOSPC" in line
    assert "not saved" in machine.droplan("status").stdout
    (tiny / "ballast").unlink()
    running.logs("state.write.failed.over")
    until(lambda: _store(machine).holds(_store(machine).load()))


@pytest.fixture
def silent_resolver(machine: "Machine") -> "Iterator[tuple[str, ...]]":
    """A command prefix under which names are asked of a server that never answers."""
    if os.geteuid():
        pytest.skip("a resolver of one's own takes root")
    resolv = machine.folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    server = machine.namespace.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    machine.namespace.call(server.bind, ("127.0.0.1", 53))
    mount = f'mount --bind {resolv} /etc/resolv.conf && exec "$@"'
    with server:
        server.settimeout(15)
        machine.resolver = server  # type: ignore[attr-defined] # for the test to see that it was asked
        yield "unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"


def _asked(machine: "Machine", running: "Running") -> None:
    """Wait until a name lookup hangs."""
    machine.resolver.recv(1000)  # type: ignore[attr-defined] # put there by the fixture
    assert running.process.poll() is None


@pytest.mark.fault("B2")
def test_a_hanging_name_lookup_keeps_nobody_from_ending(
    machine: "Machine", silent_resolver: tuple[str, ...]
) -> None:
    """A thread in getaddrinfo(3) cannot be stopped for 150 s; SIGTERM ends the daemon at once anyway.

    That is a second; a busy machine may take ten.
    """
    machine.url = "https://api.nowhere.example"
    machine.write()
    running = machine.start(prefix=silent_resolver)
    _asked(machine, running)
    begun = time.monotonic()
    assert 0 == running.end(signal.SIGTERM, seconds=60)
    assert time.monotonic() - begun < 10
    assert running.lines("daemon.stopped")
