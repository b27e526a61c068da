"""A running lab: the account, its servers, and a machine with a daemon for every Droplet.

Laws:
1. The machines follow the account: `settle` looks at the World and makes it so, whoever
   changed it and however often. It is level-triggered, like the daemon itself.
2. With `ghosts`, a Droplet that is destroyed lives on as a machine with the same addresses that
   is in the account no more; its daemon ends, as the Droplet's would have.
3. Leaving the context ends every program and removes every namespace and every file.
"""

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from . import wiring
from .authority import Authority
from .daemons import Daemon
from .digitalocean import DigitalOcean
from .limits import Limiter, Limits
from .metadata import Metadata, by_address
from .policy_file import with_sections
from .scopes import FULL, LAB_TOKEN, READ_ONLY, Tokens
from .server import LabServer
from .talk import Service
from .topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from .account import LabDroplet
    from .netns import Namespace
    from .topology import Machine
    from .world import World

PORTS = (22, 80, 3306)
"""What every Droplet of the lab answers on."""

# A lab that asks every second instead of every half minute needs a token that allows it: within
# DigitalOcean's own limit of 5,000 an hour, five daemons would pace themselves to a poll in 20 s.
LIMITS = Limits(hourly=500_000, burst=50_000)
INTERVAL = "1s"

DAEMON_TOKEN = "dop_v1_lab_read_only"  # noqa: S105 - of the emulation: it opens nothing elsewhere

_LOOK = 0.01
"""Seconds between two looks at the account."""


@dataclass(slots=True)
class Home:
    """Where a Droplet lives. `daemon` is None before `protect`, and for a ghost."""

    droplet: "LabDroplet"
    plan: "Machine"
    machine: "Namespace"
    folder: Path
    services: dict[int, Service] = field(default_factory=dict)
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    daemon: Daemon | None = None


_HARDLY = 3.0
"""Seconds: a daemon that ends so soon after its start would only do so again."""


class Site:
    """The lab as a whole.

    `changed` is called after machines came or went, `died` with the Home of a daemon that ended by
    itself and whether it is started again.

    `homes` are the Droplets' by machine name, `ghosts` those of destroyed ones.
    """

    def __init__(self, world: "World", *, policy: str = "", ghosts: bool = False) -> None:
        self.world = world
        self.homes: dict[str, Home] = {}
        self.ghosts: dict[str, Home] = {}
        self.changed: Callable[[], None] = lambda: None
        self.died: Callable[..., None] = lambda _home, *, again: None  # noqa: ARG005
        self.folder = Path()
        self.local_url = ""
        self.topology: Topology
        self._policy = policy
        self._keep_ghosts = ghosts
        self._protected = False
        self._left_alone: set[str] = set()
        self._resources = AsyncExitStack()

    @property
    def url(self) -> str:
        """The API as the machines see it; `local_url` is the same API for the user's own programs."""
        return f"https://{wiring.API_ADDRESS}"

    @property
    def ca_file(self) -> Path:
        """The certificate to trust."""
        return self.folder / "ca.pem"

    @property
    def token_file(self) -> Path:
        """The token that may do everything."""
        return self.folder / "token"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            self.folder = Path(tempfile.mkdtemp(prefix="droplan-lab-"))
            resources.callback(shutil.rmtree, self.folder, ignore_errors=True)
            _write_secret(self.token_file, LAB_TOKEN)
            self.topology = resources.enter_context(Topology())
            self._lay_wires()
            await self._open_servers(resources)
            resources.push_async_callback(self._close_homes)
            await self.settle()
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._resources.aclose()

    async def protect(self) -> None:
        """Start a daemon on every Droplet, now and from now on; return when all are ready."""
        self._protected = True
        for home in self.homes.values():
            await self._start_daemon(home)
        await self.ready()

    async def ready(self) -> None:
        """Return when every daemon is ready. Raises Fatal when one cannot be."""
        for home in tuple(self.homes.values()):
            if home.daemon is not None:
                await home.daemon.ready()

    async def follow(self) -> None:
        """Settle again and again, until cancelled."""
        while True:
            await self.settle()
            await self._revive()
            await asyncio.sleep(_LOOK)

    async def settle(self) -> None:
        """Make the machines those of the account's Droplets."""
        wanted, housed = self.world.droplets, {home.droplet.id: name for name, home in self.homes.items()}
        gone = [name for number, name in housed.items() if number not in wanted]
        new = [droplet for number, droplet in wanted.items() if number not in housed]
        for name in gone:
            await self._move_out(name)
        for droplet in new:
            await self._move_in(droplet)
        if gone or new:
            self.changed()

    async def _revive(self) -> None:
        """Start again what ended by itself, unless it hardly lived."""
        for name, home in self.homes.items():
            daemon = home.daemon
            if daemon is None or daemon.exit_code is None or name in self._left_alone:
                continue
            again = daemon.age > _HARDLY
            self.died(home, again=again)
            if again:
                await daemon.stop()
                await self._start_daemon(home)
            else:
                self._left_alone.add(name)

    def _lay_wires(self) -> None:
        self.topology.add_segment(wiring.INTERNET, wiring.PROVIDER_ADDRESSES, wiring.ANYWHERE)

    async def _open_servers(self, resources: AsyncExitStack) -> None:
        grants = {LAB_TOKEN: FULL, DAEMON_TOKEN: READ_ONLY}
        cloud = DigitalOcean(self.world, tokens=Tokens(grants), limiter=Limiter(LIMITS))
        authority = Authority()
        authority.write(self.ca_file)
        tls = authority.server(wiring.API_ADDRESS, "127.0.0.1", "localhost")
        provider = self.topology.provider
        local = LabServer(cloud, tls=tls)
        for server in (
            local,
            LabServer(cloud, tls=tls, sock=provider.listen(wiring.API_ADDRESS, 443)),
            LabServer(
                Metadata(self.world, by_address(self.world)),
                sock=provider.listen(wiring.METADATA_ADDRESS, 80),
            ),
        ):
            await resources.enter_async_context(server)
        self.local_url = local.url

    async def _move_in(self, droplet: "LabDroplet") -> None:
        vpc = self.world.vpcs[droplet.vpc]
        if vpc.id not in self.topology.segments:
            self.topology.add_segment(vpc.id, (wiring.gateway(vpc),), routed=True)
        taken = droplet.name in self.topology.machines
        name = f"{droplet.name}-{droplet.id}" if taken else droplet.name
        plan = wiring.machine_of(droplet, name, self.world)
        machine = self.topology.add(plan)
        home = self.homes[name] = Home(droplet, plan, machine, self.folder / str(droplet.id))
        self._furnish(home)
        for port in PORTS:
            home.services[port] = await home.resources.enter_async_context(Service(machine, port))
        if self._protected:
            await self._start_daemon(home)

    def _furnish(self, home: Home) -> None:
        home.folder.mkdir(mode=0o700)
        token = home.folder / "token"
        _write_secret(token, DAEMON_TOKEN)
        source = {
            "url": self.url,
            "token_file": str(token),
            "ca_file": str(self.ca_file),
            "interval": INTERVAL,
        }
        # The machines have this machine's disk; their rules are not for its boot.
        saved = home.folder / "iptables"
        saved.mkdir(mode=0o700)
        persist = {"rules_v4": saved / "rules.v4", "rules_v6": saved / "rules.v6", "ipsets": saved / "ipsets"}
        sections = {"source": source, "persist": {key: str(path) for key, path in persist.items()}}
        config = home.folder / "droplan.toml"
        config.write_text(with_sections(self._policy, sections), encoding="utf-8")

    async def _start_daemon(self, home: Home) -> None:
        home.daemon = Daemon(home.machine, home.folder)
        await home.daemon.start()

    async def _move_out(self, name: str) -> None:
        home = self.homes.pop(name)
        await self._stop_daemon(home)
        if self._keep_ghosts:
            self.ghosts[name] = home
        else:
            await home.resources.aclose()
            self.topology.remove(name)

    @staticmethod
    async def _stop_daemon(home: Home) -> None:
        if home.daemon is not None:
            await home.daemon.stop()
            home.daemon = None

    async def _close_homes(self) -> None:
        homes = (*self.homes.values(), *self.ghosts.values())
        await asyncio.gather(*map(self._stop_daemon, homes), return_exceptions=True)
        for home in homes:
            await home.resources.aclose()


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(f"{text}\n", encoding="ascii")
