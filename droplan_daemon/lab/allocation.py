"""Which addresses the Droplets of the lab get.

Law: a free address is handed out once, and never one that was asked for before.
"""

from ipaddress import IPv4Interface, IPv4Network, IPv6Address, IPv6Interface
from typing import TYPE_CHECKING

from .account import LabVpc, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTO = "auto"
"""In place of an address: the next free one."""

# RFC 2544 (benchmarks) and RFC 3849 (documentation): nobody's addresses.
_PUBLIC_V4 = IPv4Network("198.18.0.0/15")
_PUBLIC_PREFIX = 20
_PUBLIC_V6 = IPv6Address("2001:db8:0:1::")


class Allocation:
    """The addresses of one account. A malformed address is a ValueError."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._public = _public_hosts()
        self._private: dict[str, Iterator[str]] = {}

    def public(self, wanted: str | None) -> tuple[Network, ...]:
        """The public IPv4 network of a Droplet; none if none is wanted."""
        if wanted is None:
            return ()
        text = f"{self._free(self._public)}/{_PUBLIC_PREFIX}" if wanted == AUTO else wanted
        return (self._public_network(IPv4Interface(text)),)

    def private(self, wanted: str | None, vpc: LabVpc) -> tuple[Network, ...]:
        """The private network of a Droplet in this VPC; none if none is wanted."""
        if wanted is None:
            return ()
        text = self._free(self._hosts(vpc)) if wanted == AUTO else wanted.partition("/")[0]
        address = str(IPv4Interface(text).ip)
        self._used.add(address)
        return (Network(address, IPv4Network(vpc.ip_range).prefixlen, "nil", "private"),)

    def ipv6(self, wanted: str | None, number: int) -> tuple[Network, ...]:
        """The public IPv6 network of the Droplet with this number; none if none is wanted."""
        if wanted is None:
            return ()
        text = f"{_PUBLIC_V6 + number}/64" if wanted == AUTO else wanted
        return (self._public_network(IPv6Interface(text)),)

    def _public_network(self, at: IPv4Interface | IPv6Interface) -> Network:
        self._used.add(str(at.ip))
        # The gateway is the network's first host; a network of one address is its own.
        gateway = at.network[min(1, at.network.num_addresses - 1)]
        return Network(str(at.ip), at.network.prefixlen, str(gateway), "public")

    def _hosts(self, vpc: LabVpc) -> "Iterator[str]":
        if vpc.id not in self._private:
            hosts = map(str, IPv4Network(vpc.ip_range).hosts())
            next(hosts)  # the first address of a VPC is not given to Droplets
            self._private[vpc.id] = hosts
        return self._private[vpc.id]

    def _free(self, candidates: "Iterator[str]") -> str:
        return next(address for address in candidates if address not in self._used)


def _public_hosts() -> "Iterator[str]":
    """Hosts of one network of the public range after the other, without their gateways."""
    for network in _PUBLIC_V4.subnets(new_prefix=_PUBLIC_PREFIX):
        hosts = network.hosts()
        next(hosts)
        yield from map(str, hosts)
