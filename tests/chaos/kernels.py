"""Kernels with moods: one in memory and a real one, both with a hand that is not ours."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.diff import diff
from droplan_daemon.errors import CommitConflict, CommitRejected, CommitUnknown
from droplan_daemon.model.ruleset import Action, AddressSet, Rule, Ruleset, SetKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.effects import Backend, Observation
    from droplan_daemon.model.plan import Plan
    from tests.conftest import Namespace

STRANGER = b"\xc0\0\x02\x63"
"""192.0.2.99, which is nobody's."""


class KilledError(BaseException):
    """The process is gone in the middle of a commit."""


class Hand(Protocol):
    """Somebody else who writes into the kernel."""

    def write(self, ruleset: Ruleset | None) -> None:
        """Have our table be just this."""


@dataclass
class Moody:
    """A Backend whose next commits go wrong as they are told; `lost` may have been done or not."""

    inner: "Backend"
    moods: list[str] = field(default_factory=list)
    commits: int = 0

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def has_leases(self) -> bool:
        return self.inner.has_leases

    def fit(self, ruleset: Ruleset) -> Ruleset:
        return self.inner.fit(ruleset)

    def generation(self) -> int:
        return self.inner.generation()

    def observe(self) -> "Observation":
        return self.inner.observe()

    def script(self, ruleset: Ruleset) -> str:
        return self.inner.script(ruleset)

    def commit(self, plan: "Plan", at: int) -> None:
        mood = self.moods.pop(0) if self.moods and plan else ""
        if mood == "conflict":
            raise CommitConflict("somebody was first")
        if mood == "refused":
            raise CommitRejected("the kernel has no memory", errno=12)
        if mood in {"lost before", "killed before"}:
            _fail(mood)
        self.inner.commit(plan, at)
        self.commits += bool(plan)
        if mood in {"lost after", "killed after"}:
            _fail(mood)


MOODS = ("conflict", "refused", "lost before", "lost after")


def _fail(mood: str) -> None:
    if mood.startswith("killed"):
        raise KilledError
    raise CommitUnknown("no answer", reason="no_reply")


class MemoryKernel(FakeBackend):
    """One that others can write to."""

    def write(self, ruleset: Ruleset | None) -> None:
        self._ruleset = ruleset
        self._generation += 1

    def close(self) -> None:
        """Nothing is held."""


class RealKernel:
    """The kernel of a namespace, with a socket for us and another one for the stranger."""

    name = "nftables"
    has_leases = True

    def __init__(self, namespace: "Namespace") -> None:
        self._call: Callable[..., object] = namespace.call
        self._namespace = namespace
        self._ours = namespace.call(NftBackend)
        self._theirs = namespace.call(NftBackend)

    def close(self) -> None:
        """Close the sockets; the namespace goes by itself."""
        self._namespace.call(self._ours.close)
        self._namespace.call(self._theirs.close)

    def fit(self, ruleset: Ruleset) -> Ruleset:
        return ruleset

    def generation(self) -> int:
        return self._namespace.call(self._ours.generation)

    def observe(self) -> "Observation":
        return self._namespace.call(self._ours.observe)

    def commit(self, plan: "Plan", at: int) -> None:
        self._namespace.call(self._ours.commit, plan, at)

    def script(self, ruleset: Ruleset) -> str:
        return self._ours.script(ruleset)

    def write(self, ruleset: Ruleset | None) -> None:
        """By another socket, as another program does."""

        def put() -> None:
            found = self._theirs.observe()
            with suppress(CommitConflict):
                self._theirs.commit(diff(found.ruleset, ruleset), found.generation)

        self._namespace.call(put)


def tampered(ruleset: Ruleset, how: str) -> Ruleset | None:
    """Our table after somebody else was at it."""
    full = [made for made in ruleset.sets.values() if made.kind is SetKind.HOSTS and made.elements]
    match how:
        case "deleted":
            return None
        case "stranger let in" if full and 4 == full[0].family.width:
            return _with(ruleset, replace(full[0], elements=full[0].elements | {STRANGER}))
        case "peer taken out" if full:
            return _with(ruleset, replace(full[0], elements=frozenset(sorted(full[0].elements)[1:])))
        case "rule added":
            return _open(ruleset)
        case "rules gone":
            return replace(
                ruleset, chains={n: replace(c, rules=()) for n, c in ruleset.chains.items()}, maps={}
            )
    return ruleset


TAMPERINGS = ("deleted", "stranger let in", "peer taken out", "rule added", "rules gone")


def _with(ruleset: Ruleset, changed: AddressSet) -> Ruleset:
    return replace(ruleset, sets={**ruleset.sets, changed.name: changed})


def _open(ruleset: Ruleset) -> Ruleset:
    """Everything is accepted first."""
    accept = Rule("a friend", (), verdict=Verdict(Action.ACCEPT))
    chains = {
        name: replace(chain, rules=(accept, *chain.rules)) if chain.hook else chain
        for name, chain in ruleset.chains.items()
    }
    return replace(ruleset, chains=chains)
