"""From an account to machines, from a policy to a machine's file, from a file to an account: pure."""

import json
import tomllib
from pathlib import Path

import pytest

from droplan_daemon.errors import ConfigInvalid, Fatal
from droplan_daemon.lab import wiring
from droplan_daemon.lab.fleet_file import MOST_DROPLETS, read_fleet
from droplan_daemon.lab.metadata import document
from droplan_daemon.lab.policy_file import rules, with_sections
from droplan_daemon.lab.topology import Nic, Route
from droplan_daemon.lab.tutorial import POLICY, ROLES, SERVERS, role, tutorial
from droplan_daemon.lab.world import World

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "wordpress"
SECTIONS = {
    "source": {"url": "https://203.0.113.2", "token_file": '/tmp/a "b"\\c'},
    "persist": {"rules_v4": "/lab/rules.v4"},
}


def test_a_machine_has_what_the_metadata_service_tells() -> None:
    """MACs and addresses of eth0 and eth1 are those of the Droplet's metadata document."""
    world, _ = tutorial()
    droplet = next(iter(world.droplets.values()))
    told = document(droplet)["interfaces"]
    eth0, eth1 = wiring.machine_of(droplet, droplet.name, world).nics
    assert told["public"][0]["mac"] == eth0.mac
    assert told["private"][0]["mac"] == eth1.mac
    assert told["private"][0]["ipv4"]["ip_address"] == eth1.addresses[0].partition("/")[0]
    assert ("203.0.113.11/24", "2001:db8::11/64") == eth0.addresses


def test_a_droplet_without_a_public_interface_reaches_the_api_through_its_vpc() -> None:
    """It has eth1 only, with the VPC's first address as its router."""
    world = World()
    vpc = world.add_vpc("home", ip_range="10.10.0.0/20")
    droplet = world.add_droplet("inner", vpc=vpc.id, public=None)
    expected = Nic("eth1", droplet.private_mac, vpc.id, ("10.10.0.2/20",), (Route("0.0.0.0/0", "10.10.0.1"),))
    assert (expected,) == wiring.machine_of(droplet, "inner", world).nics


def test_a_droplet_without_a_private_interface_has_none() -> None:
    """eth0 alone."""
    world = World()
    droplet = world.add_droplet("outer", private=None)
    assert ["eth0"] == [nic.name for nic in wiring.machine_of(droplet, "outer", world).nics]


def test_a_reserved_ip_arrives_at_an_anchor_on_the_public_interface() -> None:
    """The anchor address, out of 10.0.0.0/8, is on eth0."""
    world = World()
    droplet = world.add_droplet("web", anchor="10.17.0.5", reserved_ip="192.0.2.7")
    eth0 = wiring.machine_of(droplet, "web", world).nics[0]
    assert "10.17.0.5/16" in eth0.addresses


@pytest.mark.parametrize(("status", "routes"), [("ACTIVE", ["10.20.0.0/20"]), ("PROVISIONING", [])])
def test_only_active_peerings_are_routed(status: str, routes: list[str]) -> None:
    """A Droplet has a route to the range of each VPC that is peered with its own, through the provider."""
    world = World()
    home, away, other = (
        world.add_vpc(name, ip_range=f"10.{n}.0.0/20")
        for name, n in (("home", 10), ("away", 20), ("other", 30))
    )
    world.peer(away.id, home.id, status=status)
    world.peer(away.id, other.id)
    eth1 = wiring.machine_of(world.add_droplet("web", vpc=home.id), "web", world).nics[1]
    assert [Route(r, "10.10.0.1") for r in routes] == list(eth1.routes)


def test_strangers_have_addresses_and_macs_of_nobody() -> None:
    """One is on the VPC's wire alone, one on the Internet's alone, and no Droplet is like them."""
    world, vpc = tutorial()
    for _ in range(20):
        world.add_droplet("more", vpc=vpc.id, ipv6="auto")
    inside, outside = wiring.strangers(vpc)
    assert ([vpc.id], [wiring.INTERNET]) == (
        [n.segment for n in inside.nics],
        [n.segment for n in outside.nics],
    )
    droplets = [wiring.machine_of(d, d.name, world) for d in world.droplets.values()]
    theirs = {n.mac for m in droplets for n in m.nics} | {
        a for m in droplets for n in m.nics for a in n.addresses
    }
    ours = {n.mac for m in (inside, outside) for n in m.nics} | {
        a for m in (inside, outside) for n in m.nics for a in n.addresses
    }
    assert set() == theirs & ours


def test_the_tutorial_is_its_five_servers() -> None:
    """In one VPC, each with the tag of its role."""
    world, vpc = tutorial()
    droplets = list(world.droplets.values())
    assert [name for name, _ in SERVERS] == [d.name for d in droplets]
    assert {vpc.id} == {d.vpc for d in droplets}
    assert [tag for _, tag in SERVERS] == [role(d.tags) for d in droplets]
    assert {role(d.tags) for d in droplets} == set(ROLES)
    assert "" == role(("whatever",))


def test_the_tutorials_policy_is_that_of_the_manual() -> None:
    """The lab's copy and docs/examples/wordpress/droplan.toml differ in their source alone."""
    manual = tomllib.loads((EXAMPLE / "droplan.toml").read_text())
    assert {key: value for key, value in manual.items() if key != "source"} == tomllib.loads(
        POLICY.read_text()
    )


def test_the_tutorials_fleet_is_that_of_the_manual() -> None:
    """Name for name and address for address; the manual's has the server that is added on top."""
    shown = [(d.name, d.tags, sorted(map(str, d.v4)), d.v6) for d in tutorial()[0].droplets.values()]
    manual = read_fleet(EXAMPLE / "fleet.json").droplets.values()
    assert [*shown, "mysql-2"] == [
        (d.name, d.tags, sorted(map(str, d.v4)), d.v6) if d.name != "mysql-2" else d.name for d in manual
    ]


def test_rules_are_lines_for_people() -> None:
    """On whom, from or to whom, on which ports of which interface; what is left out is said."""
    text = """
    [[allow]]
    name = "web"
    on = "tag:web"
    from = "any"
    ports = ["80/tcp", "443/tcp"]
    interface = "public"
    [[allow]]
    to = ["tag:db", "self"]
    """
    expected = [
        "on tag:web  from any           80/tcp, 443/tcp  public",
        "on all      to tag:db or self  every port       private",
    ]
    assert expected == rules(text)
    assert [] == rules("")


@pytest.mark.parametrize(
    "policy",
    [
        "",
        'mode = "audit"\n[public]\nmanaged = true',
        '[source]\nkind = "digitalocean"\ntoken_file = "/x"\n[public]\nmanaged = true\n',
        '[public]\nmanaged = true\n[ source ] # mine\ninterval = "30s"',
        '[[allow]]\nname = "a"\n[source]\ninterval = "30s"\n[[allow]]\nname = "b"\n',
        '[persist]\niptables_save = "always"\n[source]\ninterval = "30s"\n[public]\nmanaged = true',
        '[persist]\nrules_v4 = "/etc/iptables/rules.v4"',
    ],
)
def test_the_labs_sections_of_a_policy_are_replaced_and_nothing_else(policy: str) -> None:
    """What a parser makes of the new file is the old one's with the lab's source and files."""
    expected = {**tomllib.loads(policy), **SECTIONS}
    assert expected == tomllib.loads(with_sections(policy, SECTIONS))


@pytest.mark.parametrize(
    "policy",
    [
        'source.interval = "30s"',
        'source = { interval = "30s" }',
        "[public",
        '[source]\nx = """\n[public]\n"""',
        'persist.rules_v4 = "/x"',
        'persist = { rules_v4 = "/x" }',
    ],
)
def test_a_policy_that_cannot_be_rewritten_is_refused(policy: str) -> None:
    """It is no TOML, or its source is not a section of its own: ConfigInvalid, never a wrong file."""
    with pytest.raises(ConfigInvalid) as caught:
        with_sections(policy, SECTIONS, path="my.toml")
    assert "my.toml" == caught.value.path


DROPLET = {
    "id": 7,
    "name": "web-1",
    "tags": ["web"],
    "region": {"slug": "fra1"},
    "vpc_uuid": "a-vpc",
    "networks": {
        "v4": [
            {"ip_address": "10.114.0.7", "netmask": "255.255.240.0", "gateway": "nil", "type": "private"},
            {"ip_address": "198.51.100.7", "netmask": "255.255.255.0", "gateway": "x", "type": "public"},
        ],
        "v6": [{"ip_address": "2001:db8::7", "netmask": 64, "gateway": "2001:db8::1", "type": "public"}],
    },
}


@pytest.mark.parametrize("document", [{"droplets": [DROPLET], "meta": {"total": 1}}, [DROPLET]])
def test_a_fleet_file_becomes_an_account(tmp_path: Path, document: object) -> None:
    """Names, tags, regions, VPCs and addresses are kept; doctl's bare list will do."""
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(document))
    world = read_fleet(path)
    (droplet,) = world.droplets.values()
    assert ("web-1", ("web",), "fra1") == (droplet.name, droplet.tags, droplet.region)
    assert "10.114.0.0/20" == world.vpcs[droplet.vpc].ip_range
    assert wiring.addresses_of(wiring.machine_of(droplet, "web-1", world)) == {
        "eth0": ("198.51.100.7", "2001:db8::7"),
        "eth1": ("10.114.0.7",),
    }


def test_droplets_of_one_vpc_stay_together(tmp_path: Path) -> None:
    """By VPC where they have one, else by region."""
    path = tmp_path / "fleet.json"
    lonely = {key: value for key, value in DROPLET.items() if key not in {"vpc_uuid", "networks"}}
    path.write_text(json.dumps([DROPLET, {**DROPLET, "vpc_uuid": "b"}, DROPLET, lonely, lonely]))
    homes = [d.vpc for d in read_fleet(path).droplets.values()]
    assert [0, 1, 0, 3, 3] == [homes.index(home) for home in homes]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not what GET /v2/droplets answers"),
        ("{}", "is not what GET /v2/droplets answers"),
        ("[" * 100_000, "is not what GET /v2/droplets answers"),
        (json.dumps([{"name": 7}]), "name"),
        (
            json.dumps([{**DROPLET, "networks": {"v4": [{"ip_address": "x", "type": "public"}]}}]),
            "ip_address",
        ),
        ("[]", "0 Droplets"),
        (json.dumps([DROPLET] * (MOST_DROPLETS + 1)), f"{MOST_DROPLETS + 1} Droplets"),
    ],
)
def test_a_file_that_is_no_fleet_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    """Fatal, which names the file and the place."""
    path = tmp_path / "fleet.json"
    path.write_text(text)
    with pytest.raises(Fatal, match=words) as caught:
        read_fleet(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """Fatal with the operating system's reason."""
    with pytest.raises(Fatal, match="No such file"):
        read_fleet(tmp_path / "none.json")
