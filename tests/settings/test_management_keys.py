"""`[management]`: how one gets at a Droplet oneself."""

from typing import TYPE_CHECKING

import pytest

from droplan_daemon.model.policy import Management, PortProtocol, Ports

if TYPE_CHECKING:
    from .conftest import Faults, Loading

SSH = Ports(PortProtocol.TCP, 22, 22)


def test_ssh_is_the_way_in_unless_the_file_says_otherwise(loaded: "Loading") -> None:
    """An empty file means port 22, and that somebody must be able to reach it."""
    assert Management((SSH,), required=True) == loaded("").policy.management


def test_other_ports_and_no_way_in_at_all(loaded: "Loading") -> None:
    """Ports may be several, ranges, and of udp; each counts once; `required = false` closes all of them."""
    text = "[management]\nports = ['2222/tcp', '60000-61000/udp', '2222/tcp']\nrequired = false"
    mosh = Ports(PortProtocol.UDP, 60_000, 61_000)
    expected = Management((Ports(PortProtocol.TCP, 2222, 2222), mosh), required=False)
    assert expected == loaded(text).policy.management


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("ports = []", "management.ports:2:9", "must not be an empty list", "`required = false`"),
        ("ports = ['icmp']", "management.ports:2:10", "has no port, and nobody logs in by icmp", "22/tcp"),
        ("ports = '22/tcp'", "management.ports:2:9", "must be a list of ports", '`ports = ["22/tcp"]`'),
        ("ports = [22]", "management.ports:2:10", 'such as "22/tcp" or', 'write "22/tcp"'),
        ("ports = ['ssh']", "management.ports:2:10", "must be a port and its protocol", ""),
        ("ports = ['0/tcp']", "management.ports:2:10", "ports go from 1 to 65535", ""),
        ("port = ['22/tcp']", "management.port:2:1", "unknown key", "did you mean `ports`?"),
        ("required = 'no'", "management.required:2:12", "must be true or false", "`required = false`"),
    ],
)
def test_a_mistake_says_where_what_and_what_would_be_right(
    faults: "Faults", text: str, where: str, message: str, hint: str
) -> None:
    """One mistake is one Problem."""
    (problem,) = faults(f"[management]\n{text}")
    assert where == f"{problem.key}:{problem.line}:{problem.column}"
    assert message in problem.message
    assert hint in problem.hint
