"""What was found of the old droplan, as values. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from droplan_daemon.settings import Token

    from . import chains, places


@dataclass(frozen=True, slots=True)
class Told:
    """What one place told the old program. `unknown` names what only a running shell could know."""

    origin: "Path | str" = ""
    token: "Token | None" = None
    tag: str = ""
    public: bool = False
    interval: str = ""
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Crontab:
    """A crontab with jobs of the old program in these lines (0-based); `whole`: it has no others."""

    path: "Path"
    lines: tuple[int, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Everything about the old program that stands in files; paths are as on the machine itself.

    `config` and `token` are what stands in the new program's place already, `given` is a token of
    the environment; None: nothing.
    """

    told: tuple[Told, ...] = ()
    crontabs: tuple[Crontab, ...] = ()
    units: "tuple[Path, ...]" = ()
    containers: "tuple[places.Container, ...]" = ()
    rules: "tuple[tuple[Path, chains.Leftovers], ...]" = ()
    config: str | None = None
    token: "Token | None" = None
    given: "Token | None" = None
    firewalld: bool = False
