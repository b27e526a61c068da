"""Only interfaces that somebody manages must be found."""

import asyncio

import pytest

from droplan_daemon.errors import HostUnknown
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host, Link
from droplan_daemon.sources.host import KINDS, DropletFinder, by_addresses, by_identity, by_memory
from droplan_daemon.sources.metadata import Identity, Nic

PRIVATE, PUBLIC = KINDS
HERE = (Link("eth1", "04:01:00:00:00:02", frozenset({parse_address("10.10.0.7")})),)
FLEET = Fleet(
    (Droplet(7, "web-7", private=(parse_address("10.10.0.7"),), public=(parse_address("203.0.113.7"),)),)
)
US = Identity(7, "web-7", "nyc3", Nic("04:01:00:00:00:02"), Nic("04:01:00:00:00:01"))
REMEMBERED = Host(7, "eth1", "eth0")


def _found(how: str, needed: list[InterfaceKind]) -> Host:
    if how == "metadata":
        return by_identity(US, HERE, needed)
    if how == "addresses":
        return by_addresses(FLEET, HERE, needed)
    return by_memory(REMEMBERED, HERE, needed)


@pytest.mark.parametrize("how", ["metadata", "addresses", "state"])
def test_what_nobody_needs_may_be_missing(how: str) -> None:
    """A public interface that is not there is None when only the private one is managed."""
    assert Host(7, "eth1", None, how) == _found(how, [PRIVATE])
    with pytest.raises(HostUnknown) as caught:
        _found(how, [PRIVATE, PUBLIC])
    assert "interface_missing" == caught.value.reason


def test_the_finder_needs_all_unless_told() -> None:
    """Forgetting to say what is needed guards too much rather than too little."""
    careful = DropletFinder(metadata=None, links=lambda: HERE)
    with pytest.raises(HostUnknown):
        asyncio.run(careful.locate(FLEET))
    relaxed = DropletFinder(metadata=None, links=lambda: HERE, needed=[PRIVATE])
    assert Host(7, "eth1", None, "addresses") == asyncio.run(relaxed.locate(FLEET))
