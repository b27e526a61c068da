"""Selectors as values: `tag:web and not name:canary-*`.

Laws: `str` is canonical, so equal text means equal meaning as far as syntax can tell: chains of
one operator are flat, `not not x` is `x`, parentheses stand only where they are needed. The
text is parsed in `policy.selector`; what a selector picks of a Fleet is `policy.pick`'s.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kind(StrEnum):
    """What a term looks at."""

    ANY = "any"
    ALL = "all"
    PEERS = "peers"
    SELF = "self"
    VPC_RANGE = "vpc"
    TAG = "tag"
    NAME = "name"
    ID = "id"
    REGION = "region"
    VPC = "vpc:"
    PREFIX = "prefix"


ADDRESS_KINDS = frozenset({Kind.ANY, Kind.VPC_RANGE, Kind.PREFIX})
"""Terms that stand for addresses whoever has them; all others stand for Droplets."""


@dataclass(frozen=True, slots=True)
class Term:
    """One test; `value` is empty for the words that need none."""

    kind: Kind
    value: str = ""

    def __str__(self) -> str:
        if not self.value:
            return self.kind.value
        return self.value if self.kind is Kind.PREFIX else f"{self.kind.value.rstrip(':')}:{self.value}"


@dataclass(frozen=True, slots=True)
class Not:
    """Everything that `part` does not pick."""

    part: "Selector"

    def __str__(self) -> str:
        return f"not {_nested(self.part, And, Or)}"


@dataclass(frozen=True, slots=True)
class And:
    """What all parts pick; two or more, none of them an And."""

    parts: "tuple[Selector, ...]"

    def __str__(self) -> str:
        return " and ".join(_nested(part, Or) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """What any part picks; two or more, none of them an Or."""

    parts: "tuple[Selector, ...]"

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


Selector = Term | Not | And | Or


def negated(part: Selector) -> Selector:
    """`not part`, canonical."""
    return part.part if isinstance(part, Not) else Not(part)


def joined(kind: type[And | Or], parts: "tuple[Selector, ...]") -> Selector:
    """Parts under one operator, flat; one part is itself."""
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,)))
    return flat[0] if len(flat) == 1 else kind(flat)


def terms(selector: Selector) -> "Iterator[Term]":
    """Every term, from left to right."""
    match selector:
        case Term():
            yield selector
        case Not(part):
            yield from terms(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from terms(part)


def _nested(part: Selector, *looser: type) -> str:
    return f"({part})" if isinstance(part, looser) else str(part)
