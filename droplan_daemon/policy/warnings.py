"""What a Policy says that this Fleet makes hardly meant. PURE.

Laws:
1. A warning is one sentence that names the rule and the selector, and the nearest name that exists.
2. It never depends on the order of the Fleet, and each is told once.
3. A pattern that fits nobody is no mistake by itself (`not name:canary-*` on a quiet day); a
   selector that matches nothing is one, and so is a name, tag, id, region or VPC that is not there.
"""

from bisect import bisect
from typing import TYPE_CHECKING

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import Allow
from droplan_daemon.model.selector import And, Kind, Not, Or, Term, joined, negated, terms
from droplan_daemon.plaintext import nearest

from .effective import concerns, effective
from .peers import peer_droplets
from .pick import droplets, elements, families, names_droplets_only
from .scene import scene
from .uses import Part, Use, asking, uses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.policy import Policy
    from droplan_daemon.model.selector import Selector

    from .scene import Scene

_EVERYBODY = Term(Kind.ALL)
_NOBODY = Not(_EVERYBODY)


def warnings(policy: "Policy", scene: "Scene") -> tuple[str, ...]:
    """Every warning, as the own Droplet of the Scene sees it, in the order of the Policy."""
    found = [*_about_peers(policy, scene)]
    for use in uses(policy):
        found += _about(use, scene)
    return tuple(dict.fromkeys(found))


def everywhere(policy: "Policy", fleet: "Fleet") -> tuple[str, ...]:
    """The warnings that hold from wherever one looks: one Droplet of each VPC and region is asked."""
    places = {(droplet.vpc, droplet.region): droplet for droplet in reversed(fleet.droplets)}
    if not places:
        return ("the fleet has no Droplet at all",)
    views = (scene(fleet, own, peer_droplets(policy.peers, fleet, own)) for own in places.values())
    first, *others = (warnings(policy, view) for view in views)
    return tuple(text for text in first if all(text in other for other in others))


def enforcers(on: "Selector", scene: "Scene") -> frozenset[int]:
    """The Droplets that an `on` picks, each seen from itself: `self` is everybody, `peers` nobody."""
    return droplets(_from_itself(on), scene)


def _from_itself(selector: "Selector") -> "Selector":
    match selector:
        case Term(Kind.SELF):
            return _EVERYBODY
        case Term(Kind.PEERS):
            return _NOBODY
        case Term():
            return selector
        case Not(part):
            return negated(_from_itself(part))
        case And(parts) | Or(parts):
            return joined(type(selector), tuple(map(_from_itself, parts)))


def _about_peers(policy: "Policy", scene: "Scene") -> "Iterator[str]":
    tag = policy.peers.tag
    if tag is not None and tag not in scene.tags:
        yield f"peers.tag: {_no_tag(tag, scene)}"
    elif not scene.peers and _peers_matter(policy, scene):
        yield f"peers: no Droplet but this one is in scope '{policy.peers.scope}'"


def _peers_matter(policy: "Policy", scene: "Scene") -> bool:
    mine = effective(policy, scene)
    open_to_peers = any(mine.on(kind).managed and mine.on(kind).allow_peers for kind in InterfaceKind)
    return open_to_peers or asking(mine, Kind.PEERS) is not None


def _about(use: Use, scene: "Scene") -> "Iterator[str]":
    reasons = [reason for term in dict.fromkeys(terms(use.selector)) for reason in _odd(term, scene)]
    consequence = list(_consequence(use, scene))
    if reasons or consequence:
        text = "; ".join((*reasons, *consequence))
        yield f"{use.owner}, {use.part} `{use.selector}`: {text}"


def _consequence(use: Use, scene: "Scene") -> "Iterator[str]":
    """What comes of it for the rule."""
    if use.part is Part.ON:
        if not enforcers(use.selector, scene):
            yield (
                "no Droplet enforces this rule" if isinstance(use.rule, Allow) else "it applies to no Droplet"
            )
    elif isinstance(use.rule, Allow) and not _reaches_any(use.rule, scene):
        yield _why_nothing(use.rule, scene)


def _reaches_any(allow: Allow, scene: "Scene") -> bool:
    """Whether `who` is anybody: for a rule of ours, anybody with an address on its interface."""
    if names_droplets_only(allow.who) and not concerns(allow.on, scene):
        return bool(droplets(allow.who, scene))
    kind = allow.interface
    return any(elements(allow.who, scene, kind, family) for family in families(allow.who, kind))


def _why_nothing(allow: Allow, scene: "Scene") -> str:
    if names_droplets_only(allow.who) and droplets(allow.who, scene):
        return f"none of the Droplets that it matches has a {allow.interface} address towards this one"
    return "it matches nothing"


def _odd(term: Term, scene: "Scene") -> "Iterator[str]":
    """Why this term surely is not what was meant."""
    match term.kind:
        case Kind.TAG if term.value not in scene.tags:
            yield _no_tag(term.value, scene)
        case Kind.REGION if term.value not in scene.regions:
            yield f"no Droplet is in the region '{term.value}'{_nearest(term.value, scene.regions)}"
        case Kind.VPC if term.value not in scene.vpcs:
            yield f"no Droplet is in the VPC '{term.value}'{_nearest(term.value, scene.vpcs)}"
        case Kind.ID if int(term.value) not in scene.everyone:
            yield f"no Droplet has the id {term.value}"
        case Kind.NAME if not any(sign in term.value for sign in "*?["):
            yield from _odd_name(term.value, scene)
        case Kind.VPC_RANGE if scene.vpc_range is None:
            yield "the address range of this Droplet's VPC is not known"


def _odd_name(name: str, scene: "Scene") -> "Iterator[str]":
    ids = sorted(scene.names.get(name, ()))
    if not ids:
        yield f"no Droplet is called '{name}'{_nearest(name, scene.names)}"
    elif len(ids) > 1:
        some = ", ".join(map(str, ids[:5])) + (", …" if len(ids) > 5 else "")  # noqa: PLR2004 - enough to look up
        yield f"{len(ids)} Droplets are called '{name}' (ids {some}), and it means all of them"


def _no_tag(tag: str, scene: "Scene") -> str:
    return f"no Droplet has the tag '{tag}'{_nearest(tag, scene.tags)}"


def _nearest(name: str, known: "Iterable[str]") -> str:
    close = nearest(name, _around(name, sorted(known)))
    return f"; the nearest that exists is '{close}'" if close else ""


def _around(name: str, known: list[str], most: int = 128) -> list[str]:
    """Those that begin most like the name: difflib takes 20 µs for each, ten thousand stop a daemon."""
    at = min(max(bisect(known, name) - most // 2, 0), max(len(known) - most, 0))
    return known[at : at + most]
