"""What the rest of droplan sees of the configuration: plain frozen values."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.errors import Problem
    from droplan_daemon.model.policy import Policy

    from .tokens import Token


class SourceKind(StrEnum):
    """Where the Fleet comes from."""

    DIGITALOCEAN = "digitalocean"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """How to reach the Source.

    `interval` is in seconds. `token` is None only for kind `file` or when none was asked for;
    `renewal` says how to put another one in its place, `token_path` is the file that it was in (None: not in
    one). `path` is set exactly when kind is `file`. Paths are
    absolute. URLs have no trailing slash.
    """

    kind: SourceKind
    url: str
    metadata_url: str
    interval: float
    token: "Token | None" = None
    renewal: str = ""
    token_path: Path | None = None
    ca_file: Path | None = None
    path: Path | None = None


class IptablesSave(StrEnum):
    """When to save the host's iptables rules where its distribution restores them."""

    AUTO = "auto"
    ALWAYS = "always"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PersistSettings:
    """Whether and where to save the host's iptables rules. Paths are absolute; None: the distribution's."""

    iptables_save: IptablesSave = IptablesSave.AUTO
    rules_v4: Path | None = None
    rules_v6: Path | None = None
    ipsets: Path | None = None


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """How metrics are told: address and port to listen on, the file for node_exporter. None: not so."""

    listen: tuple[str, int] | None = None
    textfile: Path | None = None


class Unrestored(StrEnum):
    """What boot does when there is no ruleset that could be restored."""

    CLOSED = "closed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where state outlives a reboot, and where it need not."""

    state: Path = Path("/var/lib/droplan")
    runtime: Path = Path("/run/droplan")


@dataclass(frozen=True, slots=True)
class Settings:
    """One reading of the configuration. `warnings` are mistakes that one can run with.

    `digest` is the sha256 of the file's bytes; of a file that is not there, of none.
    """

    policy: "Policy"
    source: SourceSettings
    folders: Folders
    path: Path
    warnings: "tuple[Problem, ...]" = ()
    persist: PersistSettings = PersistSettings()
    metrics: MetricsSettings = MetricsSettings()
    digest: str = ""


def folders(environ: "Mapping[str, str]") -> Folders:
    """`$STATE_DIRECTORY` and `$RUNTIME_DIRECTORY` (the first of several), else the defaults.

    Source: systemd.exec(5), RuntimeDirectory=: absolute paths, joined by colons.
    """
    default = Folders()
    return Folders(
        state=_first(environ.get("STATE_DIRECTORY", ""), default.state),
        runtime=_first(environ.get("RUNTIME_DIRECTORY", ""), default.runtime),
    )


def _first(paths: str, default: Path) -> Path:
    first = paths.split(":", maxsplit=1)[0]
    return Path(first) if first else default
