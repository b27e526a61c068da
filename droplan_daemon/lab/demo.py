"""The demonstration: the tutorial's five servers, two strangers, and the real daemon.

Laws:
1. It asserts what it shows: whatever is not as it must be ends it with a Fatal that says what. What
   must be is the tutorial's promise, not what droplan makes of the policy.
2. Every figure is measured in this run, on connections between namespaces.
3. The machine of the Droplet that is destroyed stays, as a stranger with a known address:
   were it switched off, silence would prove nothing.
"""

import asyncio
import json
import textwrap
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from droplan_daemon.errors import Fatal

from . import wiring
from .client import connected
from .console import Ink
from .policy_file import rules
from .probe import Pulse, Question, Verdict
from .program import program
from .promise import promised
from .reach import NETWORKS, Station, Way, complaint, everybody, survey
from .site import PORTS, Site
from .table import table
from .talk import converse
from .tutorial import POLICY, role, tutorial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from .client import Client
    from .console import Console
    from .daemons import Daemon
    from .site import Home
    from .talk import Conversation

CREATED, DESTROYED = "mysql-2", "wordpress-2"
STANDING = "wordpress-1", "mysql-1"
CALLER = "haproxy-www"

_MYSQL, _HTTP = 3306, 80

_DEADLINE = 20.0
"""Seconds within which a change of the fleet must have reached every Droplet."""

_DISTURBED = 1.0
"""Seconds of silence after which a standing connection counts as disturbed."""

_INDENT = " " * 3
_MOST_LINES = 16
_WIDTH = 90


async def demonstrate(console: "Console") -> None:
    """All of it, on a stage that is gone afterwards. Raises Fatal when anything is not as it must be."""
    begun = time.monotonic()
    world, vpc = tutorial()
    console.say("An emulated DigitalOcean and its Droplets, in network namespaces of this machine.")
    console.say("A table shows which of the ports 22, 80 and 3306 are open, each a real TCP connection;")
    console.say("drop: a second of silence on all of them. IPv4 and IPv6 must agree.")
    policy = POLICY.read_text(encoding="utf-8")
    async with (
        Site(world, policy=policy, ghosts=True) as site,
        connected(site.local_url, site.ca_file) as client,
    ):
        strangers = tuple(
            Station(f"stranger {where}", site.topology.add(plan), "", wiring.addresses_of(plan))
            for where, plan in zip(("in the VPC", "on the Net"), wiring.strangers(vpc), strict=True)
        )
        await Demonstration(console, site, client, vpc.id, strangers).run(rules(policy))
    console.say()
    console.say(f"All as it must be, in {time.monotonic() - begun:.1f} s; everything is cleaned up.")
    console.say(f"A lab to play with: {program()} lab up")


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

    async def run(self, allowed: "Sequence[str]") -> None:
        """Every scene in turn; `allowed` are the policy's rules, for people."""
        await self._show_unprotected()
        await self._protect(allowed)
        standing = await self._talk(*STANDING)
        await self._create()
        await self._destroy()
        self._check(standing)
        await self._show_the_end()
        await self._explain()
        await self._show_status()

    async def _show_unprotected(self) -> None:
        self._scene("Five Droplets in one VPC, and two strangers that are in no account. No firewall yet:")
        await self._survey(everybody)

    async def _protect(self, allowed: "Sequence[str]") -> None:
        self._scene("The daemon starts on every Droplet, with a read-only token and the same policy file:")
        self._say(
            "Lifelines such as DNS and the API aside, nobody gets in and haproxy-www opens nothing, except"
        )
        self._say(textwrap.indent("\n".join(allowed), "  "))
        await self._site.protect()
        seconds = [home.daemon.ready_after or 0.0 for home in self._site.homes.values() if home.daemon]
        self._say(
            f"Ready after {min(seconds):.1f} to {max(seconds):.1f} s: "
            "each one read its rules back from the kernel before it said so."
        )
        await self._survey(promised)

    async def _create(self) -> None:
        self._scene(
            f"A Droplet is created: {CREATED}, tagged mysql; no file is edited. Daemons ask once a second."
        )
        await self._client.create(CREATED, vpc=self._vpc, tags=("mysql",))
        answered = time.monotonic()
        await self._site.settle()
        machine = self._site.homes[CREATED].machine
        async with AsyncExitStack() as pulses:
            opened = {}
            for name, home in self._open_to(CREATED):
                pulse = Pulse(Question(machine, _private(home), _MYSQL), every=0.01)
                opened[name] = (await pulses.enter_async_context(pulse)).opened
            waits = (self._soon(opens, f"let {CREATED} in", name) for name, opens in opened.items())
            seconds = [moment - answered for moment in await asyncio.gather(*waits)]
        self._say(f"Let in {_figures(seconds)}.")
        await self._site.ready()
        daemon = self._site.homes[CREATED].daemon
        self._say(f"Its own daemon was ready {daemon.ready_after if daemon else 0:.1f} s after it started.")

    async def _destroy(self) -> None:
        self._scene(f"A Droplet is destroyed: {DESTROYED}, while it talks with others, and {CALLER} with it.")
        ghost = self._site.homes[DESTROYED]
        talks = {name: await self._talk(DESTROYED, name) for name, _ in self._open_to(DESTROYED)}
        talks[CALLER] = await self._talk(CALLER, DESTROYED, _HTTP)
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
        await self._survey(promised)

    async def _explain(self) -> None:
        self._scene(f"Why can {CALLER} not reach {STANDING[1]}? (droplan explain {CALLER} {_MYSQL}/tcp)")
        daemon = self._site.homes[STANDING[1]].daemon
        if daemon is not None:
            said = await daemon.ask("explain", CALLER, f"{_MYSQL}/tcp")
            self._say("\n".join(_wrapped(line) for line in said.splitlines()))
            if not said.startswith("denied: "):
                raise Fatal(f"{CALLER} cannot reach {STANDING[1]}, and droplan explain says that it can.")

    async def _show_status(self) -> None:
        self._scene(f"What {STANDING[1]} says of itself (droplan status), with what it has dropped:")
        daemon = self._site.homes[STANDING[1]].daemon
        if daemon is not None:
            await _counted(daemon)
            lines = (await daemon.ask("status")).splitlines()
            self._say("\n".join(lines[:_MOST_LINES]))

    async def _survey(self, promise: "Callable[[Way], Verdict]") -> None:
        droplets = [self._station(name) for name in self._site.homes]
        ghosts = [_station(f"{name} (gone)", home, "") for name, home in self._site.ghosts.items()]
        findings = await survey([*droplets, *ghosts, *self._strangers], droplets, PORTS, promise)
        self._console.say()
        self._say(table(findings, self._console))
        if wrong := complaint(findings, promise):
            raise Fatal(wrong)

    async def _talk(self, origin: str, target: str, port: int = _MYSQL) -> "Conversation":
        homes = self._site.homes
        service = homes[target].services[port]
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

    def _open_to(self, name: str) -> "list[tuple[str, Home]]":
        """The Droplets that promise to let this one in on MySQL's port."""
        origin, homes = self._station(name), self._site.homes
        ways = {other: Way(origin, self._station(other), "eth1", _MYSQL) for other in homes if other != name}
        return [(other, homes[other]) for other, way in ways.items() if promised(way) is Verdict.OPEN]

    def _station(self, name: str) -> Station:
        home = self._site.homes[name]
        return _station(name, home, role(home.droplet.tags))

    def _scene(self, title: str) -> None:
        self._console.say()
        self._console.say(self._console.paint(title, Ink.STRONG))

    def _say(self, text: str) -> None:
        self._console.say(textwrap.indent(text, _INDENT))


def _station(label: str, home: "Home", purpose: str) -> Station:
    return Station(label, home.machine, purpose, wiring.addresses_of(home.plan))


async def _counted(daemon: "Daemon") -> None:
    """Return when the daemon has told of packets that it dropped on each of its two interfaces."""
    deadline = time.monotonic() + _DEADLINE
    while True:
        denied = json.loads(await daemon.ask("status", "--json"))["denied"]
        if len(denied) == len(NETWORKS) and all(denied.values()):
            return
        if time.monotonic() > deadline:
            raise Fatal(f"{daemon.machine.name} does not count what it drops: {denied}.")


def _wrapped(line: str) -> str:
    return textwrap.fill(line, _WIDTH, subsequent_indent=" " * len("  interface  "))


def _private(home: "Home") -> str:
    return wiring.addresses_of(home.plan)["eth1"][0]


def _figures(seconds: "Iterable[float]") -> str:
    ordered = sorted(seconds)
    return (
        f"{ordered[0]:.2f} s after the API's answer by the first of {len(ordered)} Droplets, "
        f"{ordered[-1]:.2f} s by the last"
    )
