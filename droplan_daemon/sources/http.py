"""One bounded GET.

Laws:
1. TLS is always verified, redirects are never followed, the environment is never asked
   (proxies, certificates), cookies are never kept; the token goes to the given URL alone.
2. An answer is read up to `cap` *decoded* bytes and no further: decompression is done here,
   bounded, because one 64 KiB chunk of gzip can hold 64 MiB.
3. Time is bounded by `within` around the whole poll; per-read timeouts never
   fire on a body that drips.
4. Every failure is one of `errors`, told apart by type and cause, never by text.
"""

import socket
import ssl
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from droplan_daemon import __version__
from droplan_daemon.errors import RateLimited, SourceDenied, SourceDoubtful, SourceUnavailable
from droplan_daemon.lean import stand_in
from droplan_daemon.model.budget import Budget

from .concurrency import within
from .cookies import NoCookies, httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
T = TypeVar("T")

SHORTEST_WAIT, LONGEST_WAIT = 1.0, 900.0
"""Bounds of what a 429 may ask for, in seconds; without anything usable it gets DEFAULT_WAIT."""
DEFAULT_WAIT = 60.0

# Longer than the shortest poll interval, so that a poll finds its connections still open.
_KEEPALIVE = 75.0
# Four pages of one listing and one of each other, and one to spare.
_CONNECTIONS = 8
# The longest of the ratelimit headers is an epoch second: 10 digits.
_LONGEST_NUMBER = 12


class Endpoint:
    """One HTTP service. `name` is what people call it; `now` gives seconds since the epoch.

    `renewal` says what to do about a token that is not accepted. `budget` is what the last answer said
    of the rate limit, `date` what it said of the time, `sent` counts requests.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        cap: int,
        now: "Callable[[], float]",
        token: str | None = None,
        ca_file: "Path | None" = None,
        renewal: str = "",
    ) -> None:
        self.budget: Budget | None = None
        self.date = ""
        self.sent = 0
        self._url = url
        self._name = name
        self._cap = cap
        self._now = now
        self._ca_file = ca_file
        self._renewal = renewal or "give droplan a valid one"
        self._headers = {"user-agent": f"droplan/{__version__}", "accept": "application/json"}
        self._headers["accept-encoding"] = "gzip"
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._client: httpx.AsyncClient | None = None

    async def get(
        self,
        path: str,
        params: "Mapping[str, str] | None" = None,
        *,
        scope: str | None = None,
        page: int | None = None,
        json_only: bool = True,
    ) -> bytes:
        """The decoded body of a 200. `scope` is what a 403 is blamed on, `page` is for the error.

        Raises SourceUnavailable, RateLimited, SourceDenied, SourceDoubtful.
        """
        client = self._opened()
        self.sent += 1
        with _translated(self._name, page):
            async with client.stream("GET", path, params=params) as answer:
                self.budget = heard_budget(answer.headers) or self.budget
                self.date = answer.headers.get("date", "")
                self._judge(answer, scope, page)
                if json_only and not _is_json(answer.headers):
                    raise self._bad("is not JSON", page)
                return await self._body(answer, page)

    async def aclose(self) -> None:
        """Close every connection; a later `get` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def within(self, seconds: float, questions: "Coroutine[Any, Any, T]") -> "T":
        """The result of one or many `get`s in time, else SourceUnavailable(reason="deadline")."""
        try:
            return await within(seconds, questions)
        except TimeoutError:
            raise SourceUnavailable(
                f"{self._name} did not answer in full within {seconds:g} s.", reason="deadline"
            ) from None

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            believed = trust(self._url, self._ca_file)
            # It would look for a bundle of its own, which nobody asks for, and load 0.9 MB to do so.
            with stand_in("certifi", where=str):
                self._client = httpx.AsyncClient(
                    base_url=self._url,
                    headers=self._headers,
                    verify=believed,
                    trust_env=False,
                    follow_redirects=False,
                    timeout=None,
                    limits=httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_KEEPALIVE),
                    cookies=NoCookies(),  # type: ignore[arg-type]
                )
        return self._client

    def _judge(self, answer: httpx.Response, scope: str | None, page: int | None) -> None:
        """Pass a 200; raise what any other status means."""
        status = answer.status_code
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.UNAUTHORIZED:
            raise SourceDenied(
                f"{self._name} does not accept the token (401): {self._renewal}.", status=status
            )
        if status == httpx.codes.FORBIDDEN:
            needed = scope or "access"
            raise SourceDenied(
                f"{self._name} refuses (403): give the token the scope {needed}.", status=status, scope=needed
            )
        if status == httpx.codes.TOO_MANY_REQUESTS:
            wait = asked_wait(answer.headers, self._now())
            raise RateLimited(
                f"{self._name} says that the token's rate limit is used up: ask again in {wait:.0f} s.",
                wait=wait,
                page=page,
            )
        if answer.is_redirect or answer.is_success or answer.is_informational:
            reason = "redirect" if answer.is_redirect else "bad_body"
            raise SourceDoubtful(
                f"{self._name} answered {status} where only 200 makes sense: check its URL.",
                reason=reason,
                page=page,
            )
        why = "the trouble is on its side" if answer.is_server_error else "check its URL"
        raise SourceUnavailable(
            f"{self._name} answered {status}: {why}.", reason="http_status", status=status, page=page
        )

    async def _body(self, answer: httpx.Response, page: int | None) -> bytes:
        try:
            decoded = _Decoded(answer.headers.get("content-encoding", ""), self._cap)
            async for chunk in answer.aiter_raw():
                decoded.feed(chunk)
            return decoded.whole()
        except httpx.RemoteProtocolError as error:
            raise self._bad("breaks off", page) from error
        except _TooLongError as error:
            raise self._bad(f"is longer than {self._cap} bytes", page) from error
        except (ValueError, zlib.error) as error:
            raise self._bad("is not encoded as it says", page) from error

    def _bad(self, what: str, page: int | None) -> SourceDoubtful:
        who = self._name.replace("The ", "the ", 1)
        return SourceDoubtful(
            f"The answer of {who} {what}; nothing of it was used.", reason="bad_body", page=page
        )


class _TooLongError(Exception):
    """More decoded bytes than the cap."""


class _Decoded:
    """A body up to a cap, plain or gzip. Raises _TooLongError, ValueError or zlib.error."""

    def __init__(self, encoding: str, cap: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in {"", "identity", "gzip"}:
            raise ValueError(encoding)
        self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        self._left = cap
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        # One byte more than allowed tells "full" from "too long".
        part = self._gzip.decompress(chunk, self._left + 1) if self._gzip else chunk
        self._left -= len(part)
        if self._left < 0:
            raise _TooLongError
        self._parts.append(part)

    def whole(self) -> bytes:
        if self._gzip and (not self._gzip.eof or self._gzip.unused_data):
            raise ValueError("truncated or trailed by something")
        return b"".join(self._parts)


def heard_budget(headers: "Mapping[str, str]") -> Budget | None:
    """The Budget that the answer tells; None when it tells none that makes sense."""
    names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    limit, remaining, reset = (_number(headers.get(name)) for name in names)
    if not limit or remaining is None or reset is None:
        return None
    return Budget(limit=limit, remaining=min(remaining, limit), reset=float(reset))


def asked_wait(headers: "Mapping[str, str]", now: float) -> float:
    """Seconds that a 429 asks us to stay away, within bounds whatever the headers hold."""
    wait = _number(headers.get("retry-after"))
    reset = _number(headers.get("ratelimit-reset"))
    if wait is not None:
        asked = float(wait)
    elif reset is not None:
        asked = reset - now
    else:
        asked = DEFAULT_WAIT
    return min(max(asked, SHORTEST_WAIT), LONGEST_WAIT)


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else None


def _is_json(headers: "Mapping[str, str]") -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def trust(url: str, ca_file: "Path | None") -> ssl.SSLContext:
    """Whom to believe: the system's authorities and the operator's one. Nobody for plain http."""
    if not url.lower().startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Where OpenSSL was built to look, not where the environment says (law 1).
    trust = authorities(Path(ssl.get_default_verify_paths().openssl_capath))
    if ca_file is not None:
        try:
            trust.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise SourceUnavailable(
                f"{ca_file} cannot be used as a certificate authority: give a readable PEM file.",
                reason="ca_file",
            ) from error
    return trust


def authorities(folder: Path) -> ssl.SSLContext:
    """Those in a folder as the operating system keeps it (OpenSSL's hashed names), else httpx's own.

    The system keeps its own up to date, and a folder is asked for the one that is needed, where a
    bundle takes 1.5 MB of memory for good.
    """
    if any(folder.glob("*.0")):
        return ssl.create_default_context(capath=folder)
    return httpx.create_ssl_context(trust_env=False)


@contextmanager
def _translated(name: str, page: int | None) -> "Iterator[None]":
    try:
        yield
    except httpx.TimeoutException as error:
        raise SourceUnavailable(f"{name} did not answer in time.", reason="deadline", page=page) from error
    except httpx.ProtocolError as error:
        raise SourceUnavailable(
            f"{name} hung up or does not speak HTTP.", reason="protocol", page=page
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        reason = _why_unreachable(error)
        raise SourceUnavailable(f"{name} {_UNREACHABLE[reason]}.", reason=reason, page=page) from error


_UNREACHABLE = {
    "dns": "cannot be found: its name does not resolve",
    "tls_verify": "shows a certificate that cannot be trusted: check ca_file, the host name and the clock",
    "tls": "cannot be talked to over TLS",
    "connect": "cannot be reached: no connection",
    "connection": "broke the connection off",
}


def _why_unreachable(error: Exception) -> str:
    causes = list(_causes(error))
    for kind, reason in (
        (socket.gaierror, "dns"),
        (UnicodeError, "dns"),
        (ssl.SSLCertVerificationError, "tls_verify"),
        (ssl.SSLError, "tls"),
        (httpx.ConnectError, "connect"),
    ):
        if any(isinstance(cause, kind) for cause in causes):
            return reason
    return "connection"


def _causes(error: BaseException | None) -> "Iterator[BaseException]":
    """The error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
