"""Random selectors, fleets and policies over a world so small that everything meets everything.

A *seat* is a number with one address on each network; random Droplets sit on seats, and some seats
stay strangers. The same addresses exist as machines where packets are really sent.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind, Peering, Vpc
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    InterfaceOverride,
    InterfacePolicy,
    Lifeline,
    Mode,
    Outbound,
    Override,
    Peers,
    Policy,
    PortProtocol,
    Ports,
    Rate,
    Scope,
    Unit,
    Unset,
)
from droplan_daemon.model.selector import And, Kind, Or, Selector, Term, joined, negated
from droplan_daemon.policy.pick import ANY, bounded

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN_VPC, PEERED_VPC, FOREIGN_VPC = "aaaa-1", "bbbb-2", "cccc-3"
VPCS = (
    Vpc(OWN_VPC, "own", "nyc3", "10.10.0.0/24"),
    Vpc(PEERED_VPC, "peered", "ams3", "10.20.0.0/24"),
    Vpc(FOREIGN_VPC, "foreign", "nyc3", "10.10.0.0/24"),
)
PEERING = Peering(frozenset({OWN_VPC, PEERED_VPC}))
TAGS = ("web", "db", "canary", "a:long-tag-that-needs-a-digest")
NAMES = ("web-1", "web-2", "db-1", "Bastion.1", "canary-1")
GLOBS = ("web-*", "?b-1", "*", "nobody-*", "[wd]*-1", *NAMES)
REGIONS = ("nyc3", "ams3")


@dataclass(frozen=True, slots=True)
class Seat:
    """The addresses at which somebody may be: on the private network, and on the public one."""

    private: str
    public: str
    public_6: str

    def addresses(self, kind: InterfaceKind) -> tuple[bytes, ...]:
        texts = (self.private,) if kind is InterfaceKind.PRIVATE else (self.public, self.public_6)
        return tuple(map(parse_address, texts))


OWN_SEAT = Seat("10.10.0.1", "203.0.113.1", "2001:db8::1")
SEATS = (
    *(Seat(f"10.10.0.{n}", f"203.0.113.{n}", f"2001:db8::{n}") for n in (10, 11, 12)),
    *(Seat(f"10.20.0.{n}", f"198.51.100.{n}", f"2001:db8:1::{n}") for n in (10, 11)),
)
STRANGERS = (
    Seat("10.10.0.200", "203.0.113.200", "2001:db8::200"),
    Seat("10.99.0.9", "192.0.2.9", "2001:db8:9::9"),
)
"""Nobody in the account has these, but Droplets of a foreign VPC may have the same private ones."""

PREFIXES = (
    "10.10.0.0/24",
    "10.0.0.0/8",
    "10.10.0.10",
    "10.10.0.8/30",
    "203.0.113.0/24",
    "203.0.113.200",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8::200",
    "::/0",
)

_droplet_terms = st.one_of(
    st.sampled_from([Term(kind) for kind in (Kind.ALL, Kind.PEERS, Kind.SELF)]),
    st.sampled_from([*TAGS, "unknown"]).map(lambda tag: Term(Kind.TAG, tag)),
    st.sampled_from(GLOBS).map(lambda glob: Term(Kind.NAME, glob)),
    st.sampled_from(["1", "2", "3", "51", "999999"]).map(lambda number: Term(Kind.ID, number)),
    st.sampled_from([*REGIONS, "sfo3"]).map(lambda slug: Term(Kind.REGION, slug)),
    st.sampled_from([OWN_VPC, PEERED_VPC, FOREIGN_VPC]).map(lambda uuid: Term(Kind.VPC, uuid)),
)
_address_terms = st.one_of(
    st.sampled_from([ANY, Term(Kind.VPC_RANGE)]),
    st.sampled_from(PREFIXES).map(lambda text: Term(Kind.PREFIX, text)),
)


def _grown(parts: st.SearchStrategy[Selector]) -> st.SearchStrategy[Selector]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        parts.map(negated),
        several.map(lambda found: joined(And, found)),
        several.map(lambda found: joined(Or, found)),
    )


def _selectors(terms: st.SearchStrategy[Term]) -> st.SearchStrategy[Selector]:
    return st.recursive(terms, _grown, max_leaves=5)


def _bounded(selector: Selector) -> Selector:
    """What the configuration asks people to write instead."""
    return selector if bounded(selector) else joined(And, (ANY, selector))


droplet_selectors = _selectors(_droplet_terms)
"""Of Droplet terms alone: what `on` takes."""

selectors = _selectors(st.one_of(_droplet_terms, _address_terms))
"""Any selector that the language has, canonical, bounded or not."""

who_selectors = st.one_of(_droplet_terms, droplet_selectors, selectors).map(_bounded)
"""What a configuration accepts in `from` and `to`."""

on_selectors = st.one_of(
    st.sampled_from([Term(Kind.ALL), Term(Kind.SELF)]),  # else most rules would be somebody else's
    st.sampled_from([Term(Kind.ALL), Term(Kind.SELF)]),
    droplet_selectors,
)


def _subset(values: "Sequence[bytes]") -> st.SearchStrategy[tuple[bytes, ...]]:
    """Mostly all of them."""
    every = tuple(values)
    return st.one_of(st.just(every), st.just(every), st.sets(st.sampled_from(every)).map(sorted).map(tuple))


_tags = st.sets(st.sampled_from(TAGS), max_size=2).map(sorted).map(tuple)


@cache  # to build a strategy takes longer than to draw from it
def _droplet(number: int, seat: Seat, vpcs: tuple[str | None, ...]) -> st.SearchStrategy[Droplet]:
    return st.builds(
        Droplet,
        st.just(number),
        st.sampled_from(NAMES),
        _tags,
        st.sampled_from(REGIONS),
        st.sampled_from(vpcs),
        _subset(seat.addresses(InterfaceKind.PRIVATE)),
        _subset(seat.addresses(InterfaceKind.PUBLIC)),
    )


@cache
def _foreign(number: int) -> st.SearchStrategy[Droplet]:
    """A Droplet of another VPC, whose private address may be somebody else's here."""
    seats = st.sampled_from([*STRANGERS, *SEATS])
    return seats.flatmap(lambda seat: _droplet(number, seat, (FOREIGN_VPC,))).map(_without_public)


def _without_public(droplet: Droplet) -> Droplet:
    return Droplet(
        droplet.id, droplet.name, droplet.tags, droplet.region, droplet.vpc, private=droplet.private
    )


_four_of_five, _up_to_two, _either = st.integers(0, 4), st.integers(0, 2), st.booleans()


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """Ourselves with id 1, most seats taken, sometimes Droplets of a foreign VPC."""
    own = draw(_droplet(1, OWN_SEAT, (OWN_VPC, OWN_VPC, OWN_VPC, None)))
    found = [own]
    for number, seat in enumerate(SEATS, 2):
        if draw(_four_of_five):
            found.append(draw(_droplet(number, seat, (OWN_VPC, OWN_VPC, PEERED_VPC, FOREIGN_VPC, None))))
    found += [draw(_foreign(50 + n)) for n in range(draw(_up_to_two))]
    peerings = (PEERING,) if draw(_either) else ()
    return Fleet(tuple(sorted(found, key=lambda droplet: droplet.id)), VPCS, peerings)


SIGNS = "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"
"""What a rule's name may hold besides letters, digits and blanks."""

EDGES = (1, 53, 80, 443, 8000, 8050, 65535)


def _span(protocol: PortProtocol) -> st.SearchStrategy[Ports]:
    edges = st.sampled_from(EDGES)
    return st.tuples(edges, edges).map(lambda span: Ports(protocol, min(span), max(span)))


_ports = st.one_of(
    st.builds(lambda port: Ports(PortProtocol.TCP, port, port), st.sampled_from(EDGES)),
    _span(PortProtocol.TCP),
    _span(PortProtocol.UDP),
    st.sampled_from([Ports(PortProtocol.ICMP), Ports(PortProtocol.ICMPV6)]),
)


Lane = tuple[Direction, InterfaceKind]
LANES: tuple[Lane, ...] = tuple(product(Direction, InterfaceKind))


@cache
def allows(number: int, lanes: tuple[Lane, ...] = LANES) -> st.SearchStrategy[Allow]:
    return st.sampled_from(lanes).flatmap(lambda lane: _allows(number, *lane))


@cache
def _allows(number: int, direction: Direction, kind: InterfaceKind) -> st.SearchStrategy[Allow]:
    return st.builds(
        Allow,
        # One such name is enough, and all of them together stay within a comment's length.
        st.sampled_from([f"rule {number}", f"rule {number}" if number else f"rule 0 {SIGNS}"]),
        on_selectors,
        who_selectors,
        st.just(direction),
        st.lists(_ports, max_size=4).map(tuple),
        st.just(kind),
    )


_maybe = st.sampled_from([None, None, True, False])
_mostly = st.sampled_from([None, None, True, True, False])
_log = st.sampled_from([None, Rate(60, Unit.MINUTE)])
_interface_overrides = st.builds(
    InterfaceOverride, _mostly, _maybe, st.sampled_from([None, Outbound.DROP, Outbound.DROP, Outbound.ACCEPT])
)
overrides = st.builds(
    Override,
    on_selectors,
    st.sampled_from([None, Mode.ENFORCE, Mode.ENFORCE, Mode.AUDIT]),
    _interface_overrides,
    _interface_overrides,
    st.sampled_from([Unset.UNSET, None, Rate(1, Unit.SECOND)]),
)
_often = st.sampled_from([True] * 7 + [False])
_outbound = st.sampled_from([Outbound.DROP] * 4 + [Outbound.ACCEPT])
_interface_policies = st.builds(InterfacePolicy, _often, st.booleans(), _outbound)
_lifelines = st.one_of(st.just(frozenset(Lifeline)), st.frozensets(st.sampled_from(Lifeline)))


# In one lane many rules meet at one port, in all of them there are few at each.
_lanes = st.sampled_from([LANES, *((lane,) for lane in LANES)])
_modes = st.sampled_from([Mode.ENFORCE] * 9 + [Mode.AUDIT])
_peers = st.builds(Peers, st.sampled_from(Scope), st.sampled_from([None, None, "web"]))
_up_to_eight, _some_overrides = st.integers(0, 8), st.lists(overrides, max_size=2)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    lanes = draw(_lanes)
    return Policy(
        draw(_modes),
        draw(_peers),
        draw(_interface_policies),
        draw(_interface_policies),
        draw(_log),
        tuple(draw(allows(number, lanes)) for number in range(draw(_up_to_eight))),
        tuple(draw(_some_overrides)),
        draw(_lifelines),
    )


hosts = st.sampled_from(
    [
        *[Host(1, private="eth1", public="eth0")] * 8,
        Host(1, private="eth1"),
        Host(1, public="eth0"),
    ]
)


def own(fleet: Fleet) -> Droplet:
    found = fleet.droplet(1)
    assert found is not None
    return found
