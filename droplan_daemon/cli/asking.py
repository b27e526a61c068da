"""What `doctor` asks for: the configuration, the API, the metadata service.

Law: each question ends in time and fails alone; the token goes to the API and nowhere else.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon import pacing
from droplan_daemon.doctor import looking
from droplan_daemon.doctor.facts import Api, Configuration, Place, Unlooked
from droplan_daemon.errors import ConfigInvalid, DroplanError, HostUnknown, Refusal, SourceDenied
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.selector import Kind
from droplan_daemon.policy.uses import asking, needs_networks
from droplan_daemon.settings import Settings, SourceKind, environment, load
from droplan_daemon.settings.tokens import TOKEN_FILE
from droplan_daemon.sources.metadata import Metadata
from droplan_daemon.sources.probing import Probe, Probed

from . import wiring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon import effects
    from droplan_daemon.errors import Problem
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.outcomes import World
    from droplan_daemon.sources.metadata import Identity

_SCOPES = ("droplet:read", "vpc:read", "vpc_peering:read")


@dataclass(frozen=True, slots=True)
class Remote:
    """What came from outside; `world` is None where the fleet gives none."""

    api: Api | Unlooked | None
    place: Place | Unlooked
    ahead: float | None = None
    world: "World | None" = None


def configured(path: Path) -> tuple[Settings, Configuration, tuple[Unlooked, ...]]:
    """The Settings, as far as they are valid (else the defaults), what is wrong, and what is not known."""
    environ = environment()
    whole, problems = _loaded(path, need_token=True)
    bare, mistakes = _loaded(path, need_token=False)
    settings = whole or bare or _defaults(environ)
    cautions = bare.warnings if bare else ()
    token_file = settings.source.token_path
    missing = tuple(problem for problem in problems if problem not in mistakes)
    nodes = (looking.node(place) for place in (path.absolute().parent, path))
    told = Configuration(
        path=str(path),
        problems=mistakes,
        token=() if os.geteuid() else missing,
        cautions=cautions,
        token_cautions=tuple(one for one in settings.warnings if one not in cautions) if whole else (),
        nodes=tuple(node for node in nodes if node),
        token_node=looking.node(token_file) if token_file else None,
        token_from_variable=bool(settings.source.token and token_file is None and environ.get("DO_KEY")),
        service_has_token=bool(looking.text(TOKEN_FILE).strip()),
    )
    # Whoever is not root may well not read what the service reads.
    hidden = missing if os.geteuid() else ()
    unlooked = tuple(Unlooked("the token", one.message, looking.AS_ROOT) for one in hidden)
    return settings, told, unlooked


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
    identity, metadata = await _metadata(settings)
    if not usable:
        why = "it takes a configuration without a mistake, and a token"
        return Remote(Unlooked("the API", why, "mend those first"), Place(metadata=metadata))
    probed = None
    if settings.source.kind is SourceKind.DIGITALOCEAN:
        probed = await _probed(settings, identity)
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


async def _metadata(settings: Settings) -> "tuple[Identity | None, str]":
    """Who the metadata service says that this is, or why it says nothing that can be used."""
    service = Metadata(settings.source.metadata_url, now=wiring.CLOCK.now)
    try:
        return await service.identity(), ""
    except DroplanError as error:
        return None, str(error)
    finally:
        await service.aclose()


async def _probed(settings: Settings, identity: "Identity | None") -> Probed:
    source, policy = settings.source, settings.policy
    probe = Probe(
        source.url,
        source.token.reveal() if source.token else "",
        now=wiring.CLOCK.now,
        ca_file=source.ca_file,
        renewal=source.renewal,
    )
    return await probe.ask(_needed(policy), identity.droplet_id if identity else None)


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
