"""Which chains are the old droplan's, and what goes with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.migrate import chains
from droplan_daemon.model.addresses import parse_address
from tests.migrate.dumps import PEERS, PRIVATE, PUBLIC, dump, members

ASIDE = "old-droplan-peers"
BOTH = ("droplan-peers", "droplan-peers-public")
OPERATORS = ("-A INPUT -i lo -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT")


@pytest.mark.parametrize(
    ("text", "names", "rules"),
    [
        (dump(*PRIVATE, *members()), ("droplan-peers",), PRIVATE),
        (dump(*OPERATORS, *PRIVATE, OPERATORS[0], *members()), ("droplan-peers",), PRIVATE),
        (
            dump(*PUBLIC, *PRIVATE, *members(), *members("droplan-peers-public"), chains=BOTH),
            BOTH,
            (*PUBLIC, *PRIVATE),
        ),
        (dump(PRIVATE[0], PRIVATE[2], *members()), ("droplan-peers",), (PRIVATE[0], PRIVATE[2])),
        (
            dump(PRIVATE[0], PRIVATE[1].replace("conntrack --ctstate", "state --state"), *members()),
            ("droplan-peers",),
            (PRIVATE[0], PRIVATE[1].replace("conntrack --ctstate", "state --state")),
        ),
        (dump(*members()), ("droplan-peers",), ()),
        (dump(*PRIVATE), ("droplan-peers",), PRIVATE),
        (dump(*(f"[3:180] {rule}" for rule in (*PRIVATE, *members()))), ("droplan-peers",), PRIVATE),
        (
            dump(PRIVATE[0], "-A FORWARD -j droplan-peers", "-A FORWARD -i eth1 -j DROP", *members()),
            ("droplan-peers",),
            (PRIVATE[0], "-A FORWARD -j droplan-peers", "-A FORWARD -i eth1 -j DROP"),
        ),
        (
            dump(
                PRIVATE[0].replace("dro", "old-dro"),
                *members("old-droplan-peers"),
                chains=("old-droplan-peers",),
            ),
            ("old-droplan-peers",),
            (PRIVATE[0].replace("dro", "old-dro"),),
        ),
        (dump(*OPERATORS, chains=()), (), ()),
        ("", (), ()),
    ],
)
def test_what_the_old_program_made_is_found(
    text: str, names: tuple[str, ...], rules: tuple[str, ...]
) -> None:
    """Its chains, its jumps and what it put behind them, whole or in part; nobody else's rules."""
    found = chains.leftovers(text)
    assert (names, rules, ()) == (found.chains, found.rules, found.doubts)


def test_the_peers_are_those_that_its_chains_let_in() -> None:
    """Each address of a chain is a peer of the old program's."""
    found = chains.leftovers(dump(*PRIVATE, *members()))
    assert {parse_address(peer) for peer in PEERS} == found.peers


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (dump(*PRIVATE, *members(), "-A droplan-peers -p tcp -j ACCEPT"), "-p tcp"),
        (dump(*PRIVATE, "-A droplan-peers -s 10.0.0.0/8 -j ACCEPT"), "10.0.0.0/8"),
        (dump(*PRIVATE, "-A droplan-peers -s 10.0.0.1/32 -j DROP"), "-j DROP"),
        (dump(*PRIVATE, "-A OUTPUT -j droplan-peers"), "-A OUTPUT"),
        (dump(*PRIVATE, "-A INPUT -p tcp -j droplan-peers"), "-p tcp"),
        (dump(*PRIVATE, "-A INPUT -i eth1 -g droplan-peers"), "-g droplan-peers"),
        (dump(*PRIVATE, PRIVATE[0]), "twice"),
        (dump(*PRIVATE, PRIVATE[2]), "twice"),
    ],
)
def test_what_has_another_shape_is_left_alone(text: str, word: str) -> None:
    """One rule that the old program would not have written: all of that chain stays, with a reason."""
    found = chains.leftovers(text)
    assert not found
    assert ((), 1) == (found.rules, len(found.doubts))
    assert word in found.doubts[0]


def test_what_has_a_comment_is_the_new_programs() -> None:
    """A chain of that name whose rules carry comments is not the old program's, nor worth a word."""
    comment = '-m comment --comment "droplan: peers"'
    ours = dump(PRIVATE[0].replace(" -j", f" {comment} -j"), f"-A droplan-peers {comment} -j RETURN")
    assert chains.Leftovers() == chains.leftovers(ours)


def test_a_file_without_them_keeps_every_other_line() -> None:
    """Exactly the chains and the rules are taken out; the same words in another table stay."""
    text = dump(OPERATORS[0], *PRIVATE, OPERATORS[1], *members())
    assert dump(*OPERATORS, chains=()) == chains.without(text, chains.leftovers(text))


@given(st.lists(st.sampled_from(OPERATORS), max_size=3), st.integers(0, 3), st.sets(st.sampled_from(PEERS)))
def test_what_is_taken_out_is_not_found(others: list[str], at: int, peers: set[str]) -> None:
    """Wherever other rules stand: afterwards nothing of the old program is found, and they are there."""
    rules = [*PRIVATE]
    rules[at:at] = others
    text = dump(*rules, *members(peers=tuple(sorted(peers))))
    left = chains.without(text, chains.leftovers(text))
    assert chains.Leftovers() == chains.leftovers(left)
    assert others == [line for line in left.splitlines() if line in OPERATORS]
