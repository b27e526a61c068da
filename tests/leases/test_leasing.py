"""What a cycle makes of leases, and of what the operator has said: a fake kernel, and a clock that is set."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.diff import diff
from droplan_daemon.leasing import UNCONFIRMED, fingerprint
from droplan_daemon.model.plan import Arm, DeleteRule, Disarm, Plan
from droplan_daemon.model.policy import InterfacePolicy, Mode, Policy
from droplan_daemon.model.ruleset import Ruleset
from droplan_daemon.model.stance import Stance
from droplan_daemon.outcomes import Committed, Outcome, Refused, Unchanged, World
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.policy.lease import PAUSE, TRIAL, audited, compose, split
from tests.unit.cycles import HOST, Bench, droplet, fleet

OWN, PEERS = droplet(1), tuple(map(droplet, (2, 3, 4)))
OPEN = Policy(private=InterfacePolicy(managed=False, allow_peers=True))
NEW, OLD = "digest of the new one", "digest of the old one"


def _compiled(policy: Policy = Policy(), *peers: int) -> Ruleset:  # noqa: B008 - a frozen value
    return compile_ruleset(policy, fleet(OWN, *(PEERS if not peers else map(droplet, peers))), HOST, OWN)


@dataclass
class Desk:
    """A Cycle of the old configuration, the operator's word, and a kernel whose time passes when told."""

    stance: Stance = field(default_factory=Stance)
    policy: Policy = field(default_factory=Policy)
    digest: str = OLD
    now: float = 100.0
    others: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.kernel = FakeBackend(now=lambda: self.now)
        first = fleet(OWN, *PEERS, *map(droplet, self.others))
        answers = [first, first, fleet(OWN, *PEERS, droplet(5))]
        self.bench = Bench(list(answers), self.policy, self.kernel)
        self.cycle = self.bench.cycle
        self.cycle.stance, self.cycle.digest = lambda: self.stance, self.digest

    def run(self) -> Outcome:
        return self.bench.run()

    def repair(self) -> Outcome:
        return asyncio.run(self.cycle.repair())

    def holds(self) -> Ruleset:
        found = self.kernel.observe().ruleset
        assert found
        return found

    def become(self, whole: Ruleset, *changes: Arm | Disarm) -> None:
        seen = self.kernel.observe()
        self.kernel.commit(Plan((*diff(seen.ruleset, whole).changes, *changes)), seen.generation)

    def tries(self, trial: Ruleset, seconds: float = 60.0, said: Ruleset | None = None) -> None:
        """As `droplan try` does it; `said` is what is written down, if it is not what is put there."""
        self.stance = self.stance.trying("/new", NEW, fingerprint(said or trial, self.kernel.script), 0.0)
        self.become(compose(split(self.holds()).base, trial, TRIAL), Arm(TRIAL, seconds))


def _world(outcome: Outcome) -> World:
    assert isinstance(outcome, Unchanged | Committed), outcome
    return outcome.world


def test_what_is_on_trial_is_left_alone() -> None:
    """Nothing is written while the fleet is the same, and nobody takes it for a change by somebody else."""
    desk = Desk()
    desk.run()
    desk.tries(_compiled(OPEN))
    before = desk.kernel.generation()
    for outcome in (desk.run(), desk.repair()):
        assert isinstance(outcome, Unchanged)
        assert (TRIAL, 60.0) == outcome.world.lease
        assert _compiled() == outcome.world.desired
    assert before == desk.kernel.generation()


def test_the_base_follows_the_fleet() -> None:
    """Behind the trial somebody is added; the trial is as it was tried."""
    desk = Desk()
    desk.run()
    desk.tries(_compiled(OPEN))
    desk.run()
    outcome = desk.run()
    found = split(desk.holds())
    assert (_compiled(Policy(), 2, 3, 4, 5), _compiled(OPEN)) == (found.base, found.trial)
    assert isinstance(outcome, Committed)


@pytest.mark.parametrize("lease", [TRIAL, PAUSE])
def test_what_is_over_is_cleaned_up(lease: str) -> None:
    """After the end the plain rules are written, that is told, and it is no repair."""
    desk = Desk()
    before = _world(desk.run())
    if lease == TRIAL:
        desk.tries(_compiled(OPEN))
    else:
        desk.become(compose(desk.holds(), audited(desk.holds()), PAUSE), Arm(PAUSE, 60.0))
    desk.run()
    desk.now += 60.0
    outcome = desk.repair()
    assert isinstance(outcome, Committed)
    assert (lease, None) == (outcome.world.ended, outcome.world.lease)
    assert not outcome.repairs(before)
    assert _compiled() == desk.holds()
    assert "" == _world(desk.run()).ended


def test_what_nobody_put_on_trial_is_not_held() -> None:
    """Other rules under the trial's lease than those that were written down: they go at once."""
    desk = Desk()
    desk.run()
    desk.tries(_compiled(OPEN), said=_compiled(Policy(mode=Mode.AUDIT)))
    assert _world(desk.run()).lease is None
    assert _compiled() == desk.holds()


@pytest.mark.parametrize("chain", ["inbound", "trial.inbound", "private-in", "trial.private-in"])
def test_who_changes_what_is_on_trial_is_put_right(chain: str) -> None:
    """A rule that somebody deletes, of the trial or of the base, is there again; the trial goes on."""
    desk = Desk()
    desk.run()
    desk.tries(_compiled(Policy(mode=Mode.AUDIT)))
    whole = _world(desk.run()).enforced
    gone = DeleteRule(chain, 0, whole.chains[chain].rules[0])
    desk.kernel.commit(Plan((gone,)), desk.kernel.generation())
    outcome = desk.repair()
    assert isinstance(outcome, Committed)
    assert outcome.repairs(outcome.world)
    assert whole == desk.holds()
    assert {TRIAL} == desk.kernel.observe().leases.keys()


def test_confirmed_it_is_plain() -> None:
    """The new configuration's cycle takes the trial away, whoever joined; the old one's does not."""
    desk, policy = Desk(), Policy(mode=Mode.AUDIT)
    desk.run()
    desk.tries(_compiled(policy))
    desk.stance = desk.stance.keeping()
    desk.run()
    assert frozenset({TRIAL}) == desk.holds().leases
    new = Desk(desk.stance, policy, NEW, others=(5,))
    new.kernel = desk.kernel
    new.cycle.backend = desk.kernel
    new.cycle.inherit(desk.cycle)
    assert _world(new.run()).whole is None
    assert _compiled(policy, 2, 3, 4, 5) == new.holds()


def test_what_was_tried_is_refused_until_it_is_confirmed() -> None:
    """A cycle that begins with it writes nothing, whether its time is over or not; one word and it does."""
    desk = Desk(Stance(tried=NEW), OPEN, NEW)
    outcome = desk.run()
    assert isinstance(outcome, Refused)
    assert UNCONFIRMED == outcome.error.reason
    assert desk.kernel.observe().ruleset is None
    desk.stance = desk.stance.keeping()
    assert isinstance(desk.run(), Committed)


def test_an_answer_that_nothing_comes_of_is_none_in_a_row() -> None:
    """Twice most are gone, then all are there but the configuration is refused, then most are gone: held."""
    many, few = fleet(OWN, *map(droplet, range(2, 30))), fleet(OWN, *PEERS)
    bench = Bench([many, few, few, many, few, few, few])
    bench.run()
    said = Stance()
    bench.cycle.stance = lambda: said
    for polls in (1, 2):
        assert {polls} == {doubt.polls for doubt in _world(bench.run()).doubts}
    said, bench.cycle.digest = Stance(tried=NEW), NEW
    assert isinstance(bench.run(), Refused)
    said = Stance()
    for polls in (1, 2):
        assert {polls} == {doubt.polls for doubt in _world(bench.run()).doubts}
    assert ((), {2, 3, 4}) == (_world(bench.run()).doubts, bench.held)


def test_what_was_enforced_before_it_was_tried_goes_on() -> None:
    """Trying what holds already takes it away from nobody."""
    desk = Desk(digest=NEW)
    desk.run()
    desk.stance = Stance(tried=NEW)
    assert isinstance(desk.run(), Unchanged)


def test_a_panic_before_everything() -> None:
    """It ends what is on trial, whatever else was said; `repair` follows it too, and its end."""
    desk = Desk()
    plain = _world(desk.run()).desired
    desk.tries(_compiled(OPEN))
    desk.stance = desk.stance.panicking(7.0)
    outcome = desk.repair()
    assert (7.0, None) == (_world(outcome).panic, _world(outcome).lease)
    closed = desk.holds()
    assert "peers" not in {rule.name for rule in closed.chains["private-in"].rules}
    assert "public-in" in closed.chains
    assert isinstance(desk.run(), Unchanged)
    desk.stance = desk.stance.calm()
    assert _world(desk.repair()).panic is None
    assert plain == desk.holds()


def test_a_panic_confirms_nothing() -> None:
    """What was tried and not confirmed is not enforced because a panic was held for it, and is over."""
    desk = Desk(Stance(tried=NEW), OPEN, NEW)
    assert isinstance(desk.run(), Refused)
    desk.stance = desk.stance.panicking(7.0)
    closed = _world(desk.run()).enforced
    desk.stance = desk.stance.calm()
    for outcome in (desk.run(), desk.repair()):
        assert isinstance(outcome, Refused)
        assert UNCONFIRMED == outcome.error.reason
    assert closed == desk.holds()
    desk.stance = desk.stance.keeping()
    assert _compiled(OPEN) == _world(desk.run()).enforced


def test_a_pause_follows_the_fleet() -> None:
    """Who comes while it lasts is in the rules of both times."""
    desk = Desk()
    desk.run()
    desk.become(compose(desk.holds(), audited(desk.holds()), PAUSE), Arm(PAUSE, 60.0))
    assert isinstance(desk.run(), Unchanged)
    desk.run()
    desired = _compiled(Policy(), 2, 3, 4, 5)
    assert compose(desired, audited(desired), PAUSE) == desk.holds()


def test_without_a_word_nothing_is_asked() -> None:
    """A cycle that nobody gives a stance knows of none."""
    desk = Desk()
    desk.cycle.stance = None
    assert isinstance(desk.run(), Committed)


def test_a_stance_in_words_of_its_own() -> None:
    """What each step of it says."""
    tried = Stance().trying("/new", NEW, "rules", 9.0)
    assert (True, False) == (tried.bars(NEW), tried.bars(OLD))
    assert (False, True) == (tried.allows(NEW), tried.keeping().allows(NEW))
    assert not Stance().allows("")
    assert (False, False) == (tried.keeping().bars(NEW), Stance().bars(""))
    assert not tried.keeping().trying("/other", OLD, "", 1.0).allows(NEW)
    assert (
        replace(tried, panic=True, since=1.0) == tried.panicking(1.0) == tried.panicking(1.0).panicking(2.0)
    )
    assert tried == tried.panicking(1.0).calm()
