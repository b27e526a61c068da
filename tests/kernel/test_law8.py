"""Law 8: `explain` and the packets agree; and both agree with what the policy means, said naively."""

import os
from collections import Counter
from itertools import product
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from droplan_daemon.errors import NotPermitted
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    InterfacePolicy,
    Lifeline,
    Policy,
    PortProtocol,
    Ports,
)
from droplan_daemon.model.ruleset import Protocol
from droplan_daemon.model.selector import Kind, Term
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.explain import Explanation, explain
from droplan_daemon.policy.pick import ANY
from tests.kernel.crossroads import (
    BEHIND_PORT,
    EVERYBODY,
    METADATA_SEAT,
    PUBLISHED,
    Crossroads,
    Probe,
    Way,
    told,
)
from tests.kernel.probes import ECHO, OTHER
from tests.kernel.variants import BACKENDS, IPTABLES
from tests.meaning import passes
from tests.worlds import EDGES, OWN_SEAT, OWN_VPC, SEATS, VPCS, fleets, hosts, own, policies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.worlds import Seat

CASES = 3_000 if os.environ.get("DROPLAN_TEST_FULL") else 300
SHARE = CASES // 10
"""For a backend whose renderings of one Ruleset the first backend's packets have judged already."""

PACKETS = 40

pytestmark = pytest.mark.kernel

PORTS = sorted({near for edge in EDGES for near in (edge - 1, edge, edge + 1) if 1 <= near <= 65535} | {123})
_PORTED = [(protocol, port, None, None) for protocol in (Protocol.TCP, Protocol.UDP) for port in PORTS]
_FROM_PORTS = [
    (Protocol.UDP, destination, source, None)
    for destination, source in ((68, 67), (67, 68), (546, 547), (547, 546), (68, 68), (53, 53), (80, 123))
]
_TYPES = {
    Family.IPV4: [(Protocol.ICMP, None, None, kind) for kind in (8, 8, 3, 4, 11, 12, 17)],
    Family.IPV6: [
        (Protocol.ICMPV6, None, None, kind) for kind in (128, 128, 1, 2, 4, 100, 130, 133, 134, 136, 137, 143)
    ],
}
_ECHO = {
    Family.IPV4: (Protocol.ICMP, None, None, ECHO[Protocol.ICMP]),
    Family.IPV6: (Protocol.ICMPV6, None, None, ECHO[Protocol.ICMPV6]),
}
About = tuple[int, int | None, int | None, int | None]
_LANES = [
    (InterfaceKind.PRIVATE, Family.IPV4),
    (InterfaceKind.PUBLIC, Family.IPV4),
    (InterfaceKind.PUBLIC, Family.IPV6),
]


def _at_an_end(way: Way, seats: "tuple[Seat, ...]") -> "Iterator[Probe]":
    """What an end of the Host's own can be asked: every protocol, and ports of the sender."""
    for seat, (kind, family) in product(seats, _LANES):
        for about in (*_PORTED, *_FROM_PORTS * 2, *_TYPES[family] * 3):
            yield Probe(way, seat, kind, family, *about)


def _through(way: Way) -> "Iterator[Probe]":
    for seat, (kind, family) in product(EVERYBODY, _LANES):
        for about in (*_PORTED, *(_ECHO[family],) * 5):
            yield Probe(way, seat, kind, family, *about)


def _across() -> "Iterator[Probe]":
    for seat, other, kind in product(EVERYBODY, EVERYBODY, InterfaceKind):
        for about in (*_PORTED[::3], _ECHO[Family.IPV4]):
            if seat is not other:
                yield Probe(Way.ACROSS, seat, kind, Family.IPV4, *about, other=other)


def _metadata() -> "Iterator[Probe]":
    web = (Protocol.TCP, 80, None, None)
    for way, about in product((Way.OUT_OF, Way.FORWARDED), (web, web, *_PORTED[::9])):
        yield Probe(way, METADATA_SEAT, InterfaceKind.PUBLIC, Family.IPV4, *about)


def _others() -> "Iterator[Probe]":
    """What only a rule without ports can open."""
    for way, seat, lane in product((Way.INTO, Way.OUT_OF), EVERYBODY, _LANES):
        yield Probe(way, seat, *lane, OTHER)


def _published() -> "Iterator[Probe]":
    """What DNAT leads to another port, at the machine behind: the rule is about the one that was used."""
    for seat, lane, (protocol, ports) in product(EVERYBODY, _LANES, PUBLISHED.items()):
        for port in (*ports, BEHIND_PORT):
            yield Probe(Way.INTO, seat, *lane, protocol, port)


POOLS = {
    "into": list(_at_an_end(Way.INTO, EVERYBODY)),
    "out of": list(_at_an_end(Way.OUT_OF, EVERYBODY)),
    "routed": list(_through(Way.ROUTED)),
    "forwarded": list(_through(Way.FORWARDED)),
    "across": list(_across()),
    "metadata": list(_metadata()),
    "others": list(_others()),
    "published": list(_published()),
}
_SHARES = {
    "into": 5,
    "out of": 5,
    "routed": 2,
    "forwarded": 3,
    "across": 2,
    "metadata": 1,
    "others": 1,
}
_WAYS = {
    Direction.INBOUND: (Way.INTO, Way.INTO, Way.ROUTED),
    Direction.OUTBOUND: (Way.OUT_OF, Way.FORWARDED),
}


def _anywhere(random: Random) -> Probe:
    (pool,) = random.choices(list(_SHARES), list(_SHARES.values()))
    return random.choice(POOLS[pool])


def _aimed(random: Random, allow: Allow) -> Probe:
    """What a rule is about, or just beside it."""
    kind, family = random.choice([lane for lane in _LANES if lane[0] is allow.interface])
    about = random.choice(_beside(random.choice(allow.ports), family) if allow.ports else _PORTED)
    return Probe(random.choice(_WAYS[allow.direction]), random.choice(EVERYBODY), kind, family, *about)


def _beside(ports: Ports, family: Family) -> "list[About]":
    if not ports.first:
        return [_ECHO[family]]
    protocol = Protocol[ports.protocol.name]
    inside = [port for port in (*PUBLISHED[protocol], BEHIND_PORT) if ports.first <= port <= ports.last]
    near = {ports.first - 1, ports.first, ports.last, ports.last + 1, *inside}
    return [(protocol, port, None, None) for port in sorted(near) if 1 <= port <= 65535]


def _before_dnat(behind: bool) -> tuple[Policy, list[Probe]]:
    """Some of what is published is open to all, or the port `behind` it, and nothing else to anybody."""
    tcp, udp = ((BEHIND_PORT, BEHIND_PORT),) * 2 if behind else ((80, 8050), (53, 53))
    ports = Ports(PortProtocol.TCP, *tcp), Ports(PortProtocol.UDP, *udp)
    closed = InterfacePolicy(managed=True, allow_peers=False)
    allows = tuple(
        Allow(f"rule {kind}", Term(Kind.ALL), ANY, Direction.INBOUND, ports, kind) for kind in InterfaceKind
    )
    return Policy(private=closed, public=closed, allows=allows), POOLS["published"]


_TWO = Fleet(
    tuple(
        Droplet(
            number,
            f"web-{number}",
            vpc=OWN_VPC,
            private=seat.addresses(InterfaceKind.PRIVATE),
            public=seat.addresses(InterfaceKind.PUBLIC),
        )
        for number, seat in enumerate((OWN_SEAT, SEATS[0]), 1)
    ),
    VPCS,
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Policy, list[Probe]]:
    """A policy and packets, half of them aimed at its rules."""
    policy, random = draw(policies()), Random(draw(st.integers(0, 2**32)))
    sent = [_anywhere(random) for _ in range(PACKETS // 2 if policy.allows else PACKETS)]
    sent += [_aimed(random, random.choice(policy.allows)) for _ in range(PACKETS - len(sent))]
    return policy, sent


@pytest.fixture(params=BACKENDS)
def crossroads(request: pytest.FixtureRequest) -> "Iterator[Crossroads]":
    try:
        made = Crossroads(make=BACKENDS[request.param])
    except NotPermitted as error:
        pytest.skip(str(error))
    with made:
        yield made


def _explained(policy: Policy, fleet: Fleet, host: Host, probe: Probe) -> tuple[Explanation, ...]:
    return tuple(explain(policy, fleet, host, own(fleet), asked) for asked in probe.questions())


def _meant(policy: Policy, fleet: Fleet, host: Host, probe: Probe) -> bool:
    return all(passes(policy, fleet, host, own(fleet), asked) for asked in probe.questions())


def _seen_differently(probes: list[Probe], one: list[bool], other: list[bool]) -> list[str]:
    rows = zip(probes, one, other, strict=True)
    return [f"{told(probe)}: {a}, not {b}" for probe, a, b in rows if a is not b]


@pytest.mark.timeout(1800)
def test_explain_and_the_packets_agree(crossroads: Crossroads, request: pytest.FixtureRequest) -> None:
    """A packet arrives exactly when explain and the meaning of the policy say so, at random.

    Few policies at random name a published port and not the one behind it, so two that do come first.
    """
    tally: Counter[tuple[str, bool]] = Counter()
    many = SHARE if request.node.callspec.params["crossroads"] in IPTABLES else CASES

    @settings(max_examples=many)
    @given(cases(), fleets(), hosts)
    @example(_before_dnat(False), _TWO, Host(1, "eth1", "eth0"))
    @example(_before_dnat(True), _TWO, Host(1, "eth1", "eth0"))
    def agree(case: tuple[Policy, list[Probe]], fleet: Fleet, host: Host) -> None:
        policy, sent = case
        meant = [_meant(policy, fleet, host, probe) for probe in sent]
        reasons = [_explained(policy, fleet, host, probe) for probe in sent]
        explained = [all(one.passes for one in found) for found in reasons]
        assert [] == _seen_differently(sent, meant, explained), "meaning and explain differ"
        crossroads.enforce(compile_ruleset(policy, fleet, host, own(fleet)))
        arrived = crossroads.arrivals(sent, explained)
        assert [] == _seen_differently(sent, explained, arrived), "explain and the packets differ"
        for probe, found, came in zip(sent, reasons, arrived, strict=True):
            tally.update((kind, came) for kind in _kinds(probe, found))

    agree()
    if many == CASES:
        assert [] == list(_unproven(tally))


def _kinds(probe: Probe, found: tuple[Explanation, ...]) -> "Iterator[str]":
    """What this packet is an example of."""
    yield probe.way.name
    yield f"IPv{probe.family.value}"
    yield "other" if probe.protocol == OTHER else Protocol(probe.protocol).name
    yield from {_ruled(one) for one in found}


def _ruled(one: Explanation) -> str:
    return "a rule" if one.rule.startswith("rule ") else one.rule or one.ruling.name


_BOTH_WAYS = ("TCP", "UDP", "ICMP", "ICMPV6", "IPv4", "IPv6", "other", *(way.name for way in Way))
_PASSING = ("a rule", "peers", "UNJUDGED", *Lifeline)


def _unproven(tally: "Counter[tuple[str, bool]]") -> "Iterator[str]":
    """Of what there were too few packets to prove anything."""
    for kind in _BOTH_WAYS:
        if min(tally[kind, True], tally[kind, False]) < CASES / 30:
            yield f"{kind}: {tally[kind, True]} passed, {tally[kind, False]} dropped"
    for kind in _PASSING:
        if tally[kind, True] < CASES / 300:
            yield f"{kind}: {tally[kind, True]} passed"
    if not tally["denied", True] or not tally["denied", False]:
        yield "audit and enforce"
