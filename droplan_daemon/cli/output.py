"""Results as people read them and as programs do. Prints, and decides nothing."""

import json
import sys
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Any

from droplan_daemon.backends.nft_text import render
from droplan_daemon.model.addresses import Family, format_address, format_element
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.plan import AddElements, RemoveElements
from droplan_daemon.model.ruleset import Interface
from droplan_daemon.plaintext import cut, escape
from droplan_daemon.policy.peers import judge
from droplan_daemon.reconcile import Committed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from droplan_daemon.errors import DroplanError
    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.fleet import Droplet
    from droplan_daemon.model.plan import Change
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.policy.peers import Judged
    from droplan_daemon.reconcile import Prospect, World
    from droplan_daemon.report import Good
    from droplan_daemon.settings import Settings

TABLE = "droplan"


def document(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, bytes):
        return format_element(value, Family.IPV4 if len(value) in {4, 8} else Family.IPV6)
    return str(value)


def note(text: str) -> None:
    """Something beside the result."""
    print(f"droplan: {text}", file=sys.stderr)


def failed(error: "DroplanError", *, as_json: bool, hint: str = "") -> None:
    """An error: one sentence, or one document."""
    if as_json:
        document({"ok": False, "reason": error.reason, "message": str(error)})
    else:
        note(f"{error}{f' ({hint})' if hint else ''}")


def outcome(found: "Good", policy: "Policy", *, as_json: bool) -> None:
    """What `once` did."""
    changes = found.plan.changes if isinstance(found, Committed) else ()
    world = found.world
    if as_json:
        document({"ok": True, "changes": [str(c) for c in changes], "peers": len(world.peers)})
        return
    _warn(world)
    for line in _plan_lines(changes, world):
        print(line)
    done = f"{_count(len(changes), 'change')} committed and read back" if changes else "nothing to change"
    verb = "enforcing" if policy.mode.value == "enforce" else "auditing"
    print(f"{done}; {verb} {_count(len(world.peers), 'peer')} on {_interfaces(world)}")


def plan(prospect: "Prospect", *, offline: bool, as_json: bool) -> None:
    """What `once` would do."""
    world, changes = prospect.world, prospect.plan.changes
    if as_json:
        document({"changes": [_change(c) for c in changes], "warnings": list(world.warnings)})
        return
    _warn(world)
    if offline:
        print(f"on an empty kernel, {escape(world.own.name)} would get:")
    for line in _plan_lines(changes, world):
        print(line)
    print(f"{_count(len(changes), 'change')} to make" if changes else "nothing to change")


def _change(change: "Change") -> dict[str, Any]:
    found: dict[str, Any] = {"kind": type(change).__name__, "text": str(change)}
    if isinstance(change, AddElements | RemoveElements):
        found["elements"] = [format_element(e, change.family) for e in sorted(change.elements)]
    return found


def _plan_lines(changes: "tuple[Change, ...]", world: "World") -> "Iterator[str]":
    names = {address: droplet.name for droplet in world.fleet.droplets for address in _addresses(droplet)}
    for change in changes:
        if isinstance(change, AddElements | RemoveElements):
            yield from _members(change, names)
        else:
            yield f"  {change}"


def _members(change: AddElements | RemoveElements, names: "Mapping[Address, str]") -> "Iterator[str]":
    sign = "+" if isinstance(change, AddElements) else "-"
    for element in sorted(change.elements):
        text = format_element(element, change.family)
        yield f"  {sign} {change.set}: {text:<15} {escape(names.get(element, '(no Droplet has it now)'))}"


def _addresses(droplet: "Droplet") -> "tuple[Address, ...]":
    return (*droplet.private, *droplet.public)


def _warn(world: "World") -> None:
    for text in world.warnings:
        print(f"warning: {escape(text)}", file=sys.stderr)


def _interfaces(world: "World") -> str:
    rules = (rule for chain in world.desired.chains.values() for rule in chain.rules)
    names = [match.name for rule in rules for match in rule.matches if isinstance(match, Interface)]
    return ", ".join(names) or "no interface"


def ruleset(world: "World", *, as_json: bool) -> None:
    """The desired Ruleset."""
    if as_json:
        document(asdict(world.desired))
        return
    _warn(world)
    print(f"# {escape(world.own.name)} (id {world.own.id}); load with: nft -f FILE")
    print(render(world.desired, TABLE), end="")


def peers(world: "World", policy: "Policy", *, everybody: bool, as_json: bool) -> None:
    """A line for each Droplet that is a peer, or for each at all."""
    found = [j for j in judge(policy.peers, world.fleet, world.own) if j.peer or everybody]
    if as_json:
        document([_judged(j) for j in found])
        return
    _warn(world)
    rows = [("DROPLET", "ID", "PRIVATE", "PUBLIC", "WHY"), *(_row(j, everybody=everybody) for j in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=False))
        print("  ".join((*padded, row[4])).rstrip())
    print(f"{_count(sum(j.peer for j in found), 'peer')} of {_count(len(world.fleet.droplets), 'Droplet')}")


def _row(judged: "Judged", *, everybody: bool) -> tuple[str, str, str, str, str]:
    droplet = judged.droplet
    private, public = (_first(addresses) for addresses in (droplet.private, droplet.public))
    verdict = ("peer: " if judged.peer else "no: ") if everybody else ""
    return cut(escape(droplet.name), 32), str(droplet.id), private, public, verdict + escape(judged.reason)


def _first(addresses: "tuple[Address, ...]") -> str:
    more = f" +{len(addresses) - 1}" if len(addresses) > 1 else ""
    return format_address(addresses[0]) + more if addresses else "-"


def _judged(judged: "Judged") -> dict[str, Any]:
    droplet = judged.droplet
    return {
        "id": droplet.id,
        "name": droplet.name,
        "peer": judged.peer,
        "reason": judged.reason,
        "private": [format_address(a) for a in droplet.private],
        "public": [format_address(a) for a in droplet.public],
    }


def judged(settings: "Settings") -> str:
    """A good configuration in a few words."""
    policy = settings.policy
    managed = [k.value for k in InterfaceKind if policy.on(k).managed]
    tag = f", tag {policy.peers.tag}" if policy.peers.tag else ""
    return (
        f"good; mode {policy.mode.value}, peers of scope {policy.peers.scope.value}{tag}, "
        f"managing {' and '.join(managed) or 'no interface'}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
