"""`droplan matrix`: who reaches whom on which ports, for the whole fleet.

Law: it asks `policy.matrix` and prints; what was expected is what `--json` wrote.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import ConfigInvalid, Problem, StoreFailed
from droplan_daemon.plaintext import escape
from droplan_daemon.policy import expectation
from droplan_daemon.policy.matrix import matrix
from droplan_daemon.policy.openings import labels
from droplan_daemon.policy.warnings import everywhere

from . import matrix_view, output, wiring

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.policy.expectation import Comparison, Told
    from droplan_daemon.policy.matrix import Matrix

MATRIX = """\
Droplets that behave alike are one row and one column. "any" is whoever is not in
the fleet: the Internet, and strangers on the VPC. --html writes one page that
needs nothing else: a table and a graph, to be looked at in a browser.

Offline: with --fleet FILE (what GET /v2/droplets answers), no daemon, no root, no
token and no network are needed.

examples:
  droplan matrix --config droplan.toml --fleet fleet.json
  droplan matrix --fleet fleet.json --html fleet.html
  droplan matrix --fleet fleet.json --json > expected.json
  droplan matrix --fleet fleet.json --expect expected.json    exits with 1 if it differs

json: ok, groups (name, droplets, mode, private, public), outside,
  reach (to, on, ports, from); with --expect: ok, new, missing,
  modes, differences (from, to, on, gained, lost)
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """Those of this command alone."""
    parser.add_argument("--fleet", type=Path, metavar="FILE", help="the fleet, instead of the API's")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to look at")
    parser.add_argument("--expect", type=Path, metavar="FILE", help="compare with what --json wrote before")
    parser.set_defaults(name=None)


def run(args: "argparse.Namespace") -> int:
    """The command."""
    expected = _expected(args.expect) if args.expect else None
    policy, fleet = asyncio.run(_fleet(args))
    found = matrix(policy, fleet)
    if args.html:
        _write(args.html, found)
    if expected is not None:
        return _compared(expected, found, as_json=args.json)
    if args.json:
        output.document({"ok": True, **expectation.document(found)})
        return 0
    for text in everywhere(policy, fleet):
        print(f"warning: {escape(text)}", file=sys.stderr)
    if args.html:
        print(f"written: {args.html}")
        return 0
    for line in matrix_view.table(found, shutil.get_terminal_size().columns):
        print(line)
    return 0


async def _fleet(args: "argparse.Namespace") -> "tuple[Policy, Fleet]":
    async with wiring.cycle_for(args, wiring.nothing()) as cycle:
        return cycle.policy, await cycle.source.gather()


def _expected(path: Path) -> "Told":
    """What a file says. Raises ConfigInvalid for one that `--json` did not write."""
    try:
        return expectation.told(json.loads(path.read_bytes()))
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _unusable(path, "is not what `droplan matrix --json` writes") from error


def _unusable(path: Path, words: str) -> ConfigInvalid:
    hint = "write it with: droplan matrix --json > expected.json"
    return ConfigInvalid(str(path), (Problem(f"the file {words}", hint=hint),))


def _compared(expected: "Told", found: "Matrix", *, as_json: bool) -> int:
    actual = expectation.told(expectation.document(found))
    comparison = expectation.compared(expected, actual)
    if as_json:
        output.document({"ok": not comparison, **_plain(comparison)})
    elif not comparison:
        print("as expected")
    else:
        print("not as expected (+ is new, - is gone):")
        for line in matrix_view.differences(comparison):
            print(f"  {line}")
    return 1 if comparison else 0


def _plain(found: "Comparison") -> "dict[str, Any]":
    return {
        "new": list(found.come),
        "missing": list(found.gone),
        "modes": {mode: list(names) for mode, names in found.modes.items()},
        "differences": [
            {
                "from": list(one.senders),
                "to": list(one.targets),
                "on": one.lane.value,
                "gained": list(labels(one.gained)),
                "lost": list(labels(one.lost)),
            }
            for one in found.differences
        ],
    }


def _write(path: Path, found: "Matrix") -> None:
    """The page. Raises StoreFailed."""
    from .matrix_page import page

    text = page(found)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"{path} cannot be written ({error.strerror}); name another file with --html"
        raise StoreFailed(message, errno=error.errno) from error
