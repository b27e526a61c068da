"""A Ruleset where one family is left out, for a host that cannot hold rules of it. PURE.

Law: what is left says nothing of that family, and of the other all that it said before. So it is what
can be read from the rules of the other family alone.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import From, Icmp, To

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.ruleset import Rule, Ruleset


def without(ruleset: "Ruleset", family: Family) -> "Ruleset":
    """The same, but for the sets and the rules of this family; its comment says so."""
    sets = {name: found for name, found in ruleset.sets.items() if found.family is not family}
    chains = {
        name: replace(chain, rules=tuple(rule for rule in chain.rules if family not in _named(rule)))
        for name, chain in ruleset.chains.items()
    }
    comment = ruleset.comment.removesuffix(_said(family)) + _said(family)
    return replace(ruleset, sets=sets, chains=chains, comment=comment)


def left_out(ruleset: "Ruleset") -> Family | None:
    """The family that was left out. Where it would only have been empty, it was not."""
    return next((family for family in Family if ruleset.comment.endswith(_said(family))), None)


def _said(family: Family) -> str:
    return f" (without IPv{family.value})"


def _named(rule: "Rule") -> "Iterator[Family]":
    """The families that a rule is about."""
    for match in rule.matches:
        if isinstance(match, From | To | Icmp):
            yield match.family
