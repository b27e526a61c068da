"""Faults set from another process, over HTTP.

    curl -d '{"effect": "status", "with": {"status": 502}, "page": 2, "times": 3}' URL/_lab/faults
    curl -d '{"effect": "drip", "with": {"seconds": 0.5}}' URL/_lab/faults
    curl -X DELETE URL/_lab/faults

Law: only a client on the loopback address is heard; no token is needed, none is looked at.
"""

import json
from collections.abc import Callable
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from . import delivery, faults, problems
from .messages import Request, Response

PATH = "/_lab/faults"


def _deliver(kind: "Callable[..., delivery.Delivery]") -> "Callable[..., faults.Effect]":
    return lambda **settings: faults.Deliver(kind(**settings))


EFFECTS = MappingProxyType[str, Callable[..., faults.Effect]](
    {
        "status": faults.Status,
        "delay": faults.Delay,
        "html": faults.html,
        "empty": faults.empty,
        "garbage": faults.garbage,
        "redirect": faults.redirect,
        "headers": faults.Headers,
        "total": faults.total,
        "next_link": faults.next_link,
        "without": faults.Without,
        "drip": _deliver(delivery.Drip),
        "cut": _deliver(delivery.Cut),
        "misdeclare": _deliver(delivery.Misdeclare),
        "bomb": _deliver(delivery.Bomb),
        "endless": _deliver(delivery.Endless),
        "black_hole": _deliver(delivery.BlackHole),
        "reset": _deliver(delivery.Reset),
    }
)


def meant(request: Request) -> bool:
    """Whether the request is for us."""
    return request.path == PATH and _on_loopback(request.client)


def script(known: faults.Faults, request: Request) -> Response:
    """POST sets one fault, DELETE clears all; 422 says what is wrong with a fault."""
    if request.method == "DELETE":
        known.clear()
    elif request.method == "POST":
        try:
            known.add(parse(json.loads(request.body)))
        except (ValueError, TypeError, KeyError) as error:
            return problems.unprocessable(f"This is no fault: {error}.")
    else:
        return problems.method_not_allowed("POST, DELETE")
    return Response(204)


def parse(wanted: Any) -> faults.Fault:
    """A Fault from JSON: `effect`, its settings as `with`, and the fields of Fault."""
    match = dict(wanted)
    name, settings = match.pop("effect"), match.pop("with", {})
    if name not in EFFECTS:
        raise ValueError(f"effect must be one of {', '.join(sorted(EFFECTS))}")
    return faults.Fault(EFFECTS[name](**settings), **match)


def _on_loopback(client: str) -> bool:
    try:
        return ip_address(client).is_loopback
    except ValueError:
        return False
