"""What a restart knows: the Fleet that was kept, and whether it was kept on this machine."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import HostUnknown, SourceUnavailable
from droplan_daemon.lab.digitalocean import DigitalOcean as Cloud
from droplan_daemon.lab.faults import Afterwards, Fault
from droplan_daemon.lab.fleets import big_fleet
from droplan_daemon.lab.scopes import LAB_TOKEN
from droplan_daemon.lab.server import LabServer
from droplan_daemon.model.checkpoint import Checkpoint
from droplan_daemon.model.host import Host, Link
from droplan_daemon.model.ruleset import Ruleset
from droplan_daemon.sources.digitalocean import DigitalOcean
from droplan_daemon.sources.host import DropletFinder
from droplan_daemon.sources.metadata import Identity, Nic
from tests.sources.samples import NOW, gathered

if TYPE_CHECKING:
    from droplan_daemon.lab.world import World
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.sources.metadata import Metadata

# The Fleet across a restart.


def _after_a_restart(cloud: Cloud, known: "Fleet | None", polls: int = 1) -> "list[tuple[Fleet, int]]":
    """What polls of a fresh Source give, and what they cost."""

    async def run() -> "list[tuple[Fleet, int]]":
        found = []
        async with LabServer(cloud) as server:
            source = DigitalOcean(server.url, LAB_TOKEN, now=lambda: NOW, known=known)
            try:
                for _ in range(polls):
                    fleet = await source.gather()
                    assert source.budget is not None
                    found.append((fleet, source.budget.spent))
            finally:
                await source.aclose()
        return found

    return asyncio.run(run())


def _hidden_deletion(world: "World") -> Cloud:
    """Between pages 1 and 2 somebody of page 1 goes and somebody new comes: the total stays."""
    home, first = next(iter(world.vpcs)), next(iter(world.droplets))

    def swap(w: "World") -> None:
        w.destroy_droplet(first)
        w.add_droplet("new", vpc=home)

    cloud = Cloud(world)
    cloud.faults.add(Fault(Afterwards(swap), path="/v2/droplets", type="droplets", page=1, times=1))
    return cloud


def test_the_first_poll_after_a_restart_cuts_nobody() -> None:
    """An addition that hides a deletion in the first poll of all: noticed by the Fleet that was kept."""
    world = big_fleet(401)
    known = gathered(Cloud(world))
    ((fleet, _),) = _after_a_restart(_hidden_deletion(world), known)
    assert sorted(world.droplets) == [d.id for d in fleet.droplets]


def test_without_it_one_would_be_cut() -> None:
    """The very first start knows nobody: this is what the Checkpoint is for."""
    world = big_fleet(401)
    ((fleet, _),) = _after_a_restart(_hidden_deletion(world), None)
    assert sorted(world.droplets) != [d.id for d in fleet.droplets]


@pytest.mark.parametrize(
    ("count", "gpus", "expected"), [(401, 0, [6, 6]), (401, 3, [9, 6]), (150, 3, [4, 4])]
)
def test_a_restart_costs_one_reading_more_at_most(count: int, gpus: int, expected: list[int]) -> None:
    """A Fleet does not tell which Droplets are in the list of GPUs; after the first poll it is known."""
    world = big_fleet(count, gpus=gpus)
    known = gathered(Cloud(world))
    polls = _after_a_restart(Cloud(world), known, polls=2)
    assert expected == [spent for _, spent in polls]
    assert known.droplets == polls[0][0].droplets


def test_droplets_that_did_not_change_are_those_that_were_kept() -> None:
    """The same objects: two Fleets take hardly more memory than one, over a restart too."""
    world = big_fleet(30)
    known = gathered(Cloud(world))
    ((fleet, _),) = _after_a_restart(Cloud(world), known)
    assert all(new is old for new, old in zip(fleet.droplets, known.droplets, strict=True))


# The machine across a restart.

MAC, OTHER = "04:01:00:00:00:02", "04:01:00:00:00:99"
KEPT = Checkpoint(
    Host(7, "eth1", "eth0", "addresses"),
    (("eth1", MAC),),
    gathered(Cloud(big_fleet(1))),
    Ruleset(),
    "nftables",
    1,
    NOW,
    "",
)


class Asked:
    """A metadata service in memory; None: it is silent."""

    def __init__(self, droplet_id: int | None) -> None:
        self._id = droplet_id

    async def identity(self) -> Identity:
        if self._id is None:
            raise SourceUnavailable("no answer", reason="deadline")
        return Identity(self._id, "web-7", "nyc3", Nic(MAC, frozenset()), None)

    async def aclose(self) -> None:
        pass


def _finder(droplet_id: int | None, links: tuple[Link, ...], remembered: Host | None = None) -> DropletFinder:
    metadata: Metadata = Asked(droplet_id)  # type: ignore[assignment] # of the same shape
    return DropletFinder(metadata=metadata, links=lambda: links, remembered=remembered)


HERE = (Link("eth0", OTHER), Link("eth1", MAC))
OURS = [
    ("metadata know us", 7, HERE, None, Host(7, "eth1", None, "metadata")),
    (
        "metadata know us, under another name",
        7,
        (Link("ens4", MAC),),
        None,
        Host(7, "ens4", None, "metadata"),
    ),
    ("metadata know us, no interface yet", 7, (), None, Host(7, "eth1", None, "metadata")),
    ("metadata are silent", None, HERE, None, Host(7, "eth1", "eth0", "state")),
    ("metadata are silent, no interface yet", None, (), None, Host(7, "eth1", "eth0", "state")),
    ("metadata are silent, but we remember", None, HERE, Host(7), Host(7, "eth1", "eth0", "state")),
    ("metadata know better than what we remember", 7, HERE, Host(8), Host(7, "eth1", None, "metadata")),
]


@pytest.mark.parametrize(("case", "droplet_id", "links", "remembered", "expected"), OURS)
def test_a_checkpoint_of_this_machine_is_taken(
    case: str, droplet_id: int | None, links: tuple[Link, ...], remembered: Host | None, expected: Host
) -> None:
    """Neither metadata nor interfaces are needed, as early in a boot; what they say is used."""
    assert expected == asyncio.run(_finder(droplet_id, links, remembered).recognise(KEPT))


CLONE = (Link("eth1", OTHER),)
FOREIGN = [
    ("metadata name another Droplet", 8, HERE, None, "another_droplet"),
    ("another Droplet is remembered", None, HERE, Host(8), "another_droplet"),
    ("the card is another, metadata silent", None, CLONE, None, "cloned"),
    ("the card is another, and the disk remembers the original", None, CLONE, Host(7), "cloned"),
    ("the card is another, whatever metadata say", 7, CLONE, None, "cloned"),
]


@pytest.mark.parametrize(("case", "droplet_id", "links", "remembered", "reason"), FOREIGN)
def test_a_checkpoint_of_another_machine_is_refused(
    case: str, droplet_id: int | None, links: tuple[Link, ...], remembered: Host | None, reason: str
) -> None:
    """A Droplet that was made from a snapshot has the disk of the original, but neither id nor cards."""
    with pytest.raises(HostUnknown) as caught:
        asyncio.run(_finder(droplet_id, links, remembered).recognise(KEPT))
    assert reason == caught.value.reason


def test_a_checkpoint_without_cards_is_bound_by_its_droplet_alone() -> None:
    """Nothing was managed when it was saved."""
    bare = replace(KEPT, links=())
    assert 7 == asyncio.run(_finder(None, CLONE).recognise(bare)).droplet_id
