"""pydantic's errors as Problems of ours. Pure.

Laws: pydantic's messages are never shown and never looked at; its error *types* decide. A
value of the file is repeated only when it is short text under a key that holds no secret.
"""

from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import Problem
from droplan_daemon.plaintext import cut, escape, mask

from .forms import LATER, UNSUITABLE
from .schema import Key, keys, sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

    from .document import Document
    from .environment import Name
    from .positions import Spot

_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
_LARGEST = 10**9
_SECRET = ("token", "secret", "password")
_NEVER_HERE = "the token itself stands in a file of its own"
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
    path = tuple(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return _at(document.key(path), *_unknown(path, error["input"]), _shown_key(path))
    variable = variables.get((path[0], path[-1]))
    subject = variable or f"`{_shown_key(path)}`"
    message, hint = _sentence(error, subject, path)
    spot = None if variable else document.value(path)
    return _at(spot, message, hint, variable or _shown_key(path))


def _at(spot: "Spot | None", message: str, hint: str, key: str) -> Problem:
    return Problem(message, key, spot.line if spot else None, spot.column if spot else None, hint)


def _sentence(error: "ErrorDetails", subject: str, path: tuple[str, ...]) -> tuple[str, str]:
    context = error.get("ctx", {})
    if error["type"] == UNSUITABLE:
        return f"{subject} {context['reason']}", context["hint"]
    if error["type"] == LATER:
        return f"{subject}: {context['reason']}", context["hint"]
    key = next((key for key in keys() if key.name == ".".join(path)), None)
    found = _found(error["input"], path)
    if key is None:
        return f"{subject} must be a table, not {found}", f"write [{path[0]}] on a line of its own"
    return f"{subject} must be {key.words}, not {found}", _better(key, error["input"])


def _found(value: Any, path: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) <= _LARGEST:
        return str(value)
    kind = next((words for types, words in _KINDS if isinstance(value, types)), "this")
    if not isinstance(value, str) or holds_secret(".".join(path)):
        return kind
    shown = mask(cut(escape(value), 40), doubtful=True)
    return f'"{shown}"'


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
    close = _nearest(written, key.words.split('"')[1::2])
    return f'did you mean "{close[0]}"?' if close else ""


def _written(value: Any) -> str:
    """A short value as a word, to compare with what would be right; anything else is no word."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        return ""
    return str(value).lower() if isinstance(value, str | int) else ""


def _unknown(path: tuple[str, ...], value: Any) -> tuple[str, str]:
    name, section = path[-1], ".".join(path[:-1])
    place = f" in [{section}]" if section else ""
    what = f"[{_shown(name)}]" if not section and isinstance(value, dict) else f"`{_shown(name)}`"
    noun = "section" if what.startswith("[") else "key"
    return f"unknown {noun} {what}{place}", _meant(name, section, table=noun == "section")


def _meant(name: str, section: str, *, table: bool) -> str:
    if table:
        close = _nearest(name.lower(), sections())
        return f"did you mean [{close[0]}]?" if close else f"known: {_listed(sections())}"
    homes = _homes()
    close = [name] if name in homes else _nearest(name.lower(), homes)
    if not close:
        here = [leaf for leaf, places in homes.items() if section in places]
        return _NEVER_HERE if holds_secret(name) else f"known here: {_listed(here)}"
    meant, places = close[0], homes[close[0]]
    if section in places:
        return f"did you mean `{meant}`?{f' {_NEVER_HERE}' if holds_secret(name) else ''}"
    where = " or ".join(f"in [{place}]" if place else "before the first section" for place in places)
    return f"it belongs {where}" if meant == name else f"did you mean `{meant}` {where}?"


def _homes() -> dict[str, list[str]]:
    """The sections that each key can stand in, by its last name."""
    homes: dict[str, list[str]] = {}
    for key in keys():
        homes.setdefault(key.name.rpartition(".")[2], []).append(key.section)
    return homes


def _listed(names: "Iterable[str]") -> str:
    return ", ".join(names)


def _shown_key(path: tuple[str, ...]) -> str:
    return ".".join(_shown(part) for part in path)


def _shown(name: str) -> str:
    return mask(cut(escape(name), 60), doubtful=True)


def _nearest(word: str, possible: "Iterable[str]") -> list[str]:
    """The nearest of the possible words, if one is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - for a mistake alone: 0.3 MB

    return get_close_matches(word, list(possible), 1)
