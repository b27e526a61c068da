"""Where the old program was told to run, and with what: containers and systemd units. Pure.

Sources: the files of Docker's daemon (`config.v2.json`, `hostconfig.json`), systemd.exec(5), the units that
the old program's example for CoreOS has.
"""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import shell
from .runs import VARIABLES, is_image, told, variables_of_file

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNIT_LINE = re.compile(r"\s*(Environment|EnvironmentFile|ExecStart\w*)\s*=\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the old program: its name, and how Docker restarts it (`no`, `always` …)."""

    name: str
    restart: str
    running: bool

    @property
    def alive(self) -> bool:
        """Whether it runs, or would after a reboot."""
        return self.running or self.restart not in {"", "no"}


def container(config: str, host_config: str) -> "tuple[Container, Mapping[str, str | None]] | None":
    """What Docker's two files of one container say; None: it is not the old program's."""
    about, host = _object(config), _object(host_config)
    inner, state = _table(about, "Config"), _table(about, "State")
    if not is_image(str(inner.get("Image", ""))):
        return None
    said = inner.get("Env")
    pairs = [str(pair).partition("=") for pair in said] if isinstance(said, list) else []
    variables: dict[str, str | None] = {name: value for name, _, value in pairs if name in VARIABLES}
    policy = str(_table(host, "RestartPolicy").get("Name", ""))
    name = str(about.get("Name") or about.get("ID") or "").removeprefix("/")
    return Container(name, policy, state.get("Running") is True), variables


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _table(value: "Mapping[str, Any]", name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def unit(text: str, files: shell.ReadFile) -> "Mapping[str, str | None] | None":
    """What a unit tells the old program; None: it runs something else."""
    variables: dict[str, str | None] = {}
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        found = _UNIT_LINE.fullmatch(line)
        if found is None:
            continue
        key, value = found.groups()
        if key == "Environment":
            variables |= shell.read(value.replace("$", "\\$"), {}, files).variables
        elif key == "EnvironmentFile":
            variables |= variables_of_file(files(value.removeprefix("-")) or "")
        else:
            commands.append(value.lstrip("-@:+!"))
    return next((said for line in commands if (said := told(line, variables, files)) is not None), None)
