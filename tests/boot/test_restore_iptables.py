"""`systemd/restore` on a host of iptables: sets first, then both families, and nothing but ours."""

import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings

from droplan_daemon import reconcile
from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.backends.iptables_rules import UnfitError
from droplan_daemon.errors import DroplanError
from droplan_daemon.model.policy import Allow, InterfacePolicy, Outbound, Policy, PortProtocol, Ports
from droplan_daemon.model.selector import Kind, Term
from droplan_daemon.policy.compile import compile_ruleset
from tests.boot.booting import DROPLET, MAC, NOBODY, OPEN, Machine, resealed, sealed
from tests.kernel.wires import THE_OTHER, THE_PEER, compiled
from tests.worlds import fleets, own, policies
from tests.worlds import hosts as any_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.ruleset import Ruleset

EXAMPLES = 100 if os.environ.get("DROPLAN_TEST_FULL") else 8
HEAD = f"# number 7\n# droplet {DROPLET}\n# link eth1 {MAC}\n# saved 2025-11-22T02:40:00Z\n"
TWO = compiled(Policy(), THE_PEER, THE_OTHER)
_MANAGED = InterfacePolicy(managed=True, allow_peers=True, outbound=Outbound.DROP)
_PORTS = (Ports(PortProtocol.TCP, 80, 90), Ports(PortProtocol.UDP, 53, 53))
OLDER = {
    "the same": TWO,
    "another": compiled(
        Policy(
            private=_MANAGED,
            public=_MANAGED,
            allows=(Allow("web", Term(Kind.ALL), Term(Kind.ANY), ports=_PORTS),),
        ),
        THE_PEER,
    ),
}

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        shutil.which("iptables-restore", path="/usr/sbin:/sbin") is None, reason="no iptables"
    ),
    pytest.mark.skipif(shutil.which("ipset", path="/usr/sbin:/sbin") is None, reason="no ipset"),
]


@pytest.fixture(params=[True, False], ids=["with ip sets", "without"])
def backend(request: pytest.FixtureRequest) -> "Iterator[IptablesBackend]":
    made = IptablesBackend(ipset=bool(request.param))
    yield made
    made.close()


def _keep(machine: Machine, backend: IptablesBackend, ruleset: "Ruleset") -> None:
    machine.write(machine.state / "ruleset.iptables", sealed(backend.script(ruleset)))


def _holds(machine: Machine, backend: IptablesBackend) -> "Ruleset | None":
    return machine.namespace.call(backend.observe).ruleset


def test_what_was_saved_is_what_iptables_holds(machine: Machine, backend: IptablesBackend) -> None:
    """As the backend would write it; loaded a second time it is the same to every packet."""
    _keep(machine, backend, TWO)
    told = machine.boot()
    assert (0, ["boot.restored"]) == (told.code, told.events)
    assert TWO == _holds(machine, backend)
    assert None is machine.kernel.holds()
    if "peers" in told.of("boot.restored").fields:
        assert "2" == told.of("boot.restored").fields["peers"]
    assert ["boot.restored"] == machine.boot().events


def test_any_policy_that_iptables_can_hold_is_restored(machine: Machine) -> None:
    """Whatever the backend renders passes the script's judgement and comes back from the kernel."""
    backend = IptablesBackend()

    @settings(max_examples=EXAMPLES)
    @given(policies(), fleets(), any_host)
    def same(policy: Policy, fleet: "Fleet", host: "Host") -> None:
        wanted = compile_ruleset(policy, fleet, host, own(fleet))
        machine.namespace.call(reconcile.flush, backend)
        try:
            _keep(machine, backend, wanted)
        except (UnfitError, DroplanError):
            assume(False)
        told = machine.boot()
        assert (0, ["boot.restored"]) == (told.code, told.events)
        assert wanted == _holds(machine, backend)

    try:
        same()
    finally:
        backend.close()


def test_the_backend_takes_over_a_closed_interface(machine: Machine, backend: IptablesBackend) -> None:
    """It reads them as a ruleset that lets nobody in; one commit leads to the fleet's, and none is left."""
    machine.config.write_text('[firewall]\nbackend = "iptables"\n')
    assert "iptables" == machine.boot().of("boot.closed").fields["by"]
    assert NOBODY == _holds(machine, backend)
    machine.namespace.call(reconcile.put, backend, TWO)
    assert TWO == _holds(machine, backend)
    assert "closed by droplan" not in machine.namespace.run("iptables-save")
    assert 1 == machine.namespace.run("iptables", "-S", "INPUT").count("-j droplan-peers")


def test_others_rules_stand_as_they_did(machine: Machine, backend: IptablesBackend) -> None:
    """Foreign chains, rules, policies and counters in every table."""
    foreign = (
        ("-P", "FORWARD", "DROP"),
        ("-N", "mine"),
        ("-A", "mine", "-p", "tcp", "--dport", "22", "-j", "ACCEPT"),
        ("-A", "INPUT", "-j", "mine"),
        ("-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "80", "-j", "REDIRECT"),
    )
    for words in foreign:
        machine.namespace.run("iptables", *words)
    before = _foreign(machine)
    _keep(machine, backend, TWO)
    assert ["boot.restored"] == machine.boot().events
    assert before == _foreign(machine)


def _foreign(machine: Machine) -> list[str]:
    text = machine.namespace.run("iptables-save")
    return [line for line in text.splitlines() if not line.startswith("#") and "droplan" not in line]


GOOD = IptablesBackend().script(TWO)
_FILTER = "#: ipset\n#: iptables\n*filter\n"
HOSTILE = {
    "a set of others": GOOD.replace("create dp-", "create xx-", 1),
    "a set of others swapped in": GOOD.replace(
        "dn-private-peers-4 dp-private", "dn-private-peers-4 xx-private"
    ),
    "every set destroyed": GOOD.replace("#: ipset\n", "#: ipset\ndestroy\n"),
    "a policy": _FILTER + ":INPUT DROP [0:0]\nCOMMIT\n",
    "a chain of others": _FILTER + ":mine - [0:0]\nCOMMIT\n",
    "a chain of others flushed": _FILTER + "-F INPUT\nCOMMIT\n",
    "a rule of others": _FILTER + "-A INPUT -j ACCEPT\nCOMMIT\n",
    "a rule of others, said otherwise": _FILTER
    + '-A INPUT -m comment --comment "-j droplan-x" -j ACCEPT\nCOMMIT\n',
    "a rule of others with counters": _FILTER + "[0:0] -A INPUT -j ACCEPT\nCOMMIT\n",
    "a program for root to run": _FILTER
    + ":droplan-x - [0:0]\n-A droplan-x -M /tmp/evil -j RETURN\nCOMMIT\n",
    "a program, said in full": _FILTER + ":droplan-x - [0:0]\n-A droplan-x --modprobe=/tmp/evil\nCOMMIT\n",
    "a program, between quotes": _FILTER + ':droplan-x - [0:0]\n-A droplan-x "-M" "/tmp/evil"\nCOMMIT\n',
    "a program, half between quotes": _FILTER + ':droplan-x - [0:0]\n-A droplan-x -"M" "/tmp/evil"\nCOMMIT\n',
    "a program, behind a comment": _FILTER
    + ':droplan-x - [0:0]\n-A droplan-x -m comment --comment "\\" -M /tmp/evil -j RETURN\nCOMMIT\n',
    "a file for root to write": GOOD.replace("#: ipset\n", "#: ipset\ncreate dp-x hash:ip -file /tmp/evil\n"),
    "a file, between quotes": GOOD.replace("#: ipset\n", '#: ipset\ncreate dp-x hash:ip "-file" /tmp/evil\n'),
    "another table": "#: ipset\n#: iptables\n*nat\n-F\nCOMMIT\n",
    "an option alone": _FILTER + "--flush\nCOMMIT\n",
    "a section that we have not": "#: ipset\n#: sh\nid\n",
    "a section twice": "#: ipset\n#: ipset\n",
    "no section": "*filter\nCOMMIT\n",
    "nothing": "",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_does_more_than_our_chains_is_refused_whatever_its_checksum(machine: Machine, body: str) -> None:
    """The daemon's user could write such a file; root does not load it."""
    machine.config.write_text(OPEN)
    machine.write(machine.state / "ruleset.iptables", resealed((HEAD + body).encode()))
    told = machine.boot()
    assert ({"ruleset.iptables": "shape"}, 0) == (told.reasons, told.code)
    assert [] == [row for row in machine.namespace.run("iptables-save").splitlines() if row.startswith("-A")]


@pytest.mark.parametrize(("there", "missing"), [("iptables", "ip6tables"), ("ip6tables", "iptables")])
def test_without_a_family_the_other_is_enforced(machine: Machine, there: str, missing: str) -> None:
    """And the missing one is told; the daemon, which lacks it too, then finds nothing to write."""
    _keep(machine, IptablesBackend(), TWO)
    path = machine.programs(there, f"{there}-restore", f"{there}-save", "ipset")
    told = machine.boot(environ={"PATH": path})
    assert (0, ["boot.partly", "boot.restored"]) == (told.code, told.events)
    assert f"missing_{missing}-restore" == told.of("boot.partly").fields["reason"]
    assert ("ipv6" if there == "iptables" else "ipv4") == told.of("boot.partly").fields["family"]
    assert "droplan-peers" in machine.namespace.run(there, "-S", "INPUT")
    assert "droplan" not in machine.namespace.run(missing, "-S", "INPUT")


@pytest.mark.parametrize("missing", [("ipset",), ("iptables-restore", "ip6tables-restore")])
def test_without_a_program_it_is_refused_by_its_name(machine: Machine, missing: tuple[str, ...]) -> None:
    """What is missing is told; no half of it is loaded in its place."""
    machine.config.write_text(OPEN)
    _keep(machine, IptablesBackend(), TWO)
    there = {"iptables", "iptables-restore", "ip6tables-restore", "ipset"} - {*missing}
    told = machine.boot(environ={"PATH": machine.programs(*sorted(there))})
    assert {"ruleset.iptables": f"missing_{missing[0]}"} == told.reasons
    for family in ("iptables", "ip6tables"):
        assert "droplan" not in machine.namespace.run(f"{family}-save")


def test_without_iptables_another_way_to_close_is_taken_too(machine: Machine) -> None:
    """ip6tables alone leaves IPv4 open, and nft can close that."""
    machine.config.write_text('[firewall]\nbackend = "iptables"\n')
    told = machine.boot(environ={"PATH": machine.programs("ip6tables", "ip6tables-restore", "nft")})
    assert (0, ["boot.partly", "boot.closed", "boot.closed"]) == (told.code, told.events)
    assert NOBODY == machine.kernel.holds()
    assert "droplan-peers" in machine.namespace.run("ip6tables", "-S", "INPUT")


@pytest.mark.parametrize("save", [True, False], ids=["", "without iptables-save"])
@pytest.mark.parametrize("older", OLDER.values(), ids=OLDER)
def test_over_older_rules_of_ours_it_is_exactly_the_new(
    machine: Machine, backend: IptablesBackend, older: "Ruleset", save: bool
) -> None:
    """No jump is left twice, no chain or set without use; rules of others stand where they stood."""
    machine.namespace.call(reconcile.put, backend, older)
    machine.namespace.run("iptables", "-A", "INPUT", "-s", "10.9.9.9", "-j", "ACCEPT")
    machine.namespace.run("iptables", "-N", "droplan-of-others")
    _keep(machine, backend, TWO)
    programs = [f"{family}-{end}" for family in ("iptables", "ip6tables") for end in ("restore", "save")]
    path = machine.programs("ipset", *(name for name in programs if save or name.endswith("restore")))
    for _ in range(2):
        told = machine.boot(environ={"PATH": path})
        assert (0, ["boot.restored"]) == (told.code, told.events)
    inputs = machine.namespace.run("iptables", "-S", "INPUT").splitlines()[1:]
    assert "10.9.9.9" in inputs[-1]
    assert "-N droplan-of-others" in machine.namespace.run("iptables", "-S")
    if save:
        assert ["droplan-peers"] == [row.split()[-1] for row in inputs[:-1]]
        assert TWO == _holds(machine, backend)
        _alone(machine, backend)
    machine.namespace.call(reconcile.put, backend, TWO)
    _alone(machine, backend)


def _alone(machine: Machine, backend: IptablesBackend) -> None:
    """What is there is what the backend makes of nothing."""
    held = _everything(machine)
    machine.namespace.call(reconcile.put, backend, None)
    machine.namespace.call(reconcile.put, backend, TWO)
    assert held == _everything(machine)


def _everything(machine: Machine) -> list[str]:
    words = [("iptables-save",), ("ip6tables-save",), ("ipset", "save", "-sorted")]
    rows = "".join(machine.namespace.run(*one) for one in words).splitlines()
    return sorted(re.sub(r" (hashsize|bucketsize|initval) \S+", "", row) for row in rows if row[0] != "#")


def test_a_set_that_is_too_small_is_refused_by_ipset(machine: Machine) -> None:
    """What ipset says is told, and no rule was loaded."""
    machine.config.write_text(OPEN)
    body = GOOD.replace("maxelem 16384", "maxelem 1")
    machine.write(machine.state / "ruleset.iptables", sealed(body))
    told = machine.boot()
    assert {"ruleset.iptables": "refused_by_ipset"} == told.reasons
    assert "full" in told.lines[0].fields["said"]
    assert "droplan" not in machine.namespace.run("iptables-save")
