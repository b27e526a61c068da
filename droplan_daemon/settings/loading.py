"""The edge of this room: reads the environment and the files, and puts the pieces together."""

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from droplan_daemon.errors import ConfigInvalid, Problem

from . import render
from .building import policy
from .cautions import cautions
from .contradictions import contradictions
from .document import LONGEST, Document, decode, parse
from .environment import merged, overlay
from .schema import File
from .tokens import Found, find_token
from .translate import translate
from .values import MetricsSettings, PersistSettings, Settings, SourceKind, SourceSettings, folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

    from .positions import KeyPath

DEFAULT_PATH = Path("/etc/droplan/droplan.toml")

_BEFORE_TOKEN = frozenset({("source",), ("source", "kind"), ("source", "token_file")})
"""Keys with whose mistakes nobody knows where the token is."""


def environment() -> dict[str, str]:
    """A copy of this process's environment, for whoever is handed `environ`."""
    return dict(os.environ)


def load(
    path: Path | None = None,
    environ: "Mapping[str, str] | None" = None,
    *,
    need_token: bool = True,
    must_exist: bool | None = None,
) -> Settings:
    """Read the configuration anew: the file, the environment, the token.

    Args:
        path: the file; None: the default one.
        environ: the environment; None: this process's.
        need_token: False for what works offline: no token is looked for, and none is missed.
        must_exist: whether a missing file is a mistake; None: only when it is not the default
            one. A file that may be missing counts as empty.

    Raises:
        ConfigInvalid: with every Problem, in the order of the file.
    """
    path = DEFAULT_PATH if path is None else path
    environ = environment() if environ is None else environ
    if must_exist is None:
        must_exist = path != DEFAULT_PATH
    found = _read(path, environ, need_token=need_token, must_exist=must_exist)
    if not isinstance(found, Settings):
        raise ConfigInvalid(str(path), _in_order(found))
    return found


def describe(path: str | Path, problems: "Iterable[Problem]", *, label: str = "") -> str:
    """Problems for a person, each with its line of the file, as far as that can still be read."""
    data = _bytes(Path(path), must_exist=False)
    text = "" if isinstance(data, Problem) else data.decode("utf-8", "replace").removeprefix("\ufeff")
    return render.human(str(path), problems, text, label=label)


def _read(
    path: Path, environ: "Mapping[str, str]", *, need_token: bool, must_exist: bool
) -> Settings | list[Problem]:
    """Settings, or every Problem: one that is found keeps none of the others from being looked for."""
    data = _bytes(path, must_exist=must_exist)
    document = _document(data)
    readable = isinstance(document, Document)
    problems = [] if isinstance(document, Document) else [document]
    document = document if isinstance(document, Document) else Document()
    added = overlay(environ, document)
    file, errors = _validated(merged(document, added))
    doubtful = frozenset(tuple(error["loc"]) for error in errors)
    problems += [
        *added.problems,
        *translate(errors, document, added.variables),
        *contradictions(file, document, doubtful),
    ]
    folder = path.absolute().parent
    found = Found()
    if need_token and readable and not doubtful & _BEFORE_TOKEN:
        found = _token(file, document, environ, folder)
    ca_problem, extra_problem = _ca_problem(file, document, folder), _extra_problem(file, document)
    problems += [problem for problem in (found.problem, ca_problem, extra_problem) if problem]
    if problems:
        return problems
    made = policy(file)
    warnings = _in_order([*added.warnings, *cautions(file, made, document), *found.warnings])
    return Settings(
        policy=made,
        source=_source(file, found, folder),
        folders=folders(environ),
        path=path,
        warnings=warnings,
        persist=_persist(file, folder),
        metrics=_metrics(file, folder),
        digest=sha256(data).hexdigest() if isinstance(data, bytes) else "",
    )


def _document(data: bytes | Problem) -> Document | Problem:
    text = data if isinstance(data, Problem) else decode(data)
    return text if isinstance(text, Problem) else parse(text)


def _bytes(path: Path, *, must_exist: bool) -> bytes | Problem:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST + 1)
    except FileNotFoundError:
        if not must_exist:
            return b""
        return Problem(
            "the file does not exist", hint="name an existing file; an empty one means the defaults"
        )
    except IsADirectoryError:
        return Problem(
            "this is a folder, not a file", hint=f"name the file in it: {path / DEFAULT_PATH.name}"
        )
    except PermissionError:
        return Problem(
            "the file may not be read", hint="let droplan's user read it: chmod a+r, it holds no secret"
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "its name is not valid"
        return Problem(f"the file cannot be read: {reason.lower()}", hint="name another file")


def _validated(data: "Mapping[str, Any]") -> "tuple[File, list[ErrorDetails]]":
    """The file as far as it is valid, and what is not. Every key is optional, so the rest stands."""
    try:
        return File.model_validate(data), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
    rest = _without(data, {tuple(error["loc"]) for error in errors})
    return File.model_validate(rest), errors


def _without(data: "Mapping[str, Any]", paths: "set[KeyPath]") -> dict[str, Any]:
    """The data without what stands at these paths. In a list of tables every table keeps its number."""
    rest: dict[str, Any] = {}
    for name, value in data.items():
        below = _below(paths, name)
        if isinstance(value, list) and () not in below:
            rest[name] = [_table(table, _below(below, index)) for index, table in enumerate(value)]
        elif () not in below:
            rest[name] = _table(value, below)
    return rest


def _table(value: Any, paths: "set[KeyPath]") -> Any:
    """A value without what stands at these paths, a table that is wrong itself as an empty one."""
    if () in paths:
        return {}
    if not isinstance(value, dict):
        return value
    below = {name: _below(paths, name) for name in value}
    return {
        name: _table(item, below[name])
        for name, item in value.items()
        if not below[name] or (isinstance(item, dict) and () not in below[name])
    }


def _below(paths: "set[KeyPath]", part: str | int) -> "set[KeyPath]":
    return {path[1:] for path in paths if path[:1] == (part,)}


def _token(file: File, document: Document, environ: "Mapping[str, str]", folder: Path) -> Found:
    if file.source.kind is not SourceKind.DIGITALOCEAN:
        return Found()
    name = file.source.token_file
    found = find_token(environ, None if name is None else folder / name)
    problem = None if found.problem is None else _placed(found.problem, document)
    warnings = tuple(_placed(warning, document) for warning in found.warnings)
    return replace(found, problem=problem, warnings=warnings)


def _placed(problem: Problem, document: Document) -> Problem:
    """The same Problem, where its key stands in the file (if it does)."""
    path = tuple(problem.key.split("."))
    spot = document.value(path) if path in document.places else None
    return (
        problem
        if spot is None
        else Problem(problem.message, problem.key, spot.line, spot.column, problem.hint)
    )


def _ca_problem(file: File, document: Document, folder: Path) -> Problem | None:
    if file.source.ca_file is None:
        return None
    message = _doubt_of_authorities(folder / file.source.ca_file)
    hint = "name a PEM file of certificates: -----BEGIN CERTIFICATE-----"
    return (
        _placed(Problem(f"`source.ca_file` {message}", "source.ca_file", hint=hint), document)
        if message
        else None
    )


def _extra_problem(file: File, document: Document) -> Problem | None:
    """What listening needs, and is not there. Looked for, not loaded: whoever listens loads it."""
    if file.metrics.listen is None:
        return None
    from importlib.util import find_spec  # noqa: PLC0415 - a daemon that nobody asks carries none

    if find_spec("prometheus_client"):
        return None
    message = "`metrics.listen` needs the Python package prometheus_client, which is not installed"
    hint = "install droplan-daemon[metrics], or use metrics.textfile, which needs nothing"
    return _placed(Problem(message, "metrics.listen", hint=hint), document)


def _doubt_of_authorities(path: Path) -> str:
    """Why TLS could not trust what this file holds; empty when it can."""
    import ssl  # noqa: PLC0415 - a daemon that asks nobody over TLS carries none

    try:
        with path.open("rb") as stream:
            text = stream.read(LONGEST).decode("ascii", "replace")
        if "-----BEGIN CERTIFICATE-----" not in text:
            return "holds no certificate in PEM form"
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "holds a certificate that cannot be read"
    except OSError as error:
        return f"cannot be read: {(error.strerror or 'error').lower()}"
    return ""


def _source(file: File, found: Found, folder: Path) -> SourceSettings:
    source = file.source
    return SourceSettings(
        kind=source.kind,
        url=source.url,
        metadata_url=source.metadata_url,
        interval=source.interval,
        token=found.token,
        renewal=found.renewal,
        token_path=found.path,
        ca_file=None if source.ca_file is None else folder / source.ca_file,
        path=None if source.path is None or source.kind is not SourceKind.FILE else folder / source.path,
    )


def _persist(file: File, folder: Path) -> PersistSettings:
    said = file.persist
    paths = (None if path is None else folder / path for path in (said.rules_v4, said.rules_v6, said.ipsets))
    return PersistSettings(said.iptables_save, *paths)


def _metrics(file: File, folder: Path) -> MetricsSettings:
    said = file.metrics
    return MetricsSettings(said.listen, None if said.textfile is None else folder / said.textfile)


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """As they stand in the file; those that do not stand there come last."""
    last = float("inf")
    return tuple(sorted(problems, key=lambda p: (p.line or last, p.column or last)))
