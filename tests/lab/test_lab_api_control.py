"""Faults set over HTTP, by another process."""

import json
from typing import Any

import httpx
import pytest

from droplan_daemon.lab import control, faults
from droplan_daemon.lab.delivery import Cut, Drip, Reset
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.faults import Deliver, Fault, Headers, Status
from droplan_daemon.lab.messages import Request


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ({"effect": "status", "with": {"status": 502}}, Fault(Status(502))),
        (
            {
                "effect": "status",
                "with": {"status": 429, "headers": {"retry-after": "soon"}},
                "page": 2,
                "times": 3,
            },
            Fault(Status(429, headers={"retry-after": "soon"}), page=2, times=3),
        ),
        (
            {"effect": "drip", "with": {"seconds": 0.1}, "type": "gpus"},
            Fault(Deliver(Drip(0.1)), type="gpus"),
        ),
        (
            {"effect": "cut", "with": {"after": 9}, "path": "/v2/vpcs"},
            Fault(Deliver(Cut(9)), path="/v2/vpcs"),
        ),
        ({"effect": "reset", "skip": 1}, Fault(Deliver(Reset()), skip=1)),
        ({"effect": "html"}, Fault(faults.html())),
        (
            {"effect": "headers", "with": {"headers": {"ratelimit-reset": "1"}}},
            Fault(Headers({"ratelimit-reset": "1"})),
        ),
    ],
)
def test_a_fault_as_json(wanted: Any, fault: Fault) -> None:
    """JSON says the same as the dataclass: effect, its settings, and which requests."""
    assert fault == control.parse(wanted)


SETTINGS: dict[str, dict[str, Any]] = {
    "status": {"status": 500},
    "delay": {"seconds": 1},
    "html": {},
    "empty": {},
    "garbage": {},
    "redirect": {"location": "http://127.0.0.1/"},
    "headers": {"headers": {"x": "y"}},
    "total": {"number": 412},
    "next_link": {"url": "http://127.0.0.1/"},
    "without": {"droplets": [3_164_444]},
    "drip": {},
    "cut": {"after": 1},
    "misdeclare": {"by": 1},
    "bomb": {},
    "endless": {},
    "black_hole": {},
    "reset": {},
}


@pytest.mark.parametrize("name", control.EFFECTS)
def test_every_name_is_an_effect(cloud: DigitalOcean, name: str) -> None:
    """Each name can be set, and strikes: the answer, or how it is sent, is no longer the genuine one."""
    asked = Request("GET", "/v2/droplets", headers={"authorization": f"Bearer {cloud.token}"})
    genuine = cloud.answer(asked)
    cloud.faults.add(control.parse({"effect": name, "with": SETTINGS[name]}))
    struck = cloud.answer(asked)
    assert (genuine.status, genuine.content(), genuine.delay, genuine.delivery, "x" in genuine.headers) != (
        struck.status,
        struck.content(),
        struck.delay,
        struck.delivery,
        "x" in struck.headers,
    )


def test_set_and_clear_over_http(client: httpx.Client) -> None:
    """POST sets a fault for the requests that follow, DELETE ends it."""
    assert 204 == client.post(control.PATH, json={"effect": "status", "with": {"status": 502}}).status_code
    assert 502 == client.get("/v2/account").status_code
    assert 204 == client.delete(control.PATH).status_code
    assert 200 == client.get("/v2/account").status_code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"{}",
        b'{"effect": "earthquake"}',
        b'{"effect": "status"}',
        b'{"effect": "status", "with": {"status": 502, "colour": "red"}}',
        b'{"effect": "html", "pages": 2}',
        b'{"effect": ["html"]}',
    ],
)
def test_what_is_no_fault_is_refused(cloud: DigitalOcean, body: bytes) -> None:
    """A mistake is told, and sets nothing."""
    told = cloud.answer(Request("POST", control.PATH, body=body, client="127.0.0.1"))
    assert (422, "unprocessable_entity") == (told.status, json.loads(told.content())["id"])
    assert (
        200
        == cloud.answer(
            Request("GET", "/v2/account", headers={"authorization": f"Bearer {cloud.token}"})
        ).status
    )


@pytest.mark.parametrize(
    ("client", "status"), [("127.0.0.1", 204), ("::1", 204), ("10.10.0.2", 401), ("", 401)]
)
def test_only_loopback_is_heard(cloud: DigitalOcean, client: str, status: int) -> None:
    """From anywhere else the path is one like any other, behind the token."""
    told = cloud.answer(Request("POST", control.PATH, body=b'{"effect": "html"}', client=client))
    assert status == told.status


def test_the_script_has_two_methods(cloud: DigitalOcean) -> None:
    """GET is told what there is."""
    told = cloud.answer(Request("GET", control.PATH, client="127.0.0.1"))
    assert (405, "POST, DELETE") == (told.status, told.headers["allow"])
