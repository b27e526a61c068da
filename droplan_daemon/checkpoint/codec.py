"""A Checkpoint as JSON and back. PURE.

Laws:
1. `decode(encode(c)) == c`.
2. Whatever is decoded, the result is a Checkpoint or StoreFailed(`shape`).
3. Rows instead of objects, and what many Droplets share (region, VPC, tags) once: 10,000 Droplets are
   0.7 MB. Neither way makes values of all of it at once, for the daemon lives on small machines.
4. `number` comes first, so that of two generations the newer is known before either is decoded.
"""

import json
import re
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.addresses import format_address, parse_address, unusable
from droplan_daemon.model.checkpoint import Checkpoint
from droplan_daemon.model.fleet import Droplet, Fleet, Peering, Skipped, Vpc
from droplan_daemon.model.host import Host

from .rules import read_ruleset, ruleset_value
from .values import items, maybe, number, row, seconds, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.addresses import Address

VERSION = 1

Kind = tuple[str, str | None, tuple[str, ...]]
"""What Droplets share: region, VPC, tags."""

_BACKENDS = frozenset({"nftables", "iptables"})
_NUMBER = re.compile(rb'\{"number":(\d{1,18}),')
_compact = json.JSONEncoder(separators=(",", ":")).encode


def encode(checkpoint: Checkpoint) -> bytes:
    """JSON of the Checkpoint. Raises ValueError for a Ruleset that is not ours."""
    fleet, kinds = checkpoint.fleet, dict[Kind, int]()
    droplets = ",".join(_compact(_droplet_value(droplet, kinds)) for droplet in fleet.droplets)
    facts = {
        "host": _host_value(checkpoint.host),
        "links": checkpoint.links,
        "backend": checkpoint.backend,
        "saved_at": checkpoint.saved_at,
        "boot": checkpoint.boot,
        "uptime": checkpoint.uptime,
        "kinds": list(kinds),
        "fleet": {
            "vpcs": [[vpc.id, vpc.name, vpc.region, vpc.ip_range] for vpc in fleet.vpcs],
            "peerings": [sorted(peering.vpcs) for peering in fleet.peerings],
            "source": fleet.source,
            "taken": fleet.taken,
            "skipped": [[entry.id, entry.reason, entry.listing] for entry in fleet.skipped],
        },
        "ruleset": ruleset_value(checkpoint.ruleset),
    }
    return f'{{"number":{checkpoint.number},"droplets":[{droplets}],{_compact(facts)[1:]}'.encode()


def number_of(body: bytes) -> int:
    """The number of an encoded Checkpoint; -1 where there is none."""
    found = _NUMBER.match(body)
    return int(found[1]) if found else -1


def decode(body: bytes) -> Checkpoint:
    """The Checkpoint of this JSON. Raises StoreFailed(`shape`)."""
    try:
        return _read(json.loads(body))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise StoreFailed("the checkpoint has an unknown shape", reason="shape") from None


def _read(value: dict[str, Any]) -> Checkpoint:
    if value["backend"] not in _BACKENDS:
        raise ValueError("an unknown backend")
    return Checkpoint(
        host=_read_host(value["host"]),
        links=tuple((text(name), text(mac)) for name, mac in (row(one, 2) for one in items(value["links"]))),
        fleet=_read_fleet(value),
        ruleset=read_ruleset(value["ruleset"]),
        backend=text(value["backend"]),
        number=number(value["number"]),
        saved_at=seconds(value["saved_at"]),
        boot=text(value["boot"], least=0),
        uptime=seconds(value["uptime"]),
    )


def _host_value(host: Host) -> list[Any]:
    return [host.droplet_id, host.private, host.public, host.learned]


def _read_host(value: object) -> Host:
    droplet_id, private, public, learned = row(value, 4)
    return Host(number(droplet_id, 1), maybe(text, private), maybe(text, public), text(learned))


def _droplet_value(droplet: Droplet, kinds: dict[Kind, int]) -> list[Any]:
    kind = kinds.setdefault((droplet.region, droplet.vpc, droplet.tags), len(kinds))
    addresses = ([format_address(one) for one in kept] for kept in (droplet.private, droplet.public))
    return [droplet.id, droplet.name, kind, *addresses]


def _read_fleet(value: dict[str, Any]) -> Fleet:
    kinds, fleet = [_read_kind(one) for one in items(value["kinds"])], value["fleet"]
    return Fleet(
        droplets=tuple(_droplets(items(value["droplets"]), kinds)),
        vpcs=tuple(Vpc(*(text(word, least=0) for word in row(one, 4))) for one in items(fleet["vpcs"])),
        peerings=tuple(Peering(frozenset(map(text, items(one)))) for one in items(fleet["peerings"])),
        source=text(fleet["source"], least=0),
        taken=seconds(fleet["taken"]),
        skipped=tuple(_read_skipped(one) for one in items(fleet["skipped"])),
    )


def _read_kind(value: object) -> Kind:
    region, vpc, tags = row(value, 3)
    return text(region, least=0), maybe(text, vpc), tuple(text(tag) for tag in items(tags))


def _droplets(rows: list[object], kinds: list[Kind]) -> "Iterator[Droplet]":
    """The Droplets; each row is let go as soon as it is read, and the last one first."""
    rows.reverse()
    while rows:
        droplet_id, name, kind, private, public = row(rows.pop(), 5)
        region, vpc, tags = kinds[number(kind)]
        yield Droplet(
            number(droplet_id, 1), text(name), tags, region, vpc, _addresses(private), _addresses(public)
        )


def _addresses(value: object) -> "tuple[Address, ...]":
    return tuple(_usable(parse_address(text(one))) for one in items(value))


def _usable(address: "Address") -> "Address":
    # No Source gives such a one, so nobody saved it: a peer at 127.0.0.1 would open a door.
    if unusable(address):
        raise ValueError("no Droplet's address")
    return address


def _read_skipped(value: object) -> Skipped:
    droplet_id, reason, listing = row(value, 3)
    return Skipped(maybe(number, droplet_id), text(reason, least=0), text(listing))
