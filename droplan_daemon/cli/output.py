"""Results as people read them and as programs do. Prints, and decides nothing."""

import json
import sys
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Any

from droplan_daemon import doubts
from droplan_daemon.backends.nft_text import render
from droplan_daemon.model.addresses import Family, format_address, format_element
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.plaintext import cut, escape
from droplan_daemon.policy.peers import judge

if TYPE_CHECKING:
    from droplan_daemon.errors import ConfigInvalid, DroplanError, Refusal
    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.outcomes import World
    from droplan_daemon.policy.peers import Judged
    from droplan_daemon.settings import Settings

    from .entering import Told

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


def failed(error: "DroplanError", *, as_json: bool) -> None:
    """An error: one sentence, or one document."""
    if as_json:
        document({"ok": False, "reason": error.reason, "message": str(error)})
    else:
        note(escape(str(error)))


def invalid(error: "ConfigInvalid", *, as_json: bool) -> None:
    """Every mistake of a configuration."""
    from droplan_daemon.settings import describe
    from droplan_daemon.settings.render import plain

    if as_json:
        found = plain(error.path, error.problems)
        document({"ok": False, "reason": error.reason, "message": str(error), "problems": found})
    else:
        print(describe(error.path, error.problems), file=sys.stderr)


def checked(
    settings: "Settings", doubts: tuple[str, ...], told: "Told", refusal: "Refusal | None", *, as_json: bool
) -> None:
    """A configuration that one can run with, and what is odd about it; `doubts` are about the fleet.

    `told` is who gets in to manage Droplets; `refusal`: why one would not run with it after all.
    """
    from droplan_daemon.settings import describe
    from droplan_daemon.settings.render import plain

    if as_json:
        found = plain(str(settings.path), settings.warnings)
        also = {"fleet_warnings": list(doubts), "management": told.plain}
        document({**judged(refusal), "warnings": found, **also})
        return
    if settings.warnings:
        print(describe(settings.path, settings.warnings, label="warning: "))
    for text in doubts:
        print(f"warning: {escape(text)}")
    for line in told.lines:
        print(line)
    if refusal:
        failed(refusal, as_json=False)
    print(f"{escape(str(settings.path))}: {_judged_settings(settings, refused=bool(refusal))}")


def judged(refusal: "Refusal | None") -> dict[str, Any]:
    """How a document begins whose subject may be refused."""
    return {"ok": False, "reason": refusal.reason, "message": str(refusal)} if refusal else {"ok": True}


def warn(world: "World") -> None:
    """What is allowed but hardly meant, and what of the answer is not believed yet."""
    for text in world.warnings:
        print(f"warning: {escape(text)}", file=sys.stderr)
    for doubt in world.doubts:
        print(f"held: {escape(doubts.sentence(doubt))}", file=sys.stderr)


def ruleset(world: "World", form: str) -> None:
    """The desired Ruleset as `nft`, `iptables` or `json`. Raises CommitRejected where it cannot be."""
    if form == "json":
        document({key: value for key, value in asdict(world.desired).items() if key != "leases"})
        return
    warn(world)
    if form == "iptables":
        from droplan_daemon.backends.iptables import IptablesBackend

        script = IptablesBackend(ipset=world.policy.firewall.ipset).script(world.desired)
        print(f"# {escape(world.own.name)} (id {world.own.id}); three parts, to load in this order with:")
        print("#   ipset -exist restore; iptables-restore --noflush; ip6tables-restore --noflush")
        print(script, end="")
        return
    print(f"# {escape(world.own.name)} (id {world.own.id}); load with: nft -f FILE")
    print(render(world.desired, TABLE), end="")


def peers(world: "World", policy: "Policy", *, everybody: bool, as_json: bool) -> None:
    """A line for each Droplet that is a peer, or for each at all."""
    found = [j for j in judge(policy.peers, world.fleet, world.own) if j.peer or everybody]
    if as_json:
        document([_judged(j) for j in found])
        return
    warn(world)
    rows = [("DROPLET", "ID", "PRIVATE", "PUBLIC", "WHY"), *(_row(j, everybody=everybody) for j in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=False))
        print("  ".join((*padded, row[4])).rstrip())
    print(f"{count(sum(j.peer for j in found), 'peer')} of {count(len(world.fleet.droplets), 'Droplet')}")


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


def _judged_settings(settings: "Settings", *, refused: bool) -> str:
    """A configuration in a few words."""
    policy = settings.policy
    managed = [k.value for k in InterfaceKind if policy.on(k).managed]
    tag = f", tag {policy.peers.tag}" if policy.peers.tag else ""
    some = ((policy.allows, "rule"), (policy.overrides, "override"))
    rules = "".join(f", {count(len(found), noun)}" for found, noun in some if found)
    verdict = "refused" if refused else "good"
    return (
        f"{verdict}; mode {policy.mode.value}, peers of scope {policy.peers.scope.value}{tag}, "
        f"managing {' and '.join(managed) or 'no interface'}{rules}"
    )


def count(number: int, noun: str) -> str:
    """`1 peer`, `2 peers`, `3 addresses`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
