"""What must hold of whatever was accepted: by an oracle of its own, not by the rules that accepted it."""

from ipaddress import IPv4Network, ip_address
from itertools import pairwise
from typing import TYPE_CHECKING

from droplan_daemon.apply import apply
from droplan_daemon.backends.nft_batch import Batch
from droplan_daemon.backends.nft_text import render
from droplan_daemon.diff import diff
from droplan_daemon.errors import DroplanError, HostUnknown, Refusal
from droplan_daemon.model.fleet import Droplet, Fleet
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import InterfacePolicy, Peers, Policy, Scope
from droplan_daemon.model.ruleset import SetKind
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.safety import examine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.ruleset import AddressSet, Ruleset

HOST = Host(1, "eth1", "eth0")
OPEN = Policy(peers=Peers(Scope.ACCOUNT), public=InterfacePolicy(managed=True, allow_peers=True))
"""Lets every Droplet of the account in on both interfaces: whoever was accepted reaches the kernel."""

_PRIVATE = [IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


def no_peer(address: "Address") -> bool:
    """Whether no machine elsewhere can have this address, as Python's own library sees it."""
    found = ip_address(address)
    return (
        found.is_unspecified
        or found.is_loopback
        or found.is_link_local
        or found.is_multicast
        or (found.version == 4 and (address[0] == 0 or address[0] >= 240))
        or (found.version == 6 and found.ipv4_mapped is not None)
    )


def check_refusal(error: DroplanError, *reasons: str) -> None:
    """One of these reasons, and a sentence of bounded length that a terminal can bear."""
    assert error.reason in reasons
    assert str(error).isprintable()
    assert len(str(error)) < 1_000


def check_fleet(fleet: Fleet, *, ours: bool = False) -> None:
    """Every Droplet and VPC is one that a policy and a log can bear; `ours`: as we wrote it down."""
    for droplet in fleet.droplets:
        assert type(droplet.id) is int
        assert 0 < droplet.id < 2**63
        assert ours or all(4 == len(address) for address in droplet.private)
        assert all(len(address) in {4, 16} for address in droplet.public)
        assert not [a for a in (*droplet.private, *droplet.public) if no_peer(a)]
        assert all(word.isprintable() for word in (droplet.name, *droplet.tags))
        assert ours or (*sorted(set(droplet.tags)),) == droplet.tags
    for vpc in () if ours else fleet.vpcs:
        net = IPv4Network(vpc.ip_range)
        assert any(net.subnet_of(private) for private in _PRIVATE), vpc.ip_range


def compiled(fleet: Fleet, policy: Policy = OPEN, host: Host = HOST) -> "Ruleset | None":
    """What a cycle would write for it; None where the evidence carries nothing."""
    try:
        evidence = examine(policy, fleet, host, None)
    except (Refusal, HostUnknown):
        return None
    return compile_ruleset(policy, evidence.fleet, host, evidence.own)


def with_us(droplets: "Iterable[Droplet]", fleet: Fleet) -> Fleet:
    """The Fleet with ourselves in it: a guest of the VPC that the others are in."""
    others = tuple(droplet for droplet in droplets if droplet.id != HOST.droplet_id)
    vpc = next((droplet.vpc for droplet in others if droplet.vpc), None)
    us = Droplet(HOST.droplet_id, "us", (), "nyc3", vpc, (b"\x0a\x63\0\1",), (b"\xcb\0\x71\1",))
    return Fleet((us, *others), fleet.vpcs, fleet.peerings, "fuzz", 0.0, fleet.skipped)


def check_ruleset(desired: "Ruleset", *, peers: bool = True) -> None:
    """The kernel can take it: schemas, messages and text; with `peers`, hosts are addresses."""
    for made in desired.sets.values():
        check_set(made)
        if peers and made.kind is SetKind.HOSTS:
            assert not [element for element in made.elements if no_peer(element)]
    plan = diff(None, desired)
    assert desired == apply(plan, None)
    batch = Batch("droplan", {})
    for index, change in enumerate(plan.changes):
        batch.add(index, change)
    text = render(desired, "droplan")
    assert text.replace("\n", "").replace("\t", "").isprintable()
    assert text.isascii() or text.encode()


def check_set(made: "AddressSet") -> None:
    """Elements of one width, no more than fit, and ranges that are in order and apart."""
    width = made.family.width
    if made.kind is SetKind.HOSTS:
        assert {width} >= {len(element) for element in made.elements}
        assert len(made.elements) <= made.capacity
        return
    ranges = sorted((element[:width], element[width:]) for element in made.elements)
    assert all(width == len(last) and first <= last for first, last in ranges)
    pairs = pairwise(ranges)
    assert all(int.from_bytes(last) + 1 < int.from_bytes(first) for (_, last), (first, _) in pairs)
