"""What each command does. They read, call one room and print; none decides anything."""

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from droplan_daemon import __version__, reconcile
from droplan_daemon.errors import ConfigInvalid, Fatal, HostUnknown, Refusal
from droplan_daemon.gate import Gate
from droplan_daemon.outcomes import Failed, Refused
from droplan_daemon.workers import Workers

from . import output, wiring
from .kernels import Kernels, all_backends

if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from typing import TextIO

    from droplan_daemon.checkpoint import StateFiles
    from droplan_daemon.daemon import Daemon, Parts
    from droplan_daemon.logs import Secrets
    from droplan_daemon.model.checkpoint import Checkpoint
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.outcomes import Outcome, Prospect, World
    from droplan_daemon.reconcile import Cycle
    from droplan_daemon.settings import Settings

_SOMETHING_TO_CHANGE = 3
_HOLDINGS = {"nftables": "table inet droplan", "iptables": "droplan's chains in iptables, and its ip sets"}


def run(args: "argparse.Namespace") -> int:
    """The daemon. What keeps it from starting is an event where the journal reads, else a sentence."""
    from droplan_daemon.herald import ended_by
    from droplan_daemon.logs import Secrets, configure
    from droplan_daemon.settings import environment

    environ, secrets = environment(), Secrets()
    configure(sys.stderr, environ, secrets=secrets)
    try:
        _run_until_told(args, environ, secrets)
    except Fatal as error:
        if not _journal_reads(sys.stderr, environ):
            raise
        ended_by(error)
        return error.exit_code
    return 0


def _run_until_told(args: "argparse.Namespace", environ: dict[str, str], secrets: "Secrets") -> None:
    settings = wiring.settings_of(args)
    kernels = Kernels()
    kernel = wiring.permitted_backend(settings.policy.firewall, kernels)

    def build(known: "Fleet | None", fresh: "Settings | None" = None) -> "Parts":
        found = fresh or wiring.settings_of(args)
        if found.source.token:
            secrets.learn(found.source.token.reveal())
        if fresh is None:
            wiring.usable_backend(found, kernels)
        return wiring.parts(found, kernel, known, kernels)

    asyncio.run(_run(settings, build, environ))


def _journal_reads(stream: "TextIO", environ: dict[str, str]) -> bool:
    from droplan_daemon.logs import Style, choose_style
    from droplan_daemon.logs.sinks import JOURNAL

    return choose_style(stream, environ, JOURNAL) in {Style.JOURNAL, Style.PREFIXED}


async def _run(settings: "Settings", build: Any, environ: dict[str, str]) -> None:
    # Made elsewhere, so that nothing here holds on to what was read at the start.
    await _daemon(settings, build, environ).run()


def _daemon(settings: "Settings", build: Any, environ: dict[str, str]) -> "Daemon":
    from droplan_daemon.daemon import Daemon
    from droplan_daemon.herald import Herald
    from droplan_daemon.logs import Conditions
    from droplan_daemon.notify import ServiceManager, watchdog_interval

    clock, files = wiring.CLOCK, wiring.store(settings)
    herald = Herald(
        settings.policy,
        notifier=ServiceManager(environ),
        store=files,
        clock=clock,
        conditions=Conditions(clock.monotonic),
        about={"version": __version__, "pid": os.getpid(), "config": str(settings.path.absolute())},
    )
    herald.cautions(settings.warnings)
    wiring.tell_of_ipv6()
    checkpoint, damaged = wiring.kept(files)
    herald.rejected_state(damaged, "previous" if checkpoint else "none")
    first = build(checkpoint.fleet if checkpoint else None, settings)
    watchdog = watchdog_interval(environ, os.getpid())
    return Daemon(build, first, herald=herald, clock=clock, watchdog=watchdog, checkpoint=checkpoint)


def once(args: "argparse.Namespace") -> int:
    """One cycle."""
    from . import here, plan_view

    settings = wiring.settings_of(args)
    kernels = Kernels()
    kernel = wiring.permitted_backend(settings.policy.firewall, kernels)
    checkpoint, damaged = wiring.kept(wiring.store(settings))
    for error in damaged:
        output.note(f"not used: {error}")
    parts = wiring.parts(settings, kernel, checkpoint.fleet if checkpoint else None, kernels)
    parts.cycle.gate = Gate(args.yes_lock_me_out, here.caller())
    outcome = asyncio.run(_once(parts, checkpoint))
    if isinstance(outcome, Failed | Refused):
        raise outcome.error
    for one in outcome.unsaved:
        output.note(f"{one.error}: the rules are in force, and the next boot will restore older ones or none")
    plan_view.outcome(outcome, settings.policy, verbose=args.verbose, as_json=args.json)
    return 0


async def _once(parts: "Parts", checkpoint: "Checkpoint | None") -> "Outcome":
    asyncio.get_running_loop().set_default_executor(Workers())
    try:
        if checkpoint:
            with suppress(HostUnknown):  # then nothing of it is used
                await parts.cycle.take(checkpoint)
        return await parts.cycle.run()
    finally:
        await parts.close()


def plan(args: "argparse.Namespace") -> int:
    """What `once` would change. 1: it would refuse to."""
    from . import here, management_view, plan_view, reach_view

    kernels, offline = Kernels(), not _about_this_machine(args)
    sessions = () if offline else here.sessions()
    caller = None if offline else here.caller(sessions)
    prospect, refusal = asyncio.run(_reviewed(args, kernels, Gate(args.yes_lock_me_out)))
    holder, held = kernels.elsewhere() or ("", None)
    meant = reach_view.meaning(prospect, None if offline else wiring.connections(), held)
    access = management_view.access(prospect.world, held or prospect.observation.ruleset, sessions, caller)
    shown = plan_view.Shown(prospect, meant, access, refusal, holder)
    plan_view.plan(shown, offline=offline, verbose=args.verbose, as_json=args.json)
    if refusal:
        return 1
    return _SOMETHING_TO_CHANGE if args.exit_code and (prospect.plan or holder) else 0


def show(args: "argparse.Namespace") -> int:
    """The desired ruleset."""
    args.json = args.json or args.format == "json"
    world, _ = asyncio.run(_world(args))
    output.ruleset(world, "json" if args.json else args.format)
    return 0


def peers(args: "argparse.Namespace") -> int:
    """Who is a peer, and why."""
    world, policy = asyncio.run(_world(args))
    output.peers(world, policy, everybody=args.all, as_json=args.json)
    return 0


def _about_this_machine(args: "argparse.Namespace") -> bool:
    """Whether what this kernel holds has anything to do with the question."""
    return args.fleet is None and args.name is None


async def _reviewed(
    args: "argparse.Namespace", kernels: Kernels, gate: Gate
) -> "tuple[Prospect, Refusal | None]":
    """What would be done, against this machine's kernel, and why it would be refused.

    Offline or as another Droplet it is against a kernel that holds nothing.
    """
    kernel = wiring.nothing()
    if _about_this_machine(args):
        kernel = wiring.permitted_backend(wiring.settings_of(args).policy.firewall, kernels)
    async with wiring.cycle_for(args, kernel, kernels if _about_this_machine(args) else None) as cycle:
        cycle.gate = gate
        if _about_this_machine(args):
            await _go_on(cycle, wiring.store(wiring.settings_of(args)))
        prospect = await cycle.prospect()
        try:
            cycle.admit(prospect)
        except Refusal as error:
            return prospect, error
        return prospect, None if prospect.world.panic is not None else await cycle.objection(cycle)


async def _go_on(cycle: "Cycle", files: "StateFiles") -> None:
    """Know what was kept, where that is to be had."""
    checkpoint, _ = wiring.kept(files)
    if checkpoint:
        with suppress(HostUnknown):  # then nothing of it is used
            await cycle.take(checkpoint)


async def _world(args: "argparse.Namespace") -> "tuple[World, Policy]":
    """What should be, whatever the kernel holds: needs no privilege."""
    async with wiring.cycle_for(args, wiring.nothing()) as cycle:
        return (await cycle.prospect()).world, cycle.policy


def check(args: "argparse.Namespace") -> int:
    """The configuration, without a network; with a fleet file, beside that fleet. 1: it locks people out."""
    from . import entering

    settings = wiring.settings_of(args, need_token=args.fleet is None)
    policy = settings.policy
    found: tuple[str, ...] = ()
    if args.fleet is None:
        told = entering.of_policy(policy)
    else:
        fleet, own = asyncio.run(wiring.offline(args.fleet, args.name))
        found = wiring.doubts(policy, fleet, own)
        told = entering.of_one(policy, fleet, own) if own else entering.of_all(policy, fleet)
    refusal = None if args.yes_lock_me_out else told.refusal
    output.checked(settings, found, told, refusal, as_json=args.json)
    return 1 if refusal else 0


def status(args: "argparse.Namespace") -> int:
    """What the daemon told last."""
    from droplan_daemon.checkpoint import StateFiles
    from droplan_daemon.settings import environment, folders

    from . import status_view

    found, now = folders(environment()), wiring.CLOCK.now()
    told = status_view.read(StateFiles(found.state, found.runtime))
    well = status_view.is_well(told, now)
    status_view.status(told, now=now, as_json=args.json)
    return 0 if well else 1


def flush(args: "argparse.Namespace") -> int:
    """Remove our table, and what would put it back at the next boot."""
    from droplan_daemon.checkpoint import StateFiles
    from droplan_daemon.settings import environment, folders

    from .nudge import refuse_beside_a_daemon

    found = folders(environment())
    files = StateFiles(found.state, found.runtime)
    refuse_beside_a_daemon(files)
    removed = [kernel.name for kernel in all_backends() if reconcile.flush(kernel)]
    retired = files.retire()
    cleared = _cleared(args)
    if args.json:
        output.document({"ok": True, "removed": bool(removed), "retired": retired, "cleared": cleared})
        return 0
    for name in removed:
        print(f"removed: {_HOLDINGS[name]}")
    if not removed:
        print("nothing to remove: no table inet droplan, no chains of droplan's in iptables")
    if retired:
        print("removed: the boot script; the next boot restores nothing until the daemon has run again")
    for path in cleared:
        print(f"removed: droplan's rules in {path}, which is restored at boot")
    return 0


def _cleared(args: "argparse.Namespace") -> "list[Path]":
    """The host's saved rules that had some of ours; a configuration in disorder keeps nobody from it."""
    from droplan_daemon.settings import IptablesSave, PersistSettings

    from .keeping import clear

    wanted = PersistSettings()
    with suppress(ConfigInvalid):
        wanted = wiring.settings_of(args, need_token=False).persist
    return [] if wanted.iptables_save is IptablesSave.OFF else list(clear(wanted))


def add_lab(subparsers: Any) -> None:
    """The `lab` command, with its own subcommands."""
    from droplan_daemon.lab.cli import add_parser

    add_parser(subparsers)


def explain(args: "argparse.Namespace") -> int:
    """The verdict for a sender."""
    return int(room("explain").run(args))


def matrix(args: "argparse.Namespace") -> int:
    """Who reaches whom."""
    return int(room("matrix").run(args))


def accept(args: "argparse.Namespace") -> int:
    """What is held may go."""
    return int(room("accept").run(args))


def restore(args: "argparse.Namespace") -> int:
    """The checkpoint, into the kernel."""
    return int(room("restore").run(args))


def save(args: "argparse.Namespace") -> int:
    """The host's iptables rules, kept."""
    return int(room("save").run(args))


def reload(args: "argparse.Namespace") -> int:
    """The configuration, read anew."""
    return int(room("reload").run(args))


def migrate(args: "argparse.Namespace") -> int:
    """From the old droplan."""
    return int(room("migrate").run(args))


def doctor(args: "argparse.Namespace") -> int:
    """What works against us."""
    return int(room("doctor").run(args))


def try_(args: "argparse.Namespace") -> int:
    """A configuration for a while."""
    return int(room("try").run(args))


def confirm(args: "argparse.Namespace") -> int:
    """What is on trial, kept."""
    return int(room("confirm").run(args))


def pause(args: "argparse.Namespace") -> int:
    """Audit for a while."""
    return int(room("pause").run(args))


def panic(args: "argparse.Namespace") -> int:
    """Everything but management closed."""
    return int(room("panic").run(args))


_ROOMS = {
    "try": "trying",
    "confirm": "confirming",
    "pause": "pausing",
    "panic": "panicking",
    "explain": "explaining",
    "matrix": "matrices",
    "accept": "accepting",
    "restore": "restoring",
    "save": "saving",
    "reload": "reloading",
    "migrate": "migrating",
    "doctor": "examining",
}


def room(name: str) -> Any:
    """The module of a command that a daemon carries nothing of."""
    from importlib import import_module

    return import_module(f"{__package__}.{_ROOMS[name]}")
