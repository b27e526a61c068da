"""An emulated account, served on loopback, for the tests of the lab."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.server import LabServer, serving
from droplan_daemon.lab.world import World

# 2026-01-02T03:04:05Z
STARTED = 1_767_323_045.0


@pytest.fixture
def world() -> World:
    """Two peered VPCs, 45 ordinary Droplets in one and two in the other, one GPU Droplet."""
    account = World(clock=lambda: STARTED)
    home = account.add_vpc("home", region="nyc3", ip_range="10.10.0.0/20")
    away = account.add_vpc("away", region="fra1", ip_range="10.20.0.0/20")
    account.peer(home.id, away.id, name="home-to-away")
    for number in range(45):
        account.add_droplet(f"web-{number}", vpc=home.id, tags=("web", "env:prod"), ipv6="auto")
    account.add_droplet("db-1", vpc=away.id, tags=("db",))
    account.add_droplet("db-2", vpc=away.id, public=None)
    account.add_droplet("trainer", vpc=home.id, tags=("web",), gpu=True)
    return account


@pytest.fixture
def cloud(world: World) -> DigitalOcean:
    """The account behind tokens, limits and faults."""
    return DigitalOcean(world)


@pytest.fixture
def server(cloud: DigitalOcean) -> Iterator[LabServer]:
    """The account on loopback, over plain HTTP."""
    served = LabServer(cloud)
    with serving(served):
        yield served


@pytest.fixture
def client(server: LabServer, cloud: DigitalOcean) -> Iterator[httpx.Client]:
    """A client that knows the account's full token."""
    headers = {"authorization": f"Bearer {cloud.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=5, trust_env=False) as made:
        yield made


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Path]:
    """A certificate authority, and the file that its certificate is in."""
    made = Authority()
    return made, made.write(tmp_path_factory.mktemp("ca") / "ca.pem")
