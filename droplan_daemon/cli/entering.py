"""Who gets at the Droplets of a fleet, for `check`: by the policy alone, at one Droplet, or at all.

Law: asks `policy` and `management_view`, and decides nothing. Droplets of which the same is to be said are
told of together.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import Refusal
from droplan_daemon.gate import LOCK_OUT, ports_of
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Mode
from droplan_daemon.model.selector import Kind, Term
from droplan_daemon.outcomes import World
from droplan_daemon.plaintext import cut, escape
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.doors import doors, shut
from droplan_daemon.policy.effective import effective
from droplan_daemon.policy.locked import as_host, kinds, locked
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.scene import scene

from . import management_view

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.policy import Policy, Ports
    from droplan_daemon.policy.doors import Door

_ALL = Term(Kind.ALL)
_MOST = 6
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class Told:
    """Lines for people, a value for programs, and why the policy is refused (None: it is not)."""

    lines: tuple[str, ...]
    plain: dict[str, Any]
    refusal: Refusal | None = None


def of_policy(policy: "Policy") -> Told:
    """What the file says, whatever the fleet."""
    found, ports = doors(policy), policy.management.ports
    when = "once audit ends, " if policy.mode is Mode.AUDIT else ""
    lines = [f"{when}log in by {port}: {_stated(found, port, tuple(InterfaceKind))}" for port in ports]
    plain = {**_about(policy), "closed": shut(policy), "doors": [_plain(door) for door in found]}
    refused = shut(policy) and policy.management.required
    return Told(tuple(lines), plain, _refusal(policy, "any Droplet, in any fleet") if refused else None)


def of_one(policy: "Policy", fleet: "Fleet", own: "Droplet") -> Told:
    """What it means for one Droplet."""
    seen, host = scene(fleet, own, peer_droplets(policy.peers, fleet, own)), as_host(own)
    desired = compile_ruleset(policy, fleet, host, own)
    found = management_view.access(World(fleet, host, own, (), desired, effective(policy, seen)))
    refused = found.closed and policy.management.required and not found.audit
    return Told(
        tuple(management_view.lines(found)),
        management_view.plain(found),
        _refusal(policy, names((own,))) if refused else None,
    )


def of_all(policy: "Policy", fleet: "Fleet") -> Told:
    """What it says for each kind of Droplet, and whom it means that nobody reaches."""
    said: defaultdict[tuple[Ports, bool, str], list[Droplet]] = defaultdict(list)
    for profile, droplets in kinds(policy, fleet):
        here = tuple(kind for kind in InterfaceKind if droplets[0].addresses(kind))
        found, audit = doors(profile.mine), profile.mine.mode is Mode.AUDIT
        for port in policy.management.ports:
            said[port, audit, _stated(found, port, here, of_all=False)] += droplets
    closed = locked(policy, fleet)
    lines = [
        f"{'once audit ends, ' if audit else ''}log in to {names(droplets)} by {port}: {text}"
        for (port, audit, text), droplets in said.items()
    ]
    plain = {
        **_about(policy),
        "closed": [droplet.name for droplet in closed],
        "groups": [
            {"droplets": [d.name for d in droplets], "port": str(port), "from": text, "audit": audit}
            for (port, audit, text), droplets in said.items()
        ],
    }
    refused = closed and policy.management.required
    return Told(tuple(lines), plain, _refusal(policy, names(closed)) if refused else None)


def names(droplets: "Iterable[Droplet]") -> str:
    """The first few of many Droplets."""
    found = [cut(escape(droplet.name), _LONGEST_NAME) for droplet in droplets]
    return ", ".join(found[:_MOST]) + (f" and {len(found) - _MOST:,} more" if len(found) > _MOST else "")


def _stated(
    found: "Iterable[Door]", port: "Ports", here: tuple[InterfaceKind, ...], *, of_all: bool = True
) -> str:
    """`from tag:tunnel by private; from nobody by public`, for interfaces that are there."""
    parts = []
    for kind in here:
        these = [door for door in found if door.port == port and door.kind is kind]
        parts += [_phrase(door, whom=of_all) for door in these] or [f"from nobody by {kind}"]
    return "; ".join(parts) or "there is no interface"


def _phrase(door: "Door", *, whom: bool) -> str:
    on = f" on {door.on}" if whom and door.on != _ALL else ""
    return f"from {door.who} by {door.kind}{'' if door.managed else ' (not managed)'}{on}"


def _about(policy: "Policy") -> dict[str, Any]:
    return {"ports": list(map(str, policy.management.ports)), "required": policy.management.required}


def _plain(door: "Door") -> dict[str, Any]:
    return {
        "port": str(door.port),
        "network": door.kind.value,
        "managed": door.managed,
        "from": door.who,
        "on": str(door.on),
    }


def _refusal(policy: "Policy", whom: str) -> Refusal:
    return Refusal(
        f"nobody could reach {ports_of(policy.management)} of {whom}: add an [[allow]] for somebody; "
        "if nobody is meant to get in, put `required = false` into [management]",
        reason=LOCK_OUT,
    )
