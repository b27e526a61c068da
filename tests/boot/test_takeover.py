"""From boot to a ready daemon and on: every packet is judged, by one ruleset or by the next."""

import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.boot.booting import LIBRARY, PATH, RESTORE, sealed
from tests.boot.probing import Prober
from tests.daemon.machine import PEERS, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel


@pytest.fixture
def droplet(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Machine]":
    """web-1 of the lab, in a namespace of its own."""
    with Machine(namespace, tmp_path) as made:
        yield made


@pytest.mark.fault("G1", "G6")
def test_a_restored_ruleset_is_taken_over_without_a_packet(droplet: Machine) -> None:
    """Boot, start, reload, SIGKILL, start, boot's script again and again: the peer loses nothing."""
    _saved(droplet)
    assert "boot.restored" in _boot(droplet)
    with _probing(droplet) as prober:
        prober.more()
        running = droplet.start()
        running.ready()
        prober.more()
        droplet.write("[log]\ndenied = 'off'")
        running.process.send_signal(signal.SIGHUP)
        running.ready(2)
        prober.more()
        running.end(signal.SIGKILL)
        prober.more()
        droplet.start(log="log-2").ready()
        for _ in range(10):
            assert "boot.restored" in _boot(droplet)
            prober.more(1)
    assert (prober.sent, 0) == (prober.peers, prober.strangers)


def test_a_closed_interface_opens_to_peers_and_to_nobody_else(droplet: Machine) -> None:
    """Nobody before the daemon is ready, the peers after it, the stranger never; nothing of it remains."""
    assert "boot.closed" in _boot(droplet)
    with _probing(droplet) as prober:
        prober.more()
        assert 0 == prober.peers
        droplet.start().ready()
        before = prober.peers
        prober.more()
        assert prober.peers > before
    assert 0 == prober.strangers
    assert droplet.addresses(*PEERS) == droplet.peers
    ruleset = droplet.observe().ruleset
    assert ruleset is not None
    assert ("closed" in ruleset.chains, "closed" in ruleset.comment) == (False, False)


def test_the_prober_sees_a_gap(droplet: Machine) -> None:
    """What these tests would miss otherwise: with the table gone for a moment the stranger is in."""
    _saved(droplet)
    _boot(droplet)
    with _probing(droplet) as prober:
        prober.more()
        assert 0 == prober.strangers
        droplet.namespace.run("nft", "delete", "table", "inet", "droplan")
        prober.more()
        _boot(droplet)
    assert prober.strangers > 0


@contextmanager
def _probing(droplet: Machine) -> "Iterator[Prober]":
    (peer,) = droplet.addresses("web-2")
    with Prober(droplet, peer) as prober:
        yield prober
        prober.stop()


def _saved(droplet: Machine) -> None:
    """The boot script that a daemon of yesterday left."""
    shown = droplet.droplan("show")
    assert 0 == shown.returncode, shown.stderr
    body = shown.stdout[shown.stdout.index("table inet droplan\n") :]
    state = droplet.folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    links = (("eth1", droplet.own.private_mac),)
    (state / "ruleset.nft").write_bytes(sealed(body, droplet=droplet.own.id, links=links))


def _boot(droplet: Machine) -> str:
    done = droplet.namespace.call(
        subprocess.run,
        ["/bin/sh", str(RESTORE)],
        env={
            "PATH": PATH,
            "LIBRARY": str(LIBRARY),
            "SYSTEM": str(droplet.folder / "no-sys"),
            "CONFIG": str(droplet.config),
            "STATE_DIRECTORY": str(droplet.folder / "state"),
        },
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    return str(done.stderr)
