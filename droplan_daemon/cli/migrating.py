"""`droplan migrate`: from the old droplan to this one, without a moment's gap."""

import asyncio
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from socket import if_nameindex
from typing import TYPE_CHECKING, Any

from droplan_daemon import reconcile
from droplan_daemon.errors import ConfigInvalid, Misused, NotPermitted, Problem, Refusal, StoreFailed
from droplan_daemon.migrate import chains
from droplan_daemon.migrate.carrying import Hands, carry_out, variants
from droplan_daemon.migrate.planning import (
    BESIDE,
    CONFIG,
    Commit,
    WriteConfig,
    difference,
    leading,
    migration,
)
from droplan_daemon.migrate.search import search
from droplan_daemon.model.addresses import format_address
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Firewall, Mode
from droplan_daemon.outcomes import Failed, Refused
from droplan_daemon.persist import files
from droplan_daemon.plaintext import escape, mask
from droplan_daemon.policy.compile import managed_interface
from droplan_daemon.settings import environment, load

from . import output, wiring

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from droplan_daemon.effects import Backend
    from droplan_daemon.migrate.chains import Leftovers
    from droplan_daemon.migrate.finding import Found
    from droplan_daemon.migrate.planning import Migration, Step
    from droplan_daemon.model.addresses import Address
    from droplan_daemon.outcomes import Outcome, World

_SHOWN = 8

MIGRATE = """\
Reads what told the old droplan (tam7t/droplan) what to do: /etc/cron.d/droplan,
root's crontab, /opt/droplan/refresh.sh, systemd units, Docker's containers, and
the iptables chains that it left. Writes /etc/droplan/droplan.toml (if there is
none) and the token's file, puts the new rules into the kernel, and only then
removes the old ones: all the time peers get in and nobody else does. What
started the old program is renamed, so that it can be looked at later. When a
step fails, those before it are undone. Begin with --dry-run.

examples:
  sudo droplan migrate --dry-run
  sudo droplan migrate
  sudo droplan migrate --dry-run --root /mnt    another machine's disk

json: ok, dry_run, found, steps (step, text, done), warnings, difference
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `migrate` takes."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="look at the disk below DIR (with --dry-run)"
    )


def run(args: "argparse.Namespace") -> int:
    """Look, say what is to be done, and do it."""
    if args.root and not args.dry_run:
        raise Misused("another machine's disk is only looked at: say --dry-run as well")
    if args.root and not args.root.is_dir():
        raise Misused(f"{args.root} is no folder: --root is where the other machine's disk is mounted")
    if os.geteuid() != 0 and not args.root:
        raise NotPermitted("migrate reads root's files and the kernel's rules: start it with sudo")
    machine = Machine(args.root or Path("/"), (args.config or CONFIG).absolute())
    found = search(machine.root, environment(), machine.config)
    if args.root:
        told = _Report(migration(found, {}, "", machine.config), found, as_json=args.json, dry_run=True)
        told.before()
    else:
        told = here(machine, found, as_json=args.json, dry_run=args.dry_run)
    told.after()
    return 0


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine to migrate: below which folder its files are, and what it calls its configuration."""

    root: Path
    config: Path

    def at(self, path: Path) -> Path:
        """Where a file of that machine is for us."""
        return self.root / path.relative_to("/")


def here(machine: Machine, found: "Found", *, as_json: bool, dry_run: bool) -> "_Report":
    """Plan for this kernel and, unless it is a dry run, carry it out."""
    kernel, installed = wiring.backend(_firewall(machine)), variants()
    left = {name: variant.leftovers() for name, variant in installed.items()}
    token_file = machine.at(machine.config.with_name(BESIDE))
    planned = migration(found, left, kernel.name, machine.config, token_file)
    told = _Report(planned, found, as_json=as_json, dry_run=dry_run)
    told.before()
    if planned and not dry_run:
        _require_token(machine, planned, found)
        config = machine.at(machine.config)
        hands = Hands(
            machine.root,
            installed,
            commit=lambda: _commit(config, kernel, tuple(left.values()), told),
            save=lambda: _save(config, kernel, told),
        )
        carry_out(planned, hands, told.tell)
    return told


def _firewall(machine: Machine) -> Firewall:
    """What is configured; `auto` as it will be chosen once the saved rules are without the old chains."""
    from droplan_daemon.backends.choice import backend_of, rules_of_others
    from droplan_daemon.backends.iptables_host import restored_rules

    firewall = load(machine.at(machine.config), need_token=False, must_exist=False).policy.firewall
    restored = [
        path for path in restored_rules(machine.root) if rules_of_others(_cleaned(machine.at(Path(path))))
    ]
    return replace(firewall, backend=backend_of(firewall, tuple(restored))[0])


def _cleaned(path: Path) -> str:
    """A file of rules as it will be without the old chains."""
    old = files.read(path)
    return chains.without(old.text, chains.leftovers(old.text)) if old else ""


def _require_token(machine: Machine, planned: "Migration", found: "Found") -> None:
    """Without a token nothing can be put into the kernel, so nothing is begun."""
    known = found.token or found.given or leading(found).token or found.config
    if any(isinstance(step, Commit) for step in planned.steps) and not known:
        hint = (
            f"write one to {machine.config.with_name(BESIDE)}, or start again with DO_KEY in the environment"
        )
        problem = Problem("there is no token for the DigitalOcean API", hint=hint)
        raise ConfigInvalid(str(machine.config), (problem,))


def _commit(
    config: Path, kernel: "Backend", left: "tuple[Leftovers, ...]", told: "_Report"
) -> "Callable[[], None]":
    """One cycle with this configuration; what takes it back. Raises whatever keeps it from ending well."""
    parts = wiring.parts(load(config), kernel)
    if parts.cycle.keeping:
        parts.cycle.keeping.keeper = None  # the old chains stand still, and belong into no file
    fresh = kernel.observe().ruleset is None

    async def cycle() -> "Outcome":
        try:
            return await parts.cycle.run()
        finally:
            await parts.close()

    outcome = asyncio.run(cycle())
    if isinstance(outcome, Failed | Refused):
        raise outcome.error

    def back() -> None:
        if fresh:
            reconcile.flush(kernel)

    try:
        _require_guard(left, outcome.world, config)
    except Refusal:
        back()
        raise
    told.lost(frozenset[bytes]().union(*(one.peers for one in left)), outcome.world)
    return back


def _require_guard(left: "tuple[Leftovers, ...]", world: "World", config: Path) -> None:
    """Raises Refusal where the old chains shut out strangers by an interface, and the new rules would not."""
    before = frozenset[str]().union(*(one.guarded for one in left)) & {name for _, name in if_nameindex()}
    now = {managed_interface(world.policy, world.host, kind) for kind in InterfaceKind}
    open_to_all = sorted(before - now if world.policy.mode is Mode.ENFORCE else before)
    if open_to_all:
        names = ", ".join(open_to_all)
        message = (
            f"the old chains keep strangers out by {names}, and the new configuration would let them in: "
            f"set `managed = true` for that interface in {config} and leave `mode` at enforce, "
            f"or remove the old rules of {names} yourself"
        )
        raise Refusal(message, reason="unguarded")


def _save(config: Path, kernel: "Backend", told: "_Report") -> None:
    """Save the host's rules; when that fails the new rules stand all the same."""
    from .keeping import keeper

    kept = keeper(load(config).persist, getattr(kernel, "variant", None) or "")
    try:
        if kept:
            kept.keep(None)
    except StoreFailed as error:
        told.warn(f"{error}; try again with: droplan save")


class _Report:
    """What is said: line by line as it happens, or as one document in the end."""

    def __init__(self, planned: "Migration", found: "Found", *, as_json: bool, dry_run: bool) -> None:
        self._planned, self._difference = planned, difference(found)
        self._json, self._dry_run = as_json, dry_run
        self._done: list[Step] = []
        self._warnings = list(planned.cautions)

    def before(self) -> None:
        """What was found, and in a dry run what would be done."""
        if self._json:
            return
        if not self._planned:
            print("nothing to do: there is nothing of the old droplan here that is not migrated")
        for source in self._planned.sources:
            print(f"found: {escape(source)}")
        for step in self._planned.steps if self._dry_run else ():
            print(f"would {escape(str(step))}")
            for line in step.text.splitlines() if isinstance(step, WriteConfig) else ():
                print(f"    {escape(line)}".rstrip())

    def tell(self, step: "Step") -> None:
        """A step that is done."""
        self._done.append(step)
        if not self._json:
            print(f"done: {escape(str(step))}", flush=True)

    def warn(self, text: str) -> None:
        """Something that a person has to mend."""
        self._warnings.append(text)

    def lost(self, peers: "frozenset[Address]", world: "World") -> None:
        """Whom the old chains let in, and the new rules do not name."""
        own = {*world.own.private, *world.own.public}
        named = frozenset[bytes]().union(*(each.elements for each in world.desired.sets.values()))
        gone = sorted(address for address in peers - own if address not in named)
        if gone:
            shown = ", ".join(map(format_address, gone[:_SHOWN])) + (" and others" if gone[_SHOWN:] else "")
            self.warn(f"the old chains let in {shown}; the new rules do not: droplan peers --all says why")

    def after(self) -> None:
        """What is left to a person."""
        if self._json:
            steps = [_step(step, done=step in self._done) for step in self._planned.steps]
            output.document(
                {
                    "ok": True,
                    "dry_run": self._dry_run,
                    "found": list(self._planned.sources),
                    "steps": steps,
                    "warnings": self._warnings,
                    "difference": self._difference,
                }
            )
            return
        for warning in self._warnings:
            output.note(f"warning: {escape(warning)}")
        if self._difference:
            print("the configuration is left as it is; what the old droplan was told differs:")
            print(escape(mask(self._difference), keep="\n"))
        if self._done:
            print("now start the daemon, which goes on from here: systemctl enable --now droplan")


def _step(step: "Step", *, done: bool) -> dict[str, Any]:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(step).__name__).lower()
    return {"step": name, "text": str(step), "done": done}
