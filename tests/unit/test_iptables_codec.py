"""A Ruleset as lines of iptables, and back."""

import re
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.backends import iptables_plain as plain
from droplan_daemon.backends.iptables_decode import decode
from droplan_daemon.backends.iptables_encode import HOOKS, encode
from droplan_daemon.backends.iptables_family import without
from droplan_daemon.backends.iptables_line import Line, read, written
from droplan_daemon.backends.iptables_names import ABOUT, BUILT_IN, LANES, is_ours
from droplan_daemon.backends.iptables_rules import UnfitError, limit
from droplan_daemon.backends.iptables_text import Saved, changes, saved, whole
from droplan_daemon.model.addresses import Family, parse_address
from droplan_daemon.model.fleet import Droplet, Fleet
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import (
    Allow,
    InterfacePolicy,
    Mode,
    Policy,
    PortProtocol,
    Ports,
    Rate,
    Unit,
)
from droplan_daemon.model.ruleset import Action, Chain, Interface, Log, Rule, Ruleset, State, Verdict
from droplan_daemon.model.selector import Kind, Term
from droplan_daemon.policy.compile import COMMENT, compile_ruleset
from tests.worlds import fleets, hosts, own, policies

if TYPE_CHECKING:
    from droplan_daemon.backends.iptables_encode import Table

_HOST = Host(1, "eth1", "eth0")
_TWO = Fleet(
    tuple(
        Droplet(number, f"web-{number}", vpc="v", private=(parse_address(f"10.0.0.{number}"),))
        for number in (1, 2, 3)
    )
)
compiled = st.builds(
    lambda policy, fleet, host: compile_ruleset(policy, fleet, host, own(fleet)), policies(), fleets(), hosts
)
"""What the compiler gives; rulesets of other shapes are UnfitError's business."""


def _of(policy: Policy) -> Ruleset:
    return compile_ruleset(policy, _TWO, _HOST, _TWO.droplets[0])


def _texts(table: "Table", chain: str) -> list[str]:
    return [written(chain, line) for line in table[chain] if line]


@given(compiled)
def test_what_is_written_is_read(desired: Ruleset) -> None:
    """Every ruleset of the compiler is read back from its lines, over ip sets and without."""
    assert desired == decode(encode(desired), desired.sets)
    assert desired == plain.decode(plain.expand(encode(desired), desired.sets))


@given(compiled, st.sampled_from(Family))
def test_one_family_alone_is_read(desired: Ruleset, left_out: Family) -> None:
    """Where the other is left out, the rest is read from what there is, and so is what differs."""
    (kept,) = set(Family) - {left_out}
    wanted = without(desired, left_out)
    assert not [one for one in wanted.sets.values() if one.family is left_out]
    for tables, read_back in (
        (encode(wanted), lambda tables: decode(tables, wanted.sets)),
        (plain.expand(encode(wanted), wanted.sets), plain.decode),
    ):
        table = {kept: tables[kept]}
        assert tables.keys() == table.keys()
        assert wanted == read_back(table)
        spoilt = {kept: {**table[kept], "droplan-peers": (*table[kept].get("droplan-peers", ()), None)}}
        assert wanted != read_back(spoilt)


@given(compiled)
def test_lines_are_texts(desired: Ruleset) -> None:
    """Each line is the same after it was written and read, and names of chains are short enough."""
    for tables in (encode(desired), plain.expand(encode(desired), desired.sets)):
        for table in tables.values():
            for chain, lines in table.items():
                assert len(chain) <= 28
                assert chain in BUILT_IN or is_ours(chain)
                assert all((chain, line) == read(written(chain, line)) for line in lines if line)


def _loaded(before: "Table", text: str) -> "Table":
    """What iptables-restore --noflush makes of a table that holds nothing but ours."""
    chains = {name: list(lines) for name, lines in before.items()}
    for row in text.splitlines():
        if row.startswith(":"):
            chains[row[1:].split()[0]] = []
        elif row.startswith("-X"):
            assert [] == chains.pop(row.split()[1])
        elif "-I" in row.split()[:2]:
            rule = row[row.index("-I ") + 3 :]
            name, place, rest = rule.split(" ", 2)
            chains[name].insert(int(place) - 1, read(f"-A {name} {rest}")[1])
        elif row.startswith("-D"):
            name, line = read("-A" + row[2:])
            chains[name].remove(line)
        elif "-A" in row.split()[:2]:
            name, line = read(row[row.index("-A ") :])
            chains[name].append(line)
    return {name: tuple(lines) for name, lines in chains.items()}


@settings(max_examples=60)
@given(compiled, compiled, st.booleans())
def test_changes_lead_from_one_to_the_other(one: Ruleset, other: Ruleset, ipset: bool) -> None:
    """What is given to iptables-restore makes the one state of the other, and nothing of equal states."""
    before, after = (encode(r) if ipset else plain.expand(encode(r), r.sets) for r in (one, other))
    for family in Family:
        assert after[family] == _loaded(before[family], changes(Saved(before[family]), after[family]))
        assert "" == changes(Saved(after[family]), after[family])
        assert after[family] == _loaded(Saved().table, whole(after[family]))


@given(compiled, st.data())
def test_what_somebody_changed_is_seen(desired: Ruleset, data: st.DataObject) -> None:
    """A line that is gone, changed, or not ours, in whichever family and chain, is never overlooked."""
    tables = encode(desired)
    family = data.draw(st.sampled_from(Family))
    chain = data.draw(st.sampled_from(sorted(tables[family])))
    lines = tables[family][chain]
    place = data.draw(st.integers(0, max(len(lines) - 1, 0)))
    changed = [(*lines[:place], None, *lines[place:])]
    line = lines[place] if lines else None
    if line:
        changed += [lines[:place] + lines[place + 1 :]]
        changed += [(*lines[:place], replace(line, inbound="eth9"), *lines[place + 1 :])]
    for spoilt in changed:
        found = decode({**tables, family: {**tables[family], chain: spoilt}}, desired.sets)
        assert desired != found


def test_a_chain_without_ip_sets_looks_as_the_old_droplan_wrote_it() -> None:
    """One ACCEPT for each peer, by address, in the chain droplan-peers; the interface is told in INPUT."""
    desired = _of(Policy())
    table = plain.expand(encode(desired), desired.sets)[Family.IPV4]
    accepts = [row for row in _texts(table, "droplan-peers") if re.search(r" -s \S+ ", row)]
    assert [
        '-A droplan-peers -s 10.0.0.2/32 -m comment --comment "droplan 1 peers" -j ACCEPT',
        '-A droplan-peers -s 10.0.0.3/32 -m comment --comment "droplan 1 peers" -j ACCEPT',
    ] == accepts
    assert ['-A INPUT -i eth1 -m comment --comment "droplan 0 private" -j droplan-peers'] == _texts(
        table, "INPUT"
    )


def test_a_chain_with_ip_sets_names_the_set() -> None:
    """Whoever reads `iptables -L` sees which set peers are looked up in."""
    row = _texts(encode(_of(Policy()))[Family.IPV4], "droplan-peers")[1]
    assert " -m set --match-set dp-private-peers-4 src " in row


def test_audit_hands_on_what_it_would_deny() -> None:
    """In audit a stranger's packet goes on to the rules of others: accepting it would open the host."""
    tables = encode(_of(Policy(mode=Mode.AUDIT)))
    last = tables[Family.IPV4]["droplan-peers"][-1]
    assert last is not None
    assert ("RETURN", "droplan 9 denied") == (last.target, last.comment)


def test_many_ports_are_found_in_few_steps() -> None:
    """Of 200 ports no chain holds more than 17 rules that a packet passes."""
    allows = tuple(
        Allow(f"rule {n}", Term(Kind.ALL), Term(Kind.ANY), ports=(Ports(PortProtocol.TCP, 2 * n, 2 * n),))
        for n in range(1, 201)
    )
    closed = InterfacePolicy(managed=True, allow_peers=False)
    desired = _of(Policy(private=closed, allows=allows))
    table = encode(desired)[Family.IPV4]
    by_port = {name: lines for name, lines in table.items() if re.match(r"droplan-(in|fwd)-tcp", name)}
    assert 4 * 14 == len(by_port)
    assert max(map(len, by_port.values())) <= 17
    assert desired == decode(encode(desired), desired.sets)


def _with(rule: Rule) -> Ruleset:
    desired = _of(Policy())
    chain = desired.chains["private-in"]
    return replace(desired, chains=desired.chains | {chain.name: replace(chain, rules=(rule, *chain.rules))})


_ACCEPT = Verdict(Action.ACCEPT)


@pytest.mark.parametrize(
    "unfit",
    [
        _with(Rule("counts nothing", verdict=_ACCEPT)),
        _with(Rule("jumps", verdict=Verdict(Action.JUMP, "private-in"))),
        _with(Rule("an interface", (Interface("eth0"),), counter=True, verdict=_ACCEPT)),
        _with(Rule("a long prefix", log=Log("x" * 30))),
        _with(Rule("x" * 256, counter=True, verdict=_ACCEPT)),
        _with(Rule("no state", (State(frozenset()),), counter=True, verdict=_ACCEPT)),
        Ruleset(),
        replace(_of(Policy()), flags=frozenset({"dormant"})),
        replace(_of(Policy()), chains=_of(Policy()).chains | {"other": Chain("other")}),
    ],
)
def test_what_iptables_cannot_hold_is_refused(unfit: Ruleset) -> None:
    """Nothing of a ruleset is left out in silence."""
    with pytest.raises(UnfitError):
        encode(unfit)


def test_an_interface_that_would_be_a_pattern_is_refused() -> None:
    """`eth+` is any interface that begins with eth: to iptables, not to us."""
    desired = compile_ruleset(Policy(), _TWO, Host(1, "eth+"), _TWO.droplets[0])
    with pytest.raises(UnfitError):
        encode(desired)


@given(st.builds(Rate, st.integers(1, 1_000_000), st.sampled_from(Unit)))
def test_a_rate_is_written_as_it_will_be_printed(rate: Rate) -> None:
    """Iptables keeps a pause of 1/10,000 s; the rate that stands there is right but for that, and stays."""
    text, burst = limit(rate)
    count, unit = text.split("/")
    again, _ = limit(Rate(int(count), {"sec": Unit.SECOND, "min": Unit.MINUTE}.get(unit) or Unit(unit)))
    assert text == again
    assert 1 <= burst <= 5


@given(st.lists(st.ip_addresses(v=4), min_size=2, max_size=2).map(sorted))
def test_every_range_is_a_line(ends: "list[object]") -> None:
    """A range that is no prefix, and the whole of the addresses, are said with iprange."""
    first, last = (parse_address(str(end)) for end in ends)
    line = Line("ACCEPT", "droplan 1 x", side="src", range=first + last)
    assert ("c", line) == read(written("c", line))
    everything = ip_network("0.0.0.0/0")
    packed = everything.network_address.packed + everything.broadcast_address.packed
    assert "--src-range 0.0.0.0-255.255.255.255" in written("c", replace(line, range=packed))


_STRANGE = """\
*filter
:INPUT DROP [5:300]
:droplan-peers - [0:0]
[1:60] -A INPUT -i eth1 -j droplan-peers
[7:420] -A droplan-peers -s 10.0.0.9/32 -j ACCEPT
COMMIT
"""


def test_a_strangers_chain_is_told_from_ours() -> None:
    """A chain with a name of ours whose rules lack our mark is somebody's; beside our own it is ours."""
    found = saved(_STRANGE)
    assert (frozenset({"droplan-peers"}), 2) == (found.strangers, found.others)
    marked = _STRANGE.replace(
        "COMMIT", f':{ABOUT} - [0:0]\n[0:0] -A {ABOUT} -m comment --comment "droplan 0 x"'
    )
    assert frozenset() == saved(marked).strangers


@pytest.mark.parametrize(
    "text",
    [
        "-A c -s 10.0.0.1/32 -s 10.0.0.2/32 -j ACCEPT",
        "-A c ! -s 10.0.0.1/32 -j ACCEPT",
        "-A c -m mark --mark 0x1 -j ACCEPT",
        "-A c -p tcp -m tcp --dport 22 -m tcp --dport 23 -j ACCEPT",
        "-A c -m conntrack --ctdir ORIGINAL -j ACCEPT",
        "-A c -j",
    ],
)
def test_what_a_line_cannot_say_is_none(text: str) -> None:
    """A rule with anything that droplan never writes is not taken for one of ours."""
    assert ("c", None) == read(text)


def test_hooks_are_those_of_the_compiler() -> None:
    """Where a ruleset judges is said twice, in rooms that do not know each other: here they agree."""
    desired = _of(Policy())
    assert HOOKS["inbound"] == desired.chains["inbound"].hook
    assert COMMENT == desired.comment


def test_no_two_lanes_share_a_name() -> None:
    """Main chains, stems and the names of their pieces are different for each lane."""
    pieces = [name for lane in LANES for name in (lane.main, lane.rest, lane.ports("tcp", natted=True))]
    assert len(set(pieces)) == len(pieces)
    assert all(is_ours(name) for name in pieces)
