"""The laws of the selector language and of what selectors pick."""

from random import Random
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from droplan_daemon.model.addresses import Family, family_of
from droplan_daemon.model.fleet import Fleet, InterfaceKind
from droplan_daemon.model.policy import Peers, Policy
from droplan_daemon.model.selector import And, Kind, Or, Selector, Term, joined, negated, terms
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.pick import (
    bounded,
    droplets,
    elements,
    families,
    names_droplets_only,
    picked,
)
from droplan_daemon.policy.scene import scene
from droplan_daemon.policy.selector import SelectorError, parse
from droplan_daemon.policy.space import complement, contains, intersection, ranges, union
from tests.meaning import picks_address, picks_droplet, world
from tests.worlds import (
    OWN_SEAT,
    SEATS,
    STRANGERS,
    droplet_selectors,
    fleets,
    own,
    selectors,
    who_selectors,
)

if TYPE_CHECKING:
    from droplan_daemon.policy.scene import Scene

T = TypeVar("T")
DEEP = 49
kinds = st.sampled_from(InterfaceKind)
addresses = {
    kind: [address for seat in (OWN_SEAT, *SEATS, *STRANGERS) for address in seat.addresses(kind)]
    for kind in InterfaceKind
}
_WORDS = (
    *("and", "or", "not", "(", ")", "any", "all", "peers", "self", "vpc", "tag:web", "name:web-*", "id:7"),
    *(
        "region:nyc3",
        "vpc:ab-1",
        "10.0.0.0/8",
        "10.0.0.1/8",
        "::1",
        "tag:",
        "id:0",
        "nonsense",
        "name:é",
        ":",
    ),
)
sentences = st.lists(st.sampled_from(_WORDS), max_size=12).flatmap(
    lambda words: st.sampled_from([" ", "  ", "\t"]).map(lambda gap: gap.join(words))
)


def _seen(fleet: Fleet) -> "Scene":
    return scene(fleet, own(fleet), peer_droplets(Peers(), fleet, own(fleet)))


@given(selectors)
def test_canonical_text_means_the_same(selector: Selector) -> None:
    """parse(str(s)) is s, for every selector in canonical form."""
    assert selector == parse(str(selector))


@given(sentences | st.text())
@example("not (not (tag:web or tag:db)) and (all)")
def test_parsed_text_is_canonical(text: str) -> None:
    """Whatever text parses, its str() parses to the same selector and has the same str()."""
    try:
        found = parse(text)
    except SelectorError:
        return
    assert found == parse(str(found))
    assert str(found) == str(parse(str(found)))


@given(selectors)
def test_two_nots_are_none(selector: Selector) -> None:
    """`not not x` and `not (not (x))` are x, in the text and in the value."""
    assert selector == parse(f"not not ({selector})")
    assert selector == parse(f"not (not ({selector}))")
    assert selector == negated(negated(selector))


@given(selectors, selectors, selectors)
def test_chains_are_flat(a: Selector, b: Selector, c: Selector) -> None:
    """Parentheses within a chain of one operator change nothing; `and` binds tighter than `or`."""
    for word, kind in (("and", And), ("or", Or)):
        flat = joined(kind, (a, b, c))
        assert flat == parse(f"(({a}) {word} ({b})) {word} ({c})")
        assert flat == parse(f"({a}) {word} (({b}) {word} ({c}))")
    assert joined(Or, (joined(And, (a, b)), c)) == parse(f"({a}) and ({b}) or ({c})")


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")) | sentences)
@example("(" * 100_000)
@example("not " * 100_000 + "all")
@example("10.0.0.0/" + "9" * 5_000)
@example("１0.0.0.1")  # noqa: RUF001 - digits that int() takes and an address must not have
@example("fe80::1%eth0")
@example("fe80::1%eth0/64")
def test_no_text_does_worse_than_a_selector_error(text: str) -> None:
    """Any text is a selector or a SelectorError that points into the text or just behind it."""
    error = _mistake(text)
    assert error is None or 1 <= error.column <= len(text) + 1
    assert len(str(error or "")) < 300


def _mistake(text: str) -> SelectorError | None:
    try:
        parse(text)
    except SelectorError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("text", "column"),
    {
        "": 1,
        "   ": 1,
        "tag:web and": 12,
        "tag:web and   ": 12,
        "and tag:web": 1,
        "tag:web tag:db": 9,
        "(tag:web or tag:db": 19,
        "tag:web)": 8,
        "not": 4,
        "tag:": 5,
        "tag:wéb": 5,
        "all and id:0": 12,
        "all or tagg:web": 8,
        "all or 10.0.0.1/8": 8,
        "fe80::1%eth0": 1,
        "name:web/1": 6,
        "TAG:web": 1,
        "()": 2,
    }.items(),
)
def test_an_error_points_at_the_column(text: str, column: int) -> None:
    """The column of the word that cannot be there, of a value after its colon, or of the end."""
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert column == caught.value.column


def test_a_deep_selector_parses_and_a_deeper_one_is_refused() -> None:
    """Nesting of 49 parentheses is a selector; of 51 it is an error that says so."""
    assert Term(Kind.ALL) == parse("(" * DEEP + "all" + ")" * DEEP)
    with pytest.raises(SelectorError, match="deep"):
        parse("(" * (DEEP + 2) + "all" + ")" * (DEEP + 2))


@given(fleets(), droplet_selectors, droplet_selectors)
def test_de_morgan_for_droplets(fleet: Fleet, a: Selector, b: Selector) -> None:
    """The selector not (a and b) picks the Droplets of not a or not b, and the reverse; not is the rest."""
    seen = _seen(fleet)
    both, either = joined(And, (a, b)), joined(Or, (a, b))
    assert droplets(negated(both), seen) == droplets(joined(Or, (negated(a), negated(b))), seen)
    assert droplets(negated(either), seen) == droplets(joined(And, (negated(a), negated(b))), seen)
    assert seen.everyone - droplets(a, seen) == droplets(negated(a), seen)
    assert droplets(a, seen) & droplets(b, seen) == droplets(both, seen)
    assert droplets(a, seen) | droplets(b, seen) == droplets(either, seen)


@given(fleets(), selectors, selectors, kinds, st.sampled_from(Family))
def test_de_morgan_for_addresses(
    fleet: Fleet, a: Selector, b: Selector, kind: InterfaceKind, family: Family
) -> None:
    """The same over all addresses: and, or, not are intersection, union, complement."""
    seen = _seen(fleet)

    def of(selector: Selector) -> tuple[tuple[int, int], ...]:
        return picked(selector, seen, kind, family)

    assert of(negated(joined(And, (a, b)))) == of(joined(Or, (negated(a), negated(b))))
    assert of(negated(joined(Or, (a, b)))) == of(joined(And, (negated(a), negated(b))))
    assert complement(of(a), family) == of(negated(a))
    assert intersection(of(a), of(b)) == of(joined(And, (a, b)))
    assert union(of(a), of(b)) == of(joined(Or, (a, b)))


@given(fleets(), droplet_selectors)
def test_droplets_are_picked_one_by_one(fleet: Fleet, selector: Selector) -> None:
    """A Droplet is picked exactly when the expression is true of it."""
    here = world(Policy(), fleet, own(fleet))
    expected = {droplet.id for droplet in fleet.droplets if picks_droplet(selector, droplet, here)}
    assert expected == droplets(selector, _seen(fleet))


@settings(max_examples=300)
@given(fleets(), who_selectors, kinds)
def test_addresses_are_picked_one_by_one(fleet: Fleet, selector: Selector, kind: InterfaceKind) -> None:
    """An address is an element of the selector's set exactly when the expression is true of it."""
    here, seen = world(Policy(), fleet, own(fleet)), _seen(fleet)
    for address in addresses[kind]:
        family = family_of(address)
        expected = picks_address(selector, address, kind, here)
        found = elements(selector, seen, kind, family) if family in families(selector, kind) else frozenset()
        if names_droplets_only(selector):
            assert expected == (address in found)
        else:
            width = family.width
            assert expected == any(span[:width] <= address <= span[width:] for span in found)
            spans = picked(selector, seen, kind, family)
            assert found in (frozenset(), ranges(spans, family))
            assert contains(spans, address) == any(span[:width] <= address <= span[width:] for span in found)


@given(fleets(), who_selectors, kinds, st.sampled_from(Family), st.randoms())
def test_the_order_of_the_fleet_does_not_matter(
    fleet: Fleet, selector: Selector, kind: InterfaceKind, family: Family, random: Random
) -> None:
    """Droplets and VPCs in any order give the same match."""
    shuffled = Fleet(_shuffled(fleet.droplets, random), _shuffled(fleet.vpcs, random), fleet.peerings)
    assert elements(selector, _seen(fleet), kind, family) == elements(selector, _seen(shuffled), kind, family)


def _shuffled(values: tuple[T, ...], random: Random) -> tuple[T, ...]:
    found = list(values)
    random.shuffle(found)
    return tuple(found)


@given(fleets(), selectors.filter(bounded), kinds, st.sampled_from(Family))
def test_what_is_bounded_does_not_reach_beyond_its_terms(
    fleet: Fleet, selector: Selector, kind: InterfaceKind, family: Family
) -> None:
    """A bounded selector picks no address that none of its terms names."""
    seen = _seen(fleet)
    named = union(*(picked(term, seen, kind, family) for term in terms(selector)))
    if names_droplets_only(selector):
        everybody = {a for d in fleet.droplets for a in d.addresses(kind)}
        assert everybody >= elements(selector, seen, kind, family)
    else:
        assert picked(selector, seen, kind, family) == intersection(
            named, picked(selector, seen, kind, family)
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "not tag:web": True,
        "not 10.0.0.0/8": False,
        "not vpc": False,
        "any and not vpc": True,
        "vpc and not 10.10.0.10": True,
        "vpc or not tag:web": False,
        "vpc and (all or not tag:web)": True,
        "not (not vpc)": True,
        "not any": True,
    }.items(),
)
def test_a_not_that_lets_in_the_world_is_not_bounded(text: str, expected: bool) -> None:
    """`not` before an address is bounded only beside something that is."""
    assert expected == bounded(parse(text))
