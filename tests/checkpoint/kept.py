"""Checkpoints to keep: a small one, a big one, and any one at all."""

from hypothesis import strategies as st

from droplan_daemon.model.addresses import unusable
from droplan_daemon.model.checkpoint import Checkpoint
from droplan_daemon.model.fleet import Droplet, Fleet, Peering, Skipped, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Policy
from droplan_daemon.policy.compile import compile_ruleset
from tests.strategies import rulesets

HOST = Host(1, "eth1", "eth0", "metadata")
LINKS = (("eth1", "02:00:00:00:00:01"),)
HOME = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"


def big_checkpoint(count: int, number: int = 1) -> Checkpoint:
    """So many Droplets of one VPC."""
    droplets = tuple(
        Droplet(
            n,
            f"web-{n}",
            ("prod", "web"),
            "nyc3",
            HOME,
            (bytes((10, 0, n >> 8, n & 255)),),
            (bytes((100, 64, n >> 8, n & 255)), b"\x20\x01\x0d\xb8" + bytes(8) + n.to_bytes(4, "big")),
        )
        for n in range(1, count + 1)
    )
    fleet = Fleet(droplets, (Vpc(HOME, "home", "nyc3", "10.0.0.0/16"),), (), "test", 1_800_000_000.0)
    ruleset = compile_ruleset(Policy(), fleet, HOST, droplets[0])
    return Checkpoint(HOST, LINKS, fleet, ruleset, "nftables", number, 1_800_000_000.5, "boot", 60.0)


_words = st.text("abcdefghijklmnopqrstuvwxyzäö-._: 0", min_size=1, max_size=12)
_maybe = st.none() | _words
_moments = st.floats(0, 4e9) | st.integers(0, 1 << 32).map(float)
_ids = st.integers(1, (1 << 63) - 1)
_packed = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
_addresses = st.lists(_packed.filter(lambda address: not unusable(address)), max_size=3).map(tuple)
_droplets = st.builds(
    Droplet,
    _ids,
    _words,
    st.lists(_words, max_size=2).map(tuple),
    _words | st.just(""),
    _maybe,
    _addresses,
    _addresses,
)
_fleets = st.builds(
    Fleet,
    st.lists(_droplets, max_size=5).map(tuple),
    st.lists(st.builds(Vpc, _words, _words, _words, _words), max_size=2).map(tuple),
    st.lists(st.builds(Peering, st.frozensets(_words, min_size=1, max_size=2)), max_size=2).map(tuple),
    _words | st.just(""),
    _moments,
    st.lists(st.builds(Skipped, st.none() | _ids, _words, _words), max_size=2).map(tuple),
)

checkpoints = st.builds(
    Checkpoint,
    st.builds(Host, _ids, _maybe, _maybe, _words),
    st.lists(st.tuples(_words, _words), max_size=2).map(tuple),
    _fleets,
    rulesets(leased=False),
    st.sampled_from(["nftables", "iptables"]),
    st.integers(0, (1 << 53)),
    _moments,
    _words | st.just(""),
    _moments,
)
