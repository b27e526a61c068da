"""Random Rulesets and transactions over a world so small that everything collides."""

from functools import cache
from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from droplan_daemon.diff import diff
from droplan_daemon.model.addresses import Family, collapse
from droplan_daemon.model.plan import (
    AddElements,
    AddEntries,
    Arm,
    Change,
    CreateChain,
    CreateLease,
    CreateMap,
    CreateSet,
    CreateTable,
    DeleteChain,
    DeleteLease,
    DeleteMap,
    DeleteRule,
    DeleteSet,
    DeleteTable,
    Disarm,
    InsertRule,
    Plan,
    RemoveElements,
    RemoveEntries,
)
from droplan_daemon.model.policy import Rate, Unit
from droplan_daemon.model.ruleset import (
    Action,
    AddressSet,
    Armed,
    Chain,
    CtState,
    Dispatch,
    From,
    Hook,
    HookPoint,
    Icmp,
    Interface,
    Log,
    Match,
    PortEntry,
    PortMap,
    Protocol,
    Reply,
    Rule,
    Ruleset,
    SetKind,
    State,
    To,
    Transport,
    Verdict,
    ruleset,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

SETS = {
    "four": (Family.IPV4, SetKind.HOSTS, 16),
    "few": (Family.IPV4, SetKind.HOSTS, 6),
    "six": (Family.IPV6, SetKind.HOSTS, 16),
    "ranges": (Family.IPV4, SetKind.RANGES, 0),
    "ranges6": (Family.IPV6, SetKind.RANGES, 0),
}
CHAINS = ("inbound", "outbound", "chain-a", "chain-b", "chain-c")  # each enters only later ones
MAPS = ("tcp-ports", "udp-ports")
LEASES = ("trial", "pause")
LASTING = (600.0, 3600.0)  # seconds: no test runs so long
ENTERED = ("chain-b", "chain-c")  # by maps, which rules of the other chains look up
HOOKS = {"inbound": HookPoint.PREROUTING, "outbound": HookPoint.POSTROUTING}

_rates = st.none() | st.builds(Rate, st.integers(1, 1000), st.sampled_from(Unit))
_logs = st.builds(Log, st.sampled_from(["droplan DROP: ", "x"]), _rates)


def _ranges(family: Family) -> st.SearchStrategy[frozenset[bytes]]:
    """Canonical ranges, the ends of the address space among them."""
    bits = family.width * 8
    edges = ["0.0.0.0/30", "255.255.255.252/30"] if family is Family.IPV4 else ["::/126"]
    beyond = [] if family is Family.IPV4 else ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126"]
    base = "10.0.0." if family is Family.IPV4 else "2001:db8::"
    digit = "d" if family is Family.IPV4 else "x"
    near = [f"{base}{n:{digit}}/{bits - size}" for size in (0, 1, 2) for n in range(0, 16, 1 << size)]
    prefixes = [ip_network(text) for text in (*edges, *beyond, *near)]
    return st.sets(st.sampled_from(prefixes), max_size=6).map(collapse)


@cache  # to build a strategy takes longer than to draw from it
def elements(name: str) -> st.SearchStrategy[frozenset[bytes]]:
    family, kind, _ = SETS[name]
    if kind is SetKind.RANGES:
        return _ranges(family)
    hosts = [bytes([10, *bytes(family.width - 2), n]) for n in range(10)]
    return st.frozensets(st.sampled_from(hosts), max_size=8)


@cache
def address_set(name: str) -> st.SearchStrategy[AddressSet]:
    family, kind, capacity = SETS[name]
    fitting = elements(name).filter(lambda found: not capacity or len(found) <= capacity)
    return st.builds(AddressSet, st.just(name), st.just(family), st.just(kind), st.just(capacity), fitting)


@cache
def _span(most: int) -> st.SearchStrategy[tuple[int, int]]:
    bounds = st.tuples(st.integers(1, most), st.integers(1, most)).map(lambda b: (min(b), max(b)))
    return bounds.filter(lambda b: b != (1, most))


_maybe = st.booleans()
_interfaces = st.builds(Interface, st.sampled_from(["eth0", "eth1", "a-very-long-nam"]), _maybe)
_families = st.sampled_from(Family)
_ports = st.none() | _span(65534)
_transports = st.builds(Transport, st.sampled_from([Protocol.TCP, Protocol.UDP]), _ports, _ports)
_states = st.builds(State, st.frozensets(st.sampled_from(CtState), min_size=1, max_size=3))


@cache
def _icmp(family: Family) -> st.SearchStrategy[Icmp]:
    return _span(254).map(lambda span: Icmp(family, *span))


@cache
def _addressed(
    kind: type[From] | type[To], sets: tuple[str, ...], family: Family
) -> st.SearchStrategy[Match]:
    return st.builds(kind, st.sampled_from(sets), st.just(family))


@st.composite
def matches(draw: st.DrawFn, sets: tuple[str, ...]) -> tuple[Match, ...]:
    """Matches in the order in which the compiler writes them."""
    found: list[Match] = []
    if draw(_maybe):
        found.append(draw(_interfaces))
    if draw(_maybe):
        found.append(draw(_states))
    if draw(_maybe):
        found.append(Reply())
    family = draw(_families)
    usable = tuple(name for name in sets if SETS[name][0] is family)
    found += [draw(_addressed(kind, usable, family)) for kind in (From, To) if draw(_maybe) and usable]
    if draw(_maybe):
        found.append(draw(_transports | _icmp(family)))
    return tuple(found)


@cache
def verdicts(entered: tuple[str, ...]) -> st.SearchStrategy[Verdict | None]:
    plain = st.sampled_from([None, *map(Verdict, (Action.ACCEPT, Action.DROP, Action.RETURN))])
    if not entered:
        return plain
    calls = st.builds(Verdict, st.sampled_from([Action.JUMP, Action.GOTO]), st.sampled_from(entered))
    return plain | calls


@cache
def port_entries(chains: tuple[str, ...]) -> st.SearchStrategy[frozenset[PortEntry]]:
    """Disjoint entries of a map, over few ports, the first and the last among them."""
    usable = [chain for chain in chains if chain in ENTERED]
    if not usable:
        return st.just(frozenset())
    spans = [(1, 1), (2, 5), (6, 6), (10, 20), (443, 443), (65530, 65534), (65535, 65535)]
    entries = st.builds(lambda span, chain: (*span, chain), st.sampled_from(spans), st.sampled_from(usable))
    return st.lists(entries, unique_by=lambda entry: entry[:2], max_size=5).map(frozenset)


def _dispatches(maps: tuple[str, ...]) -> st.SearchStrategy[Rule]:
    transports = st.builds(Transport, st.sampled_from([Protocol.TCP, Protocol.UDP]))
    verdicts = st.builds(Dispatch, st.sampled_from(maps))
    return st.builds(Rule, st.just("ports"), st.tuples(transports), verdict=verdicts)


@cache
def rules(
    chain: str,
    sets: tuple[str, ...],
    chains: tuple[str, ...],
    maps: tuple[str, ...] = (),
    leases: tuple[str, ...] = (),
) -> st.SearchStrategy[Rule]:
    found = _rules(chain, sets, chains)
    if maps and chain not in ENTERED:
        found |= _dispatches(maps)
    return found | _leased(leases, _later(chain, chains)) if leases else found


def _leased(leases: tuple[str, ...], later: tuple[str, ...]) -> st.SearchStrategy[Rule]:
    matches = st.builds(Armed, st.sampled_from(leases)).map(lambda armed: (armed,))
    return st.builds(Rule, st.just("leased"), matches, st.booleans(), verdict=verdicts(later))


def _later(chain: str, chains: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for c in chains if CHAINS.index(c) > CHAINS.index(chain) and c not in HOOKS)


def _rules(chain: str, sets: tuple[str, ...], chains: tuple[str, ...]) -> st.SearchStrategy[Rule]:
    later = _later(chain, chains)
    return st.builds(
        Rule,
        st.sampled_from(["peers", "replies", "denied", "a rule with words"]),
        matches(sets),
        st.booleans(),
        st.none() | _logs,
        verdicts(later),
    )


@cache
def chain_of(
    name: str,
    sets: tuple[str, ...],
    chains: tuple[str, ...],
    maps: tuple[str, ...],
    leases: tuple[str, ...] = (),
) -> st.SearchStrategy[Chain]:
    priorities = st.sampled_from([-110, 90])
    hooks = st.builds(Hook, st.just(HOOKS[name]), priorities) if name in HOOKS else st.none()
    return st.builds(
        Chain, st.just(name), hooks, st.lists(rules(name, sets, chains, maps, leases), max_size=5).map(tuple)
    )


def _some(names: "Iterable[str]") -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(sorted(names))).map(sorted).map(tuple)


_set_names, _chain_names, _map_names, _lease_names = _some(SETS), _some(CHAINS), _some(MAPS), _some(LEASES)
_comments = st.sampled_from(["", "managed by droplan"])


@st.composite
def rulesets(draw: st.DrawFn, *, leased: bool = True) -> Ruleset:
    names, chains, maps = draw(_set_names), draw(_chain_names), draw(_map_names)
    leases = draw(_lease_names) if leased else ()
    return ruleset(
        tuple(draw(address_set(name)) for name in names),
        tuple(draw(chain_of(name, names, chains, maps, leases)) for name in chains),
        draw(_comments),
        tuple(PortMap(name, draw(port_entries(chains))) for name in maps),
        frozenset(leases),
    )


@cache
def _element_changes(kind: type[AddElements] | type[RemoveElements]) -> st.SearchStrategy[Change]:
    @cache
    def build(name: str) -> st.SearchStrategy[Change]:
        return st.builds(kind, st.just(name), st.just(SETS[name][0]), elements(name).filter(bool))

    return st.sampled_from(sorted(SETS)).flatmap(build)


@cache
def _chain_change(name: str) -> st.SearchStrategy[Change]:
    known = tuple(SETS), CHAINS, MAPS, LEASES
    hook = st.just(Hook(HOOKS[name], -110)) if name in HOOKS else st.none()
    return st.one_of(
        st.builds(CreateChain, st.just(name), hook),
        st.builds(DeleteChain, st.just(name)),
        st.builds(InsertRule, st.just(name), st.integers(0, 5), rules(name, *known)),
        st.builds(DeleteRule, st.just(name), st.integers(0, 5), st.just(Rule("any"))),
    )


@cache
def _map_change(name: str) -> st.SearchStrategy[Change]:
    some = port_entries(ENTERED).filter(bool)
    return st.one_of(
        st.builds(CreateMap, st.just(name)),
        st.builds(DeleteMap, st.just(name)),
        st.builds(AddEntries, st.just(name), some),
        st.builds(RemoveEntries, st.just(name), some),
    )


@cache
def _lease_change(name: str) -> st.SearchStrategy[Change]:
    lease = st.just(name)
    return st.one_of(
        st.builds(CreateLease, lease),
        st.builds(DeleteLease, lease),
        st.builds(Arm, lease, st.sampled_from(LASTING)),
        st.builds(Disarm, lease),
    )


def _empty_sets() -> st.SearchStrategy[AddressSet]:
    return st.sampled_from([AddressSet(name, *schema) for name, schema in sorted(SETS.items())])


changes: st.SearchStrategy[Change] = st.one_of(
    st.just(CreateTable()),
    st.just(DeleteTable()),
    st.builds(CreateSet, _empty_sets()),
    st.builds(DeleteSet, st.sampled_from(sorted(SETS))),
    _element_changes(AddElements),
    _element_changes(RemoveElements),
    st.sampled_from(CHAINS).flatmap(_chain_change),
    st.sampled_from(MAPS).flatmap(_map_change),
    st.sampled_from(LEASES).flatmap(_lease_change),
)

Step = Plan | Ruleset | None
"""A transaction that may be nonsense, or a Ruleset (None: no table) to go to by `diff`."""

steps: st.SearchStrategy[Step] = st.one_of(
    rulesets(),
    st.lists(changes, min_size=1, max_size=4).map(lambda found: Plan(tuple(found))),
    rulesets(),
    st.none(),
)


def plan_of(step: Step, current: Ruleset | None) -> Plan:
    return step if isinstance(step, Plan) else diff(current, step)


def prefixes(*texts: str) -> frozenset[bytes]:
    return collapse([IPv4Network(text) for text in texts])
