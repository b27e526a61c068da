"""A removal needs evidence: what is enforced after an answer, held against what was before it. PURE.

Laws:
1. What an answer adds is enforced at once. What it takes away is weighed (`weighing`).
2. What is held was enforced before, under the Policy as it is now: what a new Policy takes away from
   the Droplets that were known is the operator's will, and so is never held.
3. A Droplet of which anything is held stays in the Fleet as it was, and what must not open a door (sets
   of ranges, the rules of a Droplet that seems to be another one) is compiled for that Fleet.
4. What was kept on disk is no answer: it takes away nobody whom the kernel got since (`with_newer`).
5. A Policy whose `[peers] tag` nobody ever carried takes no last peer away; a Fleet that outgrows
   `[peers] max_peers` is not enforced.
"""

from bisect import bisect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from droplan_daemon.errors import Refusal
from droplan_daemon.model.doubt import FLEET, SELF, Absences
from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.ruleset import SetKind
from droplan_daemon.model.selector import Kind, Term
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.members import capacity, set_name
from droplan_daemon.policy.peers import peer_droplets
from droplan_daemon.policy.pick import families
from droplan_daemon.policy.scene import scene

from .weighing import Group, Weighed, remembered, weigh

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.doubt import Doubt
    from droplan_daemon.model.fleet import Droplet, Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.model.ruleset import AddressSet, Ruleset
    from droplan_daemon.policy.scene import Scene

    from .evidence import Evidence


@dataclass(frozen=True, slots=True)
class Enforced:
    """What was enforced last, for which Fleet, on which Host, and what was held then.

    Without a Policy it is not known by which one. `ruleset` None: nothing was.
    """

    ruleset: "Ruleset | None" = None
    fleet: "Fleet | None" = None
    host: "Host | None" = None
    policy: "Policy | None" = None
    absences: Absences = Absences()  # noqa: RUF009 - a frozen value

    @property
    def own(self) -> "Droplet | None":
        """What this Droplet was."""
        return self.fleet.droplet(self.host.droplet_id) if self.fleet and self.host else None


@dataclass(frozen=True, slots=True)
class Believed:
    """What to enforce: the Ruleset, and the Fleet, Droplet and Host that it is for."""

    fleet: "Fleet"
    host: "Host"
    scene: "Scene"
    ruleset: "Ruleset"
    doubts: "tuple[Doubt, ...]" = ()
    absences: Absences = Absences()  # noqa: RUF009 - a frozen value


def believe(
    policy: "Policy",
    evidence: "Evidence",
    host: "Host",
    enforced: Enforced,
    *,
    answered: bool = True,
    accepted: frozenset[str] = frozenset(),
) -> Believed:
    """What this evidence comes to. Raises Refusal (`tag_unknown`, `too_many`).

    `answered`: it is an answer of now, not one that was kept. `accepted` are what the operator accepted:
    digests of Absences, and of Refusals what their `accept` says.
    """
    desired = compile_ruleset(policy, evidence.fleet, host, evidence.own)
    before = _baseline(policy, enforced)
    found = plain = Believed(evidence.fleet, host, evidence.scene, desired)
    if before is None:
        pass
    elif not answered:
        found = _remembering(plain, before, enforced)
    elif (weighed := _weighed(plain, evidence, before, enforced, accepted)).doubts:
        found = _holding(policy, plain, before, enforced, weighed)
    _tag_is_known(policy, found, enforced, accepted)
    _not_too_many(policy, found)
    return found


def with_newer(found: Believed, kept: "Ruleset | None", held: "Ruleset | None") -> Believed:
    """What comes of what was kept, with the members that the kernel got after that was kept.

    A process may die, or its disk fail, between a commit and the save of it: what was kept takes nobody
    away. Only where the Policy still is what it was then; nothing else tells who it would let in.
    """
    if held is None or found.ruleset != kept:
        return found
    sets = {}
    for name, item in found.ruleset.sets.items():
        old = held.sets.get(name)
        known = old and item.kind is SetKind.HOSTS and (old.family, old.kind) == (item.family, item.kind)
        sets[name] = _filled(item, item.elements | old.elements, old) if old and known else item
    return replace(found, ruleset=replace(found.ruleset, sets=sets))


def _baseline(policy: "Policy", enforced: Enforced) -> "Ruleset | None":
    """What was enforced, as this Policy would have had it."""
    own = enforced.own
    if enforced.ruleset is None or enforced.policy == policy:
        return enforced.ruleset
    if enforced.fleet is None or enforced.host is None or own is None:
        return enforced.ruleset
    meant = compile_ruleset(policy, enforced.fleet, enforced.host, own)
    return _with(meant, {name: _strays(name, enforced) for name in meant.sets})


def _strays(name: str, enforced: Enforced) -> frozenset[bytes]:
    """What was enforced in this set while something was held, and may be due to no Droplet that is known.

    Where the Policy of that time is known, it is another one: only what belongs to nobody is a stray.
    """
    was = enforced.ruleset.sets.get(name) if enforced.ruleset else None
    if not enforced.absences or was is None or enforced.fleet is None:
        return frozenset()
    if enforced.policy is None:
        return was.elements
    known = {address for d in enforced.fleet.droplets for address in (*d.private, *d.public)}
    return was.elements.intersection(enforced.absences.groups.get(name, ())) - known


def _remembering(plain: Believed, before: "Ruleset", enforced: Enforced) -> Believed:
    """What is enforced while nobody answers: nobody leaves whom this Policy let in before."""
    sizes = {name: len(item.elements) for name, item in before.sets.items()}
    known = remembered(enforced.absences, sizes)
    kept = {
        name: _filled(item, item.elements | before.sets[name].elements, before.sets[name])
        for name, item in plain.ruleset.sets.items()
        if item.kind is SetKind.HOSTS and name in before.sets
    }
    ruleset = replace(plain.ruleset, sets={**plain.ruleset.sets, **kept})
    return replace(plain, ruleset=ruleset, doubts=known.doubts, absences=known.absences)


def _weighed(
    plain: Believed, evidence: "Evidence", before: "Ruleset", enforced: Enforced, accepted: frozenset[str]
) -> Weighed:
    known, unsaid = enforced.absences, _addresses(evidence)
    sets = (*_hosts(plain.ruleset, before, unsaid), *_ranges(plain, before, enforced))
    groups = (*_self(plain, enforced), *_fleet(plain, enforced), *sets)
    return weigh(groups, known, whole=evidence.whole, accepted=bool(known) and known.digest in accepted)


def _self(plain: Believed, enforced: Enforced) -> "Iterator[Group]":
    if enforced.own and enforced.host:
        was = _identity(enforced.own, enforced.host)
        yield Group(SELF, was - _identity(plain.scene.own, plain.host), len(was))


def _identity(own: "Droplet", host: "Host") -> frozenset[bytes]:
    words = [f"droplet {own.id}", f"region {own.region}"]
    words += [f"vpc {own.vpc}"] if own.vpc else []
    words += [f"interface {kind}" for kind in InterfaceKind if host.should_have(kind)]
    return frozenset(map(str.encode, words))


def _fleet(plain: Believed, enforced: Enforced) -> "Iterator[Group]":
    if enforced.fleet is None or enforced.host is None:
        return
    ours = {plain.scene.own.id, enforced.host.droplet_id}
    gone = {droplet.id for droplet in enforced.fleet.droplets} - plain.scene.everyone - ours
    missing = frozenset(number.to_bytes(8, "big") for number in gone)
    others = len(enforced.fleet.droplets) - 1
    yield Group(FLEET, missing, others, left=bool(plain.scene.everyone - ours))


def _addresses(evidence: "Evidence") -> frozenset[bytes]:
    """The addresses of those of whom the answer says nothing that can be read."""
    carried = (droplet for droplet in evidence.fleet.droplets if droplet.id in evidence.carried)
    return frozenset(address for one in carried for address in (*one.private, *one.public))


def _hosts(desired: "Ruleset", before: "Ruleset", unsaid: frozenset[bytes]) -> "Iterator[Group]":
    # Who is held stays in the Fleet as he was, and may have come into another set since.
    for name, old in before.sets.items():
        new = desired.sets.get(name)
        if old.kind is SetKind.HOSTS and new and (new.family, new.kind) == (old.family, old.kind):
            gone = old.elements - new.elements
            yield Group(name, gone - unsaid, len(old.elements), bool(new.elements), gone & unsaid)


def _ranges(plain: Believed, before: "Ruleset", enforced: Enforced) -> "Iterator[Group]":
    """Of ranges: the addresses of known Droplets that were in them. Nobody else's are the Fleet's doing."""
    for name, old in before.sets.items():
        new = plain.ruleset.sets.get(name)
        if old.kind is SetKind.HOSTS or new is None or new.elements == old.elements or not enforced.fleet:
            continue
        seen = plain.scene.droplets
        changed = (droplet for droplet in enforced.fleet.droplets if seen.get(droplet.id) != droplet)
        missing = _inside(changed, old) - _inside(enforced.fleet.droplets, new)
        if missing:
            size = len(_inside(enforced.fleet.droplets, old))
            yield Group(name, missing, size, left=size > len(missing))


def _inside(droplets: "Iterable[Droplet]", ranges: "AddressSet") -> frozenset[bytes]:
    """The addresses of these Droplets that a set of ranges has."""
    width = ranges.family.width
    spans = sorted((element[:width], element[-width:]) for element in ranges.elements)
    firsts = [first for first, _ in spans]
    addresses = (a for d in droplets for a in (*d.private, *d.public) if len(a) == width)
    return frozenset(a for a in addresses if (at := bisect(firsts, a)) and a <= spans[at - 1][1])


def _holding(
    policy: "Policy", plain: Believed, before: "Ruleset", enforced: Enforced, weighed: Weighed
) -> Believed:
    """What is enforced while something is held."""
    fleet = _with_ghosts(plain.fleet, enforced, weighed)
    own, host = plain.scene.own, plain.host
    if weighed.held(SELF) and enforced.own and enforced.host:
        own, host = enforced.own, _as_before(host, enforced.host)
    frame = compile_ruleset(policy, fleet, host, own)
    if enforced.fleet is None:
        frame = _ranges_of(frame, before)
    sets = {}
    for name, item in frame.sets.items():
        now, old = plain.ruleset.sets.get(name, item), before.sets.get(name)
        held = weighed.held(name) & old.elements if old else frozenset[bytes]()
        hosts = item.kind is SetKind.HOSTS
        sets[name] = _filled(item, now.elements | held, old) if hosts else item
    view = scene(fleet, own, peer_droplets(policy.peers, fleet, own))
    return Believed(fleet, host, view, replace(frame, sets=sets), weighed.doubts, weighed.absences)


def _as_before(host: "Host", was: "Host") -> "Host":
    """The Host with the interfaces that it had."""
    return replace(
        host,
        droplet_id=was.droplet_id,
        private=host.private or was.private,
        public=host.public or was.public,
    )


def _with_ghosts(fleet: "Fleet", enforced: Enforced, weighed: Weighed) -> "Fleet":
    """The Fleet with those who are held as they were, and no network less."""
    if enforced.fleet is None:
        return fleet
    ids = {int.from_bytes(number, "big") for number in weighed.held(FLEET)}
    sets = weighed.absences.groups.keys() - {FLEET, SELF}
    addresses = frozenset[bytes]().union(*map(weighed.held, sets))
    # Seen from another VPC everybody is where they were: half of what an answer says would fit nobody.
    everybody = bool(weighed.held(SELF))
    ghosts = (
        droplet
        for droplet in enforced.fleet.droplets
        if everybody or droplet.id in ids or not addresses.isdisjoint((*droplet.private, *droplet.public))
    )
    vpcs = {vpc.id: vpc for vpc in (*enforced.fleet.vpcs, *fleet.vpcs)}
    peerings = dict.fromkeys((*fleet.peerings, *enforced.fleet.peerings))
    return replace(_replaced(fleet, tuple(ghosts)), vpcs=tuple(vpcs.values()), peerings=tuple(peerings))


def _replaced(fleet: "Fleet", droplets: "tuple[Droplet, ...]") -> "Fleet":
    """The Fleet with these Droplets, whatever it says of them."""
    found = {droplet.id: droplet for droplet in (*fleet.droplets, *droplets)}
    return replace(fleet, droplets=tuple(found[number] for number in sorted(found)))


def _ranges_of(frame: "Ruleset", before: "Ruleset") -> "Ruleset":
    """The Ruleset with the ranges of before: in `any and not tag:x` who is gone would open the door."""
    kept = {
        name: before.sets[name]
        for name, item in frame.sets.items()
        if item.kind is SetKind.RANGES and name in before.sets and before.sets[name].schema == item.schema
    }
    return replace(frame, sets={**frame.sets, **kept})


def _with(meant: "Ruleset", more: "dict[str, frozenset[bytes]]") -> "Ruleset":
    sets = {name: _filled(item, item.elements | more[name], None) for name, item in meant.sets.items()}
    return replace(meant, sets=sets)


def _filled(item: "AddressSet", elements: frozenset[bytes], old: "AddressSet | None") -> "AddressSet":
    """The set with these elements, and room for them: no smaller than it was, so that it is not made anew."""
    if elements == item.elements:
        return item
    least = max(item.capacity, old.capacity if old else 0)
    return replace(item, capacity=capacity(len(elements), least), elements=elements)


_PEERS = frozenset(
    set_name(Term(Kind.PEERS), kind, family)
    for kind in InterfaceKind
    for family in families(Term(Kind.PEERS), kind)
)


def _peers_in(ruleset: "Ruleset") -> bool:
    return any(name in _PEERS and item.elements for name, item in ruleset.sets.items())


def _tag_is_known(policy: "Policy", found: Believed, enforced: Enforced, accepted: frozenset[str]) -> None:
    """Refusal when a tag that nobody ever had would take the last peer away."""
    tag = policy.peers.tag
    if tag is None or enforced.ruleset is None or f"tag:{tag}" in accepted:
        return
    if not _peers_in(enforced.ruleset) or _peers_in(found.ruleset) or _PEERS.isdisjoint(found.ruleset.sets):
        return
    known = (*found.fleet.droplets, *(enforced.fleet.droplets if enforced.fleet else ()))
    if not any(tag in droplet.tags for droplet in known):
        raise Refusal(
            f"peers.tag is '{tag}', which no Droplet has: every peer would be shut out. Correct it, or give "
            "the tag to Droplets; if it is meant, say so: droplan accept",
            reason="tag_unknown",
            accept=f"tag:{tag}",
        )


def _not_too_many(policy: "Policy", found: Believed) -> None:
    """Refusal when more Droplets would be let in than the operator ever wants."""
    most = policy.peers.max_peers
    members = [item.elements for item in found.ruleset.sets.values() if item.kind is SetKind.HOSTS]
    if sum(map(len, members)) <= most:
        return
    admitted = frozenset().union(*members)
    count = sum(
        not admitted.isdisjoint((*droplet.private, *droplet.public)) for droplet in found.fleet.droplets
    )
    if count > most:
        raise Refusal(
            f"the answer would let {count:,} Droplets in, more than peers.max_peers = {most:,}: nothing is "
            "changed. If so many are meant, raise peers.max_peers",
            reason="too_many",
        )
