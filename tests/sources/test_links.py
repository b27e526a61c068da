"""The kernel's own list of interfaces, in a network namespace."""

import subprocess
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.host import Link
from droplan_daemon.sources.links import read_links

if TYPE_CHECKING:
    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

MAC = "04:01:2a:0f:2a:0"


def _held(*texts: str) -> frozenset[bytes]:
    return frozenset(map(parse_address, texts))


def test_loopback_alone_is_no_link(namespace: "Namespace") -> None:
    """Up or down, whatever it is called, it is told by its flag."""
    namespace.run("ip", "link", "set", "lo", "up")
    assert () == namespace.call(read_links)
    namespace.run("ip", "link", "set", "lo", "down")
    namespace.run("ip", "link", "set", "lo", "name", "eth0")
    assert () == namespace.call(read_links)


@pytest.mark.parametrize("name", ["eth0", "ens3", "lo0", "a.b@c-d", "-", "ü", "exactly15bytes_"])
def test_links_are_told_with_mac_and_addresses(namespace: "Namespace", name: str) -> None:
    """Both families, secondary addresses and anchors, whatever the interface is called."""
    namespace.run("ip", "link", "add", "x0", "address", f"{MAC}A", "type", "bridge")
    namespace.run("ip", "link", "set", "x0", "name", name)
    for address in ("203.0.113.7/24", "10.17.0.5/16", "2001:db8::7/64"):
        namespace.run("ip", "address", "add", address, "dev", name)
    expected = Link(name, f"{MAC}a", _held("203.0.113.7", "10.17.0.5", "2001:db8::7"))
    assert (expected,) == namespace.call(read_links)


def test_a_link_whose_name_is_no_text_is_left_out(namespace: "Namespace") -> None:
    """Linux allows any bytes; such a name can be matched by no rule of ours."""
    namespace.call(subprocess.run, [b"ip", b"link", b"add", b"x\xff", b"type", b"bridge"], check=True)
    assert () == namespace.call(read_links)


def test_a_link_without_addresses_is_a_link(namespace: "Namespace") -> None:
    """Down, and with nothing on it."""
    namespace.run("ip", "link", "add", "eth1", "address", f"{MAC}2", "type", "bridge")
    assert (Link("eth1", f"{MAC}2"),) == namespace.call(read_links)


def test_the_near_end_of_a_point_to_point_link_is_ours(namespace: "Namespace") -> None:
    """The far end's address is somebody else's."""
    namespace.run("ip", "link", "add", "p0", "address", f"{MAC}3", "type", "bridge")
    namespace.run("ip", "address", "add", "10.0.0.1", "peer", "10.0.0.2", "dev", "p0")
    assert (Link("p0", f"{MAC}3", _held("10.0.0.1")),) == namespace.call(read_links)


def test_many_links_are_told_in_full(namespace: "Namespace") -> None:
    """More than one message of the kernel holds: a host full of containers."""
    lines = "".join(f"link add v{i} type bridge\naddress add 10.0.{i}.1/24 dev v{i}\n" for i in range(100))
    namespace.call(subprocess.run, ["ip", "-batch", "-"], input=lines.encode(), check=True)
    links = namespace.call(read_links)
    assert [f"v{i}" for i in range(100)] == [link.name for link in links]
    assert [_held(f"10.0.{i}.1") for i in range(100)] == [link.addresses for link in links]
