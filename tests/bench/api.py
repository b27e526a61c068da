"""The lab's DigitalOcean as a process of its own: `python -m tests.bench.api`.

Laws:
1. The answers are the lab's, byte for byte, but made beforehand: what is measured is a client's
   time, and an emulation in Python would spend more of it than the client.
2. Every CHANGE polls the fleet is another one: one Droplet fewer, or one more.
3. It says on standard output, one JSON document a line, where it listens, and then that a poll
   began, each time. It ends when its standard input does.
"""

import argparse
import asyncio
import gc
import json
import sys
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.fleets import big_fleet
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.messages import Request, Response
from droplan_daemon.lab.metadata import Metadata, fixed
from droplan_daemon.lab.server import LabServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.lab.account import LabDroplet
    from droplan_daemon.lab.world import World

CHANGE = 10
"""Polls between two changes of the fleet."""

HOLD = 3.0
"""Seconds in which a client has nothing to do but to wait."""

_PER_PAGE = 200
# So that a fleet of 10,000 may poll without a pause: the rate limit is not what is measured.
_GENEROUS = Limits(hourly=10**11, burst=10**9)


@dataclass(frozen=True, slots=True)
class Site:
    """Where the server is, and who the Droplet is that it serves."""

    url: str
    metadata_url: str
    token: str
    ca_file: str
    private_mac: str
    public_mac: str
    private: str
    public: str


class Prepared:
    """An Application: the lab's answers over `world`, and over it without one Droplet, in turns.

    The poll with the number `hold` (from 1; 0: none) waits HOLD seconds for its first page.
    """

    def __init__(self, world: "World", *, changing: bool, hold: int) -> None:
        self.polls = 0
        self._hold = hold
        last = max(world.droplets)
        worlds = (world, world.without({last})) if changing else (world,)
        self._clouds = [DigitalOcean(each, limiter=Limiter(_GENEROUS)) for each in worlds]
        self._pages = -(-len(world.droplets) // _PER_PAGE)
        self._ready: dict[tuple[int, str, str], bytes] = {}

    def prepare(self, base: str) -> None:
        """Make every page; `base` is the URL that clients will use, for the links in them."""
        headers = {"authorization": f"Bearer {DigitalOcean.token}"}
        for number in range(1, self._pages + 1):
            query = {"page": str(number), "per_page": str(_PER_PAGE)}
            for turn in range(len(self._clouds)):
                self._answer(turn, Request("GET", "/v2/droplets", query, headers, base=base))

    def answer(self, request: Request) -> Response:
        """The genuine answer."""
        if (
            request.path == "/v2/droplets"
            and request.query.get("page") == "1"
            and "type" not in request.query
        ):
            self.polls += 1
            _say({"poll": self.polls})
            if self.polls == self._hold:
                return replace(self._current(request), delay=HOLD)
        return self._current(request)

    def _current(self, request: Request) -> Response:
        return self._answer(self.polls // CHANGE % len(self._clouds), request)

    def _answer(self, turn: int, request: Request) -> Response:
        key = turn, request.path, json.dumps(dict(request.query), sort_keys=True)
        if key not in self._ready:
            answer = self._clouds[turn].answer(request)
            if answer.status == HTTPStatus.OK:
                self._ready[key] = answer.content()
            return answer
        # Asked for something small, for the headers of the rate limit and the check of the token.
        fresh = self._clouds[turn].answer(replace(request, path="/v2/account", query={}))
        return replace(fresh, body=self._ready[key]) if fresh.status == HTTPStatus.OK else fresh


async def serve(droplets: int, folder: Path, *, latency: float, changing: bool, hold: int) -> None:
    """Until standard input ends."""
    world = big_fleet(droplets, vpcs=2)
    own = next(iter(world.droplets.values()))
    cloud, authority = Prepared(world, changing=changing, hold=hold), Authority()
    api = LabServer(cloud, tls=authority.server("127.0.0.1"), latency=latency)
    metadata = LabServer(Metadata(world, fixed(own.id)))
    cloud.prepare(api.url)
    gc.freeze()
    async with api, metadata:
        site = _site(own, api.url, metadata.url, authority.write(folder / "ca.pem"))
        _say(asdict(site))
        await asyncio.to_thread(sys.stdin.read)


def _say(what: "Mapping[str, object]") -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _site(own: "LabDroplet", url: str, metadata_url: str, ca_file: Path) -> Site:
    private, public = own.network("private"), own.network("public")
    if private is None or public is None:
        raise ValueError("our Droplet has no network")
    return Site(
        url,
        metadata_url,
        DigitalOcean.token,
        str(ca_file),
        own.private_mac,
        own.public_mac,
        f"{private.address}/{private.prefix}",
        f"{public.address}/{public.prefix}",
    )


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.api")
    parser.add_argument("droplets", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds added to each answer")
    parser.add_argument("--changing", action="store_true", help="another fleet every few polls")
    parser.add_argument("--hold", type=int, default=0, help="the poll that has to wait")
    args = parser.parse_args()
    wanted = {"latency": args.latency, "changing": args.changing, "hold": args.hold}
    asyncio.run(serve(args.droplets, args.folder, **wanted))


if __name__ == "__main__":
    main()
