"""Arguments and help. Every command's help has examples."""

import argparse
from os import terminal_size
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droplan_daemon import __version__
from droplan_daemon.lean import stand_in

from . import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DESCRIPTION = "Keeps a DigitalOcean Droplet's firewall in step with its fleet."
_EXAMPLES = """\
examples:
  DO_KEY=... droplan plan            what would change on this Droplet now
  sudo DO_KEY=... droplan once       change it, once (for cron and scripts)
  droplan check                      is /etc/droplan/droplan.toml right?
  droplan show --fleet fleet.json --as web-1
                                     the ruleset of another Droplet, offline
  droplan lab demo                   watch an emulated fleet being protected

exit codes: 0 done, 1 failed with nothing half-done, 2 wrong usage,
3 something to change (plan --exit-code), 77 not permitted, 78 invalid configuration
With --json an error is a document too: ok (false), reason, message.
"""
_OFFLINE = """
Offline: with --fleet FILE (what GET /v2/droplets answers) and --as NAME, no
daemon, no root, no token and no network are needed.
"""


def parse(argv: "Sequence[str]") -> argparse.Namespace:
    """The command and its options; exits with 2 when they are wrong."""
    if "run" not in argv:
        return tree(argv).parse_args(argv)
    # For the width of its help argparse loads shutil, which loads two compressors: a daemon keeps neither.
    with stand_in("shutil", get_terminal_size=lambda: terminal_size((100, 24))):
        return tree(argv).parse_args(argv)


def tree(argv: "Sequence[str]") -> argparse.ArgumentParser:
    """The parser for `argv`; `explain` and `matrix` have their arguments only where `argv` names them."""
    parser = _parser("droplan", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--version", action="version", version=f"droplan {__version__}")
    found = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(found, "run", commands.run, "the daemon", _RUN)
    once = _add(found, "once", commands.once, "one cycle, then exit: for cron, and for scripts", _ONCE)
    plan = _add(found, "plan", commands.plan, "what `once` would change now; changes nothing", _PLAN)
    plan.add_argument("--exit-code", action="store_true", help="exit with 3 if there is something to do")
    show = _add(
        found, "show", commands.show, "the desired ruleset as a script: of nft, or of iptables", _SHOW
    )
    show.add_argument(
        "--format", choices=("nft", "iptables", "json"), default="nft", help="default: %(default)s"
    )
    check = _add(found, "check", commands.check, "the configuration: every error at once", _CHECK)
    _add(found, "status", commands.status, "what the daemon did last, and how it is", _STATUS)
    peers = _add(found, "peers", commands.peers, "who counts as a peer, and why", _PEERS)
    peers.add_argument("--all", action="store_true", help="those that are no peers too")
    explain = _add_asked(found, argv, "explain", "the verdict for a sender, and why")
    _add_asked(found, argv, "matrix", "who can reach whom on which ports, for the whole fleet")
    _add(found, "flush", commands.flush, "remove everything that droplan put in the kernel", _FLUSH)
    _add_asked(
        found, argv, "reload", "the configuration, read anew by the daemon; waits until it is enforced"
    )
    _add_asked(found, argv, "try", "a configuration for a while; the kernel ends it unless you confirm it")
    _add_asked(found, argv, "confirm", "what is on trial stays")
    _add_asked(found, argv, "pause", "drop nothing for a while; the kernel ends it")
    _add_asked(found, argv, "panic", "close everything but management and replies, now")
    _add_asked(found, argv, "accept", "what an answer takes away, and is held, may go")
    _add_asked(found, argv, "restore", "load the checkpoint: what was enforced last")
    _add_asked(found, argv, "save", "the host's iptables rules, where its distribution restores them")
    _add_asked(found, argv, "migrate", "come from the old droplan without a gap")
    _add_asked(found, argv, "doctor", "what on this machine works against droplan, and what to do about it")
    for wordy in (once, plan):
        wordy.add_argument("--verbose", action="store_true", help="every change, to the rules too")
    for insisting in (once, check, plan):
        insisting.add_argument("--yes-lock-me-out", action="store_true", help=_INSISTING)
    for offline in (check, plan, show, peers, explain):
        offline.add_argument("--fleet", type=Path, metavar="FILE", help="the fleet, instead of the API's")
        offline.add_argument("--as", dest="name", metavar="NAME", help="name or id of the Droplet to be")
    if list(argv[:1]) != ["run"]:  # a daemon carries no lab
        commands.add_lab(found)
    return parser


def _parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog, description=description, epilog=epilog, formatter_class=shape)


def _add(
    found: Any, name: str, command: "Callable[[argparse.Namespace], int]", words: str, epilog: str
) -> argparse.ArgumentParser:
    description = f"{words[0].upper()}{words[1:]}."
    shape = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = found.add_parser(
        name, help=words, description=description, epilog=epilog, formatter_class=shape
    )
    parser.set_defaults(command=command)
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/droplan/droplan.toml")
    if name != "run":
        parser.add_argument("--json", action="store_true", help="for programs: one JSON document")
    return parser


def _add_asked(found: Any, argv: "Sequence[str]", name: str, words: str) -> argparse.ArgumentParser:
    """A command whose arguments and help are loaded only when it is asked for: a daemon carries neither."""
    command = getattr(commands, "try_" if name == "try" else name)  # a word of Python's own
    if name not in argv:
        return _add(found, name, command, words, "")
    room = commands.room(name)
    parser = _add(found, name, command, words, getattr(room, name.upper()))
    room.add_arguments(parser)
    return parser


_INSISTING = "a policy that leaves nobody a way in is meant: it is not refused"
_RUN = """\
Polls, writes what differs, tells systemd. SIGHUP reads the configuration anew,
SIGTERM ends the daemon and leaves the rules standing.

examples:
  sudo systemctl enable --now droplan
  sudo DO_KEY=... droplan run
"""
_ONCE = """\
Nothing is changed where nobody could log in any more (by SSH, or `[management]
ports`), or where the SSH connection that this is typed in would be cut.

examples:
  sudo DO_KEY=... droplan once
  sudo droplan once --config droplan.toml --json

json: ok, droplet, peers, changes (kind, text, set, elements), warnings, doubts
"""
_PLAN = f"""\
Who gains or loses which ports on this Droplet, which of the connections that are
open now would be cut, who may still log in, and what the kernel gets. A policy
that leaves nobody a way in is refused, as `once` does, with 1.
Needs root or CAP_NET_ADMIN to read what the kernel holds.
{_OFFLINE}
examples:
  sudo droplan plan
  sudo droplan plan --exit-code || echo "something to change"
  droplan plan --config droplan.toml --fleet fleet.json --as web-1

json: ok, droplet, peers, backend, changes (kind, text, set, elements), warnings, doubts,
  judged, released, reach (interface, direction, who, gained, lost), cuts, moves_from,
  management (ports, required, closed, ways, cuts, own_cut)
"""
_SHOW = f"""\
{_OFFLINE.lstrip()}
examples:
  droplan show
  droplan show --fleet fleet.json --as mysql-1 | sudo nft -c -f -
  droplan show --fleet fleet.json --as mysql-1 --format iptables
  droplan show --fleet fleet.json --as mysql-1 --format json

json: comment, flags, sets, maps, chains
"""
_CHECK = """\
With --fleet FILE (what GET /v2/droplets answers) it also says what of the policy
fits nobody of that fleet: a tag that no Droplet has, a rule that nobody enforces.
It needs no token then. --as NAME looks from one Droplet. Warnings do not fail.

It says who may reach port 22 (or `[management] ports`) of whom. A policy by which
nobody reaches some Droplet is refused, with 1, unless that is said to be meant.

examples:
  droplan check
  droplan check --config droplan.toml --fleet fleet.json
  droplan check --config droplan.toml --json

json: ok, warnings, problems (file, key, line, column, message, hint), fleet_warnings,
  management (ports, required, closed, doors or groups or ways)
"""
_STATUS = """\
Exits with 1 when no daemon runs, or when it is in trouble.

examples:
  droplan status
  droplan status --json | jq .world.peers

json: headline, ready, alive, overdue, outcome, error, unsaved, untold, remarks, doubts, stale,
  lease, panic, tampering, kernel_busy_s, config_error, reload, world, denied, warnings, budget,
  verified_at, next_poll_at, time, mode, version, pid, config
"""
_PEERS = f"""\
{_OFFLINE.lstrip()}
examples:
  droplan peers
  droplan peers --all --fleet fleet.json --as web-1

json: a list of id, name, peer, reason, private, public
"""
_FLUSH = """\
What droplan put in the kernel is removed, its boot script, and what of it was saved
with the host's iptables rules; other people's rules are never touched.
Stop the daemon first: it would put everything back at once, so beside it nothing is done.

examples:
  sudo systemctl disable --now droplan && sudo droplan flush

json: ok, removed, retired (the boot script), cleared (files of saved rules)
"""
