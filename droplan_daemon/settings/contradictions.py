"""What one key makes of another where it cannot work: mistakes that no key has by itself. Pure.

Law: a combination is judged only when each of its keys is valid by itself, so one mistake is told
once. `doubtful` are the paths of the keys that have mistakes of their own.
"""

from typing import TYPE_CHECKING

from droplan_daemon.errors import Problem

from .rules import unbounded
from .values import SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .document import Document
    from .positions import KeyPath, Spot
    from .schema import AllowSection, File, OverrideSection

    Doubtful = frozenset[KeyPath]

# A rule with a mistake under any other key may have lost its `from` or `to` to it.
_APART = frozenset({"name", "on", "ports", "interface"})


def contradictions(file: "File", document: "Document", doubtful: "Doubtful") -> list[Problem]:
    """What cannot work."""
    return [
        *_source(file, document, doubtful),
        *_names(file, document),
        *(p for i, rule in enumerate(file.allow) for p in _rule(i, rule, document, doubtful)),
        *(p for i, section in enumerate(file.override) for p in _override(i, section, document, doubtful)),
    ]


def _source(file: "File", document: "Document", doubtful: "Doubtful") -> "Iterator[Problem]":
    path = ("source", "path")
    if file.source.kind is SourceKind.FILE and file.source.path is None and path not in doubtful:
        hint = 'add `path = "/etc/droplan/fleet.json"` to [source]'
        spot = document.key(("source", "kind"))
        yield _problem(spot, '`source.kind = "file"` needs `source.path`', "source.kind", hint)


def _names(file: "File", document: "Document") -> "Iterator[Problem]":
    first: dict[str, int | None] = {}
    for i, rule in enumerate(file.allow):
        if rule.name is None:
            continue
        spot = document.value(("allow", i, "name"))
        if rule.name in first:
            message = f"the rule on line {first[rule.name]} is called `{rule.name}` already"
            yield _problem(spot, message, "allow.name", "give each rule a name of its own")
        first.setdefault(rule.name, spot.line if spot else None)


def _rule(i: int, rule: "AllowSection", document: "Document", doubtful: "Doubtful") -> "Iterator[Problem]":
    path: KeyPath = ("allow", i)
    wrong = {str(below[2]) for below in doubtful if below[:2] == path and len(below) > len(path)}
    both = ("from", "to")
    said = wrong.union(name for name, who in zip(both, (rule.from_, rule.to), strict=True) if who is not None)
    if said.issuperset(both):
        hint = "`from` lets somebody in, `to` lets this Droplet out: make two rules of it"
        spot = document.key((*path, "to"))
        yield _problem(spot, "a rule has either `from` or `to`, not both", "allow.to", hint)
    elif said <= _APART and path not in doubtful:
        hint = 'add `from = "tag:web"`, or `from = "any"` for anybody'
        message = "a rule says who may come in (`from`) or where to go (`to`), and this one neither"
        yield _problem(document.key(path), message, "allow", hint)
    for name, who in zip(both, (rule.from_, rule.to), strict=True):
        if who is not None and (index := unbounded(who)) is not None:
            yield _unbounded(document.value((*path, name, index)), f"allow.{name}")


def _unbounded(spot: "Spot | None", key: str) -> Problem:
    message = f"`{key}` stands for every address in the world but a few, because of its `not`"
    return _problem(
        spot,
        message,
        key,
        "write `all and not …` if you mean Droplets, `any and not …` if you mean the world",
    )


def _override(
    i: int, section: "OverrideSection", document: "Document", doubtful: "Doubtful"
) -> "Iterator[Problem]":
    path: KeyPath = ("override", i)
    wrong = [below for below in doubtful if below[:2] == path]
    if section.on is None and (*path, "on") not in doubtful and path not in doubtful:
        hint = 'add `on = "name:web-1"`'
        message = "this override does not say which Droplets it is about (`on`)"
        yield _problem(document.key(path), message, "override", hint)
    if not wrong and not _sets_anything(section):
        hint = 'add what is different there, such as `mode = "audit"`'
        yield _problem(document.key(path), "this override sets nothing", "override", hint)


def _sets_anything(section: "OverrideSection") -> bool:
    tables = (section.private, section.public, section.log, section.firewall)
    return section.mode is not None or any(table.model_fields_set for table in tables)


def _problem(spot: "Spot | None", message: str, key: str, hint: str) -> Problem:
    return Problem(message, key, spot.line if spot else None, spot.column if spot else None, hint)
