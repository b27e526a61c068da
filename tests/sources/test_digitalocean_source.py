"""The API's listings become one complete Fleet, or an error that says why not."""

import asyncio
import gzip
import json
import logging
import time
import tracemalloc
from dataclasses import replace
from traceback import format_exception
from typing import TYPE_CHECKING, Any

import pytest

from droplan_daemon.errors import (
    DroplanError,
    RateLimited,
    SourceDenied,
    SourceDoubtful,
    SourceUnavailable,
)
from droplan_daemon.lab.delivery import (
    BlackHole,
    Bomb,
    Cut,
    Delivery,
    Drip,
    Endless,
    Misdeclare,
    Reset,
    Verbatim,
)
from droplan_daemon.lab.digitalocean import DigitalOcean as Cloud
from droplan_daemon.lab.faults import (
    Afterwards,
    Delay,
    Deliver,
    Edit,
    Effect,
    Fault,
    Headers,
    Status,
    empty,
    garbage,
    html,
    next_link,
    redirect,
    total,
)
from droplan_daemon.lab.fleets import big_fleet
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.scopes import LAB_TOKEN, Tokens, scoped
from droplan_daemon.lab.server import LabServer
from droplan_daemon.lab.world import World
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.sources.digitalocean import DigitalOcean
from tests.sources.samples import NOW, api_pages, body, droplet, gathered, polling

if TYPE_CHECKING:
    from pathlib import Path

    from droplan_daemon.lab.authority import Authority
    from droplan_daemon.lab.messages import Json, Request, Response
    from droplan_daemon.model.budget import Budget
    from tests.conftest import Namespace


def _failure(cloud: Cloud, **options: Any) -> DroplanError:
    """How one poll fails."""
    with pytest.raises(DroplanError) as caught:
        gathered(cloud, **options)
    assert LAB_TOKEN not in repr(caught.value) + "".join(format_exception(caught.value))
    return caught.value


def _budget(source: DigitalOcean) -> "Budget | None":
    # Asked through a function, for mypy takes a property to stay as it was.
    return source.budget


def _standing(world: World) -> list[int]:
    return sorted(world.droplets)


# What a good poll gives.


@pytest.mark.fault("A18")
def test_a_poll_gives_the_whole_account(cloud: Cloud, world: World) -> None:
    """Ordinary and GPU Droplets by id, VPCs, the active peering, origin and time."""
    fleet = gathered(cloud)
    assert _standing(world) == [d.id for d in fleet.droplets]
    assert sorted(world.vpcs) == sorted(v.id for v in fleet.vpcs)
    assert {frozenset(world.vpcs)} == {p.vpcs for p in fleet.peerings}
    assert (NOW, ()) == (fleet.taken, fleet.skipped)
    assert fleet.source.startswith("http://127.0.0.1:")


def test_a_droplet_is_told_with_its_addresses(cloud: Cloud, world: World) -> None:
    """As the account has it: tags in canonical case, private and public apart, both families."""
    (droplet,) = gathered(cloud).named("web-1")
    true = world.droplets[droplet.id]
    assert ("env:prod", "web") == droplet.tags
    assert (true.vpc, "nyc3") == (droplet.vpc, droplet.region)
    assert {parse_address(n.address) for n in true.v4 + true.v6} == {*droplet.private, *droplet.public}
    assert 1 == len(droplet.private)
    assert [4, 16] == sorted(map(len, droplet.public))


def test_networks_are_not_asked_for_where_no_policy_needs_them(cloud: Cloud) -> None:
    """Two requests less a poll for every member of the fleet."""

    async def poll(source: DigitalOcean, server: LabServer) -> None:
        fleet = await source.gather()
        assert ((), ()) == (fleet.vpcs, fleet.peerings)
        assert ["/v2/droplets"] * 2 == [entry.path for entry in server.log]

    polling(cloud, poll, want_networks=False)


def test_an_empty_account_is_a_fleet() -> None:
    """Whether an empty Fleet may take peers away is for `safety` to say."""
    assert () == gathered(Cloud(World())).droplets


def test_pages_are_asked_for_by_number_and_at_most_four_at_a_time() -> None:
    """The first alone, then the others, 200 Droplets each, over connections that are kept."""
    cloud = Cloud(big_fleet(2_000, gpus=3))

    async def poll(source: DigitalOcean, server: LabServer) -> None:
        assert 2_003 == len((await source.gather()).droplets)
        pages = [e.query["page"] for e in server.log if e.path == "/v2/droplets" and "type" not in e.query]
        assert [str(n) for n in range(1, 11)] == sorted(pages, key=int)
        assert "1" == pages[0]
        assert {"200"} == {e.query["per_page"] for e in server.log}
        assert 4 == server.busiest
        for _ in range(3):
            await source.gather()
        assert server.connections <= 8 < len(server.log)

    polling(cloud, poll, latency=0.02)


def test_ten_thousand_droplets_come_within_a_loose_bound() -> None:
    """A guard of the bar that `make bench` measures: 50 pages at 120 ms within 3 s."""
    cloud = Cloud(big_fleet(10_000))
    began = time.monotonic()
    fleet = gathered(cloud, latency=0.12, deadline=30.0)
    assert 10_000 == len(fleet.droplets)
    assert time.monotonic() - began < 30


class _Stingy:
    """An API that never serves more than two at once."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def answer(self, request: "Request") -> "Response":
        return self._cloud.answer(replace(request, query={**request.query, "per_page": "2"}))


def test_a_server_may_serve_smaller_pages(world: World) -> None:
    """The number of pages follows from the first one, not from what was asked for."""
    assert _standing(world) == [d.id for d in gathered(_Stingy(Cloud(world))).droplets]


# What the rate limit is.


def test_every_answer_tells_the_budget(cloud: Cloud) -> None:
    """Limit, remaining and reset as the headers say; spent is what the last poll cost."""

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        assert _budget(source) is None
        await source.gather()
        await source.gather()
        budget = _budget(source)
        assert budget is not None
        assert (5_000, 4_992, 4) == (budget.limit, budget.remaining, budget.spent)

    polling(cloud, poll)


def test_a_failed_poll_tells_the_budget_too(cloud: Cloud) -> None:
    """429, 401 and 5xx carry the headers as well."""
    cloud.limiter = Limiter(Limits(hourly=3))

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        with pytest.raises(RateLimited):
            await source.gather()
        budget = _budget(source)
        assert budget is not None
        assert (3, 0, 4) == (budget.limit, budget.remaining, budget.spent)

    polling(cloud, poll)


@pytest.mark.fault("A11")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "17"}, 17),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "86400"}, 900),
        ({"retry-after": "9" * 5_000}, 60),
        ({"retry-after": "-5"}, 60),
        ({"retry-after": "soon"}, 60),
        ({"retry-after": "1_7"}, 60),
        ({}, 60),
        ({"ratelimit-reset": str(int(NOW) + 33)}, 33),
        ({"ratelimit-reset": str(int(NOW) - 33)}, 1),
        ({"ratelimit-reset": "4070908800"}, 900),
        ({"ratelimit-reset": "nan"}, 60),
        ({"retry-after": "soon", "ratelimit-reset": str(int(NOW) + 33)}, 33),
    ],
)
def test_a_429_says_how_long_within_bounds(cloud: Cloud, headers: dict[str, str], expected: float) -> None:
    """`retry-after`, else `ratelimit-reset`, else a minute: between 1 s and 15 min whatever they hold."""
    cloud.faults.add(Fault(Status(429, headers=headers)))
    error = _failure(cloud)
    assert isinstance(error, RateLimited)
    assert expected == error.wait


@pytest.mark.fault("A11")
@pytest.mark.parametrize("value", ["", "-1", "5e3", "9" * 5_000, "5_000", "NaN"])
def test_garbage_in_the_budget_headers_is_no_budget(cloud: Cloud, value: str) -> None:
    """The poll is as good as without them."""
    cloud.faults.add(Fault(Headers({"ratelimit-limit": value})))

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        await source.gather()
        assert _budget(source) is None

    polling(cloud, poll)


def test_garbage_later_leaves_the_budget_as_it_was(cloud: Cloud) -> None:
    """What was known stays until something better is said."""

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        await source.gather()
        before = _budget(source)
        cloud.faults.add(Fault(Headers({"ratelimit-limit": "x"})))
        await source.gather()
        assert before is not None
        assert before == _budget(source)

    polling(cloud, poll)


# What refuses us.


@pytest.mark.fault("A9")
def test_a_wrong_token_is_denied(cloud: Cloud) -> None:
    """401: an operator must act, and the sentence does not show the token."""
    wrong = "dop_v1_canary_wrong"
    error = _failure(cloud, token=wrong)
    assert isinstance(error, SourceDenied)
    assert ("unauthorized", 401, None) == (error.reason, error.status, error.scope)
    assert wrong not in str(error)


@pytest.mark.fault("A10")
@pytest.mark.parametrize("missing", ["droplet:read", "vpc:read", "vpc_peering:read"])
def test_a_missing_scope_is_named(world: World, missing: str) -> None:
    """403 says which scope the token must be given."""
    scopes = {"droplet:read", "tag:read", "vpc:read", "vpc_peering:read"} - {missing}
    error = _failure(Cloud(world, tokens=Tokens({LAB_TOKEN: scoped(*scopes)})))
    assert isinstance(error, SourceDenied)
    assert ("forbidden", 403, missing) == (error.reason, error.status, error.scope)
    assert missing in str(error)


def test_of_several_missing_scopes_the_first_is_named(world: World) -> None:
    """Whichever answer comes first: that of the Droplets, which everything else hangs on."""
    cloud = Cloud(world, tokens=Tokens({LAB_TOKEN: scoped("tag:read")}))
    cloud.faults.add(Fault(Delay(0.3), path="/v2/droplets"))
    assert "droplet:read" == getattr(_failure(cloud), "scope", None)


@pytest.mark.fault("A1")
@pytest.mark.parametrize("status", [400, 404, 408, 418, 500, 502, 503, 504, 599])
def test_a_status_that_is_no_answer_is_unavailable(cloud: Cloud, status: int) -> None:
    """The error carries status and page."""
    cloud.faults.add(Fault(Status(status), path="/v2/droplets"))
    error = _failure(cloud)
    assert isinstance(error, SourceUnavailable)
    assert ("http_status", status, 1) == (error.reason, error.status, error.page)


@pytest.mark.fault("A2")
def test_a_failure_on_any_page_throws_the_poll_away() -> None:
    """502 on page 3 of 5: no Fleet, and the page is named."""
    cloud = Cloud(big_fleet(1_000))
    cloud.faults.add(Fault(Status(502), path="/v2/droplets", type="droplets", page=3))
    error = _failure(cloud)
    assert isinstance(error, SourceUnavailable)
    assert (502, 3) == (error.status, error.page)


@pytest.mark.fault("A2", "A18")
@pytest.mark.parametrize("which", [{"type": "gpus"}, {"path": "/v2/vpcs"}, {"path": "/v2/vpc_peerings"}])
def test_a_failure_of_any_listing_throws_the_poll_away(cloud: Cloud, which: dict[str, str]) -> None:
    """Both lists of Droplets and what the scope needs, or nothing."""
    cloud.faults.add(Fault(Status(502), **which))  # type: ignore[arg-type] # only texts among them
    assert isinstance(_failure(cloud), SourceUnavailable)


# What cannot be believed.

DOUBTFUL: dict[str, tuple[Effect, str]] = {
    "html with 200": (html(), "bad_body"),
    "json called html": (Headers({}, content_type="text/html"), "bad_body"),
    "unknown content type": (Headers({}, content_type="application/octet-stream"), "bad_body"),
    "empty": (empty(), "bad_body"),
    "half a page": (garbage(), "bad_json"),
    "204": (Status(204), "bad_body"),
    "cut": (Deliver(Cut(50)), "bad_body"),
    "too short for its length": (Deliver(Misdeclare(100)), "bad_body"),
    "too long for its length": (Deliver(Misdeclare(-100)), "bad_json"),
    "gzip bomb": (Deliver(Bomb()), "bad_body"),
    "endless": (Deliver(Endless()), "bad_body"),
    "encoding nobody asked for": (Headers({"content-encoding": "br"}), "bad_body"),
    "gzip that is none": (Headers({"content-encoding": "gzip"}), "bad_body"),
    "redirect": (redirect("http://127.0.0.1:9/"), "redirect"),
    "308": (redirect("http://127.0.0.1:9/", 308), "redirect"),
    "304": (Status(304), "redirect"),
    "nobody, of 412": (Edit(lambda b: {**b, "droplets": [], "meta": {"total": 412}}), "count_mismatch"),
    "total too large": (total(99), "count_mismatch"),
    "total too small": (total(1), "count_mismatch"),
    "total absurd": (total(10**12), "too_many"),
    "total odd": (total(True), "bad_body"),
    "no total": (Edit(lambda b: {k: v for k, v in b.items() if k != "meta"}), "bad_body"),
    "somebody twice": (
        Edit(lambda b: {**b, "droplets": b["droplets"] * 2, "meta": {"total": 2 * len(b["droplets"])}}),
        "unstable",
    ),
    "many odd ones": (
        Edit(lambda b: {**b, "droplets": [{**d, "id": str(d["id"])} for d in b["droplets"]]}),
        "many_skipped",
    ),
    "next elsewhere": (next_link("https://evil.example/v2/droplets?page=2"), "foreign_next"),
}


@pytest.mark.fault("A8", "A13")
@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_doubtful_answer_is_no_fleet(cloud: Cloud, name: str) -> None:
    """Whatever does not add up is SourceDoubtful by its name, and no memory is spent on it."""
    effect, reason = DOUBTFUL[name]
    cloud.faults.add(Fault(effect, path="/v2/droplets", type="droplets"))
    error = _failure(cloud)
    assert (SourceDoubtful, reason) == (type(error), error.reason)


ZIPPED = gzip.compress(body(droplet(1)))


@pytest.mark.parametrize(
    ("zipped", "fits"),
    [(ZIPPED, True), (ZIPPED[:-1], False), (ZIPPED[:-30], False), (ZIPPED + ZIPPED, False)],
)
def test_a_zipped_answer_must_be_whole(cloud: Cloud, zipped: bytes, fits: bool) -> None:
    """Compressed answers are asked for; one cut short, or two in one, is doubtful."""
    headers = {"content-encoding": "gzip"}
    cloud.faults.add(Fault(Status(200, zipped, headers=headers), path="/v2/droplets", type="droplets"))
    if fits:
        assert 1 in {d.id for d in gathered(cloud).droplets}
    else:
        assert "bad_body" == _failure(cloud).reason


@pytest.mark.fault("A13")
def test_a_bomb_does_not_fill_the_memory(cloud: Cloud) -> None:
    """300 MiB in 300 KiB of gzip: reading stops at the cap, counted in decoded bytes."""
    cloud.faults.add(Fault(Deliver(Bomb()), path="/v2/droplets", type="droplets"))
    tracemalloc.start()
    try:
        _failure(cloud, page_cap=2**20)
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.fault("A16")
def test_one_odd_droplet_is_named_in_the_fleet(cloud: Cloud, world: World) -> None:
    """The others are the Fleet."""
    victim = _standing(world)[1]

    def odd(body: "Json") -> "Json":
        return {
            **body,
            "droplets": [{**d, "name": 7} if d["id"] == victim else d for d in body["droplets"]],
        }

    cloud.faults.add(Fault(Edit(odd), path="/v2/droplets"))
    fleet = gathered(cloud)
    assert {*_standing(world)} - {victim} == {d.id for d in fleet.droplets}
    assert [(victim, "name: string_type")] == [(s.id, s.reason) for s in fleet.skipped]


@pytest.mark.parametrize(("change", "fits"), [({}, True), ({"name": "other"}, False)])
def test_a_droplet_in_both_lists_must_be_the_same(
    cloud: Cloud, world: World, change: "Json", fits: bool
) -> None:
    """Equal ones are one Droplet; different ones are doubt."""
    ordinary = json.loads(api_pages(world)[0])["droplets"]
    both = {"droplets": [{**ordinary[0], **change}], "meta": {"total": 1}}
    cloud.faults.add(Fault(Edit(lambda _: both), type="gpus"))
    if fits:
        assert [d["id"] for d in ordinary] == [d.id for d in gathered(cloud).droplets]
    else:
        assert "unstable" == _failure(cloud).reason


# Lists that change while they are read.


def _mutating(world: World, change: Any, *, times: int | None = 1) -> Cloud:
    """After page 1 of the ordinary list was served, the account changes."""
    cloud = Cloud(world)
    cloud.faults.add(
        Fault(Afterwards(change), path="/v2/droplets", type="droplets", page=1, skip=0, times=times)
    )
    return cloud


def test_a_deletion_between_two_pages_loses_nobody_else() -> None:
    """Without a second reading, the Droplet that moved from page 2 to page 1 would be missing."""
    world = big_fleet(401)
    first = next(iter(world.droplets))
    fleet = gathered(_mutating(world, lambda w: w.destroy_droplet(first)))
    assert _standing(world) == [d.id for d in fleet.droplets]
    assert 400 == len(fleet.droplets)


def test_an_addition_between_two_pages_is_read_again() -> None:
    """The total moved, so the whole list is read once more."""
    world = big_fleet(401)
    home = next(iter(world.vpcs))
    fleet = gathered(_mutating(world, lambda w: w.add_droplet("new", vpc=home)))
    assert _standing(world) == [d.id for d in fleet.droplets]


def test_an_addition_that_hides_a_deletion_cuts_nobody() -> None:
    """Same total, unique ids, and a live Droplet missing: noticed, because it was there before."""
    world = big_fleet(401)
    home, first = next(iter(world.vpcs)), next(iter(world.droplets))

    def swap(w: World) -> None:
        w.destroy_droplet(first)
        w.add_droplet("new", vpc=home)

    cloud = Cloud(world)

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        await source.gather()
        cloud.faults.add(Fault(Afterwards(swap), path="/v2/droplets", type="droplets", page=1, times=1))
        fleet = await source.gather()
        assert _standing(world) == [d.id for d in fleet.droplets]

    polling(cloud, poll)


def test_an_honest_deletion_is_believed_after_two_readings() -> None:
    """Over several pages a second reading confirms who is gone; once, not in every later poll."""
    world = big_fleet(401)
    cloud = Cloud(world)

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        spent = []
        for number in [None, next(iter(world.droplets)), None]:
            if number:
                world.destroy_droplet(number)
            assert _standing(world) == [d.id for d in (await source.gather()).droplets]
            assert source.budget is not None
            spent.append(source.budget.spent)
        # 400 Droplets are two pages less than 401 are; three other listings are one page each.
        assert [3 + 3, 2 * 2 + 3, 2 + 3] == spent

    polling(cloud, poll)


def test_a_list_that_never_holds_still_is_doubtful() -> None:
    """A bounded number of readings, then the old state stays."""
    world = big_fleet(401)

    def churn(w: World) -> None:
        w.destroy_droplet(next(iter(w.droplets)))

    cloud = _mutating(world, churn, times=None)

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        for _attempt in range(3):
            with pytest.raises(SourceDoubtful) as caught:
                await source.gather()
            assert "unstable" == caught.value.reason
            assert source.budget is not None
            assert source.budget.spent <= 4 * 3 + 3

    polling(cloud, poll)


# Where the token goes.


@pytest.mark.fault("A8", "J5")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_goes_nowhere_else(cloud: Cloud, status: int) -> None:
    """Neither a redirect nor a `next` link makes us talk to another server."""

    async def run() -> None:
        async with LabServer(Cloud(World())) as sink, LabServer(cloud) as server:
            cloud.faults.add(Fault(redirect(f"{sink.url}/v2/droplets", status), type="gpus", times=1))
            cloud.faults.add(Fault(next_link(f"{sink.url}/v2/droplets?page=2"), skip=1))
            source = DigitalOcean(server.url, LAB_TOKEN, now=lambda: NOW)
            for _ in range(2):
                with pytest.raises(SourceDoubtful):
                    await source.gather()
            await source.aclose()
            assert 0 == sink.connections

    asyncio.run(run())


@pytest.mark.fault("J5")
def test_the_token_is_in_no_log(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where the libraries below log everything they do."""
    caplog.set_level(logging.DEBUG)
    gathered(cloud)
    assert "httpx" in {record.name for record in caplog.records}
    assert LAB_TOKEN not in caplog.text


def test_cookies_are_not_kept(cloud: Cloud) -> None:
    """Whatever a server sets, no request carries it."""
    cloud.faults.add(Fault(Headers({"set-cookie": "a=b; Path=/"})))

    async def poll(source: DigitalOcean, server: LabServer) -> None:
        await source.gather()
        await source.gather()
        assert not [entry for entry in server.log if "cookie" in entry.headers]

    polling(cloud, poll)


def test_the_environment_is_not_asked(
    cloud: Cloud, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: "Path"
) -> None:
    """No proxy, no .netrc, no other certificates."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert len(world.droplets) == len(gathered(cloud).droplets)


# What the network does.

BROKEN: dict[str, tuple[Delivery, str]] = {
    "reset before the answer": (Reset(), "connection"),
    "reset in the body": (Reset(after=20), "connection"),
    "no http": (Verbatim(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol"),
    "closed at once": (Verbatim(b""), "protocol"),
    "half a header": (Verbatim(b"HTTP/1.1 200 OK\r\nconte"), "protocol"),
    "endless header": (Verbatim(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 500_000), "protocol"),
    "black hole": (BlackHole(), "deadline"),
    "drip": (Drip(0.05), "deadline"),
}


@pytest.mark.fault("B1")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_connection_is_unavailable(cloud: Cloud, name: str) -> None:
    """Each kind by its name, within the deadline."""
    delivery, reason = BROKEN[name]
    cloud.faults.add(Fault(Deliver(delivery), path="/v2/droplets", type="droplets"))
    began = time.monotonic()
    error = _failure(cloud, deadline=0.7)
    assert (SourceUnavailable, reason) == (type(error), error.reason)
    assert time.monotonic() - began < 30


def test_a_source_recovers_when_the_api_does(cloud: Cloud, world: World) -> None:
    """After any failure the next poll is as good as the first."""

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        for delivery, _reason in BROKEN.values():
            cloud.faults.add(Fault(Deliver(delivery), path="/v2/droplets", type="droplets"))
            source._deadline = 0.5
            with pytest.raises(SourceUnavailable):
                await source.gather()
            cloud.faults.clear()
            source._deadline = 30.0
            assert len(world.droplets) == len((await source.gather()).droplets)

    polling(cloud, poll)


@pytest.mark.fault("A12")
def test_the_loop_stays_alive_while_an_answer_drips(cloud: Cloud) -> None:
    """Nothing of a poll blocks: a watchdog fed by the loop is fed."""
    cloud.faults.add(Fault(Deliver(Drip(0.01))))
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    async def poll(source: DigitalOcean, _: LabServer) -> None:
        heart = asyncio.create_task(beat())
        with pytest.raises(SourceUnavailable):
            await source.gather()
        heart.cancel()

    polling(cloud, poll, deadline=1.0)
    assert beats > 20


@pytest.mark.fault("B2")
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9", "connect"),
        ("https://127.0.0.1:9", "connect"),
        (f"http://{'x' * 70}.invalid", "dns"),
    ],
)
def test_a_server_that_is_not_there_is_unavailable(cloud: Cloud, url: str, reason: str) -> None:
    """No connection, or no such name: told apart by what failed."""
    error = _failure(cloud, url=url)
    assert (SourceUnavailable, reason) == (type(error), error.reason)


@pytest.mark.fault("B2")
@pytest.mark.kernel
def test_a_name_that_nobody_resolves_is_dns(cloud: Cloud, namespace: "Namespace") -> None:
    """In a namespace where no resolver can be reached."""
    error = namespace.call(_failure, cloud, url="http://droplan.invalid")
    assert (SourceUnavailable, "dns") == (type(error), error.reason)


@pytest.mark.fault("B1")
@pytest.mark.kernel
def test_a_black_hole_before_the_connection_is_a_deadline(cloud: Cloud, namespace: "Namespace") -> None:
    """Dropped without a reset, as a firewall does it."""
    namespace.run("ip", "link", "set", "lo", "up")
    rule = "table ip t { chain c { type filter hook input priority 0; tcp dport 9 drop; }; }"
    namespace.run("nft", "-f", "-", text=rule)
    error = namespace.call(_failure, cloud, url="http://127.0.0.1:9", deadline=0.5)
    assert (SourceUnavailable, "deadline") == (type(error), error.reason)


# TLS.


def test_the_operators_authority_is_trusted(
    cloud: Cloud, world: World, authority: "Authority", ca_file: "Path"
) -> None:
    """`ca_file` adds one authority."""
    fleet = gathered(cloud, tls=authority.server(), ca_file=ca_file)
    assert len(world.droplets) == len(fleet.droplets)


@pytest.mark.fault("B3")
@pytest.mark.parametrize("case", ["unknown authority", "expired", "another name"])
def test_a_certificate_that_does_not_verify_ends_the_poll(
    cloud: Cloud, authority: "Authority", ca_file: "Path", case: str
) -> None:
    """Never downgraded; the token is not sent."""
    tls = authority.server(*(("example.com",) if case == "another name" else ()), expired=case == "expired")
    trusted = None if case == "unknown authority" else ca_file

    async def poll(source: DigitalOcean, server: LabServer) -> None:
        with pytest.raises(SourceUnavailable) as caught:
            await source.gather()
        assert "tls_verify" == caught.value.reason
        assert [] == list(server.log)

    polling(cloud, poll, tls=tls, ca_file=trusted)


@pytest.mark.fault("B3")
def test_a_server_without_tls_is_told_so(cloud: Cloud) -> None:
    """The scheme says https and the server does not."""

    async def run() -> None:
        async with LabServer(cloud) as server:
            source = DigitalOcean(server.url.replace("http:", "https:"), LAB_TOKEN, now=lambda: NOW)
            with pytest.raises(SourceUnavailable) as caught:
                await source.gather()
            assert "tls" == caught.value.reason
            await source.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_unusable_ca_file_is_named(
    cloud: Cloud, authority: "Authority", tmp_path: "Path", content: bytes | None
) -> None:
    """Absent, empty or no PEM: the sentence names the file."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    error = _failure(cloud, tls=authority.server(), ca_file=path)
    assert (SourceUnavailable, "ca_file") == (type(error), error.reason)
    assert str(path) in str(error)
