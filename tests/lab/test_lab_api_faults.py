"""Scripted faults: when they strike, what they change, and what of it crosses the wire."""

import json
import socket
import time
import zlib
from collections.abc import Callable
from itertools import islice
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.lab import delivery, faults
from droplan_daemon.lab.delivery import (
    Abort,
    BlackHole,
    Bomb,
    Cut,
    Delivery,
    Drip,
    Endless,
    Hang,
    Misdeclare,
    Reset,
    Verbatim,
    Wait,
    Whole,
)
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.faults import Deliver, Edit, Fault, Faults, Status
from droplan_daemon.lab.messages import Request, Response
from droplan_daemon.lab.server import LabServer
from droplan_daemon.lab.world import World

LISTING = "/v2/droplets"


def answer(cloud: DigitalOcean, path: str = LISTING, method: str = "GET", **query: str) -> Response:
    headers = {"authorization": f"Bearer {cloud.token}"}
    return cloud.answer(Request(method, path, query, headers))


def listing(cloud: DigitalOcean, **query: str) -> Any:
    return json.loads(answer(cloud, **query).content())


@given(skip=st.integers(0, 5), times=st.none() | st.integers(0, 5), asked=st.integers(0, 12))
def test_a_fault_strikes_as_often_as_it_says(skip: int, times: int | None, asked: int) -> None:
    """The first `skip` requests that fit are spared, the next `times` are hit, the rest are spared."""
    cloud = DigitalOcean(World(), faults=Faults(Fault(Status(500), skip=skip, times=times)))
    statuses = [answer(cloud).status for _ in range(asked)]
    hit = asked if times is None else times
    assert ([200] * skip + [500] * hit + [200] * asked)[:asked] == statuses


@pytest.mark.parametrize(
    ("fault", "query", "path", "method", "hit"),
    [
        (Fault(Status(500)), {}, LISTING, "GET", True),
        (Fault(Status(500), path="/v2/vpcs"), {}, LISTING, "GET", False),
        (Fault(Status(500), path="/v2/drop*"), {}, LISTING, "GET", True),
        (Fault(Status(500), method="POST"), {}, LISTING, "GET", False),
        (Fault(Status(500), method="DELETE"), {}, f"{LISTING}/1", "DELETE", True),
        (Fault(Status(500), page=1), {}, LISTING, "GET", True),
        (Fault(Status(500), page=2), {}, LISTING, "GET", False),
        (Fault(Status(500), page=2), {"page": "2"}, LISTING, "GET", True),
        (Fault(Status(500), type="droplets"), {}, LISTING, "GET", True),
        (Fault(Status(500), type="gpus"), {}, LISTING, "GET", False),
        (Fault(Status(500), type="gpus", page=1), {"type": "gpus"}, LISTING, "GET", True),
        (Fault(Status(500), query={"per_page": "9"}), {"per_page": "9"}, LISTING, "GET", True),
        (Fault(Status(500), query={"per_page": "9"}), {}, LISTING, "GET", False),
    ],
)
def test_a_fault_strikes_where_it_says(
    cloud: DigitalOcean, fault: Fault, *, query: dict[str, str], path: str, method: str, hit: bool
) -> None:
    """Path, method, page, type and further parameters pick the requests."""
    cloud.faults.add(fault)
    assert hit == (answer(cloud, path, method, **query).status == 500)


def test_only_requests_that_fit_are_counted(cloud: DigitalOcean) -> None:
    """A request elsewhere uses up neither `skip` nor `times`."""
    cloud.faults.add(Fault(Status(500), path=LISTING, skip=1, times=1))
    paths = ["/v2/account", LISTING, "/v2/account", LISTING, LISTING]
    assert [200, 200, 200, 500, 200] == [answer(cloud, path).status for path in paths]


def test_cleared_faults_are_gone(cloud: DigitalOcean) -> None:
    """After `clear` all is well."""
    cloud.faults.add(Fault(Status(500)))
    assert 500 == answer(cloud).status
    cloud.faults.clear()
    assert 200 == answer(cloud).status


def test_several_faults_act_together(cloud: DigitalOcean) -> None:
    """The first one set is outermost: it sees what the others made."""
    cloud.faults.add(
        Fault(faults.Delay(1.5)), Fault(Deliver(Cut(3))), Fault(faults.total(1)), Fault(faults.total(2))
    )
    seen = answer(cloud)
    assert (1.5, Cut(3), 1) == (seen.delay, seen.delivery, json.loads(seen.content())["meta"]["total"])


def test_statuses_one_after_the_other(cloud: DigitalOcean) -> None:
    """Faults that end a request come in their order, with the usual body or their own."""
    cloud.faults.add(
        Fault(Status(503), times=1),
        Fault(Status(429, b"wait", "text/plain", {"retry-after": "soon"}), times=1),
    )
    first, second = answer(cloud), answer(cloud)
    assert (503, "service_unavailable") == (first.status, json.loads(first.content())["id"])
    assert (429, b"wait", "soon") == (second.status, second.content(), second.headers["retry-after"])
    assert 200 == answer(cloud).status


@pytest.mark.parametrize(
    ("effect", "status", "kind", "content"),
    [
        (faults.html(), 200, "text/html", b"<!DOCTYPE html>"),
        (faults.empty(), 200, None, b""),
        (faults.garbage(), 200, "application/json; charset=utf-8", b'{"droplets": [{"id": 1,'),
        (faults.redirect("http://127.0.0.1:1/"), 302, None, b""),
    ],
)
def test_bodies_that_are_no_listing(
    client: httpx.Client,
    cloud: DigitalOcean,
    effect: Status,
    *,
    status: int,
    kind: str | None,
    content: bytes,
) -> None:
    """A web page, nothing, half a document, a redirect: as a client sees them."""
    cloud.faults.add(Fault(effect))
    seen = client.get(LISTING)
    assert (status, kind) == (seen.status_code, seen.headers.get("content-type"))
    assert seen.content.startswith(content)
    assert bool(content) == bool(seen.content)


def test_headers_replace_and_remove(cloud: DigitalOcean) -> None:
    """Headers of a genuine answer can say anything, or nothing; its body stays."""
    genuine = answer(cloud)
    cloud.faults.add(
        Fault(faults.Headers({"ratelimit-reset": "4070908800", "ratelimit-limit": None}, "text/plain"))
    )
    seen = answer(cloud)
    assert ("4070908800", "text/plain") == (seen.headers["ratelimit-reset"], seen.content_type)
    assert "ratelimit-limit" not in seen.headers
    assert genuine.content() == seen.content()


def test_hidden_fields(cloud: DigitalOcean) -> None:
    """`hide` shows Droplets as to a token without the scope."""
    cloud.faults.add(Fault(faults.hide("tags", "vpc_uuid")))
    droplets = listing(cloud)["droplets"]
    assert 20 == len(droplets)
    assert all(d["tags"] == [] and "vpc_uuid" not in d for d in droplets)


def test_without_is_an_honest_answer(cloud: DigitalOcean, world: World) -> None:
    """A Droplet left out is in no list, in no total and not found, but is still in the account."""
    ids = [d.id for d in world.droplets.values() if not d.gpu]
    cloud.faults.add(Fault(faults.Without(frozenset({ids[1]}))))
    pages = [listing(cloud, page=str(page)) for page in (1, 2, 3)]
    assert [ids[0], *ids[2:]] == [d["id"] for page in pages for d in page["droplets"]]
    assert [46, 46, 46] == [page["meta"]["total"] for page in pages]
    assert 1 == listing(cloud, type="gpus")["meta"]["total"]
    assert 404 == answer(cloud, f"{LISTING}/{ids[1]}").status
    assert ids[1] in world.droplets


def test_an_account_that_changes_between_pages(cloud: DigitalOcean, world: World) -> None:
    """A Droplet destroyed after page 1 makes a live one slip past between the pages."""
    ids = [d.id for d in world.droplets.values() if not d.gpu]
    gone = Fault(faults.Afterwards(lambda w: w.destroy_droplet(ids[0])), page=1, times=1)
    cloud.faults.add(gone)
    first, second = (listing(cloud, per_page="30", page=page) for page in ("1", "2"))
    seen = {d["id"] for page in (first, second) for d in page["droplets"]}
    assert {ids[30]} == set(ids) - seen
    assert (47, 46) == (first["meta"]["total"], second["meta"]["total"])


def test_lies_of_a_page(cloud: DigitalOcean) -> None:
    """Totals and links can say anything, and any other part can be edited."""
    cloud.faults.add(
        Fault(faults.total(412)),
        Fault(faults.next_link("http://evil.example/v2/droplets?page=2")),
        Fault(Edit(lambda body: {**body, "droplets": body["droplets"] * 2})),
    )
    seen = listing(cloud, per_page="5")
    assert (412, 10) == (seen["meta"]["total"], len(seen["droplets"]))
    assert {"pages": {"next": "http://evil.example/v2/droplets?page=2"}} == seen["links"]


BODY = b'{"droplets": [1, 2, 3]}'


def taken(kind: Delivery) -> tuple[list[delivery.Step], bytes, bytes]:
    """The steps, the head and the body of one delivery of BODY."""
    done = list(delivery.steps(kind, 200, {"x-kind": "test"}, BODY))
    head, _, body = b"".join(step for step in done if isinstance(step, bytes)).partition(b"\r\n\r\n")
    return done, head, body


@pytest.mark.parametrize(
    ("kind", "length", "body", "others"),
    [
        (Whole(), 23, BODY, []),
        (Drip(0.25, 10), 23, BODY, [Wait(0.25)] * 3),
        (Drip(), 23, BODY, [Wait(0.5)] * 23),
        (Cut(5), 23, BODY[:5], []),
        (Misdeclare(7), 30, BODY, []),
        (Misdeclare(-3), 20, BODY, []),
        (Reset(4), 23, BODY[:4], [Abort()]),
    ],
)
def test_broken_deliveries(kind: Delivery, length: int, body: bytes, others: list[delivery.Step]) -> None:
    """What is announced, what is sent, and what happens in between."""
    done, head, sent = taken(kind)
    assert body == sent
    assert others == [step for step in done if not isinstance(step, bytes)]
    assert f"content-length: {length}".encode() in head
    assert head.startswith(b"HTTP/1.1 200 OK\r\nx-kind: test\r\n")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(BlackHole(), [Hang()]), (Reset(), [Abort()]), (Verbatim(b"SSH-2.0\r\n"), [b"SSH-2.0\r\n"])],
)
def test_deliveries_without_http(kind: Delivery, expected: list[delivery.Step]) -> None:
    """Silence, a reset and foreign bytes have no HTTP about them."""
    assert expected == taken(kind)[0]


def test_a_bomb_is_valid_and_small() -> None:
    """A gzip bomb decodes to what it says, a thousand times what crosses the wire."""
    _, head, packed = taken(Bomb(16 * 2**20))
    assert b"content-encoding: gzip" in head
    assert 16 * 2**20 == len(zlib.decompress(packed, wbits=31))
    assert len(packed) < 16 * 2**20 / 900


def test_an_endless_body_takes_no_memory() -> None:
    """Ten gigabytes are one block, sent again and again."""
    steps = list(islice(delivery.steps(Endless(), 200, {}, b""), 1, 1000))
    assert 1 == len({id(step) for step in steps})
    size = sum(len(s) for s in delivery.steps(Endless(), 200, {}, b"") if isinstance(s, bytes))
    assert 10 * 2**30 < size < 10 * 2**30 + 1_000


def failing(exception: type[Exception]) -> Callable[[httpx.Client], None]:
    def check(client: httpx.Client) -> None:
        with pytest.raises(exception):
            client.get(LISTING, timeout=0.5)

    return check


def bombed(client: httpx.Client) -> None:
    with client.stream("GET", LISTING) as response:
        assert 4 * 2**20 == sum(len(part) for part in response.iter_bytes())


def unending(client: httpx.Client) -> None:
    with client.stream("GET", LISTING) as response:
        got = 0
        for part in response.iter_bytes():
            got += len(part)
            if got > 32 * 2**20:
                return
    pytest.fail("it ended")


def dripping(client: httpx.Client) -> None:
    """No pause is as long as the client's timeout, so the client never gives up."""
    begun = time.monotonic()
    assert 200 == client.get(LISTING, timeout=0.7).status_code
    assert time.monotonic() - begun > 0.7


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Cut(100), failing(httpx.RemoteProtocolError)),
        (Misdeclare(1), failing(httpx.RemoteProtocolError)),
        (Reset(), failing(httpx.ReadError)),
        (Reset(100), failing(httpx.ReadError)),
        (Verbatim(b""), failing(httpx.RemoteProtocolError)),
        (Verbatim(b"220 mail\r\n\r\n"), failing(httpx.RemoteProtocolError)),
        (BlackHole(), failing(httpx.ReadTimeout)),
        (Bomb(4 * 2**20), bombed),
        (Endless(), unending),
        (Drip(0.1, 6_000), dripping),
    ],
    ids=lambda value: str(value) if not callable(value) else "",
)
def test_deliveries_on_the_wire(
    client: httpx.Client, cloud: DigitalOcean, kind: Delivery, check: Callable[[httpx.Client], None]
) -> None:
    """Each broken delivery is for a real client what it is meant to be, and the next answer is whole."""
    cloud.faults.add(Fault(Deliver(kind), times=1))
    check(client)
    assert 200 == client.get(LISTING).status_code


def test_a_reset_is_a_reset(server: LabServer, cloud: DigitalOcean) -> None:
    """The kernel reports ECONNRESET, not an orderly end."""
    cloud.faults.add(Fault(Deliver(Reset())))
    with socket.create_connection(server.address, timeout=5) as raw:
        raw.sendall(b"GET /v2/droplets HTTP/1.1\r\nhost: lab\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            raw.recv(1)


def test_a_delay_delays(client: httpx.Client, cloud: DigitalOcean) -> None:
    """The answer comes late, and is genuine."""
    cloud.faults.add(Fault(faults.Delay(0.3)))
    begun = time.monotonic()
    assert 200 == client.get("/v2/account").status_code
    assert time.monotonic() - begun >= 0.3
