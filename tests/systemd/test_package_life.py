"""The Debian package on a Debian that runs: installed, used, upgraded, downgraded, removed, purged."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from droplan_daemon import __version__
from tests.systemd.container import until
from tests.systemd.packages import LATER, packages
from tests.systemd.program import bare
from tests.systemd.server import FEW, TOKEN_FILE, Server, spell
from tests.systemd.surroundings import TOKEN, Record, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.systemd.roots import Layer

pytestmark = pytest.mark.full


@pytest.fixture
def fresh(release: str, root: "Callable[[Layer], tuple[Path, ...]]", tmp_path: "Path") -> "Iterator[Server]":
    """A booted Debian without droplan, with /root/old.deb and /root/new.deb."""
    folder = root(packages(release))[0]
    with ExitStack() as held:
        server = held.enter_context(Server(root(bare(release)), tmp_path, configured=False))
        for name in ("old.deb", "new.deb"):
            server.box.place(f"/root/{name}", (folder / name).read_bytes())
        yield server.boot()


@pytest.fixture
def enforcing(fresh: Server) -> Server:
    """The same with the package installed, configured and enabled."""
    dpkg(fresh, "--install", "/root/old.deb")
    settle(fresh)
    return fresh


def dpkg(server: Server, *words: str) -> str:
    return server.box.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *words)


def settle(server: Server) -> None:
    """What the message of the package says: a token, then enable; here with the address of the API, too."""
    server.box.write(TOKEN_FILE, f"{TOKEN}\n", 0o600)
    server.configure()
    server.enable()
    server.says("enforcing 3 peers")


def unharmed(record: Record, begin: float) -> None:
    """From then until now the peer lost nothing and the stranger got nothing."""
    span = Span(begin, spell(record).end)
    for name in ("peer", "peer-udp", "stranger", "stranger-udp"):
        assert len(record.sent(name, span)) >= FEW
    assert ([], []) == (record.lost("peer", span), record.lost("peer-udp", span))
    assert ([], []) == (record.answered("stranger", span), record.answered("stranger-udp", span))


def test_installing_enforces_nothing(fresh: Server) -> None:
    """Installed it neither runs nor is enabled, and says how to go on, as does a start without a token."""
    said = dpkg(fresh, "--install", "/root/old.deb")
    assert "systemctl enable --now droplan" in said
    for word, expected in (("is-enabled", "disabled"), ("is-active", "inactive")):
        assert expected == fresh.box.attempt("systemctl", word, "droplan").stdout.strip()
    assert [] == fresh.rules()
    assert fresh.box.attempt("systemctl", "start", "droplan").returncode
    assert "there is no token" in fresh.log
    settle(fresh)


@pytest.mark.fault("G6")
def test_upgrade_and_downgrade_are_not_felt(enforcing: Server) -> None:
    """Another version takes over under traffic, and back again; each time another process, no packet lost."""
    record = enforcing.probe()
    begin = spell(record).begin
    for name, version in (("new", LATER), ("old", __version__)):
        before = enforcing.pid
        dpkg(enforcing, "--force-downgrade", "--install", f"/root/{name}.deb")
        until(lambda before=before: enforcing.pid not in {0, before}, 30, "another process")  # type: ignore[misc]
        enforcing.says("enforcing 3 peers")
        assert version in dpkg(enforcing, "--status", "droplan")
    unharmed(record, begin)


def test_a_reboot_after_an_upgrade(enforcing: Server) -> None:
    """What the old version saved is restored after an upgrade to the new one, before anybody gets in."""
    dpkg(enforcing, "--install", "/root/new.deb")
    record = enforcing.probe()
    spell(record)
    with enforcing.box.off():
        begin = time.monotonic()
    enforcing.box.booted()
    enforcing.ready()
    span = Span(begin, spell(record).end)
    assert len(record.sent("stranger", span)) >= FEW
    assert [] == record.answered("stranger", span) + record.answered("stranger-udp", span)
    assert "boot.restored" in enforcing.log


def test_removed_and_purged(enforcing: Server) -> None:
    """Removing takes the rules away and leaves the configuration; purging leaves nothing."""
    record = enforcing.probe()
    spell(record)
    dpkg(enforcing, "--remove", "droplan")
    removed = time.monotonic()
    assert [] == enforcing.rules()
    until(lambda: record.first("stranger", removed), 30, "everybody gets in again")
    enforcing.box.shell(f"test -s {TOKEN_FILE}")
    enforcing.box.reboot()
    enforcing.box.booted()
    assert [] == enforcing.rules()
    enforcing.box.shell("rm /etc/droplan/ca.pem")
    dpkg(enforcing, "--purge", "droplan")
    places = "/etc /var/lib /usr/lib /usr/bin /lib/systemd /run"
    left = enforcing.box.shell(
        f"find {places} -xdev -iname '*droplan*' ! -path '/run/systemd/*'", check=False
    )
    assert "" == left
    assert "running" == enforcing.box.state


def test_removed_from_a_host_of_iptables(enforcing: Server) -> None:
    """Rules of iptables, sets and all, go as well when the package does; the operator's own stay."""
    drop_in = "/etc/systemd/system/droplan.service.d"
    enforcing.box.shell(f"install -D -m 0644 -t {drop_in} /usr/lib/droplan/iptables.conf")
    enforcing.systemctl("daemon-reload")
    before = enforcing.box.shell("iptables -A INPUT -p tcp --dport 8080 -j ACCEPT; iptables -S; ip6tables -S")
    enforcing.configure('[firewall]\nbackend = "iptables"\n')
    enforcing.systemctl("restart", "droplan")
    enforcing.says("enforcing 3 peers")
    assert "-j droplan-peers" in enforcing.box.run("iptables", "-S")
    dpkg(enforcing, "--remove", "droplan")
    assert before == enforcing.box.shell("iptables -S; ip6tables -S")
    assert "" == enforcing.box.run("ipset", "list", "-n")


def test_no_room_for_the_new_version(enforcing: Server) -> None:
    """An upgrade for which the disk is too small fails and harms nothing; with room it works."""
    rules = enforcing.rules()
    record = enforcing.probe()
    begin = spell(record).begin
    place = "/usr/lib/droplan"
    enforcing.box.shell(
        f"cp -a {place} /root/copy; mount -t tmpfs -o mode=0755 tmpfs {place}; cp -a /root/copy/. {place};"
        f"mount -o remount,size=$(( $(du -sk {place} | cut -f1) + 200 ))k {place}"
    )
    assert enforcing.box.attempt("dpkg", "--install", "/root/new.deb").returncode
    assert rules == enforcing.rules()
    unharmed(record, begin)
    enforcing.box.shell(f"mount -o remount,size=200m {place}")
    dpkg(enforcing, "--install", "/root/new.deb")
    enforcing.says("enforcing 3 peers")
    unharmed(record, begin)


def test_another_python_under_it(enforcing: Server) -> None:
    """The interpreter is gone, as after an upgrade of Debian: said in a line, and boot restores the rules."""
    rules = enforcing.rules()
    enforcing.box.shell("mv /usr/bin/$(readlink /usr/bin/python3) /root/")
    done = enforcing.box.attempt("droplan", "status")
    assert (78, 1) == (done.returncode, len(done.stdout.splitlines())), done.stdout
    enforcing.box.reboot()
    until(lambda: enforcing.show("ActiveState") == "failed", 60, lambda: enforcing.log)
    assert "78" == enforcing.show("ExecMainStatus")
    assert rules == enforcing.rules()
    enforcing.box.shell("mv /root/python3.* /usr/bin/")
    enforcing.systemctl("start", "droplan")
    enforcing.says("enforcing 3 peers")


def test_the_newcomers_way(fresh: Server) -> None:
    """Install, token, enable; break the configuration, mend it; reboot; upgrade; remove: always told so."""
    dpkg(fresh, "--install", "/root/old.deb")
    settle(fresh)
    fresh.box.shell("echo 'mode = enforced' >> /etc/droplan/droplan.toml")
    done = fresh.box.attempt("droplan", "check")
    assert 78 == done.returncode
    assert "/etc/droplan/droplan.toml:7:" in done.stdout
    fresh.box.attempt("systemctl", "reload", "droplan")
    until(lambda: "config.rejected" in fresh.log, 30, lambda: fresh.log)
    fresh.configure()
    fresh.systemctl("reload", "droplan")
    fresh.says("enforcing 3 peers")
    fresh.box.reboot()
    fresh.box.booted()
    fresh.ready()
    dpkg(fresh, "--install", "/root/new.deb")
    fresh.says("enforcing 3 peers")
    assert LATER in dpkg(fresh, "--status", "droplan")
    dpkg(fresh, "--remove", "droplan")
    assert [] == fresh.rules()
