"""What is not enforced because it would lock people out. PURE.

Laws:
1. A Policy that leaves no way in to a management port is refused where there is one now. That is so
   before anything was ever enforced, and after a change of the Policy; a Fleet that shrank takes ways
   in away as it should.
2. Whoever is logged in by a connection that would be cut is asked first.
3. Who insists gets what they say; so does a Policy that says that no way in is meant.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import Refusal
from .model.addresses import format_address
from .model.fleet import InterfaceKind
from .model.policy import Mode
from .policy.compile import compile_ruleset

if TYPE_CHECKING:
    from .model.connection import Session
    from .model.fleet import Fleet
    from .model.host import Host
    from .model.policy import Management, Policy
    from .model.ruleset import Ruleset
    from .outcomes import World

LOCK_OUT = "lock_out"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is enforced (None: nothing), on which Host, and for which Fleet (None: nobody knows)."""

    ruleset: "Ruleset | None" = None
    host: "Host | None" = None
    fleet: "Fleet | None" = None


@dataclass(frozen=True, slots=True)
class Gate:
    """`insist`: nothing is refused. `session`: by which whoever asks is logged in (None: not by any)."""

    insist: bool = False
    session: "Session | None" = None

    def review(self, policy: "Policy", world: "World", standing: Standing) -> None:
        """Look before a World is enforced in place of what stands; raises Refusal.

        `policy` is the World's with its overrides.
        """
        if self.insist:
            return
        if world.policy.management.required and not _plainly_open(world):
            _look_for_ways_in(policy, world, standing)
        if self.session and is_cut(self.session, standing.ruleset, world.desired):
            caller = format_address(self.session.connection.source)
            raise Refusal(
                f"this would cut your own SSH connection from {caller}, so nothing is changed: "
                "try it under a lease, which ends by itself (droplan try), or insist: --yes-lock-me-out",
                reason=LOCK_OUT,
            )


def is_cut(session: "Session", enforced: "Ruleset | None", desired: "Ruleset") -> bool:
    """Whether a connection that lasts now would not."""
    from .policy.management import cut  # noqa: PLC0415 - a daemon asks it when it must
    from .policy.reach import reach  # noqa: PLC0415

    return bool(cut((session,), reach(enforced), reach(desired)))


def locked(world: "World", ports: str) -> Refusal:
    """Why a World that nobody could reach is refused; `ports` are the management ports, in words."""
    return Refusal(
        f"nobody could reach {ports} of this Droplet ({world.own.name}) any more, so nothing is changed: "
        "add an [[allow]] for somebody; if nobody is meant to get in, use `droplan once --yes-lock-me-out` "
        "or put `required = false` into [management]",
        reason=LOCK_OUT,
    )


def ports_of(management: "Management") -> str:
    """Management ports, in words."""
    *most, last = map(str, management.ports)
    return f"{', '.join(most)} or {last}" if most else last


def _plainly_open(world: "World") -> bool:
    """Whether somebody gets in without a look at any rule: most Droplets are so."""
    mine, host = world.policy, world.host
    return mine.mode is Mode.AUDIT or any(
        host.should_have(kind) and not mine.on(kind).managed for kind in InterfaceKind
    )


def _look_for_ways_in(policy: "Policy", world: "World", standing: Standing) -> None:
    from .policy.management import leads_in, ways_in  # noqa: PLC0415 - a daemon asks it when it must
    from .policy.reach import reach  # noqa: PLC0415

    def open_by(one: "Ruleset | None", host: "Host") -> bool:
        return leads_in(ways_in(world.policy.management.ports, host, world.own, reach(one)))

    host, fleet = world.host, standing.fleet
    if open_by(world.desired, host) or not open_by(standing.ruleset, standing.host or host):
        return
    own = fleet.droplet(host.droplet_id) if fleet else None
    if fleet and own and open_by(compile_ruleset(policy, fleet, host, own), host):
        return
    raise locked(world, ports_of(world.policy.management))
