"""The emulated account: what exists, and how it changes."""

from ipaddress import ip_address, ip_network

import pytest

from droplan_daemon.lab.fleets import big_fleet
from droplan_daemon.lab.world import World


def test_the_same_calls_make_the_same_account() -> None:
    """Ids, UUIDs, MACs and addresses follow from the order of calls alone."""
    one, other = big_fleet(50, gpus=3), big_fleet(50, gpus=3)
    for droplet in one.droplets.values():
        assert droplet.id in other.droplets
        twin = other.droplets[droplet.id]
        assert (droplet.v4, droplet.v6, droplet.vpc, droplet.public_mac, droplet.tags) == (
            twin.v4,
            twin.v6,
            twin.vpc,
            twin.public_mac,
            twin.tags,
        )


def test_a_big_fleet_is_what_was_asked_for() -> None:
    """A generated account has its Droplets, in its VPCs, each address once and inside its VPC."""
    world = big_fleet(10_000, vpcs=3, gpus=5)
    droplets = list(world.droplets.values())
    assert (10_000, 5) == (sum(not d.gpu for d in droplets), sum(d.gpu for d in droplets))
    addresses = [n.address for d in droplets for n in (*d.v4, *d.v6)]
    assert len(set(addresses)) == len(addresses) == 3 * 10_005
    ranges = {vpc.id: ip_network(vpc.ip_range) for vpc in world.vpcs.values()}
    assert all(ip_address(d.address("private") or "") in ranges[d.vpc] for d in droplets)
    assert 2 * 10_005 == len({mac for d in droplets for mac in (d.public_mac, d.private_mac)})
    assert {3_335} == {sum(d.vpc == vpc for d in droplets) for vpc in world.vpcs}
    assert 1 == len(world.peerings)


def test_a_vpc_holds_ten_thousand() -> None:
    """A fleet that DigitalOcean's VPCs would not hold is refused."""
    with pytest.raises(ValueError, match="10000"):
        big_fleet(10_001, vpcs=1)


def test_a_wanted_address_is_never_handed_out_again() -> None:
    """Free addresses step over those that were asked for, and over the gateways."""
    world = World()
    vpc = world.add_vpc("v", ip_range="10.9.0.0/28")
    taken = world.add_droplet("taken", vpc=vpc.id, private="10.9.0.2", public="198.18.0.2/24")
    free = world.add_droplet("free", vpc=vpc.id)
    assert ("10.9.0.2", "198.18.0.2") == (taken.address("private"), taken.address("public"))
    assert ("10.9.0.3", "198.18.0.3") == (free.address("private"), free.address("public"))
    network = taken.network("public")
    assert network
    assert (24, "198.18.0.1") == (network.prefix, network.gateway)


def test_a_droplet_may_lack_interfaces() -> None:
    """None in place of an address is an interface less."""
    droplet = World().add_droplet("bare", private=None, public=None)
    assert ((), (), None) == (droplet.v4, droplet.v6, droplet.address("public"))


def test_public_and_private_come_in_either_order() -> None:
    """The lab keeps no order of public and private addresses, as the API promises none."""
    world = World()
    kinds = {tuple(n.kind for n in world.add_droplet(f"d-{i}").v4) for i in range(2)}
    assert {("public", "private"), ("private", "public")} == kinds


def test_a_tag_keeps_its_first_spelling() -> None:
    """A tag that is known in another case is the known one, and is carried once."""
    world = World()
    first, second = world.add_droplet("a", tags=("PROD",)), world.add_droplet("b", tags=("prod",))
    assert (("PROD",), ("PROD",)) == (first.tags, second.tags)
    assert ("PROD", "web") == world.tag(second.id, "Prod", "web").tags
    assert ("PROD", "web") == world.tags


def test_without_a_vpc_the_region_has_a_default_one() -> None:
    """Droplets that name no VPC share their region's default one."""
    world = World()
    one, same, other = (world.add_droplet("d", region=region) for region in ("nyc3", "nyc3", "fra1"))
    assert one.vpc == same.vpc != other.vpc
    assert [True, True] == [vpc.default for vpc in world.vpcs.values()]


def test_what_was_handed_out_does_not_change() -> None:
    """A reader's Droplets stay as they were while the account goes on."""
    world = World()
    kept, gone = world.add_droplet("kept"), world.add_droplet("gone")
    before = world.droplets
    world.destroy_droplet(gone.id)
    world.change_droplet(kept.id, status="off")
    assert [("kept", "active"), ("gone", "active")] == [(d.name, d.status) for d in before.values()]
    assert [("kept", "off")] == [(d.name, d.status) for d in world.droplets.values()]
    assert ["create", "create", "destroy"] == [action.type for action in world.actions]


def test_a_copy_without_droplets_leaves_the_account_alone() -> None:
    """`without` hides Droplets in a copy; VPCs, peerings and tags stay."""
    world = big_fleet(6, vpcs=2)
    hidden = next(iter(world.droplets))
    copy = world.without({hidden})
    assert 6 == len(world.droplets)
    assert hidden not in copy.droplets
    assert (world.vpcs, world.peerings, world.tags) == (copy.vpcs, copy.peerings, copy.tags)


def test_peering_again_changes_the_peering() -> None:
    """Two VPCs have one peering, in either order, and it can end."""
    world = World()
    one, other = (world.add_vpc(name, ip_range=f"10.{i}.0.0/24").id for i, name in enumerate(("a", "b")))
    first = world.peer(one, other, status="PROVISIONING")
    again = world.peer(other, one)
    assert (first.id, ["ACTIVE"]) == (again.id, [p.status for p in world.peerings.values()])
    world.unpeer(again.id)
    assert {} == world.peerings
