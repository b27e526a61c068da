"""The Fleet as DigitalOcean's API lists it.

Laws:
1. `gather` gives one complete Fleet or an error of `errors`; a poll that fell short anywhere
   is thrown away whole.
2. Page numbers are computed here from `meta.total`. A `next` link is never followed, and one
   that leads elsewhere condemns the answer.
3. A listing that does not add up is read again at once, a few times; so is one of several pages
   in which somebody is gone, until two readings agree on who. Who was there before a restart is
   known from the Fleet that was kept.
4. Ordinary and GPU Droplets are two listings of the API and one Fleet; no Droplet is in both.

Source: https://docs.digitalocean.com/reference/api/ (pages of at most 200; GPU Droplets are
left out of `/v2/droplets` unless `type=gpus`; scopes by endpoint).
"""

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from droplan_daemon.errors import SourceDenied, SourceDoubtful, SourceUnavailable
from droplan_daemon.model.fleet import Droplet, Fleet

from .concurrency import together
from .http import Endpoint
from .listing import Listing, assemble, check_follows, foreign, page_count
from .payloads import DROPLETS, PEERINGS, VPCS, Kind, Page, Shared, read_page

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from droplan_daemon.model.budget import Budget

    from .payloads import Key

T = TypeVar("T")

PER_PAGE = 200
"""The most that the API serves at once."""

AT_ONCE = 4
"""Pages of one listing in flight: 50 pages at 120 ms take 1.8 s, 6.4 s one by one."""

READINGS = 4
"""How often a listing is read before its contradictions are taken for its nature."""

DEADLINE = 30.0
"""Seconds for a whole poll."""

PAGE_CAP = 16 * 1024 * 1024
"""Decoded bytes of one page: 200 Droplets of 3 KB, twenty-five times over."""

_WORTH_ANOTHER_READING = frozenset({"unstable", "count_mismatch"})


@dataclass(frozen=True, slots=True)
class _Question(Generic[T]):
    """One listing: what we call it, where it is, what it holds, which scope it needs."""

    name: str
    kind: Kind[T]
    path: str
    scope: str
    params: tuple[tuple[str, str], ...] = ()


_ORDINARY = _Question("Droplets", DROPLETS, "/v2/droplets", "droplet:read")
_GPUS = _Question("GPU Droplets", DROPLETS, "/v2/droplets", "droplet:read", (("type", "gpus"),))
_VPCS = _Question("VPCs", VPCS, "/v2/vpcs", "vpc:read")
_PEERINGS = _Question("VPC peerings", PEERINGS, "/v2/vpc_peerings", "vpc_peering:read")


class DigitalOcean:
    """A Source. `want_networks`: VPCs and active peerings too, which not every policy needs.

    `token` goes into one request header and nowhere else; `now` gives seconds since the epoch.
    `renewal` says what to do about one that is not accepted. `known` is the last Fleet that was
    believed, before a restart or a reload.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        now: "Callable[[], float]",
        ca_file: "Path | None" = None,
        renewal: str = "",
        want_networks: bool = True,
        deadline: float = DEADLINE,
        page_cap: int = PAGE_CAP,
        known: Fleet | None = None,
    ) -> None:
        self._url = url
        self._now = now
        self._want_networks = want_networks
        self._deadline = deadline
        self._endpoint = Endpoint(
            url,
            name=f"The API at {urlsplit(url).hostname}",
            cap=page_cap,
            now=now,
            token=token,
            ca_file=ca_file,
            renewal=renewal,
        )
        self._spent = self._relisted = 0
        # Who was there in the last complete Fleet, by listing; see law 3.
        self._known: dict[_Question[Any], frozenset[Key]] = _keys(known) if known else {}
        self._before: tuple[Droplet, ...] = known.droplets if known else ()

    @property
    def budget(self) -> "Budget | None":
        """The rate limit as the last answer told it, and what the last poll spent."""
        heard = self._endpoint.budget
        return replace(heard, spent=self._spent) if heard else None

    async def gather(self) -> Fleet:
        """One complete Fleet. Raises SourceUnavailable, SourceDenied, SourceDoubtful."""
        before, self._relisted = self._endpoint.sent, 0
        try:
            return await self._endpoint.within(self._deadline, self._gathered())
        except (SourceUnavailable, SourceDoubtful) as error:
            error.via = "api"
            raise
        finally:
            self._spent = self._endpoint.sent - before

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    async def _gathered(self) -> Fleet:
        shared = Shared(self._before)
        questions: tuple[_Question[Any], ...] = (_ORDINARY, _GPUS)
        if self._want_networks:
            questions += (_VPCS, _PEERINGS)
        found = await together(_heard_out(self._listing(question, shared)) for question in questions)
        listings = {question: _granted(answer) for question, answer in zip(questions, found, strict=True)}
        fleet = Fleet(
            droplets=_merged(listings[_ORDINARY].items, listings[_GPUS].items),
            vpcs=_items(listings, _VPCS),
            peerings=_items(listings, _PEERINGS),
            source=self._url,
            taken=self._now(),
            skipped=tuple(entry for listing in listings.values() for entry in listing.skipped),
            relisted=self._relisted,
        )
        self._known = {question: listing.keys for question, listing in listings.items()}
        self._before = fleet.droplets
        return fleet

    async def _listing(self, question: _Question[T], shared: Shared) -> Listing[T]:
        """The listing, read until it adds up and two readings agree on who is gone (law 3)."""
        known = self._known.get(question, frozenset())
        gone: frozenset[Key] = frozenset()
        doubt = SourceDoubtful(
            f"The list of {question.name} is a different one each time it is read.", reason="unstable"
        )
        for again in range(READINGS):
            try:
                listing = assemble(await self._reading(question, shared), question.name)
            except SourceDoubtful as error:
                if error.reason not in _WORTH_ANOTHER_READING:
                    raise
                doubt, doubt.relist = error, again
                self._relisted += 1
                continue
            vanished = listing.vanished(known)
            if vanished <= gone:
                return listing
            gone = vanished
        raise doubt

    async def _reading(self, question: _Question[T], shared: Shared) -> list[Page[T]]:
        """Every page once, the first one first because it tells how many there are."""
        first = await self._page(question, 1, shared)
        count = page_count(first, PER_PAGE, question.name)
        gate = asyncio.Semaphore(AT_ONCE)

        async def another(number: int) -> Page[T]:
            async with gate:
                page = await self._page(question, number, shared)
            check_follows(first, page, question.name, last=number == count)
            return page

        return [first, *await together(another(number) for number in range(2, count + 1))]

    async def _page(self, question: _Question[T], number: int, shared: Shared) -> Page[T]:
        params = {"page": str(number), "per_page": str(PER_PAGE), **dict(question.params)}
        body = await self._endpoint.get(question.path, params, scope=question.scope, page=number)
        try:
            page = read_page(body, question.kind, shared)
        except SourceDoubtful as error:
            error.page = number
            raise
        if foreign(page.following, self._url):
            raise SourceDoubtful(
                f"The list of {question.name} continues on another server; nothing of it was used.",
                reason="foreign_next",
                page=number,
            )
        return page


async def _heard_out(listing: "Coroutine[Any, Any, Listing[T]]") -> Listing[T] | SourceDenied:
    """A refusal as a value: of several scopes that a token lacks always the same one is named."""
    try:
        return await listing
    except SourceDenied as error:
        return error


def _granted(answer: Listing[T] | SourceDenied) -> Listing[T]:
    if isinstance(answer, SourceDenied):
        raise answer
    return answer


def _keys(known: Fleet) -> "dict[_Question[Any], frozenset[Key]]":
    """Who was there, by listing.

    A Fleet does not tell GPU Droplets from others, so each is missed once in a listing that it never
    was in: one more reading of a long list, once. Peerings have no keys here; hundreds of them, which
    it takes to fill a page, nobody has.
    """
    droplets: frozenset[Key] = frozenset(droplet.id for droplet in known.droplets)
    return {_ORDINARY: droplets, _GPUS: droplets, _VPCS: frozenset(vpc.id for vpc in known.vpcs)}


def _items(listings: "Mapping[_Question[Any], Listing[Any]]", question: _Question[T]) -> tuple[T, ...]:
    listing: Listing[T] | None = listings.get(question)
    return listing.items if listing else ()


def _merged(ordinary: tuple[Droplet, ...], gpus: tuple[Droplet, ...]) -> tuple[Droplet, ...]:
    """Both listings by ascending id. Raises SourceDoubtful when they disagree about a Droplet."""
    merged = {droplet.id: droplet for droplet in ordinary}
    for gpu in gpus:
        if merged.setdefault(gpu.id, gpu) != gpu:
            raise SourceDoubtful(
                f"Droplet {gpu.id} is listed twice, and differently; nothing was used.", reason="unstable"
            )
    return tuple(merged[droplet_id] for droplet_id in sorted(merged))
