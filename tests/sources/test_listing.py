"""Pages are believed only when they add up."""

from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from droplan_daemon.errors import SourceDoubtful
from droplan_daemon.model.fleet import Skipped
from droplan_daemon.sources.listing import (
    MOST_PAGES,
    assemble,
    check_follows,
    foreign,
    page_count,
)
from droplan_daemon.sources.payloads import Page

PER_PAGE = 3


def _page(keys: list[int], total: int | None, skipped: int = 0) -> Page[int]:
    return Page(
        tuple(keys),
        (*keys, *[None] * skipped),
        tuple(Skipped(None, "odd") for _ in range(skipped)),
        total,
    )


def _served(world: list[int], number: int) -> Page[int]:
    return _page(world[(number - 1) * PER_PAGE : number * PER_PAGE], len(world))


def _reason(attempt: Callable[[], object]) -> str:
    with pytest.raises(SourceDoubtful) as caught:
        attempt()
    return caught.value.reason


def test_pages_that_add_up_make_a_listing() -> None:
    """All values in order, all keys, and how many pages there were."""
    listing = assemble([_page([1, 2], 4), _page([3], 4, skipped=1)], "Droplets")
    assert ((1, 2, 3), frozenset({1, 2, 3}), 2) == (listing.items, listing.keys, listing.pages)
    assert (Skipped(None, "odd"),) == listing.skipped


@pytest.mark.parametrize(
    ("pages", "reason"),
    [
        ([_page([], 412)], "count_mismatch"),
        ([_page([1, 2], 3)], "count_mismatch"),
        ([_page([1, 2], 1)], "count_mismatch"),
        ([_page([1, 2, 3], 5), _page([3, 4], 5)], "unstable"),
        ([_page([1, 2, 3], 5), _page([4], 4)], "unstable"),
        ([_page([1, 2, 3], 6), _page([4, 5, 6], 7)], "unstable"),
        ([_page([1], None)], "bad_body"),
        ([_page([1, 2], 4, skipped=2)], "many_skipped"),
        ([_page(list(range(97)), 99, skipped=2)], "many_skipped"),
        ([_page([], 2, skipped=2)], "many_skipped"),
        ([_page(list(range(197)), 200, skipped=3)], "many_skipped"),
    ],
)
def test_pages_that_do_not_add_up_are_doubtful(pages: list[Page[int]], reason: str) -> None:
    """A short list, a repeated key, a total that moves, too many odd entries: each by its name."""
    assert reason == _reason(lambda: assemble(pages, "Droplets"))


def test_a_few_odd_entries_among_many_are_believed() -> None:
    """One always, else one in a hundred."""
    assert 1 == len(assemble([_page([1], 2, skipped=1)], "Droplets").skipped)
    assert 2 == len(assemble([_page(list(range(198)), 200, skipped=2)], "Droplets").skipped)


WORLDS = st.lists(st.integers(0, 30), max_size=12, unique=True)
CHANGES = st.lists(st.lists(st.integers(0, 60), max_size=3), min_size=1, max_size=6)


def _change(world: list[int], keys: list[int], *, add: bool, newest_first: bool) -> None:
    for key in keys:
        if add and key not in world:
            world.insert(0 if newest_first else len(world), key)
        elif not add and key in world:
            world.remove(key)


@given(WORLDS, CHANGES, st.booleans(), st.booleans())
@example([1, 2, 3, 4, 5], [[1]], False, False)
def test_no_standing_entry_slips_past(
    start: list[int], between: list[list[int]], add: bool, newest_first: bool
) -> None:
    """Additions alone or deletions alone between page reads: whoever stood all the time is in the
    Listing, or there is none.
    """  # noqa: D205 - one sentence
    world, standing = list(start), set(start)
    pages = [_served(world, 1)]
    for number in range(2, -(-len(start) // PER_PAGE) + 1):
        _change(world, between[number % len(between)], add=add, newest_first=newest_first)
        standing &= set(world)
        pages.append(_served(world, number))
    try:
        listing = assemble(pages, "Droplets")
    except SourceDoubtful:
        return
    assert standing <= listing.keys


def test_an_addition_that_hides_a_deletion_leaves_somebody_to_confirm() -> None:
    """Counts agree and ids are unique, yet 4 slipped past: `vanished` names it."""
    pages = [_page([1, 2, 3], 5), _page([5, 9], 5)]
    assert {4} == assemble(pages, "Droplets").vanished(frozenset({1, 2, 3, 4, 5}))


def test_one_page_needs_no_confirmation() -> None:
    """A single answer is one instant: who is not in it is gone."""
    assert frozenset() == assemble([_page([1], 1)], "Droplets").vanished(frozenset({1, 2}))
    both = [_page([1, 2, 3], 4), _page([4], 4)]
    assert {5} == assemble(both, "Droplets").vanished(frozenset({1, 5}))


@pytest.mark.parametrize(
    ("total", "got", "expected"),
    [(0, 0, 1), (3, 3, 1), (4, 3, 2), (6, 3, 2), (7, 3, 3), (7, 2, 4), (1, 3, 1)],
)
def test_pages_are_counted_from_the_total(total: int, got: int, expected: int) -> None:
    """By the size of the first page, for a server may serve less than asked for."""
    assert expected == page_count(_page(list(range(got)), total), PER_PAGE, "Droplets")


@pytest.mark.parametrize(
    ("first", "reason"),
    [(_page([], 412), "count_mismatch"), (_page([1, 2, 3], 3 * MOST_PAGES + 1), "too_many")],
)
def test_a_first_page_that_asks_for_the_impossible_ends_the_reading(first: Page[int], reason: str) -> None:
    """No number in an answer makes us send thousands of requests."""
    assert reason == _reason(lambda: page_count(first, PER_PAGE, "Droplets"))


@pytest.mark.parametrize(
    ("keys", "total", "last", "reason"),
    [
        ([4, 5, 6], 9, False, None),
        ([4], 9, True, None),
        ([4], 9, False, "count_mismatch"),
        ([4, 5, 6], 8, False, "unstable"),
        ([4, 5, 6], 8, True, "unstable"),
    ],
)
def test_a_page_that_cannot_fit_ends_the_reading_at_once(
    keys: list[int], total: int, last: bool, reason: str | None
) -> None:
    """Another total, or a short page that is not the last."""
    first, page = _page([1, 2, 3], 9), _page(keys, total)
    if reason is None:
        check_follows(first, page, "Droplets", last=last)
    else:
        assert reason == _reason(lambda: check_follows(first, page, "Droplets", last=last))


API = "https://api.digitalocean.com"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (None, False),
        (f"{API}/v2/droplets?page=2", False),
        (f"{API}:443/v2/droplets?page=2", False),
        ("https://API.DigitalOcean.com/v2/droplets?page=2", False),
        ("/v2/droplets?page=2", False),
        ("", False),
        ("http://api.digitalocean.com/v2/droplets?page=2", True),
        ("https://api.digitalocean.com:8443/v2/droplets?page=2", True),
        ("https://api.digitalocean.com.example/v2/droplets", True),
        ("https://api.digitalocean.com@evil.example/v2/droplets", True),
        ("//evil.example/v2/droplets", True),
        ("https://203.0.113.7/v2/droplets", True),
        ("file:///etc/passwd", True),
        ("https://[bad/", True),
        ("https://api.digitalocean.com:99999/", True),
    ],
)
def test_a_link_elsewhere_is_foreign(link: str | None, expected: bool) -> None:
    """Another host, scheme or port, however it is spelled."""
    assert expected == foreign(link, API)


@given(st.text(max_size=40), st.sampled_from(["", API, "https://", "//"]))
def test_any_link_is_judged(link: str, before: str) -> None:
    """Nothing that an answer can hold raises."""
    assume(link)
    assert foreign(before + link, API) in {True, False}
