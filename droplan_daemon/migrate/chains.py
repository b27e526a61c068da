"""The old program's chains in what iptables-save prints. Pure.

Laws:
1. A chain is the old program's only if everything about it has the shape that the program gave it: the
   rules in it, the one jump to it for each interface, and what it put behind the jump. Anything else
   is somebody's work and stays, with a sentence that says why.
2. A rule of the new program carries a comment; the old one never wrote any.

Source: tables.go of tam7t/droplan 1.3.1 (and 1.0, which had no rule for ESTABLISHED), and the
rules for FORWARD that its example for CoreOS puts beside them.
"""

import re
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.addresses import Address

NAMES = ("droplan-peers", "droplan-peers-public")
ASIDE = "old-"
"""What stands before a chain's name while the new program's chain of that name is made."""

_ALL = (*NAMES, *(ASIDE + name for name in NAMES))
_COUNTERS = re.compile(r"^\[\d+:\d+\] ")
_PEER = re.compile(r"-s (\d+\.\d+\.\d+\.\d+)(?:/32)? -j ACCEPT")
_IN_INPUT = re.compile(r"-A INPUT -i (\S+) -j (\S+)")
_IN_FORWARD = re.compile(r"-A FORWARD (?:-i (\S+) )?-j (\S+)")
_STATES = r"(?:RELATED,ESTABLISHED|ESTABLISHED,RELATED)"
_REPLIES = r"-A {hook} -i {link} -m (?:conntrack --ctstate|state --state) " + _STATES + " -j ACCEPT"
_DROP = r"-A {hook} -i {link} -j DROP"
_GUARD = re.compile(_DROP.format(hook="INPUT", link=r"(\S+)"))


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What the old program left in one table `filter`.

    `rules` are those outside of its chains, in order and as iptables-save prints them; `peers` whom its
    chains let in; `doubts` sentences about what has its name but not its shape.
    """

    chains: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    peers: "frozenset[Address]" = frozenset()
    doubts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.chains)

    @property
    def guarded(self) -> frozenset[str]:
        """The interfaces by which its rules keep strangers out."""
        return frozenset(found[1] for rule in self.rules if (found := _GUARD.fullmatch(rule)))

    @property
    def public(self) -> bool:
        """Whether they are, among others, those of PUBLIC=true."""
        return any(name.endswith(NAMES[1]) for name in self.chains)


@dataclass(slots=True)
class _Table:
    """The table `filter` of a dump: its own chains, and every rule in order."""

    chains: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


def leftovers(dump: str) -> Leftovers:
    """What of the old program stands in this dump."""
    table = _table(dump)
    chains, doubts, hooks = [], [], []
    for name in (name for name in _ALL if name in table.chains):
        own, jumps = _own(table, name), _jumps(table, name)
        if any("--comment" in rule for rule in (*own, *jumps)):
            continue
        doubt = _doubt(own, jumps)
        if doubt:
            doubts.append(f"the chain {name} is left alone: {doubt}")
            continue
        chains.append(name)
        hooks += jumps
    behind = _behind(table, hooks)
    twice = next((rule for rule in behind if table.rules.count(rule) > 1), None)
    if twice:
        return Leftovers(
            doubts=(*doubts, f"the chains of the old droplan are left alone: {twice} stands twice")
        )
    rules = tuple(rule for rule in table.rules if rule in {*hooks, *behind})
    peers = frozenset(
        parse_address(found[1])
        for name in chains
        for rule in _own(table, name)
        if (found := _PEER.search(rule))
    )
    return Leftovers(tuple(chains), rules, peers, tuple(doubts))


def removal(found: Leftovers) -> str:
    """Input for `iptables-restore --noflush` that removes it, all or nothing; it fails if any is gone."""
    return _restore(
        *(f"-D {rule.removeprefix('-A ')}" for rule in found.rules),
        *chain.from_iterable((f"-F {name}", f"-X {name}") for name in found.chains),
    )


def moved_aside(found: Leftovers) -> str:
    """Input that gives its chains other names and changes no verdict; empty if they have those already."""
    lines = [f"-E {name} {ASIDE}{name}" for name in found.chains if not name.startswith(ASIDE)]
    return _restore(*lines) if lines else ""


def moved_back(found: Leftovers) -> str:
    """Input that undoes `moved_aside`."""
    lines = [f"-E {ASIDE}{name} {name}" for name in found.chains if not name.startswith(ASIDE)]
    return _restore(*lines) if lines else ""


def without(dump: str, found: Leftovers) -> str:
    """The same dump (a file of rules) without it; every other line stays as it is."""
    gone = {*found.rules, *(f"-A {name} " for name in found.chains)}
    kept, table = [], ""
    for line in dump.splitlines(keepends=True):
        table = line.strip() if line.startswith("*") else table
        rule = _COUNTERS.sub("", line.rstrip())
        mine = rule in gone or any(rule.startswith((f"-A {name} ", f":{name} ")) for name in found.chains)
        if table != "*filter" or not mine:
            kept.append(line)
    return "".join(kept)


def _restore(*lines: str) -> str:
    return "".join(f"{line}\n" for line in ("*filter", *lines, "COMMIT"))


def _table(dump: str) -> _Table:
    found, inside = _Table(), False
    for line in dump.splitlines():
        if line.startswith("*"):
            inside = line.strip() == "*filter"
        elif inside and line.startswith(":"):
            found.chains.append(line[1:].partition(" ")[0])
        elif inside and (rule := _COUNTERS.sub("", line.rstrip())).startswith("-A "):
            found.rules.append(rule)
    return found


def _own(table: _Table, name: str) -> list[str]:
    return [rule for rule in table.rules if rule.startswith(f"-A {name} ")]


def _jumps(table: _Table, name: str) -> list[str]:
    jump = re.compile(rf" -[jg] {re.escape(name)}(?: |$)")
    return [rule for rule in table.rules if jump.search(rule)]


def _doubt(own: list[str], jumps: list[str]) -> str:
    """What is not as the old program made it; empty when all is."""
    strange = next((rule for rule in own if not _PEER.fullmatch(rule.split(" ", 2)[2])), None)
    if strange is not None:
        return f"{strange} is no rule of the old droplan"
    strange = next((r for r in jumps if not (_IN_INPUT.fullmatch(r) or _IN_FORWARD.fullmatch(r))), None)
    if strange is not None:
        return f"{strange} is no jump of the old droplan"
    twice = next((rule for rule in jumps if jumps.count(rule) > 1), None)
    return f"{twice} stands twice" if twice else ""


def _behind(table: _Table, jumps: list[str]) -> list[str]:
    """What the old program put behind its jumps: replies let in, everything else dropped."""
    links = {found[1] for rule in jumps if (found := _IN_INPUT.fullmatch(rule))}
    patterns = [
        re.compile(shape.format(hook=hook, link=re.escape(link)))
        for hook, link in _judged(jumps, links)
        for shape in (_REPLIES, _DROP)
    ]
    first = next((at for at, rule in enumerate(table.rules) if rule in jumps), 0)
    return [rule for rule in table.rules[first:] if any(pattern.fullmatch(rule) for pattern in patterns)]


def _judged(jumps: list[str], links: set[str]) -> "Iterator[tuple[str, str]]":
    """Hook and interface of each place that the old program judged."""
    yield from (("INPUT", link) for link in sorted(links))
    for rule in jumps:
        found = _IN_FORWARD.fullmatch(rule)
        if found:
            yield from (("FORWARD", link) for link in ([found[1]] if found[1] else sorted(links)))
