"""pydantic's errors as Problems of ours. Pure.

Laws: pydantic's messages are never shown and never looked at; its error *types* decide. A
value of the file is repeated only when it is short text under a key that holds no secret.
"""

from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import Problem
from droplan_daemon.plaintext import cut, escape, mask, nearest

from .forms import UNSUITABLE
from .keys import Key, header, keys, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

    from .document import Document
    from .environment import Name
    from .positions import KeyPath, Spot

_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
_LARGEST = 10**9
_SECRET = ("token", "secret", "password")
_NEVER_HERE = "the token itself stands in a file of its own"
_IN_OVERRIDE = 2  # names: `override.private` is described as it is, `override.private.managed` as [private]
_KINDS = (
    (str, "a string"),
    ((int, float), "a number"),
    (list, "an array"),
    (dict, "a table"),
    ((datetime, date, time), "a date or time"),
)


def translate(
    errors: "Iterable[ErrorDetails]", document: "Document", variables: "Mapping[Name, str]"
) -> list[Problem]:
    """One Problem for each error; `variables` names the environment variable behind a key, if one is."""
    return [_problem(error, document, variables) for error in errors]


def holds_secret(key: str) -> bool:
    """Whether a key is so named that its value may be a secret."""
    return any(word in key.lower() for word in _SECRET) or key.rpartition(".")[2].lower() in {"key", "do_key"}


def _problem(error: "ErrorDetails", document: "Document", variables: "Mapping[Name, str]") -> Problem:
    path: KeyPath = tuple(error["loc"])
    names = _names(path)
    if error["type"] == "extra_forbidden":
        return _at(document.key(path), *_unknown(names, error["input"]), _shown_key(names))
    variable = variables.get((names[0], names[-1]))
    subject = variable or f"`{_shown_key(names)}`"
    message, hint = _sentence(error, subject, path)
    offset = error.get("ctx", {}).get("offset")
    spot = document.value(path) if offset is None else document.inside(path, offset)
    return _at(None if variable else spot, message, hint, variable or _shown_key(names))


def _names(path: "KeyPath") -> tuple[str, ...]:
    """The path without the numbers of rules and of elements."""
    return tuple(part for part in path if isinstance(part, str))


def _home(names: tuple[str, ...]) -> tuple[str, ...]:
    """Where the schema describes a key: those in the sections of an override, in the section itself."""
    return names[1:] if names[:1] == ("override",) and len(names) > _IN_OVERRIDE else names


def _at(spot: "Spot | None", message: str, hint: str, key: str) -> Problem:
    return Problem(message, key, spot.line if spot else None, spot.column if spot else None, hint)


def _sentence(error: "ErrorDetails", subject: str, path: "KeyPath") -> tuple[str, str]:
    context, names = error.get("ctx", {}), _names(path)
    if error["type"] == UNSUITABLE:
        return f"{subject} {_safe(context['reason'])}", _safe(context["hint"])
    key = next((key for key in keys() if key.name == ".".join(_home(names))), None)
    found = _found(error["input"], names)
    if key is None:
        form = "a table" if path[1:] or not tables()[names[0]].several else "a list of tables"
        return f"{subject} must be {form}, not {found}", f"write {header(names[0])} on a line of its own"
    words = key.element if isinstance(path[-1], int) else key.words
    return f"{subject} must be {words}, not {found}", _safe(
        context.get("hint") or _better(key, error["input"])
    )


def _found(value: Any, names: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) <= _LARGEST:
        return str(value)
    kind = next((words for types, words in _KINDS if isinstance(value, types)), "this")
    if not isinstance(value, str) or holds_secret(".".join(names)):
        return kind
    return f'"{_safe(cut(escape(value), 40))}"'


def _better(key: Key, value: Any) -> str:
    """What to write instead, where that can be guessed."""
    name = key.name.rpartition(".")[2]
    written = _written(value)
    if key.words == "true or false":
        if written not in _YES | _NO:
            return ""
        return f"write `{name} = {'true' if written in _YES else 'false'}`"
    if key.words.startswith("a duration"):
        return f'write `{name} = "{written}s"`' if written.isdecimal() else ""
    close = nearest(written, key.words.split('"')[1::2])
    return f'did you mean "{close}"?' if close else ""


def _written(value: Any) -> str:
    """A short value as a word, to compare with what would be right; anything else is no word."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        return ""
    return str(value).lower() if isinstance(value, str | int) else ""


def _unknown(names: tuple[str, ...], value: Any) -> tuple[str, str]:
    name, section = names[-1], ".".join(_home(names)[:-1])
    if not section and _is_table(value):
        brackets = ("[[", "]]") if isinstance(value, list) else ("[", "]")
        return f"unknown section {_shown(name).join(brackets)}", _meant_table(name)
    place = f" in {_place(names[:-1])}" if section else ""
    return f"unknown key `{_shown(name)}`{place}", _meant(name, section)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def _place(names: tuple[str, ...]) -> str:
    outer = header(names[0])
    return f"`{names[-1]}` of {outer}" if len(names) > 1 else outer


def _meant_table(name: str) -> str:
    close = nearest(name.lower(), tables())
    known = _listed(tables())
    return f"did you mean {header(close)}?" if close else f"known: {known}"


def _meant(name: str, section: str) -> str:
    homes = _homes()
    close = name if name in homes else nearest(name.lower(), homes)
    if not close or (section == "override" and name in tables() and section not in homes[close]):
        here = [key.name.rpartition(".")[2] for key in keys() if key.section == section]
        return _NEVER_HERE if holds_secret(name) else f"known here: {_listed(here)}"
    meant, places = close, homes[close]
    if section in places:
        return f"did you mean `{meant}`?{f' {_NEVER_HERE}' if holds_secret(name) else ''}"
    where = " or ".join(f"in {header(place)}" if place else "before the first section" for place in places)
    return f"it belongs {where}" if meant == name else f"did you mean `{meant}` {where}?"


def _homes() -> dict[str, list[str]]:
    """The sections that each key can stand in, by its last name."""
    homes: dict[str, list[str]] = {}
    for key in keys():
        homes.setdefault(key.name.rpartition(".")[2], []).append(key.section)
    return homes


def _listed(names: "Iterable[str]") -> str:
    return ", ".join(names)


def _shown_key(names: tuple[str, ...]) -> str:
    return ".".join(map(_shown, names))


def _shown(name: str) -> str:
    return _safe(cut(escape(name), 60))


def _safe(text: str) -> str:
    """Without anything that may be a secret."""
    return mask(escape(text), doubtful=True)
