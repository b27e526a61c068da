"""The real daemon in trouble: peers stay, it is told once, and it passes."""

import json
import signal
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.delivery import BlackHole
from droplan_daemon.lab.faults import Deliver, Fault, Status, garbage
from droplan_daemon.lab.scopes import FULL, scoped
from tests.daemon.machine import CANARY, PEERS, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.lab.faults import Effect
    from tests.daemon.machine import Machine, Running

pytestmark = pytest.mark.kernel

OTHER = "dop_v1_" + "0badf00d" * 8


@pytest.mark.fault("A1", "A15")
@pytest.mark.parametrize(
    ("effect", "event"),
    [(Status(500), "api.fetch.failed"), (garbage(), "api.snapshot.rejected")],
    ids=["500", "garbage"],
)
def test_an_api_in_trouble_takes_nobody_away(machine: "Machine", effect: "Effect", event: str) -> None:
    """Peers stay, one line on entering, one on leaving, and what happened meanwhile is caught up with."""
    running = machine.start()
    running.ready()
    generation = machine.generation
    machine.cloud.faults.add(Fault(effect))
    machine.world.destroy_droplet(machine.droplet("mysql-1").id)
    running.logs(event)
    due = machine.status["next_poll_at"]
    until(lambda: machine.status["next_poll_at"] != due)  # it failed once more
    assert (generation, 1) == (machine.generation, len(running.lines(event)))
    assert "now failing" in running.status
    machine.cloud.faults.clear()
    running.logs(f"{event}.over", 30)
    assert (1, 1) == (len(running.lines(event)), len(running.lines(f"{event}.over")))
    assert "times=" in running.lines(f"{event}.over")[0]
    assert machine.addresses("tunnel-1", "web-2") == machine.peers
    assert "now failing" not in running.status


@pytest.mark.fault("A12", "B1")
def test_a_silent_api_starves_no_watchdog(machine: "Machine") -> None:
    """While an answer does not come, the loop goes round and says so, and the peers stay."""
    running = machine.start(environ={"WATCHDOG_USEC": "1000000"})
    running.ready()
    generation = machine.generation
    machine.cloud.faults.add(Fault(Deliver(BlackHole())))
    machine.polled()
    running.fed(times=4)
    assert [] == running.lines("api.fetch.failed")  # nor has the poll ended meanwhile
    assert (generation, machine.addresses(*PEERS)) == (machine.generation, machine.peers)


@pytest.mark.fault("A9")
def test_a_token_is_rotated_by_file_and_sighup(machine: "Machine") -> None:
    """A revoked token keeps the peers and says so; the new one in the file counts from SIGHUP on."""
    running = machine.start()
    running.ready()
    machine.tokens({OTHER: FULL})
    running.logs("api.auth.failed")
    assert "error" in running.lines("api.auth.failed")[0]
    running.says(f"does not accept the token (401): put a valid one into {machine.token_file}, and reload")
    assert machine.addresses(*PEERS) == machine.peers
    machine.token_file.write_text(f"{OTHER}\n")
    running.process.send_signal(signal.SIGHUP)
    running.ready(times=2)
    assert running.lines("api.auth.failed.over")
    assert not any(CANARY in line or OTHER in line for line in (*running.log, *running.told("STATUS")))


@pytest.mark.fault("A10")
def test_a_token_that_lost_a_scope_is_named(machine: "Machine") -> None:
    """403 on the VPCs: peers stay, and the line says which scope is missing."""
    running = machine.start()
    running.ready()
    machine.tokens({CANARY: scoped("droplet:read", "tag:read")})
    running.logs("api.auth.forbidden")
    assert "scope=vpc" in running.lines("api.auth.forbidden")[0]
    assert machine.addresses(*PEERS) == machine.peers


@pytest.mark.fault("H2")
def test_an_invalid_file_on_reload_changes_nothing(machine: "Machine") -> None:
    """RELOADING, then READY with the reason in STATUS and in the log; the old policy goes on."""
    running = machine.start()
    running.ready()
    good, generation = machine.config.read_text(), machine.generation
    machine.config.write_text(f"{good}\n[peers]\nscoop = 'vpc'\ntag = 7\n")
    running.process.send_signal(signal.SIGHUP)
    running.ready(times=2)
    refused = "new configuration refused: line 10: unknown key `scoop` in [peers]"
    assert refused in running.told("STATUS")[-1]
    rejected = running.lines("config.rejected")
    assert ["line=10", "line=11"] == [word for line in rejected for word in line.split() if "line=" in word]
    machine.world.add_droplet("web-3", vpc=machine.vpc.id)
    running.logs("peer.joined")
    assert generation + 1 == machine.generation
    assert refused in str(machine.status["headline"])
    machine.config.write_text(good)
    running.process.send_signal(signal.SIGHUP)
    running.ready(times=3)
    assert "refused" not in running.status


def test_a_valid_file_on_reload_is_enforced(machine: "Machine") -> None:
    """RELOADING with the monotonic time, and READY only when the kernel holds the new policy."""
    running = machine.start()
    running.ready()
    machine.write('[peers]\ntag = "web"')
    before = time.monotonic_ns() // 1000
    running.process.send_signal(signal.SIGHUP)
    running.ready(times=2)
    assert machine.addresses("web-2") == machine.peers
    assert "(vpc lab, tag web)" in running.status
    reloading = next(i for i, note in enumerate(running.notes) if "RELOADING" in note.fields)
    told = int(running.notes[reloading].fields["MONOTONIC_USEC"])
    assert before <= told <= time.monotonic_ns() // 1000
    assert any("READY" in note.fields for note in running.notes[reloading:])


def test_many_signals_are_one_reload_after_another(machine: "Machine") -> None:
    """A storm of SIGHUP neither kills the daemon nor leaves it without READY."""
    running = machine.start()
    running.ready()
    for _ in range(50):
        running.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    running.process.send_signal(signal.SIGHUP)
    until(lambda: "READY" == _states(running)[-1])
    assert None is running.process.poll()
    assert machine.addresses(*PEERS) == machine.peers


def _states(running: "Running") -> list[str]:
    told = (note.fields.keys() & {"READY", "RELOADING"} for note in list(running.notes))
    return [state for states in told for state in states]


def test_a_changed_file_is_a_changed_fleet(machine: "Machine") -> None:
    """With a file as Source, whoever is written into it is let in long before the next look is due."""
    fleet = machine.folder / "fleet.json"
    fleet.write_text(_listing("10.10.0.3", "10.10.0.50"))
    machine.write(source=f'kind = "file"\npath = "{fleet}"', interval="1h")
    running = machine.start()
    running.ready()
    assert {"10.10.0.50"} == machine.peers
    fresh = machine.folder / "fleet.json.new"
    fresh.write_text(_listing("10.10.0.3", "10.10.0.50", "10.10.0.51"))
    fresh.rename(fleet)
    until(lambda: machine.peers == {"10.10.0.50", "10.10.0.51"})
    fleet.write_text("{}")
    running.logs("source.snapshot.rejected")
    assert {"10.10.0.50", "10.10.0.51"} == machine.peers


def _listing(*private: str) -> str:
    networks = [{"v4": [{"ip_address": a, "type": "private"}]} for a in private]
    ids = [3164445, *range(7, 7 + len(private))]
    droplets = [
        {"id": i, "name": f"d-{i}", "vpc_uuid": "one", "networks": n}
        for i, n in zip(ids, networks, strict=False)
    ]
    return json.dumps({"droplets": droplets})


# What a line looks like.


@pytest.fixture
def journal(machine: "Machine") -> "Iterator[socket.socket]":
    """Journald's socket, as the test holds it."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as made:
        made.bind(str(machine.folder / "journal"))
        made.settimeout(10)
        yield made


def _journal_stream(machine: "Machine") -> str:
    (machine.folder / "log").touch()
    found = (machine.folder / "log").stat()
    return f"{found.st_dev}:{found.st_ino}"


# A mount namespace whose /run has this journal, or none.
_PRIVATE_RUN = 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && {} && exec "$@"'


def test_the_journal_gets_fields(machine: "Machine", journal: socket.socket) -> None:
    """Where systemd reads standard error, events go to journald with our fields."""
    link = f"ln -s {machine.folder}/journal /run/systemd/journal/socket"
    prefix = ("unshare", "-m", "sh", "-c", _PRIVATE_RUN.format(link), "sh")
    running = machine.start(environ={"JOURNAL_STREAM": _journal_stream(machine)}, prefix=prefix)
    running.ready()
    entries = [
        dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines()) for _ in range(3)
    ]
    assert ["daemon.started", "peers.known", "daemon.ready"] == [entry["DROPLAN_EVENT"] for entry in entries]
    assert ("3", "6", "droplan") == (
        entries[1]["DROPLAN_PEERS"],
        entries[1]["PRIORITY"],
        entries[1]["SYSLOG_IDENTIFIER"],
    )
    assert [] == running.log


def test_without_journald_lines_have_priorities(machine: "Machine") -> None:
    """Where systemd reads standard error and journald is dead, lines begin with their priority."""
    prefix = ("unshare", "-m", "sh", "-c", _PRIVATE_RUN.format("true"), "sh")
    running = machine.start(environ={"JOURNAL_STREAM": _journal_stream(machine)}, prefix=prefix)
    running.ready()
    until(lambda: len(running.log) >= 3)
    assert ["<6>daemon.started", "<6>peers.known", "<6>daemon.ready"] == [
        line.split()[0] for line in running.log
    ]


@pytest.mark.fault("H1")
def test_an_invalid_file_at_the_start_is_events_in_the_journal(machine: "Machine") -> None:
    """Under systemd a daemon that cannot start ends with 78 and an event for each mistake."""
    machine.config.write_text("[peers]\nscoop = 'vpc'\n[source]\nkind = 'file'\npath = 'x'\n")
    running = machine.start(environ={"JOURNAL_STREAM": _journal_stream(machine)})
    assert 78 == running.process.wait(20)
    assert 1 == len(running.log)
    assert "config.invalid" in running.log[0]
    assert {"line=2", "key=peers.scoop"} <= set(running.log[0].split())


@pytest.mark.fault("J5")
def test_the_token_is_nowhere(machine: "Machine") -> None:
    """Through a life with every trouble: no output, state, status, command line or environment has it."""
    running = machine.start()
    running.ready()
    process = f"/proc/{running.process.pid}"
    seen = [Path(process, name).read_bytes() for name in ("cmdline", "environ")]
    machine.cloud.faults.add(
        Fault(Status(302, headers={"location": f"https://example.org/{CANARY}"}), times=1)
    )
    running.logs("api.snapshot.rejected")
    machine.config.write_text(
        machine.config.read_text() + f'\n[peers]\ntag = "{CANARY}"\n{CANARY} = "{CANARY}"\n'
    )
    running.process.send_signal(signal.SIGHUP)
    running.logs("config.rejected")
    machine.write()
    machine.tokens({})
    running.process.send_signal(signal.SIGHUP)
    running.logs("api.auth.failed", 30)
    for command in (("once",), ("plan",), ("peers", "--json"), ("status", "--json"), ("status",), ("check",)):
        done = machine.droplan(*command)
        seen += [done.stdout.encode(), done.stderr.encode()]
    running.end(signal.SIGQUIT)  # no handler: a death without a word
    seen += [path.read_bytes() for path in machine.written()]
    seen += [str(note.fields).encode() for note in running.notes]
    assert any(b"api.auth.failed" in text for text in seen)
    assert [] == [text for text in seen if CANARY.encode() in text or CANARY[7:39].encode() in text]
