"""Foreign JSON becomes values or SourceDoubtful, whatever it is."""

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.errors import SourceDoubtful
from droplan_daemon.lab.fleets import big_fleet
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Peering, Skipped, Vpc
from droplan_daemon.sources.payloads import DROPLETS, PEERINGS, VPCS, Page, Shared, read_page
from tests.sources.samples import Json, api_pages, body, droplet, networks

if TYPE_CHECKING:
    from droplan_daemon.sources.payloads import Kind


def _read(raw: bytes) -> Page[Droplet]:
    return read_page(raw, DROPLETS, Shared())


def _only(entry: Json) -> Droplet:
    page = _read(body(entry))
    assert () == page.skipped
    return page.items[0]


def test_a_droplet_keeps_what_a_policy_can_ask_about() -> None:
    """Id, name, canonical sorted tags, region, VPC, and packed addresses by kind; nothing else."""
    raw = droplet(7, tags=["Web", "env:prod", "web"], vpc_uuid="760E09EF-dc84-11e8-981e-3cfdfeaae000")
    expected = Droplet(
        7,
        "web-7",
        ("env:prod", "web"),
        "nyc3",
        "760e09ef-dc84-11e8-981e-3cfdfeaae000",
        (parse_address("10.10.0.7"),),
        (parse_address("203.0.113.7"), parse_address("2001:db8::7")),
    )
    assert expected == _only(raw)


@pytest.mark.fault("A17")
@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"networks": {}}, "private", ()),
        ({"networks": {}}, "public", ()),
        ({"networks": {"v4": [], "v6": []}}, "public", ()),
        ({"networks": {"v4": None, "v6": None}}, "public", ()),
        ({"networks": networks(("public", "203.0.113.9"))}, "private", ()),
        ({"networks": networks(("private", "10.0.0.9"))}, "public", ()),
        ({"networks": networks(("reserved", "10.0.0.9"))}, "private", ()),
        ({"networks": networks(("private", "10.0.0.9"), ("private", "10.0.0.9"))}, "private", (b"\n\0\0\t",)),
        ({"tags": None}, "tags", ()),
        ({"tags": []}, "tags", ()),
        ({"vpc_uuid": ""}, "vpc", None),
        ({"vpc_uuid": None}, "vpc", None),
        ({"region": None}, "region", ""),
        ({"status": "new"}, "name", "web-7"),
        ({"something_new": [{"deep": {}}]}, "name", "web-7"),
    ],
)
def test_lawful_variants_are_kept(changes: Json, field: str, expected: object) -> None:
    """What the API may leave empty or out never costs a Droplet its place in the Fleet."""
    assert expected == getattr(_only(droplet(7, **changes)), field)


@pytest.mark.parametrize("absent", ["tags", "vpc_uuid", "region", "memory"])
def test_fields_that_a_token_may_not_see_can_be_absent(absent: str) -> None:
    """A token without `tag:read` or `vpc:read` still lists Droplets."""
    raw = droplet(7)
    del raw[absent]
    assert 7 == _only(raw).id


ODD: list[tuple[Any, int | None, str]] = [
    ({"id": True}, None, "id: int_type"),
    ({"id": 7.0}, None, "id: int_type"),
    ({"id": "7"}, None, "id: int_type"),
    ({"id": 0}, None, "id: greater_than"),
    ({"id": -7}, None, "id: greater_than"),
    ({"id": 2**63}, None, "id: less_than_equal"),
    ({"id": None}, None, "id: int_type"),
    ({"name": 7}, 7, "name: string_type"),
    ({"name": ""}, 7, "name: string_too_short"),
    ({"name": "x" * 256}, 7, "name: string_too_long"),
    ({"name": "a\0b"}, 7, "name: is not printable text"),
    ({"name": "a\nb"}, 7, "name: is not printable text"),
    ({"tags": "web"}, 7, "tags: list_type"),
    ({"tags": [True]}, 7, "tags.0: string_type"),
    ({"tags": ["a\x1bb"]}, 7, "tags: is not printable text"),
    ({"region": "nyc3"}, 7, "region: model_type"),
    ({"region": {"slug": None}}, 7, "region.slug: string_type"),
    ({"vpc_uuid": 7}, 7, "vpc_uuid: string_type"),
    ({"networks": None}, 7, "networks: model_type"),
    ({"networks": []}, 7, "networks: model_type"),
    ({"networks": {"v4": {}}}, 7, "networks.v4: list_type"),
    ({"networks": networks(("private", True))}, 7, "networks.v4.0.ip_address: string_type"),
    ({"networks": networks(("private", 10))}, 7, "networks.v4.0.ip_address: string_type"),
    ({"networks": networks(("private", None))}, 7, "networks.v4.0.ip_address: string_type"),
    ({"networks": networks(("private", "9" * 65))}, 7, "networks.v4.0.ip_address: string_too_long"),
    *(
        ({"networks": networks(("private", text))}, 7, f"not an IPv4 address: {text!r}")
        for text in (
            "10",
            "",
            "10.0.0.1/0",
            "10.0.0.01",
            " 10.0.0.1",
            "0x7f.1",
            "10.0.0.1\n",
            "::1",
            "\u0661.1.1.1",
        )
    ),
    *(
        ({"networks": networks((kind, text))}, 7, f"{text} cannot be a Droplet's address ({why})")
        for kind in ("private", "public")
        for text, why in (
            ("0.0.0.0", "this-network"),
            ("127.0.0.1", "loopback"),
            ("169.254.169.254", "link-local"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
        )
    ),
    *(
        ({"networks": networks(v6=(text,))}, 7, f"{text} cannot be a Droplet's address ({why})")
        for text, why in (("::", "unspecified"), ("::1", "loopback"), ("::ffff:10.0.0.1", "mapped-ipv4"))
    ),
    ({"networks": networks(v6=("fe80::1%eth0",))}, 7, "not an IPv6 address: 'fe80::1%eth0'"),
    ({"networks": networks(v6=("10.0.0.1",))}, 7, "not an IPv6 address: '10.0.0.1'"),
]


@pytest.mark.fault("A16")
@pytest.mark.parametrize(("changes", "named", "reason"), ODD)
def test_an_odd_droplet_is_named_and_costs_nobody_else(changes: Json, named: int | None, reason: str) -> None:
    """One malformed entry is skipped with its id and reason, is counted, and its neighbours stay."""
    page = _read(body(droplet(1), droplet(7, **changes), droplet(9)))
    assert [1, 9] == [d.id for d in page.items]
    assert (Skipped(named, reason),) == page.skipped
    assert 3 == len(page.keys)


@pytest.mark.fault("A16")
@pytest.mark.parametrize("missing", ["id", "name", "networks"])
def test_a_droplet_without_its_essentials_is_odd(missing: str) -> None:
    """Above all `networks`: if its absence were normal, one bad answer would take every peer away."""
    raw = droplet(7)
    del raw[missing]
    named = None if missing == "id" else 7
    assert (Skipped(named, f"{missing}: missing"),) == _read(body(raw)).skipped


@pytest.mark.parametrize("entry", [None, True, 7, "seven", [], [droplet(7)]])
def test_an_entry_that_is_no_object_is_skipped(entry: object) -> None:
    """Whatever stands in the list counts as an entry."""
    page = _read(body(droplet(1), entry))
    assert ((None, "entry: model_type"), 2) == ((page.skipped[0].id, page.skipped[0].reason), len(page.keys))


DEEP = 100_000
NO_JSON = {
    "nothing": b"",
    "html": b"<!DOCTYPE html><html></html>",
    "half a page": body(droplet(1))[:-40],
    "not utf-8": b'{"droplets": [], "x": "\xff"}',
    "utf-16": body().decode().encode("utf-16"),
    "escaped second list": b'{"droplets": [], "dropl\\u0065ts": []}',
    "nul": b"\0" * 64,
    "nul in text": b'{"droplets": [], "x": "\0"}',
    "deep lists": b"[" * DEEP,
    "deep inside": b'{"droplets": [], "x": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP,
    "deep droplet": b'{"droplets": [' + b'{"id":' * DEEP,
    "huge number": b'{"droplets": [{"id": ' + b"9" * 5_000 + b"}]}",
    "nan": b'{"droplets": [], "x": NaN}',
    "infinity": b'{"droplets": [], "x": -Infinity}',
    "two lists": b'{"droplets": [], "droplets": [], "meta": {"total": 0}}',
    "two totals": b'{"droplets": [], "meta": {"total": 5, "total": 0}}',
    "two metas": b'{"droplets": [], "meta": {"total": 5}, "meta": {"total": 0}}',
    "lone surrogate": b'{"droplets": [], "x": "\\ud800"}',
    "two documents": body() + body(),
    "trailing comma": b'{"droplets": [],}',
}
NO_LISTING = {
    "null": b"null",
    "a list": b"[]",
    "text": b'"droplets"',
    "no droplets": b'{"meta": {"total": 0}}',
    "droplets no list": b'{"droplets": {}, "meta": {"total": 0}}',
    "droplets null": b'{"droplets": null, "meta": {"total": 0}}',
    "negative total": b'{"droplets": [], "meta": {"total": -1}}',
    "total true": b'{"droplets": [], "meta": {"total": true}}',
    "total text": b'{"droplets": [], "meta": {"total": "0"}}',
    "meta a list": b'{"droplets": [], "meta": []}',
    "links text": b'{"droplets": [], "meta": {"total": 0}, "links": "no"}',
    "next no text": b'{"droplets": [], "links": {"pages": {"next": 7}}}',
}


@pytest.mark.fault("A13", "A15")
@pytest.mark.parametrize(
    ("reason", "text"),
    [("bad_json", text) for text in NO_JSON.values()] + [("bad_body", text) for text in NO_LISTING.values()],
    ids=[*NO_JSON, *NO_LISTING],
)
def test_a_body_that_is_no_listing_is_doubtful_as_a_whole(reason: str, text: bytes) -> None:
    """Nothing of it is used, the reason says what it is not, and the sentence holds none of it."""
    with pytest.raises(SourceDoubtful) as caught:
        _read(text)
    assert reason == caught.value.reason
    assert len(str(caught.value)) < 160


@pytest.mark.fault("A15")
@pytest.mark.parametrize("key", ["networks", "vpc_uuid"])
def test_a_droplet_that_says_something_twice_is_doubtful(key: str) -> None:
    """With repeated keys the last one would win silently."""
    text = json.dumps(droplet(7))
    twice = text[:-1] + f', "{key}": ' + json.dumps(droplet(8)[key]) + "}"
    with pytest.raises(SourceDoubtful):
        _read(b'{"droplets": [%b], "meta": {"total": 1}}' % twice.encode())


def test_a_tag_called_like_a_key_is_no_repeated_key() -> None:
    """The quick look for repeated keys only decides who is looked at closely."""
    assert ("droplets", "networks") == _only(droplet(7, tags=["networks", "droplets"])).tags


def test_total_and_next_are_told() -> None:
    """`meta.total` and `links.pages.next` are there for the one who puts pages together."""
    page = _read(body(meta={"total": 412}, links={"pages": {"next": "https://a/?page=2", "last": "x"}}))
    assert (412, "https://a/?page=2") == (page.total, page.following)
    page = _read(b'{"droplets": []}')
    assert (None, None) == (page.total, page.following)


def test_equal_texts_of_a_poll_are_one_object() -> None:
    """Regions, VPCs and tags are shared across pages, or 10,000 Droplets would not stay small."""
    shared = Shared()
    one = read_page(body(droplet(1)), DROPLETS, shared).items[0]
    other = read_page(body(droplet(2, tags=["env:prod", "web"])), DROPLETS, shared).items[0]
    assert one.tags[0] is other.tags[0]
    assert one.region is other.region
    assert one.vpc is other.vpc


def test_vpcs_are_read() -> None:
    """UUID, name, region and range; an odd range is named."""
    good = {"id": "AB-1", "name": "lab", "region": "nyc3", "ip_range": "10.10.0.0/20", "default": True}
    raw = json.dumps({"vpcs": [good, {**good, "ip_range": "10.10.0.0/99"}], "meta": {"total": 2}}).encode()
    page = read_page(raw, VPCS, Shared())
    assert (Vpc("ab-1", "lab", "nyc3", "10.10.0.0/20"),) == page.items
    assert 1 == len(page.skipped)


@pytest.mark.parametrize(("status", "expected"), [("ACTIVE", 1), ("PROVISIONING", 0), ("DELETING", 0)])
def test_only_active_peerings_join_vpcs(status: str, expected: int) -> None:
    """A peering in another state is counted, and joins nothing."""
    raw = {"vpc_peerings": [{"id": "p", "name": "n", "vpc_ids": ["A", "b"], "status": status}]}
    page = read_page(json.dumps(raw).encode(), PEERINGS, Shared())
    assert (Peering(frozenset({"a", "b"})),) * expected == page.items
    assert ("p",) == page.keys


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_doubt(raw: bytes) -> None:
    """Law 1 over bytes."""
    kinds: tuple[Kind[Any], ...] = (DROPLETS, VPCS, PEERINGS)
    for kind in kinds:
        with suppress(SourceDoubtful):
            read_page(raw, kind, Shared())


@given(st.integers(0), st.integers(0, 255))
def test_a_flipped_byte_raises_nothing_but_doubt(at: int, value: int) -> None:
    """Law 1 over pages with one byte changed; what is read is still lawful."""
    raw = bytearray(body(droplet(1), droplet(2)))
    raw[at % len(raw)] = value
    with suppress(SourceDoubtful):
        page = _read(bytes(raw))
        assert len(page.keys) == len(page.items) + len(page.skipped)
        assert {4} >= {len(a) for d in page.items for a in d.private}


@pytest.mark.fault("A16")
@given(st.sampled_from(sorted(droplet())), JSON)
def test_any_value_in_any_field_costs_at_most_that_droplet(field: str, value: object) -> None:
    """Law 2 over every field and every JSON value."""
    raw = json.dumps({"droplets": [droplet(1), droplet(2, **{field: value}), droplet(3)]}).encode()
    page = _read(raw)
    assert {1, 3} <= {d.id for d in page.items}
    assert 3 == len(page.keys)


@given(st.dictionaries(st.sampled_from(["droplets", "meta", "links"]), JSON))
def test_any_top_level_raises_nothing_but_doubt(top: Json) -> None:
    """Law 1 over JSON that is almost a page."""
    with suppress(SourceDoubtful):
        _read(json.dumps(top).encode())


def test_ten_thousand_droplets_are_read_quickly() -> None:
    """A loose guard of the bar that `make bench` measures: 0.5 s of CPU for 50 pages of 200."""
    pages = api_pages(big_fleet(10_000))
    assert 50 == len(pages)
    before, shared = time.process_time(), Shared()
    droplets = [d for page in pages for d in read_page(page, DROPLETS, shared).items]
    assert time.process_time() - before < 1.5
    assert 10_000 == len(droplets)
