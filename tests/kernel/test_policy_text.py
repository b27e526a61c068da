"""Compiled policies as nft scripts: nft(8) takes them, and they mean what netlink writes."""

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from droplan_daemon.backends.nft_text import render
from droplan_daemon.model.fleet import Droplet, Fleet
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Allow, Policy, PortProtocol, Ports
from droplan_daemon.model.selector import Kind, Term
from droplan_daemon.policy.compile import compile_ruleset
from tests.worlds import fleets, hosts, own, policies

if TYPE_CHECKING:
    from tests.kernel.ground import Kernel

EXAMPLES = 1_000 if os.environ.get("DROPLAN_TEST_FULL") else 100

pytestmark = pytest.mark.kernel


def test_a_compiled_policy_is_the_same_by_text_and_by_netlink(kernel: "Kernel") -> None:
    """nft(8) checks the script, loads it, and sees no difference to the commit; observe gives it back."""

    @settings(max_examples=EXAMPLES)
    @given(policies(), fleets(), hosts)
    def same(policy: Policy, fleet: Fleet, host: Host) -> None:
        wanted = compile_ruleset(policy, fleet, host, own(fleet))
        script = render(wanted, "droplan")
        kernel.namespace.run("nft", "-c", "-f", "-", text=script)
        kernel.nft(script)
        by_text = kernel.dump()
        assert wanted == kernel.holds()
        kernel.become(None)
        kernel.become(wanted)
        assert by_text == kernel.dump()
        assert wanted == kernel.holds()

    same()


def test_from_any_policy_a_diff_leads_to_any_other(kernel: "Kernel") -> None:
    """One commit by difference turns the Ruleset of one policy and fleet into that of another."""

    @settings(max_examples=EXAMPLES)
    @given(policies(), policies(), fleets(), fleets(), hosts)
    def leads(before: Policy, after: Policy, old: Fleet, new: Fleet, host: Host) -> None:
        kernel.become(compile_ruleset(before, old, host, own(old)))
        wanted = compile_ruleset(after, new, host, own(new))
        kernel.become(wanted)
        assert wanted == kernel.holds()

    leads()


def test_long_names_are_cut_to_what_a_comment_holds(kernel: "Kernel") -> None:
    """Ten rules with names of 64 characters on one port are one rule, the same by text and by netlink."""
    port = (Ports(PortProtocol.TCP, 80, 80),)
    rules = (
        Allow(f"{number:*>64}", Term(Kind.ALL), Term(Kind.ID, f"{number + 1}"), ports=port)
        for number in range(10)
    )
    fleet = Fleet((Droplet(1, "own"),))
    wanted = compile_ruleset(Policy(allows=tuple(rules)), fleet, Host(1, private="eth1"), fleet.droplets[0])
    kernel.nft(render(wanted, "droplan"))
    assert wanted == kernel.holds()
