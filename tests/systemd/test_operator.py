"""What an operator does with the service, and what he sees: systemctl, journalctl, `droplan status`."""

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.systemd.container import until
from tests.systemd.server import CONFIG, FEW, TOKEN_FILE, spell
from tests.systemd.surroundings import TOKEN, Span

if TYPE_CHECKING:
    from tests.systemd.server import Server

pytestmark = pytest.mark.full

STATE = "/var/lib/private/droplan"
ROTATED = "dop_v1_" + "ab1ec0de" * 8


@pytest.fixture
def enforcing(server: "Server") -> "Server":
    server.enable()
    server.says("enforcing 3 peers")
    return server


def result(server: "Server") -> tuple[str, str]:
    """The state of the service, and the exit code of its main process."""
    return server.show("ActiveState"), server.show("ExecMainStatus")


def test_what_status_and_the_journal_say(enforcing: "Server") -> None:
    """`systemctl status` has the whole sentence; the journal of a start is short, with fields."""
    text = enforcing.box.run("systemctl", "status", "--no-pager", "droplan")
    begin, end = r"enforcing 3 peers \(vpc lab\), last good poll \d+ s ago, ", r"next in \d+ s"
    assert re.search(rf'Status: "{begin}budget [\d,]+/[\d,]+, {end}"', text), text
    assert "enabled" == enforcing.box.run("systemctl", "is-enabled", "droplan", "droplan-restore").split()[1]
    entries = enforcing.journal("_SYSTEMD_UNIT=droplan.service")
    assert 3 <= len(entries) <= 8, [entry["MESSAGE"] for entry in entries]
    assert {"daemon.started", "daemon.ready"} <= {entry.get("DROPLAN_EVENT") for entry in entries}
    assert {"6"} == {entry["PRIORITY"] for entry in entries}, [(e["PRIORITY"], e["MESSAGE"]) for e in entries]


def test_nobody_comes_or_goes_unnoticed(enforcing: "Server") -> None:
    """A Droplet that joins and one that leaves are a line of the journal each, and the rest is silence."""
    begin = len(enforcing.journal("_SYSTEMD_UNIT=droplan.service"))
    more = enforcing.around.world.add_droplet("newcomer", vpc=enforcing.around.vpc.id)
    enforcing.says("enforcing 4 peers")
    enforcing.around.world.destroy_droplet(more.id)
    enforcing.says("enforcing 3 peers")
    lines = [entry["MESSAGE"] for entry in enforcing.journal("_SYSTEMD_UNIT=droplan.service")[begin:]]
    assert 2 == sum("newcomer" in line for line in lines), lines
    assert len(lines) <= 4, lines


@pytest.mark.fault("G2")
def test_stop_and_disable_leave_the_rules(enforcing: "Server") -> None:
    """Stop is success within two seconds and takes nothing away; `droplan status` says that nobody runs."""
    rules = enforcing.rules()
    begin = time.monotonic()
    enforcing.systemctl("disable", "--now", "droplan")
    assert time.monotonic() - begin < 9  # a busy machine takes its time; at ten systemd would kill
    assert ("inactive", "0", "success") == (*result(enforcing), enforcing.show("Result"))
    assert rules == enforcing.rules()
    assert "NOT running" in enforcing.box.attempt("droplan", "status").stdout


def test_a_good_reload(enforcing: "Server") -> None:
    """After `systemctl reload` a new policy is enforced, by the same process."""
    before = enforcing.pid
    enforcing.configure("[private]\nallow_peers = false")
    enforcing.systemctl("reload", "droplan")
    until(lambda: "private-peers-4" not in enforcing.ruleset, 30, lambda: enforcing.ruleset)
    until(lambda: result(enforcing)[0] == "active", 30, "active again")
    assert before == enforcing.pid


@pytest.mark.fault("H2")
def test_a_bad_reload(enforcing: "Server") -> None:
    """A configuration with a mistake is refused with its line; the old one goes on, in the same process."""
    rules, before = enforcing.rules(), enforcing.pid
    enforcing.box.shell(f"echo 'mode = enforced' >> {CONFIG}")
    enforcing.box.attempt("systemctl", "reload", "droplan")
    until(lambda: "config.rejected" in enforcing.log, 30, lambda: enforcing.log)
    enforcing.says("config")
    assert ("active", before) == (enforcing.show("ActiveState"), enforcing.pid)
    assert rules == enforcing.rules()
    enforcing.configure()
    enforcing.systemctl("reload", "droplan")
    until(lambda: "config" not in enforcing.status, 30, lambda: enforcing.status)


@pytest.mark.fault("H1")
def test_a_bad_configuration_at_the_start(enforcing: "Server") -> None:
    """Exit 78, once; the rules stand; the journal names the line; mended, it starts."""
    rules = enforcing.rules()
    enforcing.box.shell(f"echo 'mode = enforced' >> {CONFIG}")
    assert enforcing.box.attempt("systemctl", "restart", "droplan").returncode
    assert ("failed", "78", "0") == (*result(enforcing), enforcing.show("NRestarts"))
    assert re.search(r"config.invalid .*line=\d+", enforcing.log)
    assert rules == enforcing.rules()
    enforcing.configure()
    enforcing.systemctl("start", "droplan")
    enforcing.says("enforcing 3 peers")


@pytest.mark.fault("D1")
def test_without_the_capability(enforcing: "Server") -> None:
    """Exit 77, once, with one line that says so; the rules stand."""
    rules = enforcing.rules()
    enforcing.drop_in("powerless", "[Service]\nCapabilityBoundingSet=\nAmbientCapabilities=\n")
    assert enforcing.box.attempt("systemctl", "restart", "droplan").returncode
    until(lambda: result(enforcing) == ("failed", "77"), 30, lambda: f"{result(enforcing)} {enforcing.log}")
    assert "0" == enforcing.show("NRestarts")
    assert "CAP_NET_ADMIN" in enforcing.log
    assert "kernel.denied" in enforcing.log
    assert rules == enforcing.rules()


@pytest.mark.fault("G4")
def test_a_crash_loop_never_gives_up(enforcing: "Server") -> None:
    """A daemon that dies at once is started again, beyond systemd's own limit; mended, it is back."""
    rules = enforcing.rules()
    crash = "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=100ms\nRestartSteps=0\n"
    enforcing.drop_in("crash", crash)
    enforcing.box.attempt("systemctl", "restart", "droplan")
    until(lambda: int(enforcing.show("NRestarts") or 0) >= 8, 60, lambda: enforcing.show("NRestarts"))
    assert "failed" != result(enforcing)[0]
    assert rules == enforcing.rules()
    enforcing.undo("crash")
    enforcing.ready(60)
    enforcing.says("enforcing 3 peers")


@pytest.mark.fault("G3")
def test_a_hang_ends_by_the_watchdog(enforcing: "Server") -> None:
    """A main process that does not move is replaced; the peer does not notice."""
    enforcing.drop_in("patience", "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=2s\nRestartSec=100ms\n")
    enforcing.systemctl("restart", "droplan")
    record = enforcing.probe()
    begin = spell(record).begin
    before = enforcing.pid
    enforcing.box.shell(f"kill -STOP {before}")
    until(lambda: enforcing.pid not in {0, before}, 60, "another process")
    enforcing.ready()
    span = Span(begin, spell(record).end)
    assert [] == record.lost("peer", span) + record.lost("peer-udp", span)
    assert [] == record.answered("stranger", span)
    assert "result 'watchdog'" in enforcing.log


def test_no_token(server: "Server") -> None:
    """Without a token the service does not start, and one line says what to do; with one it does."""
    server.box.shell(f"rm {TOKEN_FILE}")
    assert server.box.attempt("systemctl", "start", "droplan").returncode
    assert ("failed", "78") == result(server), server.log
    assert "there is no token" in server.log
    assert TOKEN_FILE in server.log
    server.box.write(TOKEN_FILE, f"{TOKEN}\n", 0o600)
    server.systemctl("start", "droplan")
    server.says("enforcing 3 peers")


def test_a_token_with_a_mistake(server: "Server") -> None:
    """A line break inside, or two tokens: said, and the token itself is nowhere."""
    server.box.write(TOKEN_FILE, f"{TOKEN}\n{TOKEN}\n", 0o600)
    assert server.box.attempt("systemctl", "start", "droplan").returncode
    assert ("failed", "78") == result(server), server.log
    assert "line breaks" in server.log
    assert TOKEN not in server.box.run("journalctl", "--no-pager", "--output=json")


@pytest.mark.fault("A9")
def test_token_rotation(enforcing: "Server") -> None:
    """The old token is revoked: said, and the peers stay; the new one and a restart: all is well."""
    record = enforcing.probe()
    begin = spell(record).begin
    enforcing.tokens(ROTATED)
    enforcing.says("token")
    enforcing.box.write(TOKEN_FILE, f"{ROTATED}\n", 0o600)
    enforcing.systemctl("restart", "droplan")
    enforcing.says("enforcing 3 peers")
    until(lambda: "failing" not in enforcing.status, 30, lambda: enforcing.status)
    span = Span(begin, spell(record).end)
    assert len(record.sent("peer", span)) >= FEW
    assert ([], []) == (record.lost("peer", span), record.answered("stranger", span))


@pytest.mark.fault("J5")
def test_the_token_is_nowhere(enforcing: "Server") -> None:
    """Journal, state, status, command lines and environments of all processes have no token."""
    enforcing.tokens()
    enforcing.says("token")
    enforcing.systemctl("--no-block", "reload", "droplan")
    places = f"/run/droplan {STATE} /var/log /run/systemd/units /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    search = f"grep -rlF -f - {places} 2>/dev/null"
    found = enforcing.box.run("sh", "-c", search, text=TOKEN[8:40], check=False)
    assert "" == found
    assert TOKEN not in enforcing.box.run("journalctl", "--no-pager", "--output=json")
    assert TOKEN not in enforcing.box.run("systemctl", "show", "droplan")


def test_a_state_folder_of_the_wrong_owner(enforcing: "Server") -> None:
    """Whoever it belongs to, the service starts, enforces, and saves."""
    enforcing.systemctl("stop", "droplan")
    enforcing.box.shell(f"chown -R 4711:4711 {STATE}; chmod 0755 {STATE}")
    enforcing.systemctl("start", "droplan")
    enforcing.says("enforcing 3 peers")
    more = enforcing.around.world.add_droplet("newcomer", vpc=enforcing.around.vpc.id)
    address = enforcing.around.address(more)
    until(lambda: address in enforcing.box.shell(f"cat {STATE}/ruleset.nft", check=False), 30, "saved")


@pytest.mark.fault("E1")
def test_a_full_disk(enforcing: "Server") -> None:
    """State that cannot be written is said, and enforced all the same; with room again it is saved."""
    enforcing.systemctl("stop", "droplan")
    enforcing.box.shell(f"mount -t tmpfs -o size=4k,mode=0700 tmpfs {STATE}")
    enforcing.box.shell(f"head -c 4096 /dev/zero > {STATE}/full")
    enforcing.systemctl("start", "droplan")
    enforcing.says("enforcing 3 peers")
    until(lambda: "no space left on device" in enforcing.log, 30, lambda: enforcing.log)
    enforcing.box.shell(f"mount -o remount,size=1m {STATE}; rm {STATE}/full")
    until(lambda: enforcing.box.attempt("test", "-s", f"{STATE}/ruleset.nft").returncode == 0, 60, "saved")


@pytest.mark.fault("D12")
def test_somebody_flushes_everything(enforcing: "Server") -> None:
    """`systemctl restart nftables` wipes our table, as Debian's unit does; it is back in a few seconds."""
    rules = enforcing.rules()
    enforcing.systemctl("restart", "nftables")
    until(lambda: enforcing.rules() == rules, 10, lambda: enforcing.ruleset)
    until(lambda: "tamper.repaired" in enforcing.log, 10, lambda: enforcing.log)
    assert "tamper.detected by=nft" in enforcing.log


@pytest.mark.fault("G9")
def test_journald_may_die(enforcing: "Server") -> None:
    """Without a journal the daemon goes on, and with it again it is heard."""
    before = enforcing.pid
    enforcing.systemctl(
        "stop", "systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald"
    )
    enforcing.around.world.add_droplet("newcomer", vpc=enforcing.around.vpc.id)
    enforcing.says("enforcing 4 peers")
    enforcing.systemctl("start", "systemd-journald")
    more = enforcing.around.world.add_droplet("latecomer", vpc=enforcing.around.vpc.id)
    enforcing.says("enforcing 5 peers")
    assert before == enforcing.pid
    until(lambda: more.name in enforcing.log, 30, lambda: enforcing.log)
