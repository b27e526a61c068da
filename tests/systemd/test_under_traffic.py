"""A prober never stops, whatever happens to the daemon: the peer is heard and the stranger is not."""

import time
from typing import TYPE_CHECKING

import pytest

from tests.systemd.container import until
from tests.systemd.server import FEW, spell
from tests.systemd.surroundings import Record, Span

if TYPE_CHECKING:
    from tests.systemd.server import Server


def judged(record: Record, span: Span) -> None:
    """In this time everybody probed; the peer lost nothing and the stranger got nothing."""
    for name in ("peer", "peer-udp", "stranger", "stranger-udp"):
        assert len(record.sent(name, span)) >= FEW, name
    lost = {name: record.lost(name, span) for name in ("peer", "peer-udp")}
    got = {name: record.answered(name, span) for name in ("stranger", "stranger-udp")}
    assert ({"peer": [], "peer-udp": []}, {"stranger": [], "stranger-udp": []}) == (lost, got)


@pytest.mark.fault("G2", "G6")
def test_the_daemons_life_is_not_felt(server: "Server") -> None:
    """From the first enforcement on: reload, restart, SIGKILL, stop and start cost no peer a packet."""
    record = server.probe()
    until(lambda: record.first("peer") and record.first("stranger"), 30, "everybody gets through at first")
    server.enable()
    begin = time.monotonic()
    spell(record)
    server.systemctl("reload", "droplan")
    spell(record)
    server.systemctl("restart", "droplan")
    spell(record)
    before = server.pid
    server.systemctl("kill", "--signal=KILL", "--kill-whom=main", "droplan")
    until(lambda: server.pid not in {0, before}, 60, "a new process after SIGKILL")
    server.ready()
    spell(record)
    server.systemctl("stop", "droplan")
    spell(record)
    server.systemctl("start", "droplan")
    judged(record, Span(begin, spell(record).end))
