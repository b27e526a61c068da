"""Expressions that pick Droplets and addresses: `tag:web and not name:canary-*`. PURE.

    selector := conjunction ("or" conjunction)*
    conjunction := negation ("and" negation)*
    negation := "not" negation | "(" selector ")" | term
    term := any | all | peers | self | vpc | tag:NAME | name:GLOB | id:N | region:SLUG
          | vpc:UUID | ADDRESS | PREFIX

Laws:
1. `parse(str(s)) == s`; `str(parse(text))` is canonical: `not not x` is `x`, chains of one
   operator are flat, parentheses stand only where they are needed.
2. An error says the column (1-based) and what was expected there.
3. The syntax knows no Fleet; what a selector picks is `policy.pick`'s.
"""

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING

from droplan_daemon.model.selector import And, Kind, Or, Term, joined, negated

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.model.selector import Selector


class SelectorError(ValueError):
    """`column` is 1-based in the text; `str()` says what is wrong and what was expected."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.column = column


def parse(text: str) -> "Selector":
    """The selector that this text is. Raises SelectorError."""
    reader = _Reader(text)
    found = _disjunction(reader)
    if reader.word:
        raise reader.error("expected `and`, `or` or the end")
    return found


_WORD = re.compile(r"[()]|[^\s()]+")
_OPERATORS = frozenset({"and", "or", "not", "(", ")"})
_DEPTH = 50  # deeper than anybody means, and far from Python's own limit


class _Reader:
    """The words of a text, one at a time; `word` is empty at the end."""

    def __init__(self, text: str) -> None:
        self._words = [(found.group(), found.start() + 1) for found in _WORD.finditer(text)]
        self._end = len(text.rstrip()) + 1
        self._next = 0
        self.depth = 0

    @property
    def word(self) -> str:
        return self._words[self._next][0] if self._next < len(self._words) else ""

    @property
    def column(self) -> int:
        return self._words[self._next][1] if self._next < len(self._words) else self._end

    def take(self, *expected: str) -> bool:
        """Step over the word if it is one of these."""
        if self.word not in expected:
            return False
        self._next += 1
        return True

    def error(self, message: str, column: int | None = None) -> SelectorError:
        found = f"`{self.word[:40]}`" if self.word else "the end"
        return SelectorError(f"{message}, found {found}", column or self.column)


def _disjunction(reader: _Reader) -> "Selector":
    return _chain(reader, "or", Or, _conjunction)


def _conjunction(reader: _Reader) -> "Selector":
    return _chain(reader, "and", And, _negation)


def _chain(
    reader: _Reader, word: str, kind: type[And | Or], part: "Callable[[_Reader], Selector]"
) -> "Selector":
    parts = [part(reader)]
    while reader.take(word):
        parts.append(part(reader))
    return joined(kind, tuple(parts))


def _negation(reader: _Reader) -> "Selector":
    reader.depth += 1
    if reader.depth > _DEPTH:
        raise reader.error(f"nested more than {_DEPTH} deep")
    try:
        if reader.take("not"):
            return negated(_negation(reader))
        return _group(reader) if reader.word == "(" else _term(reader)
    finally:
        reader.depth -= 1


def _group(reader: _Reader) -> "Selector":
    opened = reader.column
    reader.take("(")
    found = _disjunction(reader)
    if not reader.take(")"):
        raise reader.error(f"expected `)` for the `(` at column {opened}")
    return found


_BARE = {kind.value: kind for kind in (Kind.ANY, Kind.ALL, Kind.PEERS, Kind.SELF, Kind.VPC_RANGE)}
_VALUED: "dict[str, tuple[Kind, re.Pattern[str], str]]" = {
    "tag": (Kind.TAG, re.compile(r"[\w:-]{1,255}", re.ASCII), "letters, digits, `_`, `:` and `-`"),
    "name": (
        Kind.NAME,
        re.compile(r"[\w.*?\[\]!-]{1,255}", re.ASCII),
        "a name, or a pattern with `*` and `?`",
    ),
    "id": (Kind.ID, re.compile(r"[1-9][0-9]{0,18}", re.ASCII), "a number"),
    "region": (Kind.REGION, re.compile(r"[a-z0-9-]{1,32}", re.ASCII), "a slug such as nyc3"),
    "vpc": (Kind.VPC, re.compile(r"[0-9a-fA-F-]{1,64}", re.ASCII), "the UUID of a VPC"),
}
_TERMS = "any, all, peers, self, vpc, tag:, name:, id:, region:, vpc:, an address or a prefix"


def _term(reader: _Reader) -> Term:
    word = reader.word
    if not word or word in _OPERATORS:
        raise reader.error(f"expected a term ({_TERMS})")
    found = _BARE.get(word)
    term = Term(found) if found else _valued(reader, word)
    reader.take(word)
    return term


def _valued(reader: _Reader, word: str) -> Term:
    name, colon, value = word.partition(":")
    if colon and name in _VALUED:
        kind, form, words = _VALUED[name]
        if not form.fullmatch(value):
            raise reader.error(f"after `{name}:` expected {words}", reader.column + len(name) + 1)
        return Term(kind, value.lower() if kind in {Kind.TAG, Kind.VPC} else value)
    return Term(Kind.PREFIX, _prefix(reader, word))


def _prefix(reader: _Reader, word: str) -> str:
    """Canonical text: `10.0.0.0/8`, and a single address without its length."""
    try:
        # A zone is no part of an address that a packet carries.
        net = ip_network(word.replace("%", "zone"))
    except ValueError:
        raise _not_a_prefix(reader, word) from None
    return str(net.network_address) if net.num_addresses == 1 else str(net)


def _not_a_prefix(reader: _Reader, word: str) -> SelectorError:
    try:
        meant = ip_network(word, strict=False)
    except ValueError:
        return reader.error(f"expected a term ({_TERMS})")
    return SelectorError(f"`{word}` has host bits set: did you mean `{meant}`?", reader.column)
