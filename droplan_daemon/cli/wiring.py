"""Which adapter stands behind each effect. The only place that knows all of them."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.lean import stand_in

# For its first model pydantic searches all that is installed for plugins: 0.6 MB to find none, and
# one that it found would be shown what is validated, the configuration for instance. Nothing of
# ours is a time zone: 0.5 MB.
with (
    stand_in("importlib.metadata", entry_points=lambda **_: ()),
    stand_in("zoneinfo", ZoneInfo=type("ZoneInfo", (), {}), ZoneInfoNotFoundError=KeyError),
):
    from droplan_daemon.sources.file import FileSource, changes

from droplan_daemon import __version__
from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.clock import SystemClock
from droplan_daemon.daemon import Parts
from droplan_daemon.errors import (
    ConfigInvalid,
    HostUnknown,
    KernelUnsupported,
    Misused,
    NotPermitted,
    Problem,
    StoreFailed,
)
from droplan_daemon.keeping import Keeping
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Firewall
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.scene import scene
from droplan_daemon.policy.uses import needs_networks
from droplan_daemon.policy.warnings import everywhere, warnings
from droplan_daemon.reconcile import Cycle
from droplan_daemon.safety import unread
from droplan_daemon.settings import IptablesSave, Settings, SourceKind, load

from .kernels import Kernels

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from droplan_daemon.effects import Backend, Connections, Exporter, Keeper, Probe, Watcher
    from droplan_daemon.metrics.meter import Meter
    from droplan_daemon.model.checkpoint import Checkpoint
    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.model.ruleset import Ruleset
    from droplan_daemon.sources.digitalocean import DigitalOcean
    from droplan_daemon.sources.host import DropletFinder

CLOCK = SystemClock()


def backend(firewall: Firewall = Firewall()) -> "Backend":  # noqa: B008 - a frozen value
    """What holds the rules of this network namespace, by choice of this host or of the Policy."""
    return Kernels().choose(firewall)


def permitted_backend(firewall: Firewall = Firewall(), kernels: Kernels | None = None) -> "Backend":  # noqa: B008
    """The same, asked once: who may not touch it is told so before the API is asked anything.

    Raises NotPermitted or KernelUnsupported.
    """
    kernel = (kernels or Kernels()).choose(firewall)
    kernel.generation()
    return kernel


def usable_backend(settings: Settings, kernels: Kernels) -> None:
    """Look that a new configuration asks for no backend that this machine cannot have.

    Which one an override gives this Droplet is not known before the fleet is. Raises ConfigInvalid.
    """
    if any(override.firewall.backend for override in settings.policy.overrides):
        return
    try:
        kernels.probe(settings.policy.firewall)
    except (NotPermitted, KernelUnsupported) as error:
        problem = Problem(str(error), "firewall.backend")
        raise ConfigInvalid(str(settings.path), (problem,)) from error


def connections() -> "Connections":
    """What this kernel tracks."""
    from droplan_daemon.sources.conntrack import Conntrack

    return Conntrack()


def nothing() -> "Backend":
    """A kernel that holds nothing, for commands that only ask what should be."""
    from droplan_daemon.backends.fake import FakeBackend

    return FakeBackend()


def store(settings: Settings) -> StateFiles:
    """The state and runtime files."""
    return StateFiles(settings.folders.state, settings.folders.runtime)


def kept(files: StateFiles) -> "tuple[Checkpoint | None, tuple[StoreFailed, ...]]":
    """The Checkpoint that counts, and what is damaged; nothing and nothing before the first save."""
    try:
        found = files.recover()
    except StoreFailed as error:
        return None, () if error.reason == "missing" else (error,)
    return found.checkpoint, found.rejected


def tell_of_ipv6() -> None:
    """A line in the log where this machine has no IPv6: its rules stand, and guard nothing for now."""
    net = Path("/proc/sys/net")
    try:
        off = (net / "ipv6/conf/all/disable_ipv6").read_text().strip() == "1"
    except OSError:  # a kernel without it; or a sandbox that shows nothing of /proc/sys
        off = net.exists() and not (net / "ipv6").exists()
    if off:
        from droplan_daemon.logs import structlog

        message = "IPv6 is off on this machine; the rules for it stand all the same"
        structlog.get_logger().warning("ipv6.off", message=message)


def boot_id() -> str:
    """What the kernel calls this boot; empty where it does not say. Source: random(4)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def parts(
    settings: Settings, kernel: "Backend", known: "Fleet | None" = None, kernels: Kernels | None = None
) -> Parts:
    """A Cycle over the configured Source, and what the loop needs beside it.

    `known` is the last Fleet that was believed. With `kernels` each cycle chooses its Backend itself.
    """
    source, finder = _source(settings, known), _finder(settings)
    path = settings.source.path
    watch = None if path is None else lambda: changes(path, CLOCK)

    meter = _meter(settings)

    async def close() -> None:
        await source.aclose()
        await finder.aclose()
        if meter:
            await meter.close()

    files = store(settings)
    keeping = Keeping(files, finder, CLOCK, boot_id(), _keeper(settings, kernel, kernels))
    cycle = Cycle(settings.policy, source, finder, kernel, keeping=keeping, kernels=kernels, clock=CLOCK)
    cycle.probe = _probe(settings)
    # Only what is about this machine's kernel asks what its operator has said to hold for a while.
    cycle.stance, cycle.digest = (files.stance if kernels else None), settings.digest
    cycle.follower = finder
    return Parts(
        cycle,
        settings.source.interval,
        watch,
        close,
        settings.warnings,
        meter,
        disturbances=_watcher(kernel, kernels).disturbances,
        links=_links,
    )


def _watcher(kernel: "Backend", kernels: Kernels | None) -> "Watcher":
    """What hears of changes by others; ours come from the port of the Backend that is chosen."""
    from droplan_daemon.backends.nft_events import NftEvents

    def own() -> int:
        return int(getattr((kernels.current if kernels else None) or kernel, "port", 0))

    return NftEvents(own)


def _links() -> "AsyncIterator[None]":
    from droplan_daemon.sources.link_events import link_changes

    return link_changes(CLOCK)


def _source(settings: Settings, known: "Fleet | None") -> "DigitalOcean | FileSource":
    wanted = settings.source
    if wanted.kind is SourceKind.FILE and wanted.path:
        return FileSource(wanted.path, now=CLOCK.now)
    from droplan_daemon.sources.digitalocean import DigitalOcean

    return DigitalOcean(
        wanted.url,
        wanted.token.reveal() if wanted.token else "",
        now=CLOCK.now,
        ca_file=wanted.ca_file,
        renewal=wanted.renewal,
        want_networks=needs_networks(settings.policy),
        known=known,
    )


def _probe(settings: Settings) -> "Probe | None":
    """What no new rules may cut this Droplet off from; a file is always there."""
    if settings.source.kind is not SourceKind.DIGITALOCEAN:
        return None
    from droplan_daemon.sources.reaching import ApiProbe

    return ApiProbe(settings.source.url, settings.source.ca_file)


def _meter(settings: Settings) -> "Meter | None":
    """What tells metrics; None where nobody asked for any. It listens and writes from its first offer on."""
    wanted = settings.metrics
    exporters: list[Exporter] = []
    if wanted.textfile:
        from droplan_daemon.metrics.textfile import TextFile

        exporters.append(TextFile(wanted.textfile))
    if wanted.listen:
        from droplan_daemon.metrics.listening import Listener

        exporters.append(Listener(*wanted.listen))
    if not exporters:
        return None
    from droplan_daemon.metrics.meter import Meter

    return Meter(exporters, __version__)


def _keeper(settings: Settings, kernel: "Backend", kernels: Kernels | None) -> "Keeper | None":
    """What saves the host's iptables rules after a change; None: nothing does."""
    if settings.persist.iptables_save is IptablesSave.OFF:
        return None
    return _Saving(settings, kernel, kernels)


_SAVED = tuple(map(Path, ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6")))
_SAVED += tuple(map(Path, ("/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables")))


def _has_ours(path: Path) -> bool:
    """Whether a file of rules has chains of ours, from when iptables was the backend."""
    try:
        return b"\n:droplan-about " in path.read_bytes()
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Saving:
    """A Keeper for whatever Backend the cycle has chosen."""

    settings: Settings
    kernel: "Backend"
    kernels: Kernels | None

    def keep(self, ruleset: "Ruleset | None") -> None:
        """Save the rules, if this Backend's are to be saved; else none of ours are. Raises StoreFailed."""
        kernel = (self.kernels.current if self.kernels else None) or self.kernel
        wanted = self.settings.persist
        if wanted.iptables_save is IptablesSave.AUTO and kernel.name != "iptables":
            if any(map(_has_ours, (*filter(None, (wanted.rules_v4, wanted.rules_v6)), *_SAVED))):
                from .keeping import clear

                clear(wanted)
            return
        from .keeping import keeper

        found = keeper(wanted, getattr(kernel, "variant", ""))
        if found:
            found.keep(ruleset)


def _finder(settings: Settings) -> "DropletFinder":
    from droplan_daemon.sources.host import DropletFinder
    from droplan_daemon.sources.links import read_links
    from droplan_daemon.sources.metadata import Metadata

    url = settings.source.metadata_url
    return DropletFinder(
        metadata=Metadata(url, now=CLOCK.now) if url else None,
        links=read_links,
        remembered=store(settings).recall(),
    )


@dataclass(frozen=True, slots=True)
class Given:
    """A HostFinder for who was named on the command line, with the interface names of DigitalOcean."""

    name: str

    async def locate(self, fleet: "Fleet") -> Host:
        """The Droplet of that name or id. Raises HostUnknown."""
        found = fleet.named(self.name) or _numbered(fleet, self.name)
        if not found:
            message = f"no Droplet of the fleet is called '{self.name}' ({_some_names(fleet)}){unread(fleet)}"
            raise HostUnknown(message, reason="not_in_fleet")
        if len(found) > 1:
            ids = ", ".join(str(droplet.id) for droplet in found)
            message = f"{len(found)} Droplets are called '{self.name}'; say which by id: {ids}"
            raise HostUnknown(message, reason="ambiguous")
        own = found[0]
        return Host(own.id, "eth1" if own.private else None, "eth0" if own.public else None)


async def offline(path: "Path", name: str | None) -> "tuple[Fleet, Droplet | None]":
    """The fleet in this file, and the Droplet of it that was named."""
    fleet = await FileSource(path.absolute(), now=CLOCK.now).gather()
    if name is None:
        return fleet, None
    host = await Given(name).locate(fleet)
    return fleet, fleet.droplet(host.droplet_id)


def doubts(policy: "Policy", fleet: "Fleet", own: "Droplet | None") -> tuple[str, ...]:
    """What of the Policy fits nobody of the Fleet, seen from one Droplet or from all."""
    if own is None:
        return everywhere(policy, fleet)
    return warnings(policy, scene(fleet, own, peer_droplets(policy.peers, fleet, own)))


def _numbered(fleet: "Fleet", name: str) -> "tuple[Droplet, ...]":
    found = fleet.droplet(int(name)) if name.isascii() and name.isdigit() else None
    return (found,) if found else ()


def _some_names(fleet: "Fleet", most: int = 5) -> str:
    names = [droplet.name for droplet in fleet.droplets[:most]]
    more = len(fleet.droplets) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "") if names else "it is empty"


def settings_of(args: "argparse.Namespace", *, need_token: bool = True) -> Settings:
    """The configuration that the command line names."""
    return load(args.config, need_token=need_token)


@asynccontextmanager
async def cycle_for(
    args: "argparse.Namespace", kernel: "Backend", kernels: Kernels | None = None
) -> "AsyncIterator[Cycle]":
    """A Cycle for a command: online, or offline with --fleet and --as."""
    offline = args.fleet is not None
    settings = settings_of(args, need_token=not offline)
    if offline:
        chosen = replace(settings.source, kind=SourceKind.FILE, path=args.fleet.absolute())
        settings = replace(settings, source=chosen)
    made = parts(settings, kernel, kernels=kernels)
    if args.name is not None:
        made.cycle.finder = Given(args.name)
    try:
        yield made.cycle
    except HostUnknown as error:
        if not offline or args.name is not None:
            raise
        message = f"this machine is no Droplet of {args.fleet}; say which Droplet to be: --as NAME"
        raise Misused(message) from error
    finally:
        await made.close()
