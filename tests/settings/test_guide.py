"""The guide's three servers do what the guide says of them."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Direction
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.policy.explain import Packet, explain
from droplan_daemon.policy.warnings import everywhere

if TYPE_CHECKING:
    from .conftest import Loading

GUIDE = Path(__file__).parents[2] / "docs" / "policy.md"
(THREE,) = re.findall(r"## Three servers\n.*?```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def _droplet(number: int, name: str, *tags: str) -> Droplet:
    private, public = (parse_address(f"{net}.{number}") for net in ("10.10.0", "198.51.100"))
    return Droplet(number, name, tags, "nyc3", "home", (private,), (public,))


SERVERS = {
    d.name: d for d in (_droplet(1, "bastion"), _droplet(2, "web-1", "web"), _droplet(3, "db-1", "db"))
}
FLEET = Fleet(tuple(SERVERS.values()))
OFFICE, WORLD, STRANGER = "203.0.113.9", "192.0.2.1", "10.10.0.99"
PRIVATE, PUBLIC = InterfaceKind.PRIVATE, InterfaceKind.PUBLIC

VERDICTS = [
    (WORLD, "web-1", 443, "website"),
    (WORLD, "web-1", 22, "denied"),
    (WORLD, "db-1", 443, "denied"),
    (WORLD, "bastion", 22, "denied"),
    (OFFICE, "bastion", 22, "ssh to the bastion"),
    (OFFICE, "web-1", 22, "denied"),
    ("bastion", "web-1", 22, "ssh from the bastion"),
    ("bastion", "db-1", 22, "ssh from the bastion"),
    ("bastion", "db-1", 3306, "denied"),
    ("web-1", "db-1", 3306, "database"),
    ("web-1", "db-1", 22, "denied"),
    ("db-1", "web-1", 80, "denied"),
    (STRANGER, "db-1", 3306, "denied"),
]


@pytest.mark.parametrize(("sender", "receiver", "port", "rule"), VERDICTS)
def test_the_three_servers_of_the_guide(
    loaded: "Loading", sender: str, receiver: str, port: int, rule: str
) -> None:
    """Who reaches whom is what the guide says in words."""
    own = SERVERS[receiver]
    near = sender in SERVERS or sender == STRANGER
    address = SERVERS[sender].private[0] if sender in SERVERS else parse_address(sender)
    packet = Packet(Direction.INBOUND, PRIVATE if near else PUBLIC, address, Protocol.TCP, port, 40000)
    policy = loaded(THREE).policy
    assert rule == explain(policy, FLEET, Host(own.id, "eth1", "eth0"), own, packet).rule


def test_the_guides_policy_fits_its_fleet(loaded: "Loading") -> None:
    """Over the three servers nothing of the policy is left over."""
    assert () == everywhere(loaded(THREE).policy, FLEET)
