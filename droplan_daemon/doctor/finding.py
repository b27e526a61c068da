"""A finding: how bad, what, and what to do. PURE.

Law: an id stands in CATALOGUE with its severity and meaning, or it does not exist.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Severity(StrEnum):
    """How bad: an error keeps droplan from its work, a warning will; the worst comes first."""

    ERROR = "error"
    WARNING = "warning"
    UNKNOWN = "unknown"
    NOTE = "note"
    FINE = "fine"


WRONG = frozenset({Severity.ERROR, Severity.WARNING})
"""What makes `droplan doctor` exit with 1."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` and `fix` are one sentence each; `fix` is empty only where there is nothing to do."""

    id: str
    severity: Severity
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An id of the catalogue: how bad, and what it means in a few words."""

    severity: Severity
    meaning: str


_E, _W, _U, _N, _F = Severity

CATALOGUE: "Mapping[str, Entry]" = MappingProxyType(
    {
        "config.invalid": Entry(_E, "the configuration has a mistake"),
        "config.caution": Entry(_W, "the configuration says something that is hardly meant"),
        "config.writable": Entry(_E, "others than root may change what droplan is told"),
        "config.good": Entry(_F, "the configuration has no mistake"),
        "token.unusable": Entry(_E, "there is no token, or none that can be used"),
        "token.readable": Entry(_W, "others than root may read the token's file"),
        "token.elsewhere": Entry(_W, "the token was found where the service does not look"),
        "token.wide": Entry(_N, "the token may do more than droplan needs"),
        "token.rights": Entry(_N, "what a token may change cannot be asked"),
        "api.unreachable": Entry(_E, "the API gives no answer"),
        "api.doubtful": Entry(_E, "the API gives an answer that cannot be believed"),
        "api.unauthorized": Entry(_E, "the API does not accept the token"),
        "api.scope": Entry(_E, "the token lacks a scope that the policy needs"),
        "api.limited": Entry(_W, "the token's rate limit is used up, or nearly"),
        "api.slow": Entry(_W, "the API answers slowly"),
        "api.stretched": Entry(_N, "polls are further apart than configured, for the fleet shares a limit"),
        "api.reachable": Entry(_F, "the API answers, with every scope that is needed"),
        "fleet.refused": Entry(_E, "the fleet that the token shows is no ground for any rule"),
        "fleet.skipped": Entry(_W, "entries of the fleet could not be read"),
        "fleet.doubt": Entry(_N, "a part of the policy fits nobody of the fleet"),
        "fleet.good": Entry(_F, "this Droplet is in the fleet"),
        "cloud_firewall.attached": Entry(_N, "a Cloud Firewall judges before droplan does"),
        "metadata.unreachable": Entry(_W, "the metadata service gives no answer"),
        "metadata.reachable": Entry(_F, "the metadata service answers"),
        "host.unknown": Entry(_E, "nobody can tell which Droplet or which interface this is"),
        "host.known": Entry(_F, "the Droplet and its interfaces are known"),
        "clock.wrong": Entry(_E, "the clock is so wrong that certificates look invalid"),
        "clock.off": Entry(_W, "the clock is off"),
        "clock.unsynchronised": Entry(_N, "nothing sets the clock"),
        "clock.good": Entry(_F, "the clock is right"),
        "kernel.unsupported": Entry(_E, "the kernel lacks something that the backend needs"),
        "kernel.untracked": Entry(_N, "the kernel tracks no connections yet"),
        "kernel.table_full": Entry(_E, "the table of connections is full, or nearly"),
        "kernel.tcp_loose": Entry(_N, "connections from before the first enforcement may outlive it"),
        "kernel.rp_filter": Entry(_N, "a sender's address is not checked on a managed interface"),
        "kernel.ipv6": Entry(_F, "whether IPv6 is on"),
        "kernel.good": Entry(_F, "the kernel has what the backend needs"),
        "firewall.drops": Entry(_W, "somebody else's rules drop what droplan lets in"),
        "firewall.drops_outbound": Entry(_W, "somebody else's rules drop what leaves"),
        "firewall.drops_forwarded": Entry(_N, "somebody else's rules drop what is forwarded"),
        "firewall.ufw": Entry(_W, "ufw drops what droplan lets in"),
        "firewall.firewalld": Entry(_W, "firewalld drops what droplan lets in"),
        "firewall.beside": Entry(_N, "ufw or firewalld is active too"),
        "firewall.docker": Entry(_N, "Docker has chains of its own"),
        "firewall.legacy": Entry(_N, "there are rules of iptables-legacy beside nftables"),
        "firewall.flushes": Entry(_N, "nftables.service flushes every ruleset, droplan's too"),
        "firewall.good": Entry(_F, "nobody else's rules are in the way"),
        "old.droplan": Entry(_W, "the old droplan is still here"),
        "old.gone": Entry(_F, "there is nothing of the old droplan"),
        "backend.blocked": Entry(_E, "the backend cannot hold rules on this machine as it is"),
        "backend.caution": Entry(_W, "the backend works, but not as one would think"),
        "backend.chosen": Entry(_F, "which backend holds the rules, and why"),
        "saved.behind": Entry(_W, "the saved iptables rules are not those of the kernel"),
        "saved.failed": Entry(_W, "the iptables rules cannot be saved"),
        "saved.good": Entry(_F, "the saved iptables rules are those of the kernel"),
        "state.open": Entry(_W, "others may read or write the state folder"),
        "state.owner": Entry(_W, "the state folder is somebody else's"),
        "state.damaged": Entry(_W, "a file of the state folder cannot be used"),
        "state.none": Entry(_N, "nothing has been enforced here yet"),
        "state.old": Entry(_W, "what would be restored is old"),
        "state.foreign": Entry(_E, "what would be restored is of another machine"),
        "state.script": Entry(_W, "the boot script is missing, or is not the one of the checkpoint"),
        "state.good": Entry(_F, "the next boot restores what is enforced"),
        "service.missing": Entry(_W, "systemd knows no droplan.service"),
        "service.disabled": Entry(_W, "a unit of droplan's is not enabled"),
        "service.down": Entry(_W, "no daemon keeps the rules in step"),
        "service.trouble": Entry(_E, "the daemon is in trouble"),
        "service.version": Entry(_W, "the daemon that runs is not the program that is installed"),
        "service.good": Entry(_F, "the daemon runs and is well"),
        "unlooked": Entry(_U, "something could not be looked at"),
    }
)
"""Every id."""


def found(name: str, what: str, fix: str = "") -> Finding:
    """A Finding with the severity that the catalogue gives its id. Raises KeyError for no such id."""
    return Finding(name, CATALOGUE[name].severity, what, fix)
