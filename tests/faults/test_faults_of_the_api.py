"""Section A as an operator meets it: one daemon, one fault after another, the ground rules around each."""

import signal
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from droplan_daemon.lab.delivery import BlackHole, Cut, Drip, Reset
from droplan_daemon.lab.faults import Deliver, Edit, Fault, Status, garbage, html, next_link, total
from droplan_daemon.lab.scopes import FULL, scoped
from tests.daemon.machine import CANARY, DROPLETS, PEERS, until
from tests.faults.ground_rules import LONG, enduring

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel

FAILED, REJECTED = "api.fetch.failed", "api.snapshot.rejected"


@dataclass(frozen=True)
class Case:
    """A scripted fault, and the line that it makes."""

    event: str
    fault: Fault
    fields: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case(FAILED, Fault(Status(502)), {"status": 502, "reason": "http_status", "kept_peers": 3}),
    Case(FAILED, Fault(Status(500), path=DROPLETS, type="gpus"), {"status": 500, "page": 1}),
    Case(FAILED, Fault(Deliver(Reset())), {"reason": "connection"}),
    Case(
        REJECTED, Fault(next_link("http://192.0.2.1/v2/droplets"), path=DROPLETS), {"reason": "foreign_next"}
    ),
    Case(REJECTED, Fault(total(412), path=DROPLETS), {"reason": "count_mismatch"}),
    Case(REJECTED, Fault(html()), {"reason": "bad_body"}),
    Case(REJECTED, Fault(Deliver(Cut(100))), {"reason": "bad_body"}),
    Case(REJECTED, Fault(garbage(b"[" * 100_000)), {"reason": "bad_json"}),
    Case("api.ratelimited", Fault(Status(429, headers={"retry-after": "7"})), {"wait": 7.0, "status": 429}),
    Case("api.auth.forbidden", Fault(Status(403), path=DROPLETS), {"scope": "droplet:read"}),
    Case("api.auth.failed", Fault(Status(401)), {"reason": "unauthorized"}),
)


@pytest.mark.fault("A1", "A4", "A8", "A9", "A10", "A11", "A13", "A15", "A18")
def test_one_fault_after_another_takes_nobody_away(machine: "Machine") -> None:
    """Each keeps what is enforced, is told once and is over once, and shows everywhere meanwhile."""
    running = machine.start()
    running.ready()
    for case in CASES:
        with enduring(machine, running, case.event, machine.cloud.faults.clear, **case.fields):
            machine.cloud.faults.add(case.fault)
    assert machine.addresses(*PEERS) == machine.peers
    assert 0 == running.end(signal.SIGTERM)


NO_ADDRESSES = (
    "0.0.0.0",
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "10.10.0.9/0",
    "::ffff:10.10.0.9",
    True,
    10,
)


def _at(droplet: int, address: object) -> Edit:
    """An answer in which this Droplet has this private address."""

    def changed(body: dict[str, Any]) -> dict[str, Any]:
        networks = {"v4": [{"ip_address": address, "type": "private"}], "v6": []}
        droplets = body.get("droplets", [])
        return {
            **body,
            "droplets": [d | {"networks": networks} if d["id"] == droplet else d for d in droplets],
        }

    return Edit(changed)


@pytest.mark.fault("A16")
def test_an_address_that_is_none_is_told_and_never_enforced(machine: "Machine") -> None:
    """The entry is named and left out, and nobody leaves for it."""
    running = machine.start()
    running.ready()
    odd = machine.droplet("web-2").id
    for address in NO_ADDRESSES:
        with enduring(machine, running, "api.peer.skipped", machine.cloud.faults.clear, id=odd, entries=1):
            machine.cloud.faults.add(Fault(_at(odd, address), path=DROPLETS))
    assert machine.addresses(*PEERS) == machine.peers


@pytest.mark.fault("A12", "B1")
@pytest.mark.parametrize("delivery", [Drip(0.5), BlackHole()], ids=["drip", "silence"])
def test_an_answer_that_does_not_end_starves_no_watchdog(
    machine: "Machine", delivery: Drip | BlackHole
) -> None:
    """The loop goes round and says so, the peers stay, and SIGTERM does not wait for it."""
    running = machine.start(environ={"WATCHDOG_USEC": "1000000"})
    running.ready()
    generation = machine.generation
    machine.cloud.faults.add(Fault(Deliver(delivery)))
    machine.polled()
    running.fed(times=4)
    assert (generation, machine.addresses(*PEERS)) == (machine.generation, machine.peers)
    assert 0 == running.end(signal.SIGTERM)


@pytest.mark.full
@pytest.mark.fault("A12")
def test_an_answer_that_drips_ends_at_the_deadline(machine: "Machine") -> None:
    """A byte each half second: the poll fails as a whole after its thirty seconds."""
    running = machine.start()
    running.ready()
    with enduring(machine, running, FAILED, machine.cloud.faults.clear, reason="deadline"):
        machine.cloud.faults.add(Fault(Deliver(Drip(0.5))))


@pytest.mark.full
@pytest.mark.fault("B1")
def test_an_api_that_swallows_packets_ends_at_the_deadline(machine: "Machine") -> None:
    """Dropped without a reset, in connections that are open and in new ones."""
    running = machine.start()
    running.ready()
    port = machine.url.rpartition(":")[2]
    drop = f"table ip hole {{ chain c {{ type filter hook input priority 0; tcp dport {port} drop; }}; }}"
    mend = ("nft", "delete", "table", "ip", "hole")
    over = partial(machine.namespace.run, *mend)
    with enduring(machine, running, FAILED, over, writes=1, reason="deadline"):
        machine.namespace.run("nft", "-f", "-", text=drop)


@pytest.mark.fault("A9", "A10")
def test_a_token_that_is_not_accepted_is_asked_with_slowly(machine: "Machine") -> None:
    """Revoked, or without a scope: an error that says what to do, minutes to the next try, no restart."""
    running = machine.start()
    running.ready()
    for grants, event in (({}, "api.auth.failed"), ({CANARY: scoped("tag:read")}, "api.auth.forbidden")):
        machine.tokens(grants)
        running.process.send_signal(signal.SIGUSR1)
        running.logs(event)
        assert "error" in running.lines(event)[0]
        until(lambda: _wait(machine) > 60, LONG, "a long wait")
        assert (None, machine.addresses(*PEERS)) == (running.process.poll(), machine.peers)
        machine.tokens({CANARY: FULL})
        running.process.send_signal(signal.SIGUSR1)
        running.logs(f"{event}.over")


def _wait(machine: "Machine") -> float:
    status = machine.status
    due, told = status["next_poll_at"], status["time"]
    return due - told if isinstance(due, float) and isinstance(told, float) else 0.0


@pytest.mark.fault("A17")
def test_a_new_droplet_without_addresses_is_no_trouble(machine: "Machine") -> None:
    """It counts as a Droplet, is in no set, and no line tells of it but that it joined."""
    running = machine.start()
    running.ready()
    generation = machine.generation
    fresh = machine.world.add_droplet("fresh", vpc=machine.vpc.id)
    machine.world.change_droplet(fresh.id, v4=(), v6=(), status="new")
    machine.polled(2)
    until(lambda: "6 Droplets" in machine.droplan("status").stdout)
    assert (generation, machine.addresses(*PEERS)) == (machine.generation, machine.peers)
    assert {"daemon.started", "peers.known", "daemon.ready"} >= {line.split()[2] for line in running.log} - {
        "peer.joined"
    }


HOSTILE = 'x"; drop %s {0} $(reboot) `id` \\ ' + "A" * 200


@pytest.mark.fault("A16")
def test_names_from_the_api_reach_the_log_escaped_and_cut_and_the_kernel_never(machine: "Machine") -> None:
    """Quotes, formats, commands and length in a name, a tag or a region change no line and no rule."""
    running = machine.start()
    running.ready()
    hostile = machine.world.add_droplet("hostile", vpc=machine.vpc.id)

    def renamed(body: dict[str, object]) -> dict[str, object]:
        droplets = body.get("droplets")
        if not isinstance(droplets, list):
            return body
        odd = {"name": HOSTILE, "tags": [HOSTILE], "region": {"slug": HOSTILE + "\n\x1b[31mERROR"}}
        return {**body, "droplets": [d | odd if d["id"] == hostile.id else d for d in droplets]}

    machine.cloud.faults.add(Fault(Edit(renamed), path=DROPLETS))
    running.logs("peer.joined")
    (line,) = (text for text in running.log if f"id={hostile.id}" in text)
    assert len(line) < 700
    assert "\x1b" not in line
    assert "AAAA" not in machine.namespace.run("nft", "list", "ruleset")
    shown = "".join(machine.droplan(*words).stdout for words in (("peers",), ("status",), ("show",)))
    assert "\x1b" not in shown
    assert None is running.process.poll()


@pytest.mark.fault("A5", "A6")
def test_a_list_that_contradicts_itself_is_read_again_and_that_is_told(machine: "Machine") -> None:
    """One line with how often, one when an answer was whole at once; whoever is in it counts."""
    machine.write(interval="1h")
    running = machine.start()
    running.ready()
    machine.cloud.faults.add(Fault(total(412), path=DROPLETS, type="droplets", page=1, times=2))
    machine.world.add_droplet("joined", vpc=machine.vpc.id)
    running.process.send_signal(signal.SIGUSR1)
    running.logs("api.snapshot.unstable")
    assert "relist=2" in running.lines("api.snapshot.unstable")[0].split()
    until(lambda: machine.addresses(*PEERS, "joined") == machine.peers)
    running.says("read again")
    running.process.send_signal(signal.SIGUSR1)
    running.logs("api.snapshot.unstable.over")
