"""An emulated account for sources to poll."""

from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.digitalocean import DigitalOcean as Cloud
from droplan_daemon.lab.world import World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world() -> World:
    """Two peered VPCs, four ordinary Droplets and a GPU one."""
    made = World()
    lab = made.add_vpc("lab", ip_range="10.10.0.0/20")
    far = made.add_vpc("far", ip_range="10.20.0.0/20", region="fra1")
    made.peer(lab.id, far.id)
    for name, tags in (("tunnel-1", ("bastion",)), ("web-1", ("Web", "env:prod")), ("web-2", ("web",))):
        made.add_droplet(name, vpc=lab.id, tags=tags, ipv6="auto")
    made.add_droplet("db-1", vpc=far.id, public=None)
    made.add_droplet("gpu-1", vpc=lab.id, gpu=True)
    return made


@pytest.fixture
def cloud(world: World) -> Cloud:
    """The API of that account."""
    return Cloud(world)


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A certificate authority that nobody trusts by himself."""
    return Authority()


@pytest.fixture
def ca_file(authority: Authority, tmp_path: "Path") -> "Path":
    """Its certificate, to trust it."""
    return authority.write(tmp_path / "ca.pem")
