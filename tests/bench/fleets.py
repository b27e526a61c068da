"""Fleets of any size as the product's own values. PURE.

Law: the same size gives the same fleet; peer n has the n-th address of 10.20.0.0/16.
"""

from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import Droplet, Fleet, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Policy
from droplan_daemon.policy.compile import compile_ruleset

if TYPE_CHECKING:
    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.ruleset import Ruleset

NETWORK = "10.20.0.0/16"
OWN_ADDRESS = "10.20.255.1"
HOST = Host(1, private="eth1", public="eth0")
_VPC = Vpc("760e09ef-dc84-11e8-981e-3cfdfeaae000", "bench", "nyc3", NETWORK)
_FIRST = int.from_bytes(bytes((10, 20, 0, 2)), "big")


def address(number: int) -> "Address":
    """The private address of peer `number` (from 0)."""
    return (_FIRST + number).to_bytes(4, "big")


def fleet(numbers: range) -> Fleet:
    """We ourselves, and these peers, in one VPC."""
    own = Droplet(1, "own", (), "nyc3", _VPC.id, (bytes((10, 20, 255, 1)),))
    peers = (Droplet(n + 2, f"web-{n}", ("web",), "nyc3", _VPC.id, (address(n),)) for n in numbers)
    return Fleet((own, *peers), (_VPC,))


def ruleset(numbers: range) -> "Ruleset":
    """What droplan wants in the kernel with these peers and no configuration at all."""
    whole = fleet(numbers)
    return compile_ruleset(Policy(), whole, HOST, whole.droplets[0])
