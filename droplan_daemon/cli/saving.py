"""`droplan save`: the host's iptables rules, where its distribution restores them."""

from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import StoreFailed
from droplan_daemon.persist.keeper import Result
from droplan_daemon.plaintext import escape

from . import output, wiring
from .keeping import keeper, unrestored

if TYPE_CHECKING:
    import argparse

    from droplan_daemon.persist.keeper import Saved

SAVE = """\
What iptables-save, ip6tables-save and `ipset save` print, tried with
`iptables-restore --test` and put where this distribution restores it from:
/etc/iptables/rules.v4, rules.v6 and ipsets, or /etc/sysconfig/iptables,
ip6tables and ipset; or where [persist] says. The previous file is kept as
FILE.droplan-bak, and one that would stay the same is left alone. The daemon
does so by itself after each change while the backend is iptables.

examples:
  sudo droplan save
  sudo droplan save --dry-run

json: ok, dry_run, files (path, result, note, backup)
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `save` takes."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be saved, and write nothing")


def run(args: "argparse.Namespace") -> int:
    """Save now; 1 when a file could not be saved."""
    settings = wiring.settings_of(args, need_token=False)
    kept = keeper(settings.persist, asked=True)
    if kept is None:
        raise StoreFailed("there is no place to save the rules to: name one in [persist]")
    done = kept.save(dry_run=args.dry_run)
    well = all(saved.result is not Result.FAILED for saved in done)
    if args.json:
        output.document({"ok": well, "dry_run": args.dry_run, "files": [_plain(saved) for saved in done]})
        return 0 if well else 1
    for saved in done:
        print(_line(saved, dry_run=args.dry_run))
        if saved.note:
            output.note(escape(saved.note))
    if why := unrestored(settings.persist):
        output.note(why)
    return 0 if well else 1


def _line(saved: "Saved", *, dry_run: bool) -> str:
    result = "would be saved" if dry_run and saved.result is Result.SAVED else saved.result.value
    kept = f" (the previous one: {saved.backup})" if saved.backup else ""
    return f"{saved.path}: {result}{kept}"


def _plain(saved: "Saved") -> dict[str, str | Path | None]:
    return {
        "path": saved.path,
        "result": saved.result.value,
        "note": saved.note,
        "backup": saved.backup,
    }
