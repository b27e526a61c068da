"""The environment variables of the old droplan, in the words of the file. Pure.

Law: the file wins. A variable that says something else than the file is a warning, and
PUBLIC is one statement: it counts only where the file says nothing about who may enter by
the public interface, or half of it could lock everybody out.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import Problem
from droplan_daemon.plaintext import cut, escape, mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .document import Document

Name = tuple[str, str]
"""A key as section and name."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What the environment adds: values as the file would have them, and the variable of each."""

    values: "Mapping[Name, Any]" = field(default_factory=dict)
    variables: "Mapping[Name, str]" = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def overlay(environ: "Mapping[str, str]", document: "Document") -> Overlay:
    """What DO_TAG, DO_INTERVAL and PUBLIC say where the file says nothing."""
    said, problems, warnings = _statements(environ)
    values: dict[Name, Any] = {}
    variables: dict[Name, str] = {}
    for variable, statement in said.items():
        if any(_has(document, name) for name in statement):
            warnings += _ignored(variable, statement, document)
            continue
        values |= statement
        variables |= dict.fromkeys(statement, variable)
    return Overlay(values, variables, tuple(problems), tuple(warnings))


def merged(document: "Document", added: Overlay) -> dict[str, Any]:
    """The file's data with the environment's values; neither is touched."""
    data = dict(document.data)
    for (section, name), value in added.values.items():
        table = data.get(section, {})
        if isinstance(table, dict):  # else the file is wrong there, and says so itself
            data[section] = {**table, name: value}
    return data


def _statements(
    environ: "Mapping[str, str]",
) -> tuple[dict[str, dict[Name, Any]], list[Problem], list[Problem]]:
    said: dict[str, dict[Name, Any]] = {}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    if tag := environ.get("DO_TAG", ""):
        said["DO_TAG"] = {("peers", "tag"): tag}
    if seconds := environ.get("DO_INTERVAL", "").strip():
        if seconds.isascii() and seconds.isdigit():
            said["DO_INTERVAL"] = {("source", "interval"): f"{seconds}s"}
        else:
            problems.append(_not_seconds(seconds))
    public = environ.get("PUBLIC", "").strip().lower()
    if public == "true":
        said["PUBLIC"] = {("public", "managed"): True, ("public", "allow_peers"): True}
    elif public not in {"", "false"}:
        warnings.append(_not_true(public))
    return said, problems, warnings


def _has(document: "Document", name: Name) -> bool:
    table = document.data.get(name[0])
    return isinstance(table, dict) and name[1] in table


def _ignored(variable: str, statement: "Mapping[Name, Any]", document: "Document") -> list[Problem]:
    """A warning, unless the file says the very same."""
    if all(
        _has(document, name) and document.data[name[0]][name[1]] == value for name, value in statement.items()
    ):
        return []
    name = next(name for name in statement if _has(document, name))
    spot = document.key(name)
    key = ".".join(name)
    return [
        Problem(
            f"{variable} is ignored, because the file says `{key}`",
            key,
            spot.line if spot else None,
            spot.column if spot else None,
            hint=f"unset {variable}",
        )
    ]


def _not_seconds(seconds: str) -> Problem:
    return Problem(
        f"DO_INTERVAL must be a whole number of seconds, not {_shown(seconds)}",
        "DO_INTERVAL",
        hint="such as DO_INTERVAL=300",
    )


def _not_true(public: str) -> Problem:
    return Problem(
        f"PUBLIC={_shown(public)} is taken as no: only PUBLIC=true means yes",
        "PUBLIC",
        hint="write PUBLIC=true",
    )


def _shown(value: str) -> str:
    return mask(cut(escape(value), 40), doubtful=True)
