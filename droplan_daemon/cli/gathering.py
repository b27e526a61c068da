"""What `doctor` looks at: the rooms that know a part of this machine, asked one by one.

Law: each part ends in time and fails alone; what a part raises becomes an Unlooked.
"""

import asyncio
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon import __version__
from droplan_daemon.backends.ipset import IpSets
from droplan_daemon.checkpoint import read_whole, script
from droplan_daemon.doctor import looking
from droplan_daemon.doctor.facts import (
    Backend,
    Clock,
    Daemon,
    Facts,
    Saved,
    State,
    Unlooked,
)
from droplan_daemon.errors import (
    DroplanError,
    HostUnknown,
    KernelUnsupported,
    NotPermitted,
    StoreFailed,
)
from droplan_daemon.migrate.planning import migration
from droplan_daemon.migrate.search import search
from droplan_daemon.model.checkpoint import age
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.persist.keeper import Result
from droplan_daemon.settings import DEFAULT_PATH, Settings, environment
from droplan_daemon.sources.links import read_links

from . import status_view, wiring
from .asking import asked, configured
from .keeping import keeper
from .kernels import Kernels
from .restoring import recognised

if TYPE_CHECKING:
    from droplan_daemon import effects
    from droplan_daemon.checkpoint import StateFiles
    from droplan_daemon.model.checkpoint import Checkpoint
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Firewall
    from droplan_daemon.outcomes import World


async def facts(path: Path | None) -> Facts:
    """Everything about this machine and its configuration. Raises nothing of `errors`."""
    settings, configuration, unlooked = configured(path or DEFAULT_PATH)
    remote = await asked(settings, usable=not (configuration.problems or configuration.token or unlooked))
    rules = _dumps()
    units = looking.units()
    links = _links(settings, remote.world)
    firewall = (remote.world.policy if remote.world else settings.policy).firewall
    kernels = Kernels()
    try:
        kernel, backend, held = _backend(kernels, firewall)
        saved = _saved(settings, kernels.current)
    finally:
        kernels.close()
    return Facts(
        version=__version__,
        configuration=configuration,
        clock=Clock(wiring.CLOCK.now(), remote.ahead, looking.synchronised()),
        firewalls=looking.firewalls(rules, () if isinstance(units, Unlooked) else units),
        kernel=looking.kernel(links, kernel, enforced=held),
        state=await asyncio.to_thread(_state, wiring.store(settings), settings.folders.state),
        units=units,
        daemon=_daemon(wiring.store(settings)),
        backend=backend,
        old=_old(rules, settings, kernels.current.name if kernels.current else "nftables"),
        links=links,
        api=remote.api,
        place=remote.place,
        saved=saved,
        unlooked=unlooked,
    )


def _links(settings: Settings, world: "World | None") -> tuple[str, ...]:
    """The managed interfaces; where nobody knows them, those that were, or else all."""
    host: Host | None = world.host if world else wiring.store(settings).recall()
    policy = world.policy if world else settings.policy
    if host:
        return tuple(
            name for kind in InterfaceKind if policy.on(kind).managed and (name := host.interface(kind))
        )
    try:
        return tuple(link.name for link in read_links())
    except HostUnknown:
        return ()


def _dumps() -> looking.Dumps | Unlooked:
    try:
        return looking.dumps()
    except DroplanError as error:
        return looking.gathered("iptables' rules", error)


def _backend(
    kernels: Kernels, firewall: "Firewall"
) -> "tuple[tuple[str, ...] | None, Backend | Unlooked | None, bool]":
    """What the kernel lacks, which backend is chosen, and whether rules of ours stand."""
    try:
        kernel = kernels.choose(firewall)
        held = kernel.observe().ruleset is not None
        if kernel.name == "iptables" and firewall.ipset:
            sets = IpSets()
            sets.headers()
            sets.close()
    except KernelUnsupported as error:
        return (str(error),), None, False
    except NotPermitted as error:
        return None, looking.gathered("the backend", error), False
    except DroplanError as error:
        return None, Backend(kernels.about()[0], str(error)), False
    choice, cautions = kernels.about()
    return (), Backend(choice, cautions=cautions), held


def _saved(settings: Settings, kernel: "effects.Backend | None") -> Saved | Unlooked | None:
    if kernel is None or kernel.name != "iptables":
        return None
    kept = keeper(settings.persist, getattr(kernel, "variant", ""))
    if kept is None:
        return None
    if os.geteuid():
        return Unlooked("the saved iptables rules", "only root may read them", looking.AS_ROOT)
    done = kept.save(dry_run=True)
    return Saved(
        behind=tuple(str(one.path) for one in done if one.result is Result.SAVED),
        failed=tuple(one.note for one in done if one.result is Result.FAILED),
    )


def _old(rules: looking.Dumps | Unlooked, settings: Settings, backend: str) -> tuple[str, ...] | Unlooked:
    """Where something of the old droplan is that `migrate` would take over."""
    if isinstance(rules, Unlooked) or os.geteuid():
        return Unlooked("what the old droplan left", "its files and rules are root's", looking.AS_ROOT)
    found = search(Path("/"), environment(), settings.path.absolute())
    planned = migration(found, looking.old_droplan(rules), backend, settings.path)
    return planned.sources if planned else ()


def _state(files: "StateFiles", folder: Path) -> State | Unlooked:
    try:
        if not folder.exists():
            return State(None)
        recovered = files.recover()
    except (StoreFailed, OSError) as error:
        if getattr(error, "reason", "") == "missing":
            return State(looking.node(folder))
        if isinstance(error, OSError) or not looking.readable(folder):
            return Unlooked("the state folder", "only root may look into it", looking.AS_ROOT)
        return State(looking.node(folder), damaged=(str(error),))
    checkpoint, clock = recovered.checkpoint, wiring.CLOCK
    foreign = ""
    try:
        asyncio.run(recognised(checkpoint, files))
    except HostUnknown as error:
        foreign = str(error)
    return State(
        looking.node(folder),
        saved=True,
        damaged=tuple(map(str, recovered.rejected)),
        age=age(checkpoint, boot=wiring.boot_id(), uptime=clock.monotonic(), now=clock.now()),
        script=_script(files, checkpoint),
        foreign=foreign,
    )


def _script(files: "StateFiles", checkpoint: "Checkpoint") -> str:
    """What is wrong with the boot script; empty: nothing."""
    path = files.scripts(checkpoint.backend)[0]
    try:
        kept = script.parse(read_whole(path))
    except StoreFailed as error:
        return f"{path}: {error}"
    if kept.number != checkpoint.number:
        return f"{path} has number {kept.number}, and the checkpoint number {checkpoint.number}"
    return ""


def _daemon(files: "StateFiles") -> Daemon | Unlooked | None:
    try:
        told = files.read_status()
    except StoreFailed as error:
        missing = error.reason == "missing" or error.errno == errno.ENOENT
        return None if missing else looking.gathered("what the daemon told", error)
    try:
        well = status_view.is_well(told, wiring.CLOCK.now())
    except StoreFailed as error:
        return looking.gathered("what the daemon told", error)
    trouble = told.get("error")
    return Daemon(
        alive=status_view.is_alive(told.get("pid")),
        well=well,
        version=str(told.get("version", "")),
        trouble=str(trouble.get("message", "")) if isinstance(trouble, dict) else "",
    )
