"""The ip sets of one namespace, as these tests use them: what droplan sees, and what ipset(8) sees."""

import ipaddress
import os
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends import ipset_wire as wire
from droplan_daemon.backends import nft_wire as netlink
from droplan_daemon.backends.ipset import IpSets
from droplan_daemon.backends.ipset_shape import entries, ruleset_name, type_name
from droplan_daemon.errors import KernelUnsupported
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import AddressSet, SetKind

if TYPE_CHECKING:
    from tests.conftest import Namespace

_NETLINK_NETFILTER = 12
_PLAIN_SPACE = {"hash:ip", "hash:net"}

Sets = dict[str, AddressSet]


class Ground:
    """A namespace, and IpSets in it."""

    def __init__(self, namespace: "Namespace", deadline: float = 5.0) -> None:
        self.namespace = namespace
        self.sets = namespace.call(IpSets, deadline)

    def close(self) -> None:
        self.namespace.call(self.sets.close)

    def observe(self) -> Sets:
        return self.namespace.call(self.sets.observe)

    def prepare(self, old: Sets, new: Sets, *, rules_change: bool = False) -> frozenset[str]:
        return self.namespace.call(self.sets.prepare, old, new, rules_change=rules_change)

    def become(self, new: Sets, *, rules_change: bool = False) -> None:
        """All that a backend does, but for the rules."""
        old = self.observe()
        beside = self.prepare(old, new, rules_change=rules_change)
        if beside:
            self.namespace.call(self.sets.settle, beside, new)
        self.namespace.call(self.sets.retire, old, new)

    def ipset(self, *argv: str, text: str = "", check: bool = True) -> str:
        return self.namespace.run(program("ipset"), *argv, text=text, check=check)

    def save(self, prefix: str = "") -> str:
        """What ipset(8) saves of the sets whose names begin so; order does not matter to it."""
        lines = self.ipset("save").splitlines()
        return "\n".join(sorted(line for line in lines if line.split()[1].startswith(prefix)))

    def names(self) -> set[str]:
        return set(self.ipset("list", "-n").split())

    def seen_by_ipset(self) -> Sets:
        """The sets in force as ipset(8) prints them, but for their capacities."""
        found: Sets = {}
        for line in self.ipset("save").splitlines():
            verb, kernel, *words = line.split()
            name = ruleset_name(kernel)
            assert name is not None
            if verb == "create":
                assert words[0] in _PLAIN_SPACE
                family = Family.IPV6 if "inet6" in words else Family.IPV4
                kind = SetKind.HOSTS if words[0] == "hash:ip" else SetKind.RANGES
                found[name] = AddressSet(name, family, kind)
            else:
                found[name] = _with(found[name], words[0])
        return found

    def listener(self, kernel: str) -> socket.socket:
        """Somebody who begins to list a set, and does not go on reading: `ipset list | less`."""
        return self.namespace.call(_begun_listing, kernel)


def program(name: str) -> str:
    """Where a program is; skipped, by name, where it is not."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def ground(namespace: "Namespace") -> Ground:
    """Skipped, by name, where the kernel has no ip sets."""
    made = Ground(namespace)
    try:
        made.observe()
    except KernelUnsupported as error:
        pytest.skip(str(error))
    return made


def as_printed(sets: Sets) -> Sets:
    """Without capacities, and with prefixes instead of ranges: what `seen_by_ipset` can know."""
    return {
        name: AddressSet(name, made.family, made.kind, 0, entries(made) if made.elements else frozenset())
        for name, made in sets.items()
    }


def _with(known: AddressSet, word: str) -> AddressSet:
    network = ipaddress.ip_network(word)
    entry = network.network_address.packed
    if known.kind is SetKind.RANGES:
        entry += bytes([network.prefixlen])
    return AddressSet(known.name, known.family, known.kind, 0, known.elements | {entry})


def _begun_listing(kernel: str) -> socket.socket:
    listing = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    listing.bind((0, 0))
    listing.settimeout(10)
    listing.send(wire.message(wire.ask_entries(kernel), netlink.NLM_F_DUMP, 1))
    listing.recv(1 << 17)
    return listing


def peers(first: int, count: int, *, name: str = "private-peers-4", capacity: int = 16_384) -> AddressSet:
    """So many addresses of 10.0.0.0/8, from this one on."""
    members = frozenset(((10 << 24) + first + n).to_bytes(4, "big") for n in range(count))
    return AddressSet(name, Family.IPV4, SetKind.HOSTS, capacity, members)


def by_name(*made: AddressSet) -> Sets:
    return {item.name: item for item in made}


__all__ = ["Ground", "Sets", "as_printed", "by_name", "ground", "peers", "program", "type_name"]
