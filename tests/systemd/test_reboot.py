"""What a reboot leaves of the rules: law 5 under a real systemd, from power-on to READY."""

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.systemd.container import until
from tests.systemd.server import FEW, spell
from tests.systemd.surroundings import Span

if TYPE_CHECKING:
    from droplan_daemon.lab.netns import Namespace
    from tests.systemd.conftest import MakeServer
    from tests.systemd.server import Server
    from tests.systemd.surroundings import Record

STATE = "/var/lib/private/droplan"
CURRENT = f"{STATE}/ruleset.nft"
PREVIOUS = f"{STATE}/ruleset.1.nft"
RESTORE = "droplan-restore.service"


@pytest.fixture
def enforcing(server: "Server") -> "Server":
    """The service is enabled, in step with the API, and both generations are on disk."""
    server.enable()
    server.says("enforcing 3 peers")
    generations(server)
    return server


def generations(server: "Server") -> None:
    """Let a Droplet come and go, so that a previous generation is there, and wait for the disk."""
    more = server.around.world.add_droplet("passing", vpc=server.around.vpc.id)
    server.says("enforcing 4 peers")
    server.around.world.destroy_droplet(more.id)
    server.says("enforcing 3 peers")
    expected = {server.around.address(peer) for peer in server.around.peers}
    until(lambda: saved(server) == expected, 30, lambda: f"{expected} on disk, not {saved(server)}")
    until(lambda: server.box.attempt("test", "-s", PREVIOUS).returncode == 0, 30, "a previous generation")


def saved(server: "Server") -> "set[str]":
    """The private addresses that the boot script on disk has."""
    text = server.box.shell(f"cat {CURRENT}", check=False)
    return set(re.findall(r"\b10\.[0-9.]+\b", text))


def silent(record: "Record", since: float) -> Span:
    """No stranger got an answer since then; they did ask, and the peer was heard in the end. The time."""
    end = spell(record, "stranger").end
    until(lambda: record.first("peer", since), 60, "the peer gets through")
    span = Span(since, end)
    for name in ("stranger", "stranger-udp"):
        assert len(record.sent(name, span)) >= FEW
        assert [] == record.answered(name, span), name
    return span


def closed(record: "Record", since: float) -> None:
    """Neither the stranger nor the peer got an answer since then, and both asked."""
    span = Span(since, spell(record, "stranger").end)
    for name in ("peer", "peer-udp", "stranger", "stranger-udp"):
        assert len(record.sent(name, span)) >= FEW, name
        assert [] == record.answered(name, span), name


def before_network(server: "Server", unit: str) -> None:
    """This unit had done its work when network-pre.target was reached."""
    done, reached = (
        server.moment("ExecMainExitTimestamp", unit),
        server.moment("ActiveEnterTimestamp", "network-pre.target"),
    )
    assert 0 < done <= reached, (unit, done, reached)


def without_daemon(server: "Server") -> None:
    """From the next boot on the daemon does not start, as if it could not."""
    server.box.shell("systemctl disable -q droplan; systemctl enable -q droplan-restore")


def test_no_gap_through_a_reboot(enforcing: "Server") -> None:
    """From the interface's first moment on the stranger hears nothing, and the peer gets in as before."""
    rules = enforcing.rules()
    record = enforcing.probe()
    spell(record)
    begin = time.monotonic()
    enforcing.box.reboot()
    enforcing.box.booted()
    enforcing.ready()
    silent(record, begin)
    before_network(enforcing, RESTORE)
    assert rules == enforcing.rules()


@pytest.mark.full
def test_no_gap_through_a_power_cut(enforcing: "Server") -> None:
    """The same when nobody could say goodbye."""
    record = enforcing.probe()
    spell(record)
    begin = time.monotonic()
    enforcing.box.power_cut()
    enforcing.boot()
    enforcing.ready()
    silent(record, begin)
    before_network(enforcing, RESTORE)


def test_rules_need_no_python(enforcing: "Server") -> None:
    """With the virtual environment gone the same rules stand after a reboot, and keep standing."""
    rules = enforcing.rules()
    enforcing.box.shell("mv /usr/lib/droplan/venv /usr/lib/droplan/venv.away")
    record = enforcing.probe()
    begin = time.monotonic()
    enforcing.box.reboot()
    enforcing.box.booted()
    silent(record, begin)
    assert rules == enforcing.rules()
    assert 0 == enforcing.pid


@pytest.mark.fault("B7")
def test_ready_without_anybody_to_ask(enforcing: "Server") -> None:
    """API and metadata refuse: READY within 5 s of the start, from the disk; later all is in step again."""
    rules = enforcing.rules()
    enforcing.around.go_silent()
    enforcing.box.reboot()
    enforcing.box.booted()
    enforcing.ready()
    began = enforcing.moment("InactiveExitTimestamp", "droplan.service")
    ready = enforcing.moment("ActiveEnterTimestamp", "droplan.service")
    assert ready - began <= 5, ready - began
    assert "restored" in enforcing.status
    assert rules == enforcing.rules()
    enforcing.around.serve()
    enforcing.says("enforcing 3 peers")


@pytest.mark.full
@pytest.mark.fault("E5")
def test_a_damaged_ruleset_gives_way_to_the_one_before(enforcing: "Server") -> None:
    """One byte of the current boot script is wrong: the generation before it is loaded, and that is said."""
    without_daemon(enforcing)
    enforcing.box.shell(f"printf x >> {CURRENT}")
    enforcing.box.reboot()
    enforcing.box.booted()
    said = enforcing.log
    assert "state.rejected reason=checksum file=/var/lib/droplan/ruleset.nft" in said
    assert re.search(r"boot.restored .*file=/var/lib/droplan/ruleset\.1\.nft", said)
    assert "private-peers-4" in enforcing.ruleset
    before_network(enforcing, RESTORE)


@pytest.mark.full
@pytest.mark.parametrize("how", ["damaged", "gone", "refused", "killed"])
@pytest.mark.fault("E5", "G11")
def test_nothing_usable_closes_the_private_interface(enforcing: "Server", how: str) -> None:
    """All state damaged, or gone, or the restoring unit cannot run: closed before the network is up."""
    without_daemon(enforcing)
    unit = RESTORE
    if how == "damaged":
        enforcing.box.shell(f"for f in {STATE}/*; do printf x >> $f; done")
    elif how == "gone":
        enforcing.box.shell(f"rm -rf {STATE}/*")
    else:
        broken = (
            "RootDirectory=/nowhere"
            if how == "refused"
            else "ExecStart=\nExecStart=/bin/sh -c 'kill -9 $$$$'"
        )
        enforcing.drop_in("broken", f"[Service]\n{broken}\n", RESTORE)
        unit = "droplan-closed.service"
    record = enforcing.probe()
    spell(record)
    with enforcing.box.off():
        begin = time.monotonic()
    enforcing.box.booted()
    closed(record, begin)
    before_network(enforcing, unit)
    assert "closed by droplan" in enforcing.ruleset


@pytest.mark.full
def test_a_closed_machine_opens_to_its_peers_without_a_gap(enforcing: "Server") -> None:
    """Closed at boot for want of state, the daemon takes over: the stranger is never heard."""
    enforcing.box.shell(f"systemctl stop droplan; rm -rf {STATE}/*")
    record = enforcing.probe()
    spell(record)
    begin = time.monotonic()
    enforcing.box.reboot()
    enforcing.box.booted()
    enforcing.ready()
    silent(record, begin)
    assert "boot.closed" in enforcing.log


@pytest.mark.full
def test_open_is_open_when_the_operator_says_so(enforcing: "Server") -> None:
    """`without_checkpoint = "open"`: with nothing on disk nothing is enforced, and the journal says so."""
    without_daemon(enforcing)
    enforcing.configure('[boot]\nwithout_checkpoint = "open"')
    enforcing.box.shell(f"rm -rf {STATE}/*")
    enforcing.box.reboot()
    enforcing.box.booted()
    assert [] == enforcing.rules()
    assert "boot.open reason=open" in enforcing.log


@pytest.mark.full
def test_a_clone_does_not_enforce_its_originals_rules(enforcing: "Server") -> None:
    """Other MACs, the same disk: the saved rules are refused, the private interface is closed."""
    without_daemon(enforcing)
    with enforcing.box.off():
        enforcing.macs = ("02:00:00:00:00:11", "02:00:00:00:00:12")
    enforcing.box.booted()
    assert "state.rejected reason=machine" in enforcing.log
    assert "closed by droplan" in enforcing.ruleset


@pytest.mark.full
@pytest.mark.fault("A21")
def test_a_clone_finds_itself(enforcing: "Server") -> None:
    """The daemon on a clone, with API and metadata silent, does not take its original's rules for its own."""
    enforcing.around.go_silent()
    with enforcing.box.off():
        enforcing.macs = ("02:00:00:00:00:11", "02:00:00:00:00:12")
        begin = time.monotonic()
    record = enforcing.probe()
    networkd = "systemd-networkd.service"
    until(lambda: enforcing.show("ActiveState", networkd) == "active", 30, "the network is up")
    closed(record, begin)
    assert "activating" == enforcing.show("ActiveState")


@pytest.mark.fault("B7")
@pytest.mark.full
def test_no_network_for_a_while(enforcing: "Server") -> None:
    """Booted with no network at all, it is ready from the disk; when the network comes, it is in step."""
    enforcing.box.shell("systemctl disable -q systemd-networkd.service systemd-networkd.socket")
    enforcing.box.reboot()
    enforcing.box.booted()
    enforcing.ready()
    assert "restored" in enforcing.status
    record = enforcing.probe()
    begin = time.monotonic()
    enforcing.systemctl("start", "systemd-networkd")
    enforcing.says("enforcing 3 peers", 60)
    silent(record, begin)


@pytest.mark.full
def test_cards_that_come_late(enforcing: "Server") -> None:
    """Interfaces that appear after the boot are guarded from their first moment."""
    wire = enforcing.box.wire
    later: list[Namespace] = []
    with enforcing.box.off():
        enforcing.box.wire = later.append
    enforcing.box.booted()
    record = enforcing.probe()
    begin = time.monotonic()
    wire(later[0])
    silent(record, begin)
    enforcing.says("enforcing 3 peers", 60)


@pytest.mark.full
@pytest.mark.fault("F2")
def test_a_clock_at_1970(enforcing: "Server") -> None:
    """Without a clock the rules are restored, READY comes, TLS fails and is named; with one all is well."""
    rules = enforcing.rules()
    for unit in ("droplan.service", RESTORE):
        library = enforcing.box.shell("ls /usr/lib/*/faketime/libfaketime.so.1").strip()
        lines = (
            f"Environment=LD_PRELOAD={library}",
            'Environment="FAKETIME=@1970-01-01 00:00:20"',
            "Environment=FAKETIME_DISABLE_SHM=1",
        )
        enforcing.drop_in("clock", "\n".join(("[Service]", *lines, "")), unit)
    enforcing.box.reboot()
    enforcing.box.booted()
    enforcing.ready()
    enforcing.says("certificate")
    assert rules == enforcing.rules()
    assert "boot.restored" in enforcing.log
    until(lambda: "clock.suspect" in enforcing.log, 30, lambda: enforcing.log)
    enforcing.undo("clock")
    enforcing.systemctl("restart", "droplan")
    enforcing.says("enforcing 3 peers")


@pytest.mark.full
def test_ten_thousand_peers_are_back_in_time(make_server: "MakeServer") -> None:
    """The restoring unit is done 300 ms after its start: the best of three boots, on a busy machine, too."""
    server = make_server(peers=10_000).boot()
    server.enable()
    server.says("enforcing 10,000 peers", 60)
    until(lambda: server.box.attempt("test", "-s", CURRENT).returncode == 0, 60, "the ruleset on disk")
    took = []
    for _ in range(3):
        server.box.reboot()
        server.box.booted()
        began, done = (server.moment(f"ExecMain{key}Timestamp", RESTORE) for key in ("Start", "Exit"))
        took.append(done - began)
        assert server.around.address(server.around.peers[-1]) in server.ruleset
    assert min(took) <= 0.3, took
