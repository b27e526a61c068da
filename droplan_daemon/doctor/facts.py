"""What was seen on a machine and of the API, as values. PURE.

Law: a part that could not be looked at is an Unlooked, which says why; None and empty mean what they say.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from droplan_daemon.errors import DroplanError, Problem
    from droplan_daemon.model.budget import Budget


@dataclass(frozen=True, slots=True)
class Unlooked:
    """`what` could not be looked at; `why` ends the sentence, `fix` lets it be looked at."""

    what: str
    why: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of somebody else's. `verdict`: `accept`, `drop`, `jump`, `goto`, `return` or empty (it goes on).

    It is about `links` only (`eth*` and `eth+` too; empty: every one), or with `others` about all but
    those. `conditional`: it asks for more than the interface.
    """

    verdict: str = ""
    target: str = ""
    links: tuple[str, ...] = ()
    others: bool = False
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of somebody else's. `hook` is empty for one that is only jumped to.

    `holder` is how one says where it is (`table inet filter`), `name` is the chain's.
    """

    holder: str
    name: str
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Firewalls:
    """Every chain that is not ours; `legacy` counts the rules of iptables-legacy that are not ours.

    `flushing`: nftables.service is enabled, and what it loads or does in the end flushes everything.
    `active` are other people's firewall services that run.
    """

    chains: tuple[Chain, ...] = ()
    legacy: int = 0
    flushing: str = ""
    active: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A file or folder: owner and mode."""

    path: str
    uid: int
    mode: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """`problems` of the file, and about the `token`; the two `cautions` can be lived with.

    `service_has_token`: there is one where the service looks for it.
    """

    path: str
    problems: "tuple[Problem, ...]" = ()
    token: "tuple[Problem, ...]" = ()
    cautions: "tuple[Problem, ...]" = ()
    token_cautions: "tuple[Problem, ...]" = ()
    nodes: tuple[Node, ...] = ()
    token_node: Node | None = None
    token_from_variable: bool = False
    service_has_token: bool = True


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel can and how it is set.

    `lacking` are sentences about what is missing, None: it may not be asked. `tracked` and `room` are
    connections, None: none are tracked. `enforced`: rules of ours stand already. `rp_filter` is by managed
    interface.
    """

    lacking: tuple[str, ...] | None = ()
    tracked: int | None = None
    room: int | None = None
    tcp_loose: bool = False
    rp_filter: "Mapping[str, int]" = field(default_factory=dict)
    ipv6: bool = False
    enforced: bool = False


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` in seconds since the epoch; `ahead` seconds of the API's time (None: not known)."""

    now: float
    ahead: float | None = None
    synchronised: bool | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """What the API answered. `lacking` are scopes that the policy needs; `error` is what else went wrong.

    `interval` is what is configured, `period` what the rate limit allows each of `sharing` Droplets, in
    seconds. `wide`: it shows what droplan does not ask for. `cloud_firewalls` are names (None: not shown).
    """

    url: str
    lacking: tuple[str, ...] = ()
    error: "DroplanError | None" = None
    took: float = 0.0
    budget: "Budget | None" = None
    interval: float = 30.0
    period: float = 0.0
    sharing: int = 0
    wide: bool = False
    cloud_firewalls: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where this machine stands in the fleet; each error is a sentence, empty where there is none."""

    droplet: str = ""
    interfaces: str = ""
    peers: int = 0
    droplets: int = 0
    skipped: int = 0
    refused: str = ""
    unknown: str = ""
    metadata: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """What holds the rules: the choice and its reason, what keeps it from that, what a person should know."""

    choice: str
    blocked: str = ""
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """What the next boot has. `age` in seconds (None: not known or nothing there).

    `script` says what is wrong with the boot script, `foreign` why it is of another machine.
    """

    folder: Node | None
    saved: bool = False
    damaged: tuple[str, ...] = ()
    age: float | None = None
    script: str = ""
    foreign: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of systemd's as `systemctl show` tells it; words of systemctl(1)."""

    name: str
    load: str = ""
    enabled: str = ""
    active: str = ""


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the daemon told last. `trouble` is its own sentence."""

    alive: bool
    well: bool
    version: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """The files of iptables rules that a save would change, and what keeps others from being saved."""

    behind: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. `links` are the managed interfaces, `version` is that of this program.

    None: there is nothing of the kind to look at (no API with a fleet from a file, no iptables to save).
    """

    version: str
    configuration: Configuration
    clock: Clock
    firewalls: Firewalls | Unlooked
    kernel: Kernel | Unlooked
    state: State | Unlooked
    units: "tuple[Unit, ...] | Unlooked"
    daemon: Daemon | Unlooked | None
    backend: Backend | Unlooked | None
    old: "tuple[str, ...] | Unlooked"
    links: tuple[str, ...] = ()
    api: Api | Unlooked | None = None
    place: Place | Unlooked | None = None
    saved: Saved | Unlooked | None = None
    unlooked: tuple[Unlooked, ...] = ()
