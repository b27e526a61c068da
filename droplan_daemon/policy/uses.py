"""Every selector of a Policy, where it stands, and what an answer must tell for it. PURE.

Law: nothing is evaluated here; this is about the text of the Policy, whatever the Fleet.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction, Scope
from droplan_daemon.model.selector import Kind, terms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.policy import Allow, Override, Policy
    from droplan_daemon.model.selector import Selector


class Part(StrEnum):
    """The key that a selector is the value of."""

    ON = "on"
    FROM = "from"
    TO = "to"


@dataclass(frozen=True, slots=True)
class Use:
    """A selector, and the rule or override (`owner`, for a person) and key where it stands."""

    owner: str
    part: Part
    selector: "Selector"
    rule: "Allow | Override"


def uses(policy: "Policy") -> "Iterator[Use]":
    """Every selector of the Policy, in its order."""
    for number, override in enumerate(policy.overrides, start=1):
        yield Use(f"override {number}", Part.ON, override.on, override)
    for allow in policy.allows:
        owner = f"allow '{allow.name}'"
        yield Use(owner, Part.ON, allow.on, allow)
        other = Part.FROM if allow.direction is Direction.INBOUND else Part.TO
        yield Use(owner, other, allow.who, allow)


def asking(policy: "Policy", *kinds: Kind) -> "Use | None":
    """The first selector with a term of one of these kinds; None when there is none."""
    return next((use for use in uses(policy) if mentions(use.selector, *kinds)), None)


def mentions(selector: "Selector", *kinds: Kind) -> bool:
    """Whether it has a term of one of these kinds."""
    return any(term.kind in kinds for term in terms(selector))


def may_be_managed(policy: "Policy", kind: InterfaceKind) -> bool:
    """Whether any Droplet of the Fleet may have this kind of interface managed."""
    private = kind is InterfaceKind.PRIVATE
    sections = (override.private if private else override.public for override in policy.overrides)
    return policy.on(kind).managed or any(section.managed for section in sections)


def needs_networks(policy: "Policy") -> bool:
    """Whether VPCs and peerings must be known.

    Scope `vpc` and the terms `vpc` and `vpc:` are about them; and on the private interface only
    Droplets of the own VPC and its peerings exist (`scene`, law 2).
    """
    return (
        policy.peers.scope is Scope.VPC
        or asking(policy, Kind.VPC, Kind.VPC_RANGE) is not None
        or may_be_managed(policy, InterfaceKind.PRIVATE)
    )
