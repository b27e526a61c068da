"""What of a machine or of an answer keeps a policy from being all that it says. PURE.

Law: each is one sentence, told as a warning with every cycle; none of them decides anything.
"""

from typing import TYPE_CHECKING

from .model.fleet import InterfaceKind
from .policy.compile import managed_interface
from .safety import unread

if TYPE_CHECKING:
    from .model.host import Host
    from .model.policy import Policy
    from .outcomes import Restored
    from .safety import Evidence


def held_back(evidence: "Evidence") -> tuple[str, ...]:
    """Entries that could not be read, and whether removals wait for them."""
    if not evidence.fleet.skipped:
        return ()
    why = "the answer is not whole" if evidence.whole else "nobody is removed for now"
    return (f"{why}{unread(evidence.fleet)}",)


def unguarded(policy: "Policy", host: "Host") -> tuple[str, ...]:
    """Interfaces that the policy manages and this machine has not."""
    return tuple(
        f"{kind}: this Droplet has no {kind} interface, so there is nothing to manage"
        for kind in InterfaceKind
        if policy.on(kind).managed and managed_interface(policy, host, kind) is None
    )


def unheard(policy: "Policy", restored: "Restored | None", *, known: bool) -> tuple[str, ...]:
    """That nobody knows for how long nobody has answered (`known`: somebody does), where it matters."""
    if restored is None or known or policy.peers.max_stale is None:
        return ()
    return ("peers.max_stale: when somebody answered last is not known, so it is counted from now",)
