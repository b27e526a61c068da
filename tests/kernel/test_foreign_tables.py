"""Law 7 of the design: only our own table is ever written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.errors import CommitRejected
from tests.kernel.ground import SMALL, Kernel
from tests.strategies import Step, plan_of, steps

pytestmark = pytest.mark.kernel

# The same names as ours in every family, and things that only others use.
NEIGHBOURS = """
table ip droplan {
    set peers { type ipv4_addr; size 16; elements = { 10.0.0.1 } }
    chain inbound { type filter hook prerouting priority -110; ip saddr @peers accept comment "peers"; }
    chain judge { counter drop comment "denied"; }
}
table ip6 droplan {
    set six { type ipv6_addr; flags interval; elements = { 2001:db8::/32 } }
    chain inbound { type filter hook prerouting priority -110; ip6 saddr @six counter accept; }
}
table inet other {
    map marks { type ipv4_addr : mark; elements = { 10.0.0.1 : 7 } }
    set peers { type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 1d } }
    chain inbound { type filter hook prerouting priority -110; meta mark set ip saddr map @marks; }
    chain judge { quota over 10 mbytes drop; }
    chain inner { type filter hook input priority 0; policy drop; jump judge; limit rate 1/second; }
}
table inet droplan2 {
    chain inbound { type nat hook prerouting priority -100; tcp dport 80 dnat ip to 10.0.0.9:8080; }
}
table bridge droplan {
    chain inbound { type filter hook prerouting priority 0; counter drop; }
}
table netdev droplan {
    chain inbound { type filter hook ingress device lo priority 0; counter drop; }
}
"""


def _without_expiry(text: str) -> str:
    """The kernel counts a time limit down; that is nobody's writing."""
    return "\n".join(line.split(" expires ")[0] for line in text.splitlines())


def test_no_commit_touches_a_neighbour(kernel: Kernel) -> None:
    """Tables of all families with our names stay the same, handles included, whatever we commit or remove."""
    kernel.nft(NEIGHBOURS)
    before = _without_expiry(kernel.raw())

    @settings(max_examples=15)
    @given(st.lists(steps, min_size=4, max_size=4))
    def walk(path: list[Step]) -> None:
        for step in path:
            plan = plan_of(step, kernel.holds())
            try:
                kernel.commit(plan)
            except CommitRejected:
                continue
        assert before == _without_expiry(kernel.raw(without="inet droplan"))

    walk()
    kernel.become(None)
    assert before == _without_expiry(kernel.raw())


def test_a_neighbour_is_not_observed(kernel: Kernel) -> None:
    """Neighbours with our names, and with things that we cannot read, are not part of what we see."""
    kernel.nft(NEIGHBOURS)
    assert kernel.holds() is None
    kernel.become(SMALL)
    assert SMALL == kernel.holds()


def test_a_repair_does_not_touch_a_neighbour(kernel: Kernel) -> None:
    """A table of ours that must be made anew is made anew beside neighbours that stay."""
    kernel.nft(NEIGHBOURS)
    before = _without_expiry(kernel.raw())
    kernel.become(SMALL)
    kernel.nft("table inet droplan { flags dormant; }")
    kernel.become(SMALL)
    assert SMALL == kernel.holds()
    assert before == _without_expiry(kernel.raw(without="inet droplan"))


@pytest.mark.fault("D13")
def test_the_table_has_no_owner(kernel: Kernel) -> None:
    """The table survives the socket that made it, for an owned one would vanish with our process."""
    kernel.become(SMALL)
    kernel.close()
    assert [{"table": {"family": "inet", "name": "droplan"}}] == kernel.dump()[-1:]
    assert "flags" not in kernel.namespace.run("nft", "list", "table", "inet", "droplan").splitlines()[1]


@pytest.mark.fault("D22")
def test_no_element_has_a_time_limit(kernel: Kernel) -> None:
    """Nothing that droplan writes ends by itself."""
    kernel.become(SMALL)
    assert "timeout" not in kernel.raw()
    assert "expires" not in kernel.raw()
