"""The policy file of a machine of the lab: the operator's, with sections of the lab's own. PURE."""

import re
import tomllib
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import ConfigInvalid, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = re.compile(r"^\s*\[", re.MULTILINE)


def with_sections(policy: str, own: "Mapping[str, Mapping[str, str]]", *, path: str = "droplan.toml") -> str:
    """The text of `policy` with these sections in place of its own.

    Raises ConfigInvalid when the text is not TOML, or has one of them in a form that cannot be cut out.
    """
    text, wanted = policy, _parsed(policy, path)
    for section in own:
        text = _without(section, text)
        wanted.pop(section, None)
        if _parsed(text, path) != wanted:
            hint = f"write it as a section of its own, [{section}], or leave it out"
            problem = Problem(f"the lab cannot replace this {section} by its own", section, hint=hint)
            raise ConfigInvalid(path, (problem,))
    return "\n".join((f"{text.rstrip()}\n", *(_section(*one) for one in own.items()))).lstrip()


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


def _section(name: str, keys: "Mapping[str, str]") -> str:
    return f"[{name}]\n" + "".join(f"{key} = {_quoted(value)}\n" for key, value in keys.items())


def _without(section: str, policy: str) -> str:
    found = re.search(rf"^\s*\[\s*{section}\s*\][^\n]*$", policy, re.MULTILINE)
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
