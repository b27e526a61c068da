"""What `doctor` looks at: the rooms that know a part of this machine, asked one by one.

Law: each part ends in time and fails alone; what a part raises becomes an Unlooked.
"""

import asyncio
import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon import __version__, pacing
from droplan_daemon.backends.ipset import IpSets
from droplan_daemon.checkpoint import read_whole, script
from droplan_daemon.doctor import looking
from droplan_daemon.doctor.facts import (
    Api,
    Backend,
    Clock,
    Configuration,
    Daemon,
    Facts,
    Place,
    Saved,
    State,
    Unlooked,
)
from droplan_daemon.errors import (
    ConfigInvalid,
    DroplanError,
    HostUnknown,
    KernelUnsupported,
    Refusal,
    SourceDenied,
    StoreFailed,
)
from droplan_daemon.migrate.planning import migration
from droplan_daemon.migrate.search import search
from droplan_daemon.model.checkpoint import age
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.selector import Kind
from droplan_daemon.persist.keeper import Result
from droplan_daemon.policy.uses import asking, needs_networks
from droplan_daemon.settings import DEFAULT_PATH, Settings, SourceKind, environment, load
from droplan_daemon.settings.tokens import TOKEN_FILE
from droplan_daemon.sources.links import read_links
from droplan_daemon.sources.metadata import Metadata
from droplan_daemon.sources.probing import Probe, Probed

from . import status_view, wiring
from .keeping import keeper
from .kernels import Kernels
from .restoring import recognised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon import effects
    from droplan_daemon.checkpoint import StateFiles
    from droplan_daemon.errors import Problem
    from droplan_daemon.model.checkpoint import Checkpoint
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Firewall, Policy
    from droplan_daemon.reconcile import World

_SCOPES = ("droplet:read", "vpc:read", "vpc_peering:read")


@dataclass(frozen=True, slots=True)
class Remote:
    """What came from outside; `world` is None where the fleet gives none."""

    api: Api | Unlooked | None
    place: Place | Unlooked
    ahead: float | None = None
    world: "World | None" = None


async def facts(path: Path | None) -> Facts:
    """Everything about this machine and its configuration. Raises nothing of `errors`."""
    settings, configuration = configured(path or DEFAULT_PATH)
    remote = await asked(settings, usable=not (configuration.problems or configuration.token))
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
        old=_old(rules, settings, backend),
        links=links,
        api=remote.api,
        place=remote.place,
        saved=saved,
    )


def configured(path: Path) -> tuple[Settings, Configuration]:
    """The Settings, as far as they are valid (else the defaults), and what is wrong with them."""
    environ = environment()
    whole, problems = _loaded(path, need_token=True)
    bare, mistakes = _loaded(path, need_token=False)
    settings = whole or bare or _defaults(environ)
    cautions = bare.warnings if bare else ()
    token_file = settings.source.token_path
    nodes = (looking.node(place) for place in (path.absolute().parent, path))
    told = Configuration(
        path=str(path),
        problems=mistakes,
        token=tuple(problem for problem in problems if problem not in mistakes),
        cautions=cautions,
        token_cautions=tuple(one for one in settings.warnings if one not in cautions) if whole else (),
        nodes=tuple(node for node in nodes if node),
        token_node=looking.node(token_file) if token_file else None,
        token_from_variable=bool(settings.source.token and token_file is None and environ.get("DO_KEY")),
        service_has_token=bool(looking.text(TOKEN_FILE).strip()),
    )
    return settings, told


def _defaults(environ: "Mapping[str, str]") -> Settings:
    """What counts where nothing that is said can be used, but for where the folders are."""
    folders = {name: value for name, value in environ.items() if name.endswith("_DIRECTORY")}
    return load(Path(os.devnull), folders, need_token=False)


def _loaded(path: Path, *, need_token: bool) -> "tuple[Settings | None, tuple[Problem, ...]]":
    try:
        return load(path, need_token=need_token), ()
    except ConfigInvalid as error:
        return None, error.problems


async def asked(settings: Settings, *, usable: bool) -> Remote:
    """The API, the metadata service, and what they make of this machine."""
    metadata = await _metadata(settings)
    if not usable:
        why = "the configuration or the token has a mistake"
        return Remote(Unlooked("the API", why, "mend it first"), Place(metadata=metadata))
    probed = None
    if settings.source.kind is SourceKind.DIGITALOCEAN:
        probed = await _probed(settings)
    made = wiring.parts(settings, wiring.nothing())
    place, world, error = Place(metadata=metadata), None, None
    try:
        if not probed or not (probed.error or probed.lacking):
            world = (await made.cycle.prospect()).world
            place = _place(world, metadata)
    except Refusal as refusal:
        place = replace(place, refused=str(refusal))
    except HostUnknown as unknown:
        place = replace(place, unknown=str(unknown))
    except DroplanError as trouble:
        error = trouble
    finally:
        await made.close()
    api = _api(settings, probed, error, world, made.cycle.source) if probed else None
    return Remote(api, place, probed.ahead if probed else None, world)


async def _metadata(settings: Settings) -> str:
    """Why the metadata service says nothing that can be used; empty where it does."""
    service = Metadata(settings.source.metadata_url, now=wiring.CLOCK.now)
    try:
        await service.identity()
    except DroplanError as error:
        return str(error)
    finally:
        await service.aclose()
    return ""


async def _probed(settings: Settings) -> Probed:
    source, policy = settings.source, settings.policy
    probe = Probe(
        source.url,
        source.token.reveal() if source.token else "",
        now=wiring.CLOCK.now,
        ca_file=source.ca_file,
        renewal=source.renewal,
    )
    host = wiring.store(settings).recall()
    return await probe.ask(_needed(policy), host.droplet_id if host else None)


def _needed(policy: "Policy") -> tuple[str, ...]:
    """The scopes without which this policy cannot be judged."""
    needed = _SCOPES if needs_networks(policy) else _SCOPES[:1]
    return (*needed, "tag:read") if policy.peers.tag or asking(policy, Kind.TAG) else needed


def _place(world: "World", metadata: str) -> Place:
    host = world.host
    names = ((kind.value, host.interface(kind)) for kind in InterfaceKind)
    return Place(
        droplet=f"{world.own.name} (id {world.own.id})",
        interfaces=", ".join(f"{kind} {name or 'none'}" for kind, name in names)
        + f", known by {host.learned}",
        peers=len(world.peers),
        droplets=len(world.fleet.droplets),
        skipped=len(world.fleet.skipped),
        metadata=metadata,
        doubts=world.warnings,
    )


def _api(
    settings: Settings,
    probed: Probed,
    error: DroplanError | None,
    world: "World | None",
    source: "effects.Source",
) -> Api:
    budget, sharing = source.budget, len(world.fleet.droplets) if world else 0
    scope = error.scope if isinstance(error, SourceDenied) else None
    lacking = dict.fromkeys((*probed.lacking, *((scope,) if scope else ())))
    return Api(
        url=settings.source.url,
        lacking=tuple(lacking),
        error=probed.error or (None if scope else error),
        took=probed.took,
        budget=budget,
        interval=settings.source.interval,
        period=pacing.fair_period(budget, sharing) / (1 - pacing.SPREAD) if budget else 0.0,
        sharing=sharing,
        wide=probed.wide,
        cloud_firewalls=probed.firewalls,
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


def _backend(kernels: Kernels, firewall: "Firewall") -> "tuple[tuple[str, ...], Backend | Unlooked, bool]":
    """What the kernel lacks, which backend is chosen, and whether rules of ours stand."""
    try:
        kernel = kernels.choose(firewall)
        held = kernel.observe().ruleset is not None
        if kernel.name == "iptables" and firewall.ipset:
            sets = IpSets()
            sets.headers()
            sets.close()
    except KernelUnsupported as error:
        return (str(error),), looking.gathered("the backend", error), False
    except DroplanError as error:
        return (), looking.gathered("the backend", error), False
    choice, cautions = kernels.about()
    return (), Backend(choice, cautions), held


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


def _old(
    rules: looking.Dumps | Unlooked, settings: Settings, backend: Backend | Unlooked
) -> tuple[str, ...] | Unlooked:
    """Where something of the old droplan is that `migrate` would take over."""
    if isinstance(rules, Unlooked) or os.geteuid():
        return Unlooked("what the old droplan left", "its files and rules are root's", looking.AS_ROOT)
    found = search(Path("/"), environment(), settings.path.absolute())
    name = "" if isinstance(backend, Unlooked) else backend.choice.partition(" ")[0].rstrip(",")
    planned = migration(found, looking.old_droplan(rules), name, settings.path)
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
