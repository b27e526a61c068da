"""httpx without cookies, and without what it would need for them.

Laws:
1. No cookie is ever kept or sent.
2. What droplan asks of httpx works without its stand-ins: bodies are read as bytes (no charset is
   looked for), and nobody logs in by digest or by .netrc.

The standard library's cookie jar takes 1 MB of memory: it comes with an HTTP client, a mail parser
and a calendar of its own.
"""

from typing import TYPE_CHECKING, Any

from droplan_daemon.lean import stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoCookies:
    """A jar that stays empty; to httpx, an `http.cookiejar.CookieJar`."""

    def __iter__(self) -> "Iterator[Any]":
        return iter(())

    def extract_cookies(self, response: object, request: object) -> None:
        """Whatever a server sets, it is not kept."""

    def add_cookie_header(self, request: object) -> None:
        """Nothing is sent."""


class _Request:
    """What httpx shows a jar of a request."""

    def __init__(self, **_: object) -> None:
        pass


with (
    stand_in("urllib.request", Request=_Request, getproxies=dict, parse_http_list=list),
    stand_in("http.cookiejar", Cookie=object, CookieJar=NoCookies),
    stand_in("email.message", Message=object),
):
    import httpx

__all__ = ["NoCookies", "httpx"]
