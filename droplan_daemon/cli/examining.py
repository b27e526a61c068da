"""`droplan doctor`: what on this machine works against droplan, and what to do about it."""

import asyncio
import os
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from droplan_daemon.doctor.finding import Finding, Severity
from droplan_daemon.doctor.findings import findings, is_wrong
from droplan_daemon.plaintext import escape, mask

from . import output
from .gathering import facts

if TYPE_CHECKING:
    import argparse

DOCTOR = """\
Looks at the configuration and the token, asks the API and the metadata service,
tries each scope that is needed, and looks at the kernel, at other people's firewalls,
at the units, the daemon, and what the next boot would restore. Changes nothing, and
asks the API nothing but GET. Each finding is a line: how bad it is, what, what to do,
and an id that docs/doctor.md explains. What could not be looked at is named.

examples:
  sudo droplan doctor
  sudo droplan doctor --verbose       what is fine, too
  sudo droplan doctor --json | jq '.findings[] | select(.severity == "error")'

Exits with 1 when there is an error or a warning, else with 0.
json: ok, findings (id, severity, what, fix)
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """What `doctor` takes."""
    parser.add_argument("--verbose", action="store_true", help="what is fine, too")


def run(args: "argparse.Namespace") -> int:
    """Look, and tell; 1 when something is to be done."""
    told = findings(asyncio.run(facts(args.config)), uid=os.geteuid())
    wrong = is_wrong(told)
    if args.json:
        output.document({"ok": not wrong, "findings": [_plain(finding) for finding in told]})
        return int(wrong)
    for finding in told:
        if args.verbose or finding.severity is not Severity.FINE:
            print(_line(finding))
    print(_summary(told, verbose=args.verbose))
    return int(wrong)


def _line(finding: Finding) -> str:
    fix = f" -> {_safe(finding.fix)}" if finding.fix else ""
    return f"{finding.severity}: {_safe(finding.what)}{fix} [{finding.id}]"


def _plain(finding: Finding) -> dict[str, str]:
    return {name: mask(str(value)) for name, value in asdict(finding).items()}


def _safe(text: str) -> str:
    return mask(escape(text))


def _summary(told: tuple[Finding, ...], *, verbose: bool) -> str:
    counted = Counter(finding.severity for finding in told)
    bad = [
        f"{counted[severity]} {words if counted[severity] != 1 else word}"
        for severity, word, words in _WORDS
        if counted[severity]
    ]
    fine = "" if verbose else " (droplan doctor --verbose shows them)"
    return f"{', '.join(bad) or 'nothing to do'}; {counted[Severity.FINE]} things are fine{fine}"


_WORDS = (
    (Severity.ERROR, "error", "errors"),
    (Severity.WARNING, "warning", "warnings"),
    (Severity.UNKNOWN, "thing unknown", "things unknown"),
    (Severity.NOTE, "note", "notes"),
)
