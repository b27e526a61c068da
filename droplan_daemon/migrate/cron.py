r"""Crontabs: which line runs what, with which variables. Pure.

Source: crontab(5): variables stand for the lines after them, a `%` ends the command unless escaped,
files of /etc/cron.d name a user before the command and those of `crontab -e` do not.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = re.compile(r"\s*([\"']?)([A-Za-z_]\w*)\1\s*=\s*(.*?)\s*", re.ASCII)
_JOB = re.compile(r"\s*(?:@\w+|(?:[^\s#]+\s+){4}[^\s#]+)\s+(.*)")
_PERCENT = re.compile(r"(?<!\\)%")
_WITH_USER = 2


@dataclass(frozen=True, slots=True)
class Job:
    """A line (0-based) and what it hands to the shell; `variables` are those of the lines above."""

    line: int
    command: str
    variables: "Mapping[str, str]"


def jobs(text: str, *, users: bool) -> list[Job]:
    """Every job; `users`: lines name a user before the command, as in /etc/cron.d."""
    found: list[Job] = []
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines()):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        variable = _VARIABLE.fullmatch(line)
        if variable:
            variables[variable[2]] = _unquoted(variable[3])
            continue
        job = _JOB.fullmatch(line)
        if job:
            found.append(Job(number, _command(job[1], users=users), dict(variables)))
    return found


def _command(rest: str, *, users: bool) -> str:
    if users:
        parts = rest.split(None, 1)
        rest = parts[1] if len(parts) == _WITH_USER else ""
    elif rest.split(None, 1)[:1] == ["root"]:  # copied from a line of /etc/cron.d, and meant
        rest = rest.split(None, 1)[-1]
    return _PERCENT.split(rest, maxsplit=1)[0].replace("\\%", "%")


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in {"'", '"'} and value.endswith(quote) and len(value) > 1:
        return value[1:-1]
    return value
