"""A Plan as people read it: who gets in, who is shut out, and that rules change.

Law: addresses come first, each with the name of its Droplet; the rest is a number unless
somebody wants to see all of it. Prints, and decides nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from droplan_daemon import doubts
from droplan_daemon.model.addresses import format_element
from droplan_daemon.model.plan import AddElements, RemoveElements
from droplan_daemon.model.policy import BackendName
from droplan_daemon.model.ruleset import Interface
from droplan_daemon.outcomes import Committed
from droplan_daemon.plaintext import cut, escape
from droplan_daemon.report import verb

from . import management_view, reach_view
from .output import count, document, failed, judged, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from droplan_daemon.errors import Refusal
    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.plan import Change
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.outcomes import Prospect, World
    from droplan_daemon.report import Good

    from .management_view import Access
    from .reach_view import Meaning

    Changes = tuple[Change, ...]

Row = tuple[str, str, str, str]

_MOST = 40
"""Lines of addresses before a number says more."""

_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a Prospect: what it means, for those who log in too, and why it would be refused.

    `holder` is what else holds rules of ours (empty: nothing does).
    """

    prospect: "Prospect"
    meant: "Meaning"
    access: "Access"
    refusal: "Refusal | None" = None
    holder: str = ""


def plan(shown: Shown, *, offline: bool, verbose: bool, as_json: bool) -> None:
    """What `once` would do: what it means for people, then what the kernel gets."""
    world, changes, holder = shown.prospect.world, shown.prospect.plan.changes, shown.holder
    if as_json:
        document(_whole(shown))
        return
    warn(world)
    if offline:
        print(f"on a kernel that holds nothing yet, {escape(world.own.name)} would get:")
    told = list(reach_view.lines(shown.meant))
    for line in told or (["nobody gains or loses anything"] if holder else []):
        print(line)
    for line in management_view.lines(shown.access):
        print(line)
    if verbose or any(isinstance(change, AddElements | RemoveElements) for change in changes):
        print("in the kernel:")
    _print(world, changes, verbose=verbose)
    if world.backend and (verbose or holder or world.backend.startswith(BackendName.IPTABLES)):
        print(f"rules by {escape(world.backend)}")
    if holder:
        print(f"{holder} holds droplan's rules now; they go when the new ones have been read back")
    print(f"to do: {summary(changes, verbose=verbose)}" if changes else f"nothing to change: {_state(world)}")
    if shown.refusal:
        failed(shown.refusal, as_json=False)


def _whole(shown: Shown) -> dict[str, Any]:
    return {
        **_as_json(shown.prospect.world, shown.prospect.plan.changes),
        **judged(shown.refusal),
        **reach_view.plain(shown.meant),
        "management": management_view.plain(shown.access),
        "moves_from": shown.holder or None,
    }


def outcome(found: "Good", policy: "Policy", *, verbose: bool, as_json: bool) -> None:
    """What `once` did."""
    changes, world = (found.plan.changes if isinstance(found, Committed) else ()), found.world
    if as_json:
        document(_as_json(world, changes))
        return
    warn(world)
    _print(world, changes, verbose=verbose)
    done = f"committed and read back: {summary(changes, verbose=verbose)}" if changes else "nothing to change"
    print(f"{done}; {verb(policy)} {_state(world)}")


def summary(changes: "Changes", *, verbose: bool) -> str:
    """`3 addresses in, 1 out, 15 changes to the table and its rules`."""
    come, gone, other = _counted(changes)
    parts = [f"{count(come, 'address')} in"] if come else []
    if gone:
        parts.append(f"{gone:,} out" if come else f"{count(gone, 'address')} out")
    if other:
        hint = "" if verbose else " (--verbose lists them)"
        parts.append(f"{count(other, 'change')} to the table and its rules{hint}")
    return ", ".join(parts)


def _counted(changes: "Changes") -> tuple[int, int, int]:
    come = sum(len(change.elements) for change in changes if isinstance(change, AddElements))
    gone = sum(len(change.elements) for change in changes if isinstance(change, RemoveElements))
    return come, gone, sum(not isinstance(change, AddElements | RemoveElements) for change in changes)


def _state(world: "World") -> str:
    rules = (rule for chain in world.desired.chains.values() for rule in chain.rules)
    names = [match.name for rule in rules for match in rule.matches if isinstance(match, Interface)]
    return f"{count(len(world.peers), 'peer')} on {', '.join(names) or 'no interface'}"


def _print(world: "World", changes: "Changes", *, verbose: bool) -> None:
    rows = list(_members(world, changes))
    shown = rows if verbose else rows[:_MOST]
    widths = [max((len(row[column]) for row in shown), default=0) for column in range(3)]
    for row in shown:
        print(f"  {'  '.join((*map(str.ljust, row, widths), row[3]))}")
    if len(rows) > len(shown):
        print(f"  … and {len(rows) - len(shown):,} more addresses (--verbose lists them)")
    for change in changes if verbose else ():
        if not isinstance(change, AddElements | RemoveElements):
            print(f"  {escape(str(change))}")


def _members(world: "World", changes: "Changes") -> "Iterator[Row]":
    """Sign, name, address, set of each address that comes or goes."""
    names = _names(world)
    for change in changes:
        if isinstance(change, AddElements | RemoveElements):
            sign = "+" if isinstance(change, AddElements) else "-"
            for element in sorted(change.elements):
                name = cut(escape(names.get(element, "(no Droplet)")), _LONGEST_NAME)
                yield sign, name, format_element(element, change.family), change.set


def _names(world: "World") -> "Mapping[Address, str]":
    return {
        address: droplet.name
        for droplet in world.fleet.droplets
        for address in (*droplet.private, *droplet.public)
    }


def _as_json(world: "World", changes: "Changes") -> dict[str, Any]:
    return {
        "ok": True,
        "droplet": {"id": world.own.id, "name": world.own.name},
        "peers": len(world.peers),
        "backend": world.backend,
        "changes": [_change(change) for change in changes],
        "warnings": list(world.warnings),
        "doubts": doubts.plain(world),
    }


def _change(change: "Change") -> dict[str, Any]:
    found: dict[str, Any] = {"kind": type(change).__name__, "text": str(change)}
    if isinstance(change, AddElements | RemoveElements):
        found["set"] = change.set
        found["elements"] = [format_element(element, change.family) for element in sorted(change.elements)]
    return found
