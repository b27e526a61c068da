"""The Checkpoint: the last committed state, as it is kept on disk.

Laws: `number` counts saves and alone tells which of two is newer; a clock never does. A
Checkpoint belongs to one Droplet: the id of `host` and the MACs of `links` say to which.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .fleet import Fleet
    from .host import Host
    from .ruleset import Ruleset

# Before this moment (2023-11-14) nobody can have saved a Checkpoint: a clock that says so is wrong.
_EARLIEST = 1_700_000_000.0

STALE_AFTER = 86_400.0
"""Seconds after which what is kept is called stale: a day, in which any operator would have looked."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was enforced when it was saved.

    `links` are (interface, MAC) of the managed interfaces; `backend` is `nftables` or `iptables`;
    `saved_at` is seconds since the epoch, `boot` the kernel's boot id and `uptime` its monotonic
    clock at that moment.
    """

    host: "Host"
    links: tuple[tuple[str, str], ...]
    fleet: "Fleet"
    ruleset: "Ruleset"
    backend: str
    number: int
    saved_at: float
    boot: str
    uptime: float = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """When somebody answered last: as the `saved_at`, `boot` and `uptime` of a Checkpoint."""

    at: float
    boot: str
    uptime: float


def age(checkpoint: Checkpoint, *, boot: str, uptime: float, now: float) -> float | None:
    """Seconds since it was saved; None where no clock can tell.

    Within one boot the monotonic clock tells, whatever was done to the other one. Across boots the
    wall clock does, unless it ran backwards or had not been set when it was written.
    """
    moment = Heard(checkpoint.saved_at, checkpoint.boot, checkpoint.uptime)
    return since(moment, boot=boot, uptime=uptime, now=now)


def since(moment: Heard, *, boot: str, uptime: float, now: float) -> float | None:
    """Seconds since then, by the same clocks; None where none can tell."""
    if boot and boot == moment.boot and uptime >= moment.uptime:
        return uptime - moment.uptime
    if moment.at < _EARLIEST or now < moment.at:
        return None
    return now - moment.at


def is_stale(seconds: float | None) -> bool:
    """Whether a Checkpoint of this age may well be of another world; of unknown age it may."""
    return seconds is None or seconds > STALE_AFTER
