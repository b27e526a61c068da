"""File + environment + systemd credentials -> one frozen Settings.

Laws:
1. This room alone reads the environment, and nothing is kept between two loads: a reload is
   `load` again, so a rotated token is seen.
2. Every mistake is found at once and carries where it stands; a key that this version does
   not serve yet is a mistake, never silently ignored.
3. A token is a Token from the moment it is read, and no Problem, warning or excerpt of the
   file shows one.
4. The rest of droplan gets values: nobody outside knows about TOML or pydantic.
"""

from .keys import Key, keys
from .loading import DEFAULT_PATH, describe, environment, load
from .tokens import Token
from .values import (
    Folders,
    IptablesSave,
    MetricsSettings,
    PersistSettings,
    Settings,
    SourceKind,
    SourceSettings,
    folders,
)

__all__ = [
    "DEFAULT_PATH",
    "Folders",
    "IptablesSave",
    "Key",
    "MetricsSettings",
    "PersistSettings",
    "Settings",
    "SourceKind",
    "SourceSettings",
    "Token",
    "describe",
    "environment",
    "folders",
    "keys",
    "load",
]
