"""The demonstration: the tutorial's five servers, two strangers, and the real daemon.

Laws:
1. It asserts what it shows: whatever is not as it must be ends it with a Fatal that says what.
2. Every figure is measured in this run, on connections between namespaces.
3. The machine of the Droplet that is destroyed stays, as a stranger with a known address:
   were it switched off, silence would prove nothing.
"""

import asyncio
import textwrap
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from droplan_daemon.errors import Fatal

from . import wiring
from .client import connected
from .console import Ink
from .probe import Pulse, Question
from .reach import Station, complaint, everybody, peers_only, survey
from .site import Site
from .table import table
from .talk import converse
from .tutorial import service_port, tutorial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .client import Client
    from .console import Console
    from .probe import Verdict
    from .site import Home
    from .talk import Conversation

POLICY = """\
[public]
managed     = true
allow_peers = true
"""

CREATED, DESTROYED = "mysql-2", "wordpress-2"
STANDING = "wordpress-1", "mysql-1"

_TALK_PORT = 3306

_DEADLINE = 20.0
"""Seconds within which a change of the fleet must have reached every Droplet."""

_DISTURBED = 1.0
"""Seconds of silence after which a standing connection counts as disturbed."""

_INDENT = " " * 3
_MOST_LINES = 16


async def demonstrate(console: "Console") -> None:
    """All of it, on a stage that is gone afterwards. Raises Fatal when anything is not as it must be."""
    begun = time.monotonic()
    world, vpc = tutorial()
    console.say("An emulated DigitalOcean and its Droplets, in network namespaces of this machine.")
    console.say("Every word in a table is a real TCP connection: open, or drop (a second of silence).")
    console.say("eth1 is the VPC; eth0 is the Internet, where IPv4 and IPv6 must agree.")
    async with (
        Site(world, policy=POLICY, ghosts=True) as site,
        connected(site.local_url, site.ca_file) as client,
    ):
        strangers = tuple(
            Station(f"stranger {where}", site.topology.add(plan), False, wiring.addresses_of(plan))
            for where, plan in zip(("in the VPC", "on the Net"), wiring.strangers(vpc), strict=True)
        )
        await Demonstration(console, site, client, vpc.id, strangers).run()
    console.say()
    console.say(f"All as it must be, in {time.monotonic() - begun:.1f} s; everything is cleaned up.")
    console.say("A lab to play with: droplan lab up")


class Demonstration:
    """Its scenes, on a Site that has its five Droplets and no daemon yet."""

    def __init__(
        self, console: "Console", site: Site, client: "Client", vpc: str, strangers: tuple[Station, ...]
    ) -> None:
        self._console = console
        self._site = site
        self._client = client
        self._vpc = vpc
        self._strangers = strangers

    async def run(self) -> None:
        """Every scene in turn."""
        await self._show_unprotected()
        await self._protect()
        standing = await self._talk(*STANDING)
        await self._create()
        await self._destroy()
        self._check(standing)
        await self._show_the_end()
        await self._show_status()

    async def _show_unprotected(self) -> None:
        self._scene("Five Droplets in one VPC, and two strangers that are in no account. No firewall yet:")
        await self._survey(everybody)

    async def _protect(self) -> None:
        self._scene("The daemon starts on every Droplet, with a read-only token and these lines:")
        self._say(textwrap.indent(POLICY.rstrip(), _INDENT))
        await self._site.protect()
        seconds = [home.daemon.ready_after or 0.0 for home in self._site.homes.values() if home.daemon]
        self._say(
            f"Ready after {min(seconds):.1f} to {max(seconds):.1f} s: "
            "each one read its rules back from the kernel before it said so."
        )
        await self._survey(peers_only)

    async def _create(self) -> None:
        self._scene(f"A Droplet is created: {CREATED}. The daemons ask the API about once a second.")
        await self._client.create(CREATED, vpc=self._vpc, tags=("mysql",))
        answered = time.monotonic()
        await self._site.settle()
        machine = self._site.homes[CREATED].machine
        async with AsyncExitStack() as pulses:
            opened = {}
            for name, home in self._others(CREATED):
                port = service_port(home.droplet.tags)
                pulse = Pulse(Question(machine, _private(home), port), every=0.01)
                opened[name] = (await pulses.enter_async_context(pulse)).opened
            waits = (self._soon(opens, f"let {CREATED} in", name) for name, opens in opened.items())
            seconds = [moment - answered for moment in await asyncio.gather(*waits)]
        self._say(f"Let in {_figures(seconds)}.")
        await self._site.ready()
        daemon = self._site.homes[CREATED].daemon
        self._say(f"Its own daemon was ready {daemon.ready_after if daemon else 0:.1f} s after it started.")

    async def _destroy(self) -> None:
        self._scene(f"A Droplet is destroyed: {DESTROYED}, while it talks with each of the others.")
        ghost = self._site.homes[DESTROYED]
        talks = {name: await self._talk(DESTROYED, name) for name, _ in self._others(DESTROYED)}
        await self._client.destroy(ghost.droplet.id)
        answered = time.monotonic()
        await self._site.settle()
        waits = (self._soon(talk.silent, f"cut {DESTROYED} off", name) for name, talk in talks.items())
        seconds = [moment - answered for moment in await asyncio.gather(*waits)]
        for talk in talks.values():
            talk.hang_up()
        self._say(f"Cut off {_figures(seconds)}.")

    def _check(self, standing: "Conversation") -> None:
        one, other = STANDING
        silence = max(standing.caller.longest_silence, standing.listener.longest_silence)
        if standing.caller.over.is_set() or silence > _DISTURBED:
            raise Fatal(f"The standing connection from {one} to {other} was disturbed.")
        standing.hang_up()
        self._say(
            f"{one} and {other} talked all the while: {standing.listener.heard // 1024} KiB one way, "
            f"longest pause {silence * 1000:.0f} ms."
        )

    async def _show_the_end(self) -> None:
        self._scene(f"The fleet as it is now; {DESTROYED} is still on the wires, with its old addresses:")
        await self._survey(peers_only)

    async def _show_status(self) -> None:
        self._scene(f"What {STANDING[1]} says of itself (droplan status):")
        daemon = self._site.homes[STANDING[1]].daemon
        if daemon is not None:
            lines = (await daemon.ask("status")).splitlines()
            self._say("\n".join(lines[:_MOST_LINES]))

    async def _survey(self, expected: "Callable[[Station], Verdict]") -> None:
        peers = [_station(name, home) for name, home in self._site.homes.items()]
        ghosts = [_station(f"{name} (gone)", home, False) for name, home in self._site.ghosts.items()]
        findings = await survey([*peers, *ghosts, *self._strangers], peers, expected)
        self._console.say()
        self._say(table(findings, self._console))
        if wrong := complaint(findings, expected):
            raise Fatal(wrong)

    async def _talk(self, origin: str, target: str) -> "Conversation":
        homes = self._site.homes
        service = homes[target].services[_TALK_PORT]
        try:
            return await converse(homes[origin].machine, _private(homes[target]), service)
        except OSError as error:
            raise Fatal(f"{origin} cannot talk with {target}, and must be able to.") from error

    async def _soon(self, moment: "Callable[[float], Awaitable[float]]", what: str, who: str) -> float:
        try:
            return await moment(_DEADLINE)
        except TimeoutError as error:
            daemon = self._site.homes[who].daemon
            said = f": {daemon.said()}" if daemon else ""
            raise Fatal(f"{who} did not {what} within {_DEADLINE:g} s{said}") from error

    def _others(self, name: str) -> "list[tuple[str, Home]]":
        return [(other, home) for other, home in self._site.homes.items() if other != name]

    def _scene(self, title: str) -> None:
        self._console.say()
        self._console.say(self._console.paint(title, Ink.STRONG))

    def _say(self, text: str) -> None:
        self._console.say(textwrap.indent(text, _INDENT))


def _station(label: str, home: "Home", peer: bool = True) -> Station:
    addresses = wiring.addresses_of(home.plan)
    return Station(label, home.machine, peer, addresses, service_port(home.droplet.tags))


def _private(home: "Home") -> str:
    return wiring.addresses_of(home.plan)["eth1"][0]


def _figures(seconds: "Iterable[float]") -> str:
    ordered = sorted(seconds)
    return (
        f"{ordered[0]:.2f} s after the API's answer by the first of {len(ordered)} Droplets, "
        f"{ordered[-1]:.2f} s by the last"
    )
