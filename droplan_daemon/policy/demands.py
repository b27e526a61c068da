"""What an answer must tell so that this Policy can be judged by it on this Host. PURE.

Laws:
1. The API leaves out what a token may not read and answers 200 all the same. What nobody of the
   Fleet has is therefore hidden until proven otherwise, and a Policy that asks about it is not judged.
2. Only what concerns this Droplet is asked for: every `on`, and the selectors of the rules that it
   enforces on an interface that it has and manages.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from droplan_daemon.errors import Refusal
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Direction, Scope
from droplan_daemon.model.selector import ADDRESS_KINDS, Kind, terms

from .compile import places
from .effective import effective
from .uses import Part, may_be_managed, mentions, uses

if TYPE_CHECKING:
    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Allow, Policy

    from .scene import Scene
    from .uses import Use


def require(policy: "Policy", fleet: "Fleet", host: "Host", scene: "Scene") -> None:
    """Refusal (`tags_hidden`, `vpcs_hidden`, …) when the Fleet hides what this Host must know."""
    asked = _Asked(fleet, scene.own)
    if any(host.should_have(kind) and may_be_managed(policy, kind) for kind in InterfaceKind):
        for use in uses(policy):
            if use.part is Part.ON:
                asked.by(use)
    mine = effective(policy, scene)
    judged = {(place.kind, place.direction) for place in places(mine, host)}
    rules = [allow for allow in mine.allows if (allow.interface, allow.direction) in judged]
    open_to_peers = [
        kind for kind in InterfaceKind if (kind, Direction.INBOUND) in judged and mine.on(kind).allow_peers
    ]
    for kind in InterfaceKind:
        if kind in open_to_peers or any(_names_droplets(allow, kind) for allow in rules):
            asked.by_interface(kind)
    if open_to_peers or any(mentions(allow.who, Kind.PEERS) for allow in rules):
        asked.by_peers(mine)
    for use in uses(replace(mine, allows=tuple(rules))):
        asked.by(use)


def _names_droplets(allow: "Allow", kind: InterfaceKind) -> bool:
    return allow.interface is kind and any(term.kind not in ADDRESS_KINDS for term in terms(allow.who))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A Fleet that is asked; each question raises Refusal when there is no answer."""

    fleet: "Fleet"
    own: "Droplet"

    def by(self, use: "Use") -> None:
        """By a selector."""
        where = f"{use.owner}, {use.part} `{use.selector}`"
        if mentions(use.selector, Kind.TAG):
            self._tags(f"{where} asks for a tag")
        if mentions(use.selector, Kind.VPC):
            self._vpcs(f"{where} asks for a VPC", "or take `vpc:` out of it")
        if mentions(use.selector, Kind.VPC_RANGE):
            self._vpc_range(where)

    def by_peers(self, policy: "Policy") -> None:
        """By [peers], where it matters who is one."""
        if policy.peers.tag is not None:
            self._tags(f"peers.tag is '{policy.peers.tag}'")
        if policy.peers.scope is Scope.VPC:
            other = "set peers.scope to 'region' or 'account'"
            self._vpcs("peers.scope is 'vpc'", f"or {other}")
            self._own_vpc("peers.scope is 'vpc'", other)

    def by_interface(self, kind: InterfaceKind) -> None:
        """An answer without our own addresses lacks other Droplets' too, and would shut them out."""
        if not self.own.addresses(kind):
            raise Refusal(
                f"the answer has no {kind} address of this Droplet ({self._name}), though it "
                f"has a {kind} interface: nothing is changed until the answer has one",
                reason="addresses_hidden",
            )

    @property
    def _name(self) -> str:
        return f"{self.own.name}, id {self.own.id}"

    def _tags(self, why: str) -> None:
        if not any(droplet.tags for droplet in self.fleet.droplets):
            raise Refusal(
                f"{why}, but no Droplet of the answer has any tag: give the token the scope tag:read",
                reason="tags_hidden",
            )

    def _vpcs(self, why: str, otherwise: str) -> None:
        if not any(droplet.vpc for droplet in self.fleet.droplets):
            raise Refusal(
                f"{why}, but no Droplet of the answer has a VPC: "
                f"give the token the scope vpc:read, {otherwise}",
                reason="vpcs_hidden",
            )

    def _own_vpc(self, why: str, otherwise: str) -> None:
        if self.own.vpc is None:
            message = f"{why}, but this Droplet ({self._name}) has no VPC in the answer: {otherwise}"
            raise Refusal(message, reason="no_vpc")

    def _vpc_range(self, where: str) -> None:
        why = f"{where} asks for the address range of this Droplet's VPC"
        self._vpcs(why, "or write the range itself")
        self._own_vpc(why, "write the range itself")
        if all(vpc.id != self.own.vpc for vpc in self.fleet.vpcs):
            raise Refusal(
                f"{why}, which the answer does not tell: give the token the scope vpc:read "
                "(in a fleet file, put `vpcs` beside `droplets`), or write the range itself",
                reason="vpc_range_unknown",
            )
