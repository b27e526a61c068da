"""`droplan accept`: what an answer takes away, and is held, may go.

Laws:
1. What is accepted is what was held when the operator said so, and nothing that is missing later.
2. It is written down for the next cycle, whoever runs it, and the daemon is woken for it.
"""

import errno
from typing import TYPE_CHECKING, Any

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.errors import NotPermitted, StoreFailed
from droplan_daemon.model.doubt import FLEET, SELF, Absences
from droplan_daemon.plaintext import escape
from droplan_daemon.settings import environment, folders

from . import output, status_view, wiring

if TYPE_CHECKING:
    import argparse

ACCEPT = """\
An answer that takes away too much at once (more than 30 % of a set and more than five, or the
last one), or by which this Droplet is another one, is not believed before three answers in a row
agree. What is held is in `droplan status`; with this it is believed with the next answer. So is
a [peers] tag that no Droplet has, where it is refused.

examples:
  sudo droplan status
  sudo droplan accept
  sudo droplan accept --json | jq .accepted

json: ok, accepted (what, count), woken (whether a daemon looks again now)
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """Nothing beside what every command takes."""


def run(args: "argparse.Namespace") -> int:
    """Write it down, wake the daemon, tell. Raises DroplanError."""
    from .nudge import nudge

    found = folders(environment())
    files = StateFiles(found.state, found.runtime)
    held, tag = _held(files), _tag(files, args)
    words = {held.digest, tag} - {""}
    if words:
        _write(files, frozenset(words))
    woken = bool(words) and nudge(files)
    _tell(held, tag, woken=woken, as_json=args.json)
    return 0


def _held(files: StateFiles) -> Absences:
    """What is held now. Raises NotPermitted."""
    try:
        return files.read_absences()
    except StoreFailed as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise NotPermitted(
                "what is held may not be read by this user; try: sudo droplan accept"
            ) from None
        return Absences()


def _tag(files: StateFiles, args: "argparse.Namespace") -> str:
    """The word for a tag that is refused: by the daemon, or else by the next `droplan once`."""
    try:
        told: dict[str, Any] = files.read_status()
    except StoreFailed:
        told = {}
    if status_view.is_alive(told.get("pid")):
        error = told.get("error")
        return str(error.get("accept") or "") if isinstance(error, dict) else ""
    tag = wiring.settings_of(args, need_token=False).policy.peers.tag
    return f"tag:{tag}" if tag else ""


def _write(files: StateFiles, words: frozenset[str]) -> None:
    try:
        files.accept(words)
    except StoreFailed as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise NotPermitted("this user may not accept anything; try: sudo droplan accept") from None
        raise


def _tell(held: Absences, tag: str, *, woken: bool, as_json: bool) -> None:
    accepted = [{"what": name, "count": len(found)} for name, found in held.groups.items()]
    accepted += [{"what": tag, "count": 1}] if tag else []
    if as_json:
        output.document({"ok": True, "accepted": accepted, "woken": woken})
        return
    for name, found in held.groups.items():
        print(f"accepted: {_words(name, len(found))}")
    if tag:
        print(f"accepted: peers.tag is '{escape(tag.removeprefix('tag:'))}', whoever has it")
    if accepted:
        print("the daemon looks again now" if woken else "the next cycle acts on it: droplan once")
    else:
        print("nothing to accept: nothing is held")


def _words(group: str, count: int) -> str:
    if group == SELF:
        return "this Droplet is what the answer says"
    what = "Droplets" if group == FLEET else f"addresses of {group}"
    return f"{count:,} {what} that the answer lacks may go"
