"""The policy file of a machine of the lab: the operator's, with the lab's own source. PURE."""

import re
import tomllib
from typing import Any

from droplan_daemon.errors import ConfigInvalid, Problem

_HEADER = re.compile(r"^\s*\[", re.MULTILINE)
_SOURCE = re.compile(r"^\s*\[\s*source\s*\][^\n]*$", re.MULTILINE)


def with_source(policy: str, source: dict[str, str], *, path: str = "droplan.toml") -> str:
    """The text of `policy` with `[source]` replaced by `source`.

    Raises ConfigInvalid when the text is not TOML, or has a source that cannot be cut out.
    """
    text = _without_source(policy)
    wanted = {key: value for key, value in _parsed(policy, path).items() if key != "source"}
    if _parsed(text, path) != wanted:
        hint = "write it as a section of its own, [source], or leave it out"
        raise ConfigInvalid(
            path, (Problem("the lab cannot replace this source by its own", "source", hint=hint),)
        )
    lines = "".join(f"{key} = {_quoted(value)}\n" for key, value in source.items())
    return f"{text.rstrip()}\n\n[source]\n{lines}".lstrip()


def rules(policy: str, *, path: str = "droplan.toml") -> list[str]:
    """Its rules as lines for people, in columns: on whom, from or to whom, ports, interface.

    Raises ConfigInvalid when the text is not TOML.
    """
    allows = _parsed(policy, path).get("allow", [])
    rows = [_columns(allow) for allow in allows] if isinstance(allows, list) else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _columns(allow: dict[str, Any]) -> tuple[str, ...]:
    way = "from" if "from" in allow else "to"
    who = allow.get(way, "")
    picked = " or ".join(who) if isinstance(who, list) else who
    ports = ", ".join(allow.get("ports", ())) or "every port"
    return f"on {allow.get('on', 'all')}", f"{way} {picked}", ports, str(allow.get("interface", "private"))


def _without_source(policy: str) -> str:
    found = _SOURCE.search(policy)
    if found is None:
        return policy
    following = _HEADER.search(policy, found.end())
    return policy[: found.start()] + (policy[following.start() :] if following else "")


def _parsed(text: str, path: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(path, (Problem(f"not TOML: {error}"),)) from error


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
