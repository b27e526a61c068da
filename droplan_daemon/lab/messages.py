"""A request and its answer, as values between the wire and what answers.

Law: no sockets, no clock. An `Application` is anything that answers; the server knows no
other thing about it.
"""

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from .delivery import WHOLE, Delivery

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
JSON_TYPE = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """`headers` have lower-case names; `base` is the URL under which the client found us."""

    method: str
    path: str
    query: "Mapping[str, str]" = field(default_factory=dict)
    headers: "Mapping[str, str]" = field(default_factory=dict, repr=False)
    body: bytes = b""
    client: str = ""
    base: str = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Response:
    """`body` is JSON until it is sent; `delay` (seconds) and `delivery` say how it is sent."""

    status: int
    body: Json | bytes = b""
    content_type: str = JSON_TYPE
    headers: "Mapping[str, str]" = field(default_factory=dict)
    delay: float = 0.0
    delivery: Delivery = WHOLE

    def content(self) -> bytes:
        """The body as bytes."""
        return (
            self.body
            if isinstance(self.body, bytes)
            else json.dumps(self.body, separators=(",", ":")).encode()
        )

    def head(self) -> dict[str, str]:
        """All headers but those that frame the body."""
        kind = {"content-type": self.content_type} if self.content_type and self.body else {}
        return {**kind, **self.headers}

    def with_headers(self, headers: "Mapping[str, str]") -> "Response":
        """The same with these headers added; those that it had win."""
        return replace(self, headers={**headers, **self.headers})


class Application(Protocol):
    """What a LabServer serves."""

    def answer(self, request: Request) -> Response:
        """The Response to one Request."""
