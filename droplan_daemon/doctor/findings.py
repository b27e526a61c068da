"""From Facts to Findings. PURE.

Law: the order is that of severity, then that of this page; the same Facts give the same Findings.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from . import machine, remote, service, walls
from .facts import Unlooked
from .finding import WRONG, Finding, Severity, found

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .facts import Facts

T = TypeVar("T")

_RANKS = tuple(Severity)


def findings(facts: "Facts", *, uid: int = 0) -> tuple[Finding, ...]:
    """Every Finding, the worst first; `uid` is who looked."""
    told = chain(
        machine.configuration(facts.configuration, uid=uid),
        _of(facts.api, remote.api),
        _of(facts.place, remote.place),
        machine.clock(facts.clock),
        _of(facts.backend, machine.backend),
        _of(facts.kernel, machine.kernel),
        _of(facts.firewalls, lambda seen: walls.judged(seen, facts.links)),
        _of(facts.old, machine.old),
        _of(facts.saved, service.saved),
        _of(facts.state, lambda seen: service.state(seen, uid=uid)),
        _running(facts),
        map(_unlooked, facts.unlooked),
    )
    return worst_first(dict.fromkeys(told))


def worst_first(told: "Iterable[Finding]") -> tuple[Finding, ...]:
    """By severity, otherwise as they came."""
    return tuple(sorted(told, key=lambda finding: _RANKS.index(finding.severity)))


def is_wrong(told: "Iterable[Finding]") -> bool:
    """Whether anything is to be done."""
    return any(finding.severity in WRONG for finding in told)


def _running(facts: "Facts") -> Iterator[Finding]:
    """What systemd and the daemon say; that nothing runs is said once."""
    spoken = set()
    for finding in chain(_of(facts.units, service.units), _daemon(facts)):
        if finding.id != "service.down" or finding.id not in spoken:
            yield finding
        spoken.add(finding.id)


def _daemon(facts: "Facts") -> Iterator[Finding]:
    if isinstance(facts.daemon, Unlooked):
        return iter((_unlooked(facts.daemon),))
    return service.daemon(facts.daemon, facts.version)


def _of(seen: T | Unlooked | None, judge: Callable[[T], Iterator[Finding]]) -> Iterator[Finding]:
    if isinstance(seen, Unlooked):
        return iter((_unlooked(seen),))
    return iter(()) if seen is None else judge(seen)


def _unlooked(missed: Unlooked) -> Finding:
    return found("unlooked", f"{missed.what} could not be looked at: {missed.why}", missed.fix)
