"""What iptables-save and `ipset save` print, as far as it must be understood. Pure.

Law: lines are compared, never rewritten: what is saved is what the host's own tools printed.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_COUNTERS = re.compile(r"^\[\d+:\d+\] |(?<=\S) \[\d+:\d+\]$")
# What runs or is drawn anew without anybody having changed anything.
_VOLATILE = re.compile(r" (?:timeout|packets|bytes|initval) (?:0x)?[0-9a-f]+(?= |$)")
_MATCHED = re.compile(r"--(?:match|add|del|map)-set (?:\"([^\"]+)\"|(\S+))")
_DECLARED = re.compile(
    r":(droplan-[ts]?(?:about|peers(?:-public)?(?:-fwd)?|out(?:-public)?"
    r"|(?:pub)?(?:in|fwd|out)-(?:rest|[0-9a-f]{12}|(?:tcp|udp)(?:-nat)?(?:-\d+)?))"
    r"|droplan-[ts](?:input|forward|output)(?:-on)?) "
)
_MARKED = re.compile(r"-A (\S+) .*--comment \"droplan \d+ ")
_LEADS = re.compile(r" -[jg] (\S+)")
_OUR_SETS = re.compile(r"(?:create|add) d[pn]-")
_ABOUT = frozenset({"droplan-about", "droplan-tabout", "droplan-sabout"})
_SETS_LINE = re.compile(r"(?:create|add) (\S+) \S.*")


def same_rules(one: str, other: str) -> bool:
    """Whether two dumps of rules differ in comments and counters at most."""
    return list(_rules(one)) == list(_rules(other))


def _rules(text: str) -> "Iterator[str]":
    for line in text.splitlines():
        if line and not line.startswith("#"):
            # A ':' line ends with counters, a rule begins with them.
            yield _COUNTERS.sub("", line.rstrip(), count=1) if line[0] in "[:" else line.rstrip()


def same_sets(one: str, other: str) -> bool:
    """Whether two dumps of sets have the same sets and elements, in whatever order the hash had them."""
    return _sets(one) == _sets(other)


def _sets(text: str) -> tuple[list[str], list[str]]:
    lines = [_VOLATILE.sub("", line) for line in text.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if not line.startswith("add ")], sorted(
        line for line in lines if line.startswith("add ")
    )


def names_of_sets(rules: str) -> frozenset[str]:
    """The sets that rules ask or fill."""
    return frozenset(quoted or plain for quoted, plain in _MATCHED.findall(rules))


def without_sets(rules: str) -> str:
    """Rules but for those that name a set: what can be tried where the sets are gone."""
    return "".join(line for line in rules.splitlines(keepends=True) if not _MATCHED.search(line))


def sets_in(sets: str) -> frozenset[str]:
    """The sets that a dump of sets makes."""
    return frozenset(line.split(" ", 2)[1] for line in sets.splitlines() if line.startswith("create "))


def sets_fault(sets: str) -> str:
    """What a restorer would stumble over; empty when there is nothing.

    The kernel has no trial run for sets, so this is about shape: known words, and no element of a
    set that was not made before.
    """
    made: set[str] = set()
    for number, line in enumerate(sets.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        shape = _SETS_LINE.fullmatch(line)
        if shape is None:
            return f"line {number} is neither `create` nor `add`"
        if line.startswith("create "):
            made.add(shape[1])
        elif shape[1] not in made:
            return f"line {number} adds to a set that is not made before"
    return ""


def with_sets(sets: str, older: str, names: "Collection[str]") -> str:
    """`sets`, and from the older dump those of `names` that it lacks: for rules that still name them."""
    missing = frozenset(names) - sets_in(sets)
    kept = [
        line for line in older.splitlines() if (name := _SETS_LINE.fullmatch(line)) and name[1] in missing
    ]
    return sets + "".join(f"{line}\n" for line in kept)


def without_ours(rules: str) -> str:
    """The same dump without droplan's chains and the jumps to them; every other line as it is.

    Ours are chains with our names in which every rule has our comment, beside the one that only we make.
    """
    lines = [(line, _COUNTERS.sub("", line, count=1)) for line in rules.splitlines(keepends=True)]
    marked = {found[1] for _, rule in lines if (found := _MARKED.match(rule))}
    others = {
        rule.split(" ", 2)[1] for _, rule in lines if rule.startswith("-A ") and not _MARKED.match(rule)
    }
    ours = {found[1] for line, _ in lines if (found := _DECLARED.match(line))} - others
    if not _ABOUT & marked & ours:
        return rules
    return "".join(line for line, rule in lines if not _belongs(rule, ours))


def _belongs(rule: str, ours: "Collection[str]") -> bool:
    if declared := _DECLARED.match(rule):
        return declared[1] in ours
    if not (marked := _MARKED.match(rule)):
        return False
    leads = _LEADS.search(rule)
    return marked[1] in ours or (leads is not None and leads[1] in ours)


def sets_without_ours(sets: str) -> str:
    """The same dump of sets without droplan's."""
    return "".join(line for line in sets.splitlines(keepends=True) if not _OUR_SETS.match(line))
