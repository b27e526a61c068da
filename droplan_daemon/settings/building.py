"""The valid file as a Policy. Pure.

Law: called only for a file without a mistake; nothing is judged here.
"""

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    Firewall,
    FirewallOverride,
    InterfaceOverride,
    InterfacePolicy,
    Lifeline,
    Management,
    Override,
    Peers,
    Policy,
    Unset,
)

from .rules import EVERY_DROPLET, union

if TYPE_CHECKING:
    from .schema import AllowSection, File, InterfaceChanges, OverrideSection, PrivateSection, PublicSection

_LONGEST_NAME = 64


def policy(file: "File") -> Policy:
    """What the file says."""
    return Policy(
        mode=file.mode,
        peers=Peers(file.peers.scope, file.peers.tag, file.peers.max_peers, file.peers.max_stale),
        private=_interface(file.private),
        public=_interface(file.public),
        denied_log=file.log.denied,
        allows=tuple(map(_allow, file.allow)),
        overrides=tuple(map(_override, file.override)),
        lifelines=frozenset(
            lifeline for lifeline in Lifeline if getattr(file.lifelines, lifeline.name.lower())
        ),
        firewall=Firewall(file.firewall.backend, file.firewall.ipset),
        management=Management(tuple(dict.fromkeys(file.management.ports)), file.management.required),
    )


def _interface(section: "PrivateSection | PublicSection") -> InterfacePolicy:
    return InterfacePolicy(section.managed, section.allow_peers, section.outbound)


def _allow(rule: "AllowSection") -> Allow:
    inbound = rule.from_ is not None
    made = Allow(
        name="",
        on=rule.on,
        who=union(rule.from_ or rule.to or ()),
        direction=Direction.INBOUND if inbound else Direction.OUTBOUND,
        ports=tuple(rule.ports or ()),
        interface=rule.interface,
    )
    return replace(made, name=rule.name or _described(made))


def _described(allow: Allow) -> str:
    """A rule without a name by what it says: `from tag:web: 80/tcp on tag:db (public)`."""
    way = "from" if allow.direction is Direction.INBOUND else "to"
    ports = f": {', '.join(map(str, allow.ports))}" if allow.ports else ""
    where = f" on {allow.on}" if allow.on != EVERY_DROPLET else ""
    public = " (public)" if allow.interface is InterfaceKind.PUBLIC else ""
    return _short(f"{way} {allow.who}{ports}{where}{public}")


def _short(text: str) -> str:
    """A name has so many characters; a longer text is cut, and stays different from others."""
    if len(text) <= _LONGEST_NAME:
        return text
    return f"{text[: _LONGEST_NAME - 12]}... {sha256(text.encode()).hexdigest()[:8]}"


def _override(section: "OverrideSection") -> Override:
    return Override(
        on=section.on or EVERY_DROPLET,
        mode=section.mode,
        private=_changes(section.private),
        public=_changes(section.public),
        denied_log=section.log.denied if "denied" in section.log.model_fields_set else Unset.UNSET,
        firewall=FirewallOverride(section.firewall.backend, section.firewall.ipset),
    )


def _changes(section: "InterfaceChanges") -> InterfaceOverride:
    return InterfaceOverride(section.managed, section.allow_peers, section.outbound)
