"""What one key makes of another: combinations that cannot work, or that say nothing. Pure.

Law: a combination is judged only when each of its keys is valid by itself, so one mistake
is told once.
"""

from typing import TYPE_CHECKING

from droplan_daemon.errors import Problem

from .values import SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .document import Document
    from .schema import File

_ONLY_API = ("url", "token_file", "ca_file")


def contradictions(file: "File", document: "Document", doubtful: frozenset[str]) -> list[Problem]:
    """What cannot work. `doubtful` are the dotted keys that have mistakes of their own."""
    if file.source.kind is SourceKind.FILE and file.source.path is None and "source.path" not in doubtful:
        hint = 'add `path = "/etc/droplan/fleet.json"` to [source]'
        return [_at(document, "source.kind", '`source.kind = "file"` needs `source.path`', hint)]
    return []


def cautions(file: "File", document: "Document") -> list[Problem]:
    """What works, but surely not as it was meant."""
    return [_at(document, *caution) for caution in (*_interfaces(file), *_peers(file), *_source(file))]


Caution = tuple[str, str, str]
"""The key that it hangs on, what is the matter, what would be right."""


def _interfaces(file: "File") -> "Iterator[Caution]":
    for name, section in (("private", file.private), ("public", file.public)):
        said = section.model_fields_set
        if not section.managed and section.allow_peers and "allow_peers" in said:
            yield (
                f"{name}.allow_peers",
                f"`{name}.allow_peers` has no effect while `{name}.managed` is false",
                f"set `managed = true` in [{name}]",
            )
        if section.managed and not section.allow_peers:
            yield (
                f"{name}.managed",
                f"nobody is let in by the {name} interface, not even for SSH",
                f"set `allow_peers = true` in [{name}], or `managed = false`",
            )
    if not file.private.managed and not file.public.managed:
        yield (
            "private.managed",
            "neither interface is managed, so nothing is protected",
            "set `managed = true` in [private] or [public]",
        )


def _peers(file: "File") -> "Iterator[Caution]":
    sections = (file.private, file.public)
    if file.peers.model_fields_set and not any(s.managed and s.allow_peers for s in sections):
        yield (
            "peers",
            "[peers] has no effect while no managed interface allows peers",
            "set `allow_peers = true`",
        )


def _source(file: "File") -> "Iterator[Caution]":
    said = file.source.model_fields_set
    if file.source.kind is SourceKind.DIGITALOCEAN and "path" in said:
        yield (
            "source.path",
            '`source.path` has no effect while `source.kind` is "digitalocean"',
            "take it out",
        )
    if file.source.kind is SourceKind.FILE:
        for name in _ONLY_API:
            if name in said:
                yield (
                    f"source.{name}",
                    f'`source.{name}` has no effect while `source.kind` is "file"',
                    "take it out",
                )


def _at(document: "Document", key: str, message: str, hint: str) -> Problem:
    spot = document.key(tuple(key.split(".")))
    return Problem(message, key, spot.line if spot else None, spot.column if spot else None, hint)
