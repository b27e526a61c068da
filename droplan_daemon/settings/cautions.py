"""What works, but surely not as it was meant: combinations that say nothing or hurt. Pure.

Law: called for a file without a mistake; what depends on the Fleet is told elsewhere
(`policy.warnings`).
"""

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from droplan_daemon.errors import Problem
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction, Lifeline, Outbound, PortProtocol, Scope
from droplan_daemon.model.selector import Kind
from droplan_daemon.policy.pick import names_droplets_only
from droplan_daemon.policy.uses import asking, may_be_managed, mentions

from .forms import on_loopback
from .plain import plainly
from .values import SourceKind, Unrestored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.policy import Allow, InterfaceOverride, Policy

    from .document import Document
    from .positions import KeyPath
    from .schema import File

    # The key that it hangs on, what is the matter, what would be right.
    Caution = tuple[KeyPath, str, str]

_ONLY_API = ("url", "token_file", "ca_file")


def cautions(file: "File", policy: "Policy", document: "Document") -> list[Problem]:
    """Every warning that the file alone gives; `policy` is what was made of it."""
    found = (
        *_interfaces(file, policy),
        *_peers(file, policy),
        *_source(file),
        *_lifelines(policy),
        *_own_ports(file, policy),
        *_boot(file, document),
    )
    rules = (caution for i in range(len(policy.allows)) for caution in _rule(i, policy))
    return [
        _at(document, *caution) for caution in (*found, *rules, *_idle(policy), *_twice(policy, document))
    ]


def _interfaces(file: "File", policy: "Policy") -> "Iterator[Caution]":
    for name, section in (("private", file.private), ("public", file.public)):
        kind, said = InterfaceKind(name), section.model_fields_set
        idle = not may_be_managed(policy, kind)
        if idle and section.allow_peers and "allow_peers" in said:
            yield (name, "allow_peers"), *_no_effect(f"`{name}.allow_peers`", name)
        if idle and section.outbound is Outbound.DROP:
            yield (name, "outbound"), *_no_effect(f"`{name}.outbound`", name)
        if section.managed and not _lets_anybody_in(policy, kind):
            yield (
                (name, "managed"),
                f"nobody is let in by the {name} interface, not even for SSH",
                f"add an [[allow]] with `from`, set `allow_peers = true` in [{name}], or `managed = false`",
            )
    if not any(may_be_managed(policy, kind) for kind in InterfaceKind):
        yield (
            ("private", "managed"),
            "neither interface is managed, so nothing is protected",
            "set `managed = true` in [private] or [public]",
        )


def _no_effect(what: str, section: str) -> tuple[str, str]:
    message = f"{what} has no effect while `{section}.managed` is false"
    return message, f"set `managed = true` in [{section}]"


def _lets_anybody_in(policy: "Policy", kind: InterfaceKind) -> bool:
    return (
        policy.on(kind).allow_peers
        or any(changes.allow_peers for changes in _changes(policy, kind))
        or any(a.interface is kind and a.direction is Direction.INBOUND for a in policy.allows)
    )


def _changes(policy: "Policy", kind: InterfaceKind) -> "Iterator[InterfaceOverride]":
    for override in policy.overrides:
        yield override.private if kind is InterfaceKind.PRIVATE else override.public


def _may_drop_outbound(policy: "Policy", kind: InterfaceKind) -> bool:
    words = {policy.on(kind).outbound, *(changes.outbound for changes in _changes(policy, kind))}
    return Outbound.DROP in words and may_be_managed(policy, kind)


def _peers(file: "File", policy: "Policy") -> "Iterator[Caution]":
    matter = asking(policy, Kind.PEERS) is not None or any(
        may_be_managed(policy, kind)
        and (policy.on(kind).allow_peers or any(c.allow_peers for c in _changes(policy, kind)))
        for kind in InterfaceKind
    )
    if file.peers.model_fields_set and not matter:
        yield (
            ("peers",),
            "[peers] has no effect while no managed interface allows peers",
            "set `allow_peers = true`, or use `peers` in a rule",
        )


def _source(file: "File") -> "Iterator[Caution]":
    said = file.source.model_fields_set
    if file.source.kind is SourceKind.DIGITALOCEAN and "path" in said:
        message = '`source.path` has no effect while `source.kind` is "digitalocean"'
        yield ("source", "path"), message, "take it out"
    if file.source.kind is SourceKind.FILE:
        for name in _ONLY_API:
            if name in said:
                message = f'`source.{name}` has no effect while `source.kind` is "file"'
                yield ("source", name), message, "take it out"


def _boot(file: "File", document: "Document") -> "Iterator[Caution]":
    if file.boot.without_checkpoint is Unrestored.OPEN and plainly(document.text) != "open":
        yield (
            ("boot", "without_checkpoint"),
            "boot, where no Python is, cannot read this, and will close the private interface",
            'write `[boot]`, below it `without_checkpoint = "open"`, and no triple quotes anywhere',
        )


_HURT_MANAGED = {
    Lifeline.ICMP_ERRORS: "connections that need smaller packets hang",
    Lifeline.NEIGHBOUR_DISCOVERY: "IPv6 stops working on a managed interface",
    Lifeline.DHCP: "a Droplet that gets its address by DHCP loses it",
}
_HURT_OUTBOUND = {
    Lifeline.DNS: (
        (PortProtocol.UDP, 53),
        "droplan cannot look up the API where outbound traffic is dropped",
    ),
    Lifeline.API: ((PortProtocol.TCP, 443), "droplan cannot reach the API where outbound traffic is dropped"),
}


def _lifelines(policy: "Policy") -> "Iterator[Caution]":
    """Those that are off and hurt; outbound, unless some rule opens what they did."""
    managed = any(may_be_managed(policy, kind) for kind in InterfaceKind)
    dropping = any(_may_drop_outbound(policy, kind) for kind in InterfaceKind)
    for lifeline in Lifeline:
        if lifeline in policy.lifelines:
            continue
        name = lifeline.name.lower()
        if managed and lifeline in _HURT_MANAGED:
            yield ("lifelines", name), f"without `{name}` {_HURT_MANAGED[lifeline]}", f"set `{name} = true`"
        elif dropping and lifeline in _HURT_OUTBOUND:
            (protocol, port), harm = _HURT_OUTBOUND[lifeline]
            if not any(_opens(allow, protocol, port) for allow in policy.allows):
                hint = f'set `{name} = true`, or add an [[allow]] with `to` and ports = ["{port}/{protocol}"]'
                yield ("lifelines", name), f"without `{name}` {harm}", hint


def _own_ports(file: "File", policy: "Policy") -> "Iterator[Caution]":
    """What droplan asks at a port that no lifeline opens, where outbound traffic may be dropped."""
    if file.source.kind is SourceKind.FILE or not any(
        _may_drop_outbound(policy, kind) for kind in InterfaceKind
    ):
        return
    for name, url in (("url", file.source.url), ("metadata_url", file.source.metadata_url)):
        asked = urlsplit(url)
        port = asked.port or _PORTS.get(asked.scheme, 0)
        opened = any(_opens(allow, PortProtocol.TCP, port) for allow in policy.allows)
        if not (opened or on_loopback(url) or port == _PORTS["https"] or (asked.hostname, port) == _METADATA):
            message = f"outbound traffic is dropped, and no lifeline opens port {port} for `source.{name}`"
            yield ("source", name), message, f'add an [[allow]] with `to` and ports = ["{port}/tcp"]'


_PORTS = {"http": 80, "https": 443}
_METADATA = "169.254.169.254", 80


def _opens(allow: "Allow", protocol: PortProtocol, port: int) -> bool:
    """Whether this rule lets anything out to that port."""
    fits = (p.protocol is protocol and p.first <= port <= p.last for p in allow.ports)
    return allow.direction is Direction.OUTBOUND and (not allow.ports or any(fits))


def _rule(i: int, policy: "Policy") -> "Iterator[Caution]":
    allow = policy.allows[i]
    path: KeyPath = ("allow", i)
    if not may_be_managed(policy, allow.interface):
        yield (*path, "interface"), *_no_effect("this rule", allow.interface.value)
    elif allow.direction is Direction.OUTBOUND and not _may_drop_outbound(policy, allow.interface):
        message = f'this rule has no effect while `{allow.interface}.outbound` is "accept"'
        yield (*path, "to"), message, f'set `outbound = "drop"` in [{allow.interface}], or in an [[override]]'
    if mentions(allow.on, Kind.PEERS):
        hint = 'for every Droplet, write "all"; what peers may do is said by `from = "peers"`'
        yield (*path, "on"), "`peers` in `on` picks nobody, since no Droplet is its own peer", hint


def _idle(policy: "Policy") -> "Iterator[Caution]":
    """The first rule that lets in only whom `allow_peers` lets in already."""
    everybody = policy.peers.scope is not Scope.REGION and policy.peers.tag is None
    open_to_peers = policy.private.allow_peers and all(
        changes.allow_peers is not False for changes in _changes(policy, InterfaceKind.PRIVATE)
    )
    for i, allow in enumerate(policy.allows) if everybody and open_to_peers else ():
        inbound = allow.direction is Direction.INBOUND and allow.interface is InterfaceKind.PRIVATE
        if inbound and names_droplets_only(allow.who) and policy.private.managed:
            hint = "set `allow_peers = false` in [private], so that rules alone decide"
            message = "this rule adds nobody: with `private.allow_peers` every peer reaches every port"
            yield ("allow", i, "from"), message, hint
            return


def _twice(policy: "Policy", document: "Document") -> "Iterator[Caution]":
    first: dict[Allow, int] = {}
    for i, allow in enumerate(policy.allows):
        before = first.setdefault(replace(allow, name=""), i)
        if before != i:
            spot = document.key(("allow", before))
            line = f" on line {spot.line}" if spot else ""
            yield ("allow", i), f"this rule says the same as the one{line}", "take one of them out"


def _at(document: "Document", path: "KeyPath", message: str, hint: str) -> Problem:
    spot = document.key(path)
    key = ".".join(part for part in path if isinstance(part, str))
    return Problem(message, key, spot.line if spot else None, spot.column if spot else None, hint)
