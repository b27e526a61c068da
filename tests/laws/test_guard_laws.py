"""The laws of the guard: random accounts, answers that lie, and cycles that start anew."""

import asyncio
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.clock import SystemClock
from droplan_daemon.errors import SourceUnavailable
from droplan_daemon.keeping import Keeping
from droplan_daemon.model.doubt import AGREEING
from droplan_daemon.model.fleet import Droplet, Fleet, Skipped
from droplan_daemon.model.policy import Allow, InterfacePolicy, Peers, Policy, Scope
from droplan_daemon.model.ruleset import Ruleset, SetKind
from droplan_daemon.model.selector import And, Kind, Term
from droplan_daemon.outcomes import Committed, Unchanged
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.selector import parse
from droplan_daemon.reconcile import Cycle
from tests.unit.cycles import HOST, Answers, Cards, Known, Shelf, droplet, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.selector import Selector
    from droplan_daemon.outcomes import Outcome

PRIVATE = InterfacePolicy(managed=True, allow_peers=False)
DOWN = SourceUnavailable("The API answered 500.", reason="http_status", status=500)
MOST = 14
MANY, FEW = (300, 100) if os.environ.get("DROPLAN_TEST_FULL") else (25, 10)
OTHERS = range(2, MOST + 1)
HOME, AWAY = "home", "away"


def _rule(who: "str | Selector") -> Policy:
    picked = parse(who) if isinstance(who, str) else who
    return Policy(private=PRIVATE, allows=(Allow("r", parse("all"), picked),))


POLICIES = {
    "peers": Policy(),
    "peers by tag": Policy(peers=Peers(tag="web")),
    "peers of the account": Policy(peers=Peers(Scope.ACCOUNT)),
    "peers of the region": Policy(peers=Peers(Scope.REGION)),
    "tag": _rule("tag:web"),
    "vpc and region": _rule(And((Term(Kind.VPC, HOME), parse("region:nyc3")))),
    "without": _rule("all and not tag:block"),
    "anybody without": _rule("any and not tag:block"),
    "tag or prefix": _rule("tag:web or 192.0.2.0/24"),
}

Looks = tuple[tuple[str, ...], str]
looks = st.tuples(
    st.sampled_from([(), ("web",), ("block",), ("block", "web")]), st.sampled_from([HOME, HOME, HOME, AWAY])
)


@dataclass(frozen=True)
class Step:
    """What happens before a poll, and how its answer lies."""

    become: dict[int, Looks | None] = field(default_factory=dict)  # None: destroyed
    drop: frozenset[int] = frozenset()
    unreadable: frozenset[int] = frozenset()
    hide: str = ""
    untag: str = ""
    down: bool = False
    restart: str = ""


steps = st.lists(
    st.builds(
        Step,
        become=st.dictionaries(st.sampled_from(OTHERS), st.none() | looks, max_size=6),
        drop=st.frozensets(st.sampled_from(OTHERS), max_size=MOST),
        unreadable=st.frozensets(st.sampled_from([*OTHERS, 99]), max_size=2),
        hide=st.sampled_from(["", "", "", "tags", "vpcs"]),
        untag=st.sampled_from(["", "", "", "web"]),
        down=st.integers(0, 7).map(lambda n: n == 0),
        restart=st.sampled_from(["", "", "", "once", "daemon"]),
    ),
    min_size=1,
    max_size=12,
)
starts = st.dictionaries(st.sampled_from(OTHERS), looks, min_size=6)


class Stage:
    """An account, the kernel of its first Droplet, and whoever runs cycles there."""

    def __init__(self, policy: Policy, start: dict[int, Looks]) -> None:
        self.policy, self.kernel, self.shelf = policy, FakeBackend(), Shelf()
        self.truth = dict(start)
        self.streak, self.untagged = 0, False
        self.cycle = self._made()

    def _made(self) -> Cycle:
        keeping = Keeping(self.shelf, Cards(), SystemClock(), "boot")
        return Cycle(self.policy, Answers([DOWN]), Known(), self.kernel, keeping=keeping)

    @property
    def fleet(self) -> Fleet:
        """The account as it is."""
        # One other has each tag, so that none of them looks hidden; it is in no VPC that matters.
        own = droplet(1, tags=("own",))
        return fleet(own, *(droplet(n, tags=tags, vpc=vpc) for n, (tags, vpc) in sorted(self.truth.items())))

    @property
    def meant(self) -> Ruleset:
        """What an answer that tells the truth comes to."""
        return compile_ruleset(self.policy, self.fleet, HOST, self.fleet.droplets[0])

    @property
    def held(self) -> Ruleset:
        """What the kernel holds."""
        found = self.kernel.observe().ruleset
        assert found
        return found

    async def play(self, step: Step) -> "tuple[Outcome, bool]":
        """One step; the outcome, and whether its answer told the truth and all of it."""
        if step.restart:
            self.cycle = self._made()
            if self.shelf.saved and step.restart == "once":
                await self.cycle.take(self.shelf.saved[-1])
            elif self.shelf.saved:
                await self.cycle.resume(self.shelf.saved[-1])
        for number, become in step.become.items():
            self.truth.pop(number, None)
            if become:
                self.truth[number] = become
        self.untagged = False
        hidden = step.hide if self.streak < AGREEING - 1 else ""
        answer = self._answer(replace(step, hide=hidden))
        self.cycle.source = Answers([DOWN if step.down else answer])
        outcome = await self.cycle.run()
        acted = isinstance(outcome, Unchanged | Committed)
        lied = self.untagged or len(answer.droplets) + len(answer.skipped) < len(self.fleet.droplets)
        if acted:
            self.streak = self.streak + 1 if lied or hidden else 0
        return outcome, acted and not lied and not answer.skipped

    def _answer(self, step: Step) -> Fleet:
        """The account as this step's answer tells it. Lies twice in a row at most, unless refused."""
        found = self.fleet
        kept = tuple(d for d in found.droplets if d.id not in step.drop - step.unreadable)
        known = {d.id for d in self.cycle.previous.droplets} - {1} if self.cycle.previous else set()
        gone = len(known - {d.id for d in kept} - step.unreadable)
        many = gone > 5 and gone > 0.3 * len(known)
        if self.streak < AGREEING - 1 and (many or gone == len(known)):
            found = replace(found, droplets=kept)
        skipped = tuple(Skipped(n, "odd") for n in step.unreadable)
        found = replace(
            found, droplets=tuple(d for d in found.droplets if d.id not in step.unreadable), skipped=skipped
        )
        found = replace(found, droplets=tuple(_hidden(d, step.hide) for d in found.droplets))
        return (
            self._untagged(found, step.untag) if self.streak < AGREEING - 1 and not step.unreadable else found
        )

    def _untagged(self, found: Fleet, tag: str) -> Fleet:
        """The answer without this tag on anybody, as long as somebody is known to have it."""
        self.untagged = any(tag in d.tags for d in found.droplets)
        return replace(
            found,
            droplets=tuple(replace(d, tags=tuple(t for t in d.tags if t != tag)) for d in found.droplets),
        )


def _hidden(one: Droplet, what: str) -> Droplet:
    if what == "tags":
        return replace(one, tags=())
    return replace(one, vpc=None) if what == "vpcs" else one


def _let_in(ruleset: Ruleset) -> frozenset[tuple[str, int]]:
    """Who is in which set, by the last byte of the private address: of ranges too."""
    return frozenset(_members(ruleset))


def _members(ruleset: Ruleset) -> "Iterator[tuple[str, int]]":
    for item in ruleset.sets.values():
        for number in range(1, MOST + 1):
            address = droplet(number).private[0]
            if item.kind is SetKind.HOSTS:
                inside = address in item.elements
            else:
                inside = any(e[:4] <= address <= e[4:] for e in item.elements if len(e) == 8)
            if inside:
                yield item.name, number


@pytest.mark.parametrize("name", POLICIES)
@given(start=starts, history=steps)
@example(  # let in by an answer in doubt, which leaves the Fleet as it was; then an entry that cannot be read
    start={2: ((), AWAY), **dict.fromkeys(range(3, 8), ((), HOME))},
    history=[
        Step(down=True),
        Step(become={2: ((), HOME)}, hide="vpcs"),
        Step(unreadable=frozenset({2})),
    ],
)
@settings(max_examples=MANY)
def test_who_is_there_is_never_removed(name: str, start: dict[int, Looks], history: list[Step]) -> None:
    """No sequence of answers in which the true fleet keeps a Droplet as it is ever takes it out of a set."""
    stage = Stage(POLICIES[name], start)

    async def told() -> None:
        await stage.play(Step())
        due = _let_in(stage.held) & _let_in(stage.meant)
        for step in history:
            _, true = await stage.play(step)
            due &= _let_in(stage.meant)
            assert frozenset() == due - _let_in(stage.held)
            due |= _let_in(stage.held) & _let_in(stage.meant) if true else frozenset()

    asyncio.run(told())


@pytest.mark.parametrize("name", POLICIES)
@given(start=starts, history=steps)
@settings(max_examples=FEW)
def test_who_came_is_in_after_one_true_answer(
    name: str, start: dict[int, Looks], history: list[Step]
) -> None:
    """Whatever was said before, one complete answer lets in everybody whom it names."""
    stage = Stage(POLICIES[name], start)

    async def told() -> None:
        await stage.play(Step())
        for step in history:
            await stage.play(step)
        _, true = await stage.play(Step())
        assert true
        hosts = {name for name, item in stage.held.sets.items() if item.kind is SetKind.HOSTS}
        assert frozenset() == frozenset(e for e in _let_in(stage.meant) if e[0] in hosts) - _let_in(
            stage.held
        )

    asyncio.run(told())


@pytest.mark.parametrize("name", POLICIES)
@given(
    start=starts, history=steps, between=st.lists(st.sampled_from(["", "once", "daemon", "down"]), max_size=4)
)
@settings(max_examples=FEW)
def test_who_left_is_out_after_three_true_answers(
    name: str, start: dict[int, Looks], history: list[Step], between: list[str]
) -> None:
    """Then the kernel holds what the truth comes to, exactly, and nothing is in doubt or remembered."""
    stage = Stage(POLICIES[name], start)

    async def told() -> None:
        await stage.play(Step())
        for step in history:
            await stage.play(step)
        for word in between:
            await stage.play(Step(down=True, restart="" if word == "down" else word))
        assert [True] * AGREEING == [(await stage.play(Step()))[1] for _ in range(AGREEING)]
        assert stage.meant == stage.held
        assert stage.cycle.last
        assert ((), False) == (stage.cycle.last.doubts, bool(stage.shelf.doubted))

    asyncio.run(told())


@pytest.mark.parametrize("name", POLICIES)
@given(start=starts, history=steps)
@settings(max_examples=FEW)
def test_a_lie_by_omission_opens_no_door(name: str, start: dict[int, Looks], history: list[Step]) -> None:
    """Nobody is let in whom no state of the account so far would let in, whoever is missing in an answer."""
    stage = Stage(POLICIES[name], start)

    async def told() -> None:
        await stage.play(Step())
        ever = _let_in(stage.held)
        for step in history:
            await stage.play(replace(step, hide="", untag=""))
            ever |= _let_in(stage.meant)
            assert frozenset() == _let_in(stage.held) - ever

    asyncio.run(told())
