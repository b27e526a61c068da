"""A lab that is left running to play with.

Law: it follows its account until it is told to end, and says at every change how to get in.
"""

import os
import shlex
from functools import partial
from typing import TYPE_CHECKING

from . import wiring
from .console import Ink
from .program import program
from .running import Entrance, Running
from .site import PORTS, Site

if TYPE_CHECKING:
    from .console import Console
    from .running import Note
    from .site import Home
    from .world import World

_NAME, _ADDRESSES = 15, 28
_FAULT = '{"effect": "status", "with": {"status": 502}, "times": 3}'


async def leave_running(console: "Console", note: "Note", world: "World", policy: str) -> None:
    """Until cancelled. Raises Fatal when a daemon cannot be started."""
    async with Site(world, policy=policy) as site:
        for plan in wiring.strangers(next(iter(world.vpcs.values()))):
            site.topology.add(plan)
        console.say(f"Starting {len(site.homes)} daemons…")
        await site.protect()
        _introduce(console, site)
        site.changed = _Reporter(console, note, site).report
        site.died = partial(_tell_of_death, console)
        site.changed()
        await site.follow()


def _tell_of_death(console: "Console", home: "Home", *, again: bool) -> None:
    daemon = home.daemon
    if daemon is not None:
        what = "it is started again" if again else f"it is left alone; its log is {daemon.folder / 'log'}"
        console.say(f"The daemon of {home.plan.name} ended with {daemon.exit_code}: {daemon.said()}; {what}.")


class _Reporter:
    """Tells the user who came and went, and the note where everything is."""

    def __init__(self, console: "Console", note: "Note", site: Site) -> None:
        self._console = console
        self._note = note
        self._site = site
        self._known = set(site.homes)

    def report(self) -> None:
        """Compare with the last time."""
        homes = self._site.homes
        for name in self._known - homes.keys():
            self._console.say(f"{name} is gone.")
        for name in homes.keys() - self._known:
            self._console.say(f"{name} is here: {_way_in(self._site, name)}")
        self._known = set(homes)
        self._note.write(running(self._site))


def running(site: Site) -> Running:
    """What there is to know of a Site for other processes."""
    names = site.topology.machines
    machines = {
        name: Entrance(site.topology.namespace(name).entrance(), _environ(name, site.homes.get(name)))
        for name in names
    }
    return Running(os.getpid(), site.local_url, str(site.ca_file), machines)


def _environ(name: str, home: "Home | None") -> dict[str, str]:
    prompt = {"PS1": f"{name}# "}
    if home is None or home.daemon is None:
        return prompt
    own = home.daemon.folders
    return {**prompt, **own, "PATH": f"{home.daemon.write_shortcut()}:{home.daemon.environ['PATH']}"}


def _introduce(console: "Console", site: Site) -> None:
    say, strong = console.say, partial(console.paint, ink=Ink.STRONG)
    say()
    lab = f"{program()} lab"
    say(strong(f"The lab is ready. Its machines, and the way into each (or: {lab} enter NAME):"))
    for name in site.topology.machines:
        addresses = _first_addresses(site.homes[name]) if name in site.homes else "in no account"
        say(f"  {name:<{_NAME}}{addresses:<{_ADDRESSES}}{_way_in(site, name)}")
    say()
    say(f"Every Droplet answers on the ports {', '.join(map(str, PORTS))}. In another terminal:")
    say(f"  {lab} create web-1        a Droplet comes, and is let in")
    say(f"  {lab} destroy web-1       it goes, and is cut off")
    say(f"  {lab} enter mysql-1       a shell in it; `droplan status` is that Droplet's own")
    say(f"  {lab} down                the end; Ctrl-C here does the same")
    say()
    curl = f"curl --cacert {site.ca_file}"
    say(strong("The API for your own programs, and faults on demand:"))
    say(f'  {curl} -H "Authorization: Bearer $(cat {site.token_file})" {site.local_url}/v2/droplets')
    say(f"  {curl} -d '{_FAULT}' {site.local_url}/_lab/faults")
    say()


def _way_in(site: Site, name: str) -> str:
    return shlex.join(site.topology.namespace(name).entrance())


def _first_addresses(home: "Home") -> str:
    return ", ".join(addresses[0] for addresses in wiring.addresses_of(home.plan).values() if addresses)
