"""What others answer over HTTP: pages of a listing, the listing, metadata, headers, the fleet file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import HostUnknown, SourceDoubtful
from droplan_daemon.model.fleet import Fleet, Peering, Vpc
from droplan_daemon.sources.file import FileSource
from droplan_daemon.sources.http import asked_wait, heard_budget
from droplan_daemon.sources.listing import assemble, foreign, page_count
from droplan_daemon.sources.metadata import read_identity
from droplan_daemon.sources.payloads import DROPLETS, PEERINGS, VPCS, Shared, read_page
from tests.fuzz.judging import check_fleet, check_refusal, check_ruleset, compiled, with_us
from tests.fuzz.mutating import NASTY_TEXTS, json_changed, words_changed
from tests.fuzz.target import Target
from tests.sources.samples import body, droplet, networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from droplan_daemon.sources.payloads import Page

_GOLDEN = Path(__file__).parents[2] / "golden"
_HOME = "760e09ef-dc84-11e8-981e-3cfdfeaae000"
_VPCS = [
    {"id": _HOME, "name": "home", "region": "nyc3", "ip_range": "10.10.0.0/20", "default": True},
    {"id": "away", "name": "away", "region": "ams3", "ip_range": "192.168.0.0/24"},
]
_PEERINGS = [{"id": "p", "name": "p", "status": "ACTIVE", "vpc_ids": [_HOME, "away"]}]
_WORDS = tuple(
    word.encode("utf-8", "replace")
    for word in (
        *NASTY_TEXTS,
        '"droplets":',
        '"networks":',
        '"v4":',
        '"id":',
        '"meta":',
        '"total":',
        '"tags":',
        '"vpc_uuid":',
        '"ip_address":',
        '"type":"private"',
        '"links":{"pages":{"next":"http://x/"}}',
        "[]",
        "{}",
        "null",
        ",",
        ":",
    )
)


def _pages() -> "list[bytes]":
    odd = networks(
        ("private", "10.0.0.5"), ("private", "10.0.0.6"), ("public", "192.0.2.7"), v6=("2001:db8::7",)
    )
    return [
        body(droplet(2), droplet(3, networks={"v4": [], "v6": []}), droplet(4, networks={})),
        body(droplet(2, networks=odd, tags=None, vpc_uuid=None, region=None)),
        body(
            *(droplet(n) for n in range(2, 8)),
            meta={"total": 20},
            links={"pages": {"next": "https://a/?page=2"}},
        ),
        b'{"droplets":[],"meta":{"total":0}}',
        json.dumps({"vpcs": _VPCS, "meta": {"total": 2}}).encode(),
        json.dumps({"vpc_peerings": _PEERINGS, "meta": {"total": 1}}).encode(),
        b'{"droplets":[{"id":7,"name":"a","networks":{"v4":[{"ip_address":true,"type":"private"}]}}]}',
    ]


def _page(data: bytes) -> bool:
    accepted = False
    for kind in (DROPLETS, VPCS, PEERINGS):
        try:
            page: Page[Any] = read_page(data, kind, Shared())
        except SourceDoubtful as error:
            check_refusal(error, "bad_body", "bad_json")
        else:
            accepted = True
            _judged(page, kind.word)
    return accepted


def _judged(page: "Page[Any]", word: str) -> None:
    assert len(page.items) + len(page.skipped) <= len(page.keys)
    assert foreign(page.following, "https://api.example") in {True, False}
    try:
        assemble([page], word)
        page_count(page, 200, word)
    except SourceDoubtful as error:
        check_refusal(error, "bad_body", "unstable", "count_mismatch", "many_skipped", "too_many")
    items = page.items
    if word == DROPLETS.word:
        fleet = Fleet(items)
        check_fleet(fleet)
        desired = compiled(with_us(fleet.droplets, fleet))
        if desired:
            check_ruleset(desired)
    check_fleet(Fleet((), vpcs=tuple(one for one in items if isinstance(one, Vpc))))
    assert all(1 <= len(one.vpcs) <= 2 for one in items if isinstance(one, Peering))


def _read_file(data: bytes) -> bool:
    path = Path("fleet.json")
    path.write_bytes(data)
    try:
        fleet = FileSource(path, now=lambda: 0.0)._read()
    except SourceDoubtful as error:
        check_refusal(error, "bad_body", "bad_json", "unstable", "count_mismatch", "many_skipped")
        return False
    check_fleet(fleet)
    desired = compiled(with_us(fleet.droplets, fleet))
    if desired:
        check_ruleset(desired)
    return True


def _fleet_files() -> "list[bytes]":
    golden = [folder.read_bytes() for folder in sorted(_GOLDEN.glob("*/fleet.json"))]
    whole = {"droplets": [droplet(2), droplet(3)], "vpcs": _VPCS, "vpc_peerings": _PEERINGS}
    return [*golden, json.dumps(whole).encode(), json.dumps([droplet(2)]).encode(), b"\xef\xbb\xbf[]"]


def _metadata(data: bytes) -> bool:
    try:
        identity = read_identity(data)
    except HostUnknown as error:
        check_refusal(error, "metadata_rejected")
        return False
    assert 0 < identity.droplet_id < 2**63
    for nic in (identity.private, identity.public):
        assert nic is None or (17 == len(nic.mac) and all(len(a) in {4, 16} for a in nic.addresses))
    return True


def _identities() -> "list[bytes]":
    nic = {
        "mac": "02:00:00:00:00:01",
        "type": "public",
        "ipv4": {"ip_address": "203.0.113.1", "netmask": "255.255.255.0", "gateway": "203.0.113.254"},
        "ipv6": {"ip_address": "2001:0DB8::1", "cidr": 64},
        "anchor_ipv4": {"ip_address": "10.17.0.5"},
    }
    whole = {
        "droplet_id": 7,
        "hostname": "web-7",
        "region": "nyc3",
        "interfaces": {"public": [nic], "private": [nic]},
    }
    return [json.dumps(whole).encode(), json.dumps({**whole, "interfaces": {}}).encode(), b"<html></html>"]


_HEADERS = (b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset", b"retry-after")


def _headers(data: bytes) -> bool:
    lines = (line.split(b":", 1) for line in data.split(b"\n") if b":" in line)
    heard = {name.decode("latin-1"): value.decode("latin-1") for name, value in lines}
    assert 1.0 <= asked_wait(heard, 1_800_000_000.0) <= 900.0
    budget = heard_budget(heard)
    if budget is None:
        return False
    assert 0 <= budget.remaining <= budget.limit
    return True


def _header_seeds() -> "Sequence[bytes]":
    return [
        b"ratelimit-limit: 5000\nratelimit-remaining: 4999\nratelimit-reset: 1800003600\nretry-after: 7",
        b"retry-after: Wed, 21 Oct 2099 07:28:00 GMT\nratelimit-limit: 0",
    ]


TARGETS = {
    "api-page": Target(_page, _pages, json_changed, _WORDS, 16_384),
    "fleet-file": Target(_read_file, _fleet_files, json_changed, _WORDS, 16_384),
    "metadata": Target(_metadata, _identities, json_changed, _WORDS),
    "api-headers": Target(
        _headers,
        _header_seeds,
        words_changed(b"\n", [name + b": 1" for name in _HEADERS]),
        (*_HEADERS, b"9" * 30, b"-1", b"\xb2", b"1e9", b"0", b": "),
        512,
    ),
}
