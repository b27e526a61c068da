"""A host that lives with iptables, under a real systemd: laws 4, 5 and 7, and the tutorial's own checks."""

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.systemd.container import until
from tests.systemd.server import FEW, Server, spell
from tests.systemd.surroundings import Record, Span

if TYPE_CHECKING:
    from tests.systemd.conftest import MakeServer

pytestmark = pytest.mark.full

STATE = "/var/lib/droplan"
IPTABLES = '[firewall]\nbackend = "iptables"\n'
MINE = "-A INPUT -p tcp -m tcp --dport 8080 -m comment --comment mine -j ACCEPT"


@pytest.fixture(params=["ipset", "plain"])
def host(request: pytest.FixtureRequest, make_server: "MakeServer") -> Server:
    """iptables-persistent, a rule of the operator's own, and droplan with this backend."""
    server = make_server(persistent=True).boot()
    prepare(server)
    server.configure(IPTABLES + ("" if request.param == "ipset" else "ipset = false\n"))
    server.enable()
    server.says("enforcing 3 peers")
    on_disk(server)
    return server


def prepare(server: Server) -> None:
    """What the manual says to do for iptables; and a rule that is not ours, saved."""
    drop_in = "/etc/systemd/system/droplan.service.d"
    server.box.shell(f"install -D -m 0644 -t {drop_in} /usr/lib/droplan/iptables.conf")
    server.systemctl("daemon-reload")
    server.box.shell(f"iptables {MINE}; netfilter-persistent save")


def on_disk(server: Server) -> None:
    """The boot script is saved."""
    saved = f"{STATE}/ruleset.iptables"
    until(lambda: server.box.attempt("test", "-s", saved).returncode == 0, 30, lambda: server.log)


def rules(server: Server) -> list[str]:
    """The whole filter table of both families and the sets' members, without counters."""
    text = server.box.shell("iptables-save -t filter; ip6tables-save -t filter; ipset save")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    plain = (re.sub(r" ?\[\d+:\d+\]|(initval|bucketsize|timeout) \S+ ?", "", line) for line in lines)
    return sorted(line.strip() for line in plain)


def unharmed(record: Record, begin: float, *, peers: bool = True) -> None:
    """From then until now the stranger got nothing; and the peer lost nothing."""
    span = Span(begin, spell(record).end)
    for name in ("peer", "peer-udp", "stranger", "stranger-udp"):
        assert len(record.sent(name, span)) >= FEW, name
    assert ([], []) == (record.answered("stranger", span), record.answered("stranger-udp", span))
    if peers:
        assert ([], []) == (record.lost("peer", span), record.lost("peer-udp", span))


def through_a_reboot(server: Server) -> None:
    """Off and on again; the stranger is never heard, the peer in the end."""
    record = server.probe()
    spell(record)
    with server.box.off():
        begin = time.monotonic()
    server.box.booted()
    until(lambda: record.first("peer", begin), 30, lambda: server.log)
    unharmed(record, begin, peers=False)


def test_the_daemons_life_is_not_felt(host: Server) -> None:
    """Law 4: reload, restart, SIGKILL, stop and start leave the rules; no peer loses a packet."""
    record = host.probe()
    begin = spell(record).begin
    before = rules(host)
    host.systemctl("reload", "droplan")
    host.systemctl("restart", "droplan")
    pid = host.pid
    host.systemctl("kill", "--signal=KILL", "--kill-whom=main", "droplan")
    until(lambda: host.pid not in {0, pid}, 60, "a new process after SIGKILL")
    host.ready()
    host.systemctl("stop", "droplan")
    assert before == rules(host)
    host.systemctl("start", "droplan")
    unharmed(record, begin)
    assert before == rules(host)


def test_the_tutorials_checks(host: Server) -> None:
    """Laws 5 and 7: `iptables -L -v`, reboot, look again: the same rules, and the operator's beside them."""
    text = host.box.run("iptables", "-L", "-v")
    assert re.search(r"droplan-peers +\S+ +-- +eth1 +any +anywhere +anywhere", text), text
    assert "Chain droplan-peers (1 references)" in text
    before = rules(host)
    assert 1 == before.count(MINE)
    through_a_reboot(host)
    host.ready()
    assert "boot.restored" in host.log
    until(lambda: rules(host) == before, 10, lambda: f"{before}\n{rules(host)}")


def test_plain_rules_look_as_they_always_did(make_server: "MakeServer") -> None:
    """Without ipset: one ACCEPT for each peer in droplan-peers, and a DROP at the end."""
    server = make_server(persistent=True, peers=2).boot()
    prepare(server)
    server.configure(f"{IPTABLES}ipset = false\n")
    server.enable()
    server.says("enforcing 2 peers")
    text = server.box.run("iptables", "-n", "-L", "droplan-peers")
    for peer in server.around.peers:
        assert re.search(rf"ACCEPT +(all|0) +-- +{server.around.address(peer)} +0\.0\.0\.0/0", text), text
    assert text.strip().splitlines()[-1].startswith("DROP")


def test_what_iptables_persistent_restores(host: Server) -> None:
    """Without droplan's own boot unit, the distribution's brings back the same rules and sets."""
    before = rules(host)
    saved = "grep -q droplan-peers /etc/iptables/rules.v4"
    until(lambda: host.box.attempt("sh", "-c", saved).returncode == 0, 30, lambda: host.log)
    host.box.shell("systemctl disable -q droplan droplan-restore")
    through_a_reboot(host)
    assert before == rules(host)


def test_moving_between_backends(make_server: "MakeServer") -> None:
    """From nftables to iptables and back, under traffic: no gap, and nothing of the other is left."""
    server = make_server(persistent=True).boot()
    prepare(server)
    server.configure('[firewall]\nbackend = "nftables"\n')
    server.enable()
    record = server.probe()
    begin = spell(record).begin
    plain = rules(server)
    server.configure(IPTABLES)
    server.systemctl("reload", "droplan")
    until(lambda: not server.rules(), 30, lambda: server.log)
    assert any("droplan-peers" in line for line in rules(server))
    spell(record)
    server.configure('[firewall]\nbackend = "nftables"\n')
    server.systemctl("reload", "droplan")
    until(lambda: rules(server) == plain, 30, lambda: f"{server.log}\n{rules(server)}")
    assert server.rules()
    unharmed(record, begin)


def test_nothing_usable_closes_the_private_interface(host: Server) -> None:
    """No state at boot: closed by iptables, before the network is up, until the daemon knows its fleet."""
    host.box.shell(f"systemctl stop droplan; rm -rf {STATE}/*; netfilter-persistent flush; iptables {MINE}")
    host.box.shell("ipset destroy; netfilter-persistent save")
    through_a_reboot(host)
    host.ready()
    assert "boot.closed" in host.log
    assert "by=iptables" in host.log
    assert 1 == rules(host).count(MINE)
