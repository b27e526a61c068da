"""What each command does. They read, call one room and print; none decides anything."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from droplan_daemon import __version__
from droplan_daemon.errors import ConfigInvalid, StoreFailed
from droplan_daemon.reconcile import Failed, Refused

from . import output, status_view, wiring

if TYPE_CHECKING:
    import argparse

    from droplan_daemon.daemon import Parts
    from droplan_daemon.reconcile import Outcome, Prospect, World
    from droplan_daemon.settings import Settings

_SOMETHING_TO_CHANGE = 3


def run(args: "argparse.Namespace") -> int:
    """The daemon."""
    from droplan_daemon.logs import Secrets, configure
    from droplan_daemon.settings import environment

    environ, secrets = environment(), Secrets()
    configure(sys.stderr, environ, secrets=secrets)
    settings = wiring.settings_of(args)
    kernel = wiring.backend()
    kernel.generation()  # refused here and now, rather than after the first answer of the API

    def build(fresh: "Settings | None" = None) -> "Parts":
        found = fresh or wiring.settings_of(args)
        if found.source.token:
            secrets.learn(found.source.token.reveal())
        return wiring.parts(found, kernel)

    asyncio.run(_run(settings, build, environ))
    return 0


async def _run(settings: "Settings", build: Any, environ: dict[str, str]) -> None:
    from droplan_daemon.daemon import Daemon
    from droplan_daemon.herald import Herald
    from droplan_daemon.logs import Conditions
    from droplan_daemon.notify import ServiceManager, watchdog_interval

    clock = wiring.CLOCK
    herald = Herald(
        settings.policy,
        notifier=ServiceManager(environ),
        store=wiring.store(settings),
        clock=clock,
        conditions=Conditions(clock.monotonic),
        about={"version": __version__, "pid": os.getpid(), "config": str(settings.path)},
    )
    herald.cautions(settings.warnings)
    watchdog = watchdog_interval(environ, os.getpid())
    await Daemon(build, build(settings), herald=herald, clock=clock, watchdog=watchdog).run()


def once(args: "argparse.Namespace") -> int:
    """One cycle."""
    settings = wiring.settings_of(args)
    outcome = asyncio.run(_once(wiring.parts(settings, wiring.backend())))
    if isinstance(outcome, Failed | Refused):
        output.failed(outcome.error, as_json=args.json)
        return 1
    try:
        wiring.store(settings).remember(outcome.world.host)
    except StoreFailed as error:
        output.note(f"{error}: the next start will have to ask the metadata service again")
    output.outcome(outcome, settings.policy, as_json=args.json)
    return 0


async def _once(parts: "Parts") -> "Outcome":
    try:
        return await parts.cycle.run()
    finally:
        await parts.close()


def plan(args: "argparse.Namespace") -> int:
    """What `once` would change."""
    prospect = asyncio.run(_prospect(args))
    output.plan(prospect, offline=args.fleet is not None, as_json=args.json)
    return _SOMETHING_TO_CHANGE if args.exit_code and prospect.plan else 0


def show(args: "argparse.Namespace") -> int:
    """The desired ruleset."""
    world = asyncio.run(_world(args))
    output.ruleset(world, as_json=args.json or args.format == "json")
    return 0


def peers(args: "argparse.Namespace") -> int:
    """Who is a peer, and why."""
    world = asyncio.run(_world(args))
    settings = wiring.settings_of(args, need_token=False)
    output.peers(world, settings.policy, everybody=args.all, as_json=args.json)
    return 0


async def _prospect(args: "argparse.Namespace") -> "Prospect":
    """Against this machine's kernel; offline, against an empty one."""
    kernel = wiring.nothing() if args.fleet else wiring.backend()
    async with wiring.cycle_for(args, kernel) as cycle:
        return await cycle.prospect()


async def _world(args: "argparse.Namespace") -> "World":
    """What should be, whatever the kernel holds: needs no privilege."""
    async with wiring.cycle_for(args, wiring.nothing()) as cycle:
        return (await cycle.prospect()).world


def check(args: "argparse.Namespace") -> int:
    """The configuration, without a network."""
    from droplan_daemon.settings import describe
    from droplan_daemon.settings.render import plain

    try:
        settings = wiring.settings_of(args)
    except ConfigInvalid as error:
        if args.json:
            output.document({"ok": False, "problems": plain(error.path, error.problems)})
            return error.exit_code
        raise
    if args.json:
        output.document({"ok": True, "warnings": plain(str(settings.path), settings.warnings)})
        return 0
    if settings.warnings:
        print(describe(settings.path, settings.warnings, label="warning"))
    print(f"{settings.path}: {output.judged(settings)}")
    return 0


def status(args: "argparse.Namespace") -> int:
    """What the daemon told last."""
    from droplan_daemon.checkpoint import StateFiles
    from droplan_daemon.settings import environment, folders

    found = folders(environment())
    try:
        told = StateFiles(found.state, found.runtime).read_status()
    except StoreFailed as error:
        output.failed(error, as_json=args.json, hint="is droplan running? try: systemctl status droplan")
        return 1
    alive = status_view.is_alive(told.get("pid"))
    status_view.status(told, alive=alive, now=wiring.CLOCK.now(), as_json=args.json)
    return 0 if alive and told.get("ready") and not told.get("error") else 1


def flush(args: "argparse.Namespace") -> int:
    """Remove our table."""
    from droplan_daemon.diff import diff

    kernel = wiring.backend()
    observation = kernel.observe()
    removal = diff(observation.ruleset, None)
    kernel.commit(removal, observation.generation)
    if args.json:
        output.document({"removed": bool(removal)})
    else:
        print("removed: table inet droplan" if removal else "nothing to remove: no table inet droplan")
    return 0


def add_lab(subparsers: Any) -> None:
    """The `lab` command, with its own subcommands."""
    from droplan_daemon.lab.cli import add_parser

    add_parser(subparsers)
