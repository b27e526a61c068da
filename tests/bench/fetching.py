"""What it costs to ask DigitalOcean for ten thousand Droplets.

Laws:
1. The pages are the lab's: whole Droplets, about 3 KB each; what is read of them is the daemon's
   own affair.
2. Parsing is CPU time of one thread with nothing else to do; fetching is the wall clock of the
   real Source over TLS, against a server in another process that holds each answer back.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from droplan_daemon.lab.digitalocean import DigitalOcean as Cloud
from droplan_daemon.lab.fleets import big_fleet
from droplan_daemon.lab.messages import Request
from droplan_daemon.lab.netns import Namespace
from droplan_daemon.sources.digitalocean import PER_PAGE, DigitalOcean
from droplan_daemon.sources.payloads import DROPLETS, Shared, read_page

from .processes import Api, wake
from .table import Row, at_most, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .api import Site
    from .rounds import Effort

DROPLETS_LISTED = 10_000
LATENCY = 0.12
_DEADLINE = 60.0


def rows(effort: "Effort") -> "Iterator[Row]":
    """Parse, and fetch."""
    yield _parsing(effort.rounds(9))
    yield _fetching(effort.rounds(5))


def _parsing(rounds: int) -> Row:
    pages = _pages()
    size = sum(map(len, pages)) / DROPLETS_LISTED

    def once() -> float:
        shared, begun = Shared(), time.process_time()
        read = [read_page(page, DROPLETS, shared) for page in pages]
        taken = time.process_time() - begun
        if sum(len(page.items) for page in read) != DROPLETS_LISTED:
            raise ValueError("not every Droplet was read")
        return taken

    def plainly() -> float:
        begun = time.process_time()
        for page in pages:
            json.loads(page)
        return time.process_time() - begun

    ours, theirs = zip(*((once(), plainly()) for _ in range(rounds + 1)), strict=True)
    found, beside = median(ours[1:]), median(theirs[1:])
    note = f"CPU time; {len(pages)} pages of {PER_PAGE}, {size:,.0f} bytes a Droplet."
    row = Row(
        "parse 10,000 Droplets", seconds(found), f"json.loads {seconds(beside)}", found / beside, note=note
    )
    return at_most(row, found, 0.5, "0.5 s")


def _pages() -> list[bytes]:
    cloud = Cloud(big_fleet(DROPLETS_LISTED))
    headers = {"authorization": f"Bearer {cloud.token}"}
    return [
        cloud.answer(
            Request("GET", "/v2/droplets", {"page": str(number), "per_page": str(PER_PAGE)}, headers)
        ).content()
        for number in range(1, DROPLETS_LISTED // PER_PAGE + 1)
    ]


def _fetching(rounds: int) -> Row:
    with tempfile.TemporaryDirectory() as name, Namespace("bench") as machine:
        wake(machine)
        arguments = (str(DROPLETS_LISTED), name, "--latency", str(LATENCY))
        with Api(machine, Path(name), *arguments) as api:
            taken = machine.call(asyncio.run, _gathered(api.site, rounds))
    found = median(taken)
    note = f"Wall clock of a whole poll over TLS, {LATENCY * 1000:.0f} ms held back for each page."
    return at_most(Row("fetch 10,000 Droplets", seconds(found), note=note), found, 3.0, "3 s")


async def _gathered(site: "Site", rounds: int) -> list[float]:
    source = DigitalOcean(site.url, site.token, now=time.time, ca_file=Path(site.ca_file), deadline=_DEADLINE)
    taken = []
    try:
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            fleet = await source.gather()
            taken.append(time.perf_counter() - begun)
            if len(fleet.droplets) != DROPLETS_LISTED:
                raise ValueError("not every Droplet was fetched")
    finally:
        await source.aclose()
    return taken[1:]
