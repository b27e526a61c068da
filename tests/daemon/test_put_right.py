"""Others write to our table beside the real daemon: who it was is told, and it is put right at once."""

import json
import os
import re
import signal
import time
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.delivery import BlackHole
from droplan_daemon.lab.faults import Deliver, Fault
from droplan_daemon.lapse import GAP
from droplan_daemon.pacing import FREE
from tests.daemon.machine import DROPLETS, PATIENT, PEERS, until
from tests.kernel.listening import Listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from droplan_daemon.model.ruleset import Ruleset
    from tests.daemon.machine import Machine, Running

pytestmark = pytest.mark.kernel

# What somebody does, as nft(8) takes it ($NAME: the handle of that rule), and what is heard of it.
TAMPERING = {
    "everything flushed": ("flush ruleset", "table deleted"),
    "as nftables.conf does it": ("flush ruleset\ntable inet filter { chain input { }; }", "table deleted"),
    "table deleted": ("delete table inet droplan", "table deleted"),
    "table switched off": ("table inet droplan { flags dormant; }", "table changed"),
    "element deleted": ("delete element inet droplan private-peers-4 { 10.10.0.2 }", "element deleted"),
    "element added": ("add element inet droplan private-peers-4 { 192.0.2.66 }", "element added"),
    "set flushed": ("flush set inet droplan private-peers-4", "element deleted"),
    "rule edited": ('replace rule inet droplan private-in handle $denied accept comment "denied"', "rule"),
    "rule inserted": ("insert rule inet droplan private-in accept", "rule added"),
    "rule added": ("add rule inet droplan inbound accept", "rule added"),
    "rule deleted": ("delete rule inet droplan private-in handle $denied", "rule deleted"),
    "rules reordered": (
        """delete rule inet droplan private-in handle $peers
        add rule inet droplan private-in ip saddr @private-peers-4 counter accept comment "peers" """,
        "rule",
    ),
    "chain flushed": ("flush chain inet droplan inbound", "rule deleted"),
    "chain policy": ("chain inet droplan inbound { policy drop; }", "chain changed"),
    "chain added": ("add chain inet droplan mine { type filter hook input priority 0; }", "chain changed"),
    "set added": ("add set inet droplan mine { type ipv4_addr; }", "set added"),
}


@pytest.fixture
def running(machine: "Machine") -> "Running":
    """A daemon that polls once an hour, and does not tire."""
    machine.write(interval="1h")
    made = machine.start(program=PATIENT)
    made.ready()
    return made


@pytest.fixture
def listening(machine: "Machine") -> "Iterator[Listening]":
    """Somebody else who hears what the kernel tells, of everybody's commits."""
    with Listening(machine.namespace, lambda: 0) as made:
        yield made


def _nft(machine: "Machine", script: str) -> None:
    """Run it, with the handles of the rules that it names."""
    if "$" in script:
        listed = machine.namespace.run("nft", "-a", "list", "chain", "inet", "droplan", "private-in")
        for name, handle in re.findall(r'comment "([\w-]+)" # handle (\d+)', listed):
            script = script.replace(f"${name}", handle)
    machine.namespace.run("nft", "-f", "-", text=script)


def _stands(machine: "Machine", desired: "Ruleset | None") -> "Callable[[], bool]":
    return lambda: machine.observe().ruleset == desired


def _fields(line: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line))


@pytest.mark.fault("D12", "D16")
def test_whatever_somebody_does_is_put_right_at_once(
    machine: "Machine", running: "Running", listening: Listening, figure: "Callable[[str], None]"
) -> None:
    """Each kind of tampering: told with who and what, undone without asking anybody, once."""
    desired, asked = machine.observe().ruleset, len(machine.api.paths)
    for number, (name, (script, change)) in enumerate(TAMPERING.items(), start=1):
        _nft(machine, script)
        _repaired(running, number, name)
        until(_stands(machine, desired), what=name)
        detected, repaired = running.lines("tamper.detected")[-1], running.lines("tamper.repaired")[-1]
        assert ("nft", True) == (_fields(detected)["by"], int(_fields(detected)["pid"]) > 1), name
        assert change in _fields(detected)["change"], name
        assert float(_fields(repaired)["ms"]) > 0, name
    assert len(TAMPERING) == len(running.lines("tamper.detected"))
    assert asked == len(machine.api.paths)
    listening.heard(2 * len(TAMPERING))
    took = [_between(listening, number) for number in range(len(TAMPERING))]
    figure(f"tampering to repaired, 3 peers, {len(took)} kinds: median {median(took) * 1000:.1f} ms")
    status = machine.status["tampering"]
    assert isinstance(status, dict)
    assert (len(TAMPERING), "nft", False) == (status["repairs"], status["by"], status["contested"])


def _repaired(running: "Running", count: int, what: str = "") -> None:
    until(lambda: len(running.lines("tamper.repaired")) >= count, what=f"repair: {what}")


def _between(listening: Listening, number: int) -> float:
    """Seconds from the commit of the one to that of the other, as a third saw them."""
    theirs, ours = 2 * number, 2 * number + 1
    assert ("nft", False) == (listening.told[theirs].by, listening.told[ours].by == "nft")
    return listening.times[ours] - listening.times[theirs]


@pytest.mark.fault("D16")
def test_what_others_do_to_their_own_is_nothing(
    machine: "Machine", running: "Running", listening: Listening
) -> None:
    """Tables of others, whatever they are called, cost us no commit and no word."""
    for name in ("filter", "docker", "droplan2"):
        _nft(machine, f"table ip {name} {{ set s {{ type ipv4_addr; }}\nchain c {{ ip saddr @s drop; }}\n}}")
        _nft(machine, f"add element ip {name} s {{ 192.0.2.1 }}")
        _nft(machine, f"delete table ip {name}")
    _nft(machine, "add rule inet droplan inbound accept")
    running.logs("tamper.repaired")
    assert 1 == len(running.lines("tamper.detected"))
    assert ["rule added", "rule deleted"] == [told.change for told in listening.heard(2)]


def test_a_repair_keeps_the_counters_of_what_stayed(machine: "Machine", running: "Running") -> None:
    """Undoing an element or one rule makes no other rule anew."""
    _nft(machine, "replace rule inet droplan private-in handle $peers counter packets 7 bytes 7 accept")
    running.logs("tamper.repaired")
    before = _handles(machine)
    _nft(machine, "flush set inet droplan private-peers-4\nadd rule inet droplan private-in accept")
    _repaired(running, 2)
    assert before == _handles(machine)


def _handles(machine: "Machine") -> list[str]:
    return re.findall(r"# handle \d+", machine.namespace.run("nft", "-a", "list", "table", "inet", "droplan"))


def test_it_waits_for_no_api(machine: "Machine") -> None:
    """While the API does not answer, and the daemon waits for it, a repair is as quick as ever."""
    machine.write(interval="0.2s")
    running = machine.start()
    running.ready()
    desired = machine.observe().ruleset
    machine.cloud.faults.add(Fault(Deliver(BlackHole())))
    machine.polled()
    _nft(machine, "flush ruleset")
    until(_stands(machine, desired))
    running.logs("tamper.repaired")
    assert "by=nft" in running.lines("tamper.detected")[0]
    assert [] == running.lines("api.fetch.failed"), "the poll still waits"


def test_who_fights_back_is_met_with_delays_and_one_alarm(machine: "Machine") -> None:
    """A program that undoes each repair at once: no busy loop, and one alarm that names it."""
    machine.write(interval="1h")
    running = machine.start()
    running.ready()
    end = time.monotonic() + 60
    while not running.lines("tamper.contested") and time.monotonic() < end:
        if machine.observe().ruleset is not None:
            _nft(machine, "flush ruleset")
        time.sleep(0.01)
    assert [FREE + 1] == [int(_fields(line)["repairs"]) for line in running.lines("tamper.contested")]
    times = [datetime.fromisoformat(line.split()[0]) for line in running.lines("tamper.repaired")]
    assert len(times) in {FREE + 1, FREE + 2}  # it may have been flushed, and put right, once more since
    assert (times[FREE] - times[FREE - 1]).total_seconds() > 0.8
    running.says("contested: nft")


@pytest.mark.fault("D15")
def test_a_flood_of_events_is_survived(machine: "Machine", running: "Running") -> None:
    """Somebody writes so much to our table that events are lost: all is looked at, and put right."""
    desired = machine.observe().ruleset
    flood = ",".join(f"100.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000))
    script = f"add set inet droplan flood {{ type ipv4_addr; size 1000000; elements = {{ {flood} }} ; }}"
    running.process.send_signal(signal.SIGSTOP)
    _nft(machine, script)
    running.process.send_signal(signal.SIGCONT)
    running.logs("events.overrun")
    assert "resync=1" in running.lines("events.overrun")[0]
    running.logs("tamper.repaired")
    until(_stands(machine, desired))
    running.logs("events.overrun.over")
    assert 0 == running.end(signal.SIGTERM)


def test_interfaces_are_followed_at_once(machine: "Machine", running: "Running") -> None:
    """A card that gets another name is guarded under it; one that vanishes opens nothing, and is told."""
    run = machine.namespace.run
    asked = len(machine.api.paths)
    run("ip", "link", "set", "eth1", "down")
    run("ip", "link", "set", "eth1", "name", "ens7")
    until(lambda: "ens7" in _inbound(machine), what="the rule for the new name")
    running.logs("host.changed")
    assert 'private="eth1 -> ens7"' in running.lines("host.changed")[-1]
    held = machine.observe().ruleset
    run("ip", "link", "del", "ens7")
    running.logs("host.unknown")
    assert held == machine.observe().ruleset
    far = machine.own.network("private")
    assert far
    run(
        "ip",
        "link",
        "add",
        "eth9",
        "address",
        machine.own.private_mac,
        "type",
        "veth",
        "peer",
        "name",
        "far9",
    )
    run("ip", "address", "add", f"{far.address}/{far.prefix}", "dev", "eth9")
    until(lambda: "eth9" in _inbound(machine), what="the rule for the card that came")
    running.logs("host.unknown.over")
    assert asked == len(machine.api.paths)
    assert machine.addresses(*PEERS) == machine.peers


def _inbound(machine: "Machine") -> str:
    return machine.namespace.run("nft", "list", "chain", "inet", "droplan", "inbound")


def test_interfaces_of_others_are_no_work(
    machine: "Machine", running: "Running", listening: Listening
) -> None:
    """Containers that come and go cost no commit."""
    before = machine.generation
    for number in range(20):
        machine.namespace.run(
            "ip", "link", "add", f"veth{number}", "type", "veth", "peer", "name", f"c{number}"
        )
        machine.namespace.run("ip", "link", "del", f"veth{number}")
    _nft(machine, "add rule inet droplan inbound accept")
    running.logs("tamper.repaired")
    assert [] == running.lines("host.changed")
    assert before + 2 == machine.generation


def test_a_stop_of_the_process_is_made_up_for(machine: "Machine", running: "Running") -> None:
    """What was changed while it could not look is put right when it can again."""
    desired = machine.observe().ruleset
    running.process.send_signal(signal.SIGSTOP)
    _nft(machine, "flush ruleset")
    running.process.send_signal(signal.SIGCONT)
    until(_stands(machine, desired))
    running.logs("tamper.repaired")


@pytest.mark.full
@pytest.mark.fault("F3")
def test_a_long_stop_is_told_and_made_up_for_by_one_poll(machine: "Machine", running: "Running") -> None:
    """Half a minute in which the process could not run: `loop.gap`, one poll, and it goes on."""
    before = machine.api.paths.count(DROPLETS)
    running.process.send_signal(signal.SIGSTOP)
    time.sleep(GAP + 11)  # a wait that has just begun takes ten seconds of it
    running.process.send_signal(signal.SIGCONT)
    running.logs("loop.gap")
    until(lambda: machine.api.paths.count(DROPLETS) > before, what="a poll")
    running.fed(2)
    polls = sum(path == DROPLETS for path in machine.api.paths) - before
    assert (1, True) == (
        len(running.lines("loop.gap")),
        polls <= 2,
    )  # a poll is one page, or two lists of one
    assert 0 == running.end(signal.SIGTERM)


@pytest.mark.fault("D12")
def test_rules_of_iptables_are_put_right_at_once_too(machine: "Machine") -> None:
    """Where iptables speaks to nftables its changes are heard; `iptables -F` takes nothing away for long."""
    machine.write('[firewall]\nbackend = "iptables"\n', interval="1h")
    running = machine.start(program=PATIENT)
    running.ready()
    before = _saved(machine)
    assert any("-A droplan-peers" in line for line in before)
    machine.namespace.run("iptables-nft", "-F")
    running.logs("tamper.repaired")
    assert before == _saved(machine)
    assert "by=iptables" in running.lines("tamper.detected")[0]
    machine.namespace.run("iptables-nft", "-t", "nat", "-A", "PREROUTING", "-j", "ACCEPT")
    machine.namespace.run("ip6tables-nft", "-D", "droplan-peers", "1")
    _repaired(running, 2)
    assert 2 == len(running.lines("tamper.detected"))


def _saved(machine: "Machine") -> list[str]:
    lines = machine.namespace.run("iptables-nft-save", "-t", "filter").splitlines()
    return [line for line in lines if line.startswith("-A")]


def _fleet(machine: "Machine", peers: int) -> "Iterator[dict[str, object]]":
    """What GET /v2/droplets says of web-1 and so many others in its VPC."""
    own = machine.own.network("private")
    assert own
    others = (f"10.{16 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(1, peers + 1))
    for number, address in enumerate([own.address, *others]):
        yield {
            "id": number + 1_000_000 if number else machine.own.id,
            "name": f"app-{number}" if number else "web-1",
            "status": "active",
            "tags": [],
            "region": {"slug": "nyc3"},
            "vpc_uuid": machine.vpc.id,
            "networks": {
                "v4": [
                    {"ip_address": str(address), "type": "private", "netmask": "255.0.0.0", "gateway": None}
                ],
                "v6": [],
            },
        }


SAMPLES = 100 if os.environ.get("DROPLAN_TEST_FULL") else 16


@pytest.mark.fault("D12")
@pytest.mark.timeout(600)
def test_ten_thousand_peers_are_put_right_as_quickly(
    machine: "Machine", figure: "Callable[[str], None]"
) -> None:
    """Each kind of tampering in turns, as somebody outside sees it; `make bench` holds it to its bar."""
    file = machine.folder / "fleet.json"
    file.write_text(json.dumps({"droplets": list(_fleet(machine, 10_000)), "meta": {"total": 10_001}}))
    machine.write(source=f'kind = "file"\npath = "{file}"', interval="1h")
    running = machine.start(program=PATIENT)
    running.ready(seconds=120)
    assert 10_000 == len(machine.peers)
    desired, kinds = machine.observe().ruleset, [script for script, _ in TAMPERING.values()]
    kinds = [script.replace("10.10.0.2", "10.16.0.1") for script in kinds]
    with Listening(machine.namespace, lambda: 0) as listening:
        for number in range(SAMPLES):
            _nft(machine, kinds[number % len(kinds)])
            _repaired(running, number + 1)
        assert desired == machine.observe().ruleset
        listening.heard(2 * SAMPLES)
        took = sorted(_between(listening, number) for number in range(SAMPLES))
    figure(
        f"tampering to repaired, 10,000 peers, {SAMPLES} times: median {median(took) * 1000:.0f} ms, "
        f"slowest {took[-1] * 1000:.0f} ms (bar: 30 and 250 on a quiet machine)"
    )
