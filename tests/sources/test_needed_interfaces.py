"""Only interfaces that this Droplet manages must be found."""

import asyncio
from dataclasses import replace

import pytest

from droplan_daemon.errors import HostUnknown, Refusal
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host, Link
from droplan_daemon.model.policy import InterfaceOverride, InterfacePolicy, Override, Peers, Policy, Scope
from droplan_daemon.policy.selector import parse
from droplan_daemon.safety import examine
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


def _located(links: tuple[Link, ...], remembered: Host | None = None) -> Host:
    finder = DropletFinder(metadata=None, links=lambda: links, remembered=remembered)
    return asyncio.run(finder.locate(FLEET))


def test_the_finder_tells_what_is_lost() -> None:
    """It cannot know what this Droplet manages; so it gives what is there, and says why the other is not."""
    host = _located(HERE)
    assert Host(7, "eth1", None, "addresses") == host
    assert [(PUBLIC, "interface_missing")] == [(lost.kind, lost.reason) for lost in host.lost]
    assert "web-7" in host.lost[0].message


def test_a_lost_interface_has_the_name_that_it_had() -> None:
    """An interface without an address for the moment is the one of before, if that is still there."""
    bare = (*HERE, Link("eth0", "04:01:00:00:00:01"))
    assert (Host(7, "eth1", "eth0", "addresses"), ()) == (
        _located(bare, REMEMBERED),
        _located(bare, REMEMBERED).lost,
    )
    gone = _located(HERE, REMEMBERED)
    assert (None, [PUBLIC]) == (gone.public, [lost.kind for lost in gone.lost])
    another = _located(bare, Host(8, "eth1", "eth0"))
    assert (None, [PUBLIC]) == (another.public, [lost.kind for lost in another.lost])


EVERYWHERE = Fleet((*FLEET.droplets, Droplet(8, "proxy", ("edge",))))
SOMEWHERE = Policy(
    peers=Peers(Scope.ACCOUNT),
    overrides=(Override(parse("tag:edge"), public=InterfaceOverride(managed=True)),),
)


def test_an_override_for_others_needs_nothing_here() -> None:
    """A Droplet without a public interface lives with a policy that manages it on some of the fleet."""
    host = _located(HERE)
    assert 7 == examine(SOMEWHERE, EVERYWHERE, host, None).own.id


def test_an_override_for_us_needs_its_interface() -> None:
    """Where it concerns this Droplet, what is lost is a reason to change nothing; with tags hidden too."""
    host = _located(HERE)
    tagged = tuple(replace(droplet, tags=("edge",)) for droplet in EVERYWHERE.droplets)
    with pytest.raises(HostUnknown) as caught:
        examine(SOMEWHERE, replace(EVERYWHERE, droplets=tagged), host, None)
    assert "interface_missing" == caught.value.reason
    hidden = tuple(replace(droplet, tags=()) for droplet in EVERYWHERE.droplets)
    idle = replace(SOMEWHERE, private=InterfacePolicy(managed=False, allow_peers=True))
    with pytest.raises(Refusal) as refused:
        examine(idle, replace(EVERYWHERE, droplets=hidden), replace(host, private=None), None)
    assert "tags_hidden" == refused.value.reason
