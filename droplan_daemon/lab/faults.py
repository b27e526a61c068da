"""What goes wrong, scripted per request.

A `Fault` says for which requests and how often; its effect says what. Effects wrap the genuine
answer: they may leave it out, change it, change how it is sent, or change the World around it.

    faults.add(Fault(Status(502), page=3))                     # every page 3, until cleared
    faults.add(Fault(Edit(lambda body: {**body, "droplets": []}), type="gpus", times=1))
    faults.add(Fault(Deliver(Drip(0.5)), path="/v2/droplets", skip=2))

Laws: faults are frozen data; `Faults` alone counts. Several that fit one request all act, the
first added outermost; one that another kept from acting has not been used up, so that
`Faults(Fault(Status(503), times=1), Fault(Status(429), times=1))` is a sequence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Protocol

from . import problems
from .delivery import Delivery
from .messages import JSON_TYPE, Json, Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .world import World

Genuine = Callable[["World"], Response]
"""The answer that would be given over a World."""


class Effect(Protocol):
    """What a fault does."""

    def act(self, world: "World", genuine: Genuine) -> Response:
        """The Response instead of the genuine one."""


@dataclass(frozen=True, slots=True)
class Status:
    """This status; DigitalOcean's usual error body for it, unless there is another.

    `headers` are added: `Status(429, headers={"retry-after": "soon"})`.
    """

    status: int
    body: Json | bytes | None = None
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)

    def act(self, world: "World", genuine: Genuine) -> Response:  # noqa: ARG002 - as every Effect
        """The genuine answer is not even made: the request costs no rate limit."""
        known = problems.usual(self.status)
        if self.body is None:
            return known.with_headers(self.headers)
        return replace(known, body=self.body, content_type=self.content_type, headers=self.headers)


def html() -> Status:
    """A web page with 200, as a captive portal has it."""
    return Status(200, b"<!DOCTYPE html><html><body>Please sign in</body></html>", "text/html")


def empty() -> Status:
    """200 and no body."""
    return Status(200, b"")


def garbage(body: bytes = b'{"droplets": [{"id": 1,') -> Status:
    """200 and a body that claims to be JSON."""
    return Status(200, body)


def redirect(location: str, status: int = 302) -> Status:
    """To somewhere else."""
    return Status(status, b"", headers={"location": location})


@dataclass(frozen=True, slots=True)
class Headers:
    """The genuine answer with some headers replaced; None takes one away."""

    headers: Mapping[str, str | None]
    content_type: str | None = None

    def act(self, world: "World", genuine: Genuine) -> Response:
        """Replace the headers."""
        answer = genuine(world)
        merged = {k: v for k, v in {**answer.headers, **self.headers}.items() if v is not None}
        return replace(answer, headers=merged, content_type=self.content_type or answer.content_type)


@dataclass(frozen=True, slots=True)
class Delay:
    """The genuine answer after so many seconds."""

    seconds: float

    def act(self, world: "World", genuine: Genuine) -> Response:
        """Delay it."""
        answer = genuine(world)
        return replace(answer, delay=answer.delay + self.seconds)


@dataclass(frozen=True, slots=True)
class Deliver:
    """The genuine answer, broken on its way: see `delivery`. Of several, the outermost one counts."""

    delivery: Delivery

    def act(self, world: "World", genuine: Genuine) -> Response:
        """Have it delivered so."""
        return replace(genuine(world), delivery=self.delivery)


@dataclass(frozen=True, slots=True)
class Edit:
    """The genuine JSON, changed by a function; other bodies stay as they are."""

    change: Callable[[Json], Json]

    def act(self, world: "World", genuine: Genuine) -> Response:
        """Change it."""
        answer = genuine(world)
        return replace(answer, body=self.change(answer.body)) if isinstance(answer.body, dict) else answer


def total(number: object) -> Edit:
    """Another `meta.total`."""
    return Edit(lambda body: {**body, "meta": {"total": number}} if "meta" in body else body)


def next_link(url: str) -> Edit:
    """A `next` link to anywhere."""
    return Edit(lambda body: {**body, "links": {"pages": {"next": url}}})


def hide(*names: str) -> Edit:
    """Droplets as for a token that may not see these fields: `tags` empty, others left out."""

    def hidden(droplet: Json) -> Json:
        kept = {key: value for key, value in droplet.items() if key not in names}
        return {**kept, "tags": []} if "tags" in names else kept

    return Edit(lambda body: {**body, "droplets": [hidden(d) for d in body.get("droplets", ())]})


@dataclass(frozen=True, slots=True)
class Without:
    """An honest answer over an account in which these Droplets are not."""

    droplets: frozenset[int]

    def act(self, world: "World", genuine: Genuine) -> Response:
        """Answer over that account."""
        return genuine(world.without(self.droplets))


@dataclass(frozen=True, slots=True)
class Afterwards:
    """The genuine answer; then the World changes, before the next request can see it."""

    change: Callable[["World"], object]

    def act(self, world: "World", genuine: Genuine) -> Response:
        """Answer, then change."""
        answer = genuine(world)
        self.change(world)
        return answer


@dataclass(frozen=True, slots=True)
class Fault:
    """An effect, and the requests that it concerns.

    `path` is a glob; `page` counts an absent parameter as 1, `type` as `droplets`; `query` has
    further parameters that must be equal. Of the requests that fit, the first `skip` are
    spared, and the next `times` are hit (None: all that follow).
    """

    effect: Effect
    path: str = "*"
    method: str | None = None
    page: int | None = None
    type: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    skip: int = 0
    times: int | None = None

    def fits(self, request: Request) -> bool:
        """Whether it concerns this request."""
        asked = {"page": "1", "type": "droplets", **request.query}
        wanted = {**({} if self.page is None else {"page": str(self.page)}), **self.query}
        if self.type is not None:
            wanted["type"] = self.type
        return (
            fnmatchcase(request.path, self.path)
            and self.method in {None, request.method}
            and all(asked.get(name) == value for name, value in wanted.items())
        )


class Faults:
    """The script: which faults are set, and how often each was met."""

    def __init__(self, *faults: Fault) -> None:
        self._set: list[tuple[Fault, Iterator[int]]] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Set faults, from the next request on."""
        self._set = [*self._set, *((fault, count()) for fault in faults)]

    def clear(self) -> None:
        """All is well again, from the next request on."""
        self._set = []

    def around(self, request: Request, world: "World", genuine: Genuine) -> Response:
        """The genuine answer with every fault that is due."""
        answer = genuine
        for fault, met in reversed(self._set):
            answer = partial(_with_fault, fault, met, request, answer)
        return answer(world)


def _with_fault(
    fault: Fault, met: "Iterator[int]", request: Request, genuine: Genuine, world: "World"
) -> Response:
    if fault.fits(request) and _hit(fault, next(met)):
        return fault.effect.act(world, genuine)
    return genuine(world)


def _hit(fault: Fault, before: int) -> bool:
    return before >= fault.skip and (fault.times is None or before < fault.skip + fault.times)
