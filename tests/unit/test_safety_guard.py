"""What is enforced after an answer that takes something away."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.diff import diff
from droplan_daemon.errors import SourceUnavailable
from droplan_daemon.keeping import Keeping
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.doubt import FLEET, SELF, Cause
from droplan_daemon.model.fleet import Fleet, Peering, Skipped
from droplan_daemon.model.host import Host
from droplan_daemon.model.plan import AddElements, Plan
from droplan_daemon.model.policy import (
    Allow,
    InterfaceOverride,
    InterfacePolicy,
    Override,
    Peers,
    Policy,
    PortProtocol,
    Ports,
    Scope,
)
from droplan_daemon.model.ruleset import SetKind
from droplan_daemon.outcomes import Committed, Failed, Refused, Unchanged
from droplan_daemon.policy.selector import parse
from droplan_daemon.reconcile import Cycle
from tests.unit.cycles import HOST, Answers, Cards, Known, Shelf, droplet, fleet

if TYPE_CHECKING:
    from droplan_daemon.model.fleet import Droplet
    from droplan_daemon.outcomes import Outcome, World

OWN = droplet(1, tags=("own",))
DOWN = SourceUnavailable("The API answered 500.", reason="http_status", status=500)
RULES = InterfacePolicy(managed=True, allow_peers=False)
PEERS = "private-peers-4"


@dataclass
class Watch:
    """A Clock that stands where it is put."""

    at: float = 1_800_000_000.0
    up: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.up

    def boottime(self) -> float:
        return self.up

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def go_on(self, seconds: float) -> None:
        self.at, self.up = self.at + seconds, self.up + seconds


@dataclass
class Machine:
    """A kernel, a disk and a clock; cycles come and go on it."""

    policy: Policy = field(default_factory=Policy)
    host: Host = HOST
    kernel: FakeBackend = field(default_factory=FakeBackend)
    shelf: Shelf = field(default_factory=Shelf)
    clock: Watch = field(default_factory=Watch)
    boot: str = "boot"

    def __post_init__(self) -> None:
        self.cycle = self._made()

    def _made(self) -> Cycle:
        keeping = Keeping(self.shelf, Cards(), self.clock, self.boot)
        finder = Known(self.host)
        return Cycle(self.policy, Answers([DOWN]), finder, self.kernel, keeping=keeping, clock=self.clock)

    def hear(self, *answers: "Fleet | Exception") -> "Outcome":
        """Polls with these answers; how the last one ended."""
        outcomes = [self._polled(answer) for answer in answers]
        return outcomes[-1]

    def _polled(self, answer: "Fleet | Exception") -> "Outcome":
        self.cycle.source, self.cycle.finder = Answers([answer]), Known(self.host)
        return asyncio.run(self.cycle.run())

    def is_overdue(self) -> bool:
        """Whether Droplets are to go for want of an answer."""
        return self.cycle.overdue

    def restart(self, *, resume: bool = False) -> "Outcome | None":
        """Another process, which knows what was kept; as the daemon does, or `once`."""
        self.cycle = self._made()
        if resume:
            return asyncio.run(self.cycle.resume(self.shelf.saved[-1]))
        asyncio.run(self.cycle.take(self.shelf.saved[-1]))
        return None

    def reload(self, policy: Policy) -> None:
        """Another configuration."""
        before, self.policy = self.cycle, policy
        self.cycle = self._made()
        self.cycle.inherit(before)

    def members(self, name: str = PEERS) -> set[int]:
        """The last bytes of the addresses that a set holds or covers, up to 99."""
        ruleset = self.kernel.observe().ruleset
        item = ruleset.sets.get(name) if ruleset else None
        if item is None:
            return set()
        if item.kind is SetKind.HOSTS:
            return {element[-1] for element in item.elements}
        numbers = (parse_address(f"10.10.0.{n}") for n in range(1, 100))
        return {a[-1] for a in numbers if any(e[:4] <= a <= e[4:] for e in item.elements)}


def _allow(who: str, port: int) -> Allow:
    """A rule with a set of its own: those for one port share theirs."""
    return Allow(who, parse("all"), parse(who), ports=(Ports(PortProtocol.TCP, port, port),))


def _all(*numbers: int, tags: tuple[str, ...] = ("web",)) -> Fleet:
    return fleet(OWN, *(droplet(n, tags=tags) for n in numbers))


def _world(outcome: "Outcome") -> "World":
    assert isinstance(outcome, Unchanged | Committed), outcome
    return outcome.world


TEN = _all(*range(2, 12))
FOUR = _all(*range(2, 6))


def test_a_shrink_is_held_for_two_answers() -> None:
    """Who is held is a peer as before, in the Fleet and on disk; the third answer lets them go."""
    machine = Machine()
    machine.hear(TEN)
    for polls in (1, 2):
        world = _world(machine.hear(FOUR))
        assert (set(range(2, 12)), 10, 11) == (machine.members(), len(world.peers), len(world.fleet.droplets))
        assert {(FLEET, 6, 10, polls), (PEERS, 6, 10, polls)} == {
            (d.group, d.held, d.of, d.polls) for d in world.doubts
        }
    world = _world(machine.hear(FOUR))
    assert ({2, 3, 4, 5}, (), 5) == (machine.members(), world.doubts, len(world.fleet.droplets))
    assert not machine.shelf.doubted


def test_whoever_comes_is_in_at_once() -> None:
    """An answer that is doubted for whom it lacks is believed for whom it names."""
    machine = Machine()
    machine.hear(TEN)
    machine.hear(_all(2, 3, 50, 51))
    assert {*range(2, 12), 50, 51} == machine.members()


def test_the_last_one_is_held_and_one_of_many_is_not() -> None:
    """A single peer counts as many as ten, where there is no other."""
    machine = Machine()
    machine.hear(_all(2, 3))
    machine.hear(_all(2))
    assert {2} == machine.members()
    machine.hear(_all(), _all())
    assert {2} == machine.members()
    machine.hear(_all())
    assert set() == machine.members()


@pytest.mark.parametrize("resume", [True, False])
def test_restarts_count_on(resume: bool) -> None:
    """Three answers are three, whoever heard them: a daemon that starts anew, or `once` by cron."""
    machine = Machine()
    machine.hear(TEN)
    for _ in range(2):
        machine.hear(FOUR)
        machine.restart(resume=resume)
        assert set(range(2, 12)) == machine.members()
    machine.hear(FOUR)
    assert {2, 3, 4, 5} == machine.members()


def test_without_its_memory_a_restart_counts_anew() -> None:
    """A file that is lost or damaged makes no removal come sooner."""
    machine = Machine()
    machine.hear(TEN, FOUR, FOUR)
    machine.restart()
    machine.shelf.doubted = type(machine.shelf.doubted)()
    machine.restart()
    machine.hear(FOUR, FOUR)
    assert set(range(2, 12)) == machine.members()
    machine.hear(FOUR)
    assert {2, 3, 4, 5} == machine.members()


@pytest.mark.parametrize(
    "between", [DOWN, fleet(*map(droplet, range(2, 12)))], ids=["an error", "an answer without us"]
)
def test_what_is_no_evidence_is_no_answer(between: "Fleet | Exception") -> None:
    """It neither counts nor begins anew."""
    machine = Machine()
    machine.hear(TEN, FOUR, between, FOUR, between)
    assert set(range(2, 12)) == machine.members()
    machine.hear(FOUR)
    assert {2, 3, 4, 5} == machine.members()


def test_what_was_put_in_by_hand_is_not_held() -> None:
    """A hold keeps what was enforced; a stranger in the set goes with the next look."""
    machine = Machine()
    machine.hear(TEN)
    ruleset = machine.kernel.observe().ruleset
    assert ruleset
    stranger = AddElements(PEERS, ruleset.sets[PEERS].family, frozenset({parse_address("10.10.0.66")}))
    machine.kernel.commit(Plan((stranger,)), machine.kernel.generation())
    assert 66 in machine.members()
    machine.hear(FOUR)
    assert set(range(2, 12)) == machine.members()


def test_without_anything_kept_the_kernel_says_what_was_enforced() -> None:
    """A state folder that is lost takes nobody away; what is held then is in the sets alone."""
    machine = Machine()
    machine.hear(TEN)
    machine.shelf = Shelf()
    machine.cycle = machine._made()
    for _ in range(2):
        machine.hear(FOUR)
        assert set(range(2, 12)) == machine.members()
        machine.restart()
    machine.hear(FOUR)
    assert {2, 3, 4, 5} == machine.members()


def test_ranges_are_as_if_nobody_had_left() -> None:
    """In `any and not tag:block` who is missing would let himself in; who comes is judged at once."""
    rule = Policy(private=RULES, allows=(Allow("r", parse("all"), parse("any and not tag:block")),))
    machine, blocked = Machine(rule), droplet(30, tags=("block",))
    machine.hear(fleet(*TEN.droplets, blocked))
    (name,) = (name for name in machine.kernel.observe().ruleset.sets if name.endswith("-4"))  # type: ignore[union-attr]
    assert not {30} & machine.members(name)
    machine.hear(fleet(*FOUR.droplets, droplet(31, tags=("block",))))
    assert not {30, 31} & machine.members(name)
    machine.hear(*[fleet(*FOUR.droplets, droplet(31, tags=("block",)))] * 2)
    assert {30} == {30, 31} & machine.members(name)


def test_members_of_ranges_are_held_too() -> None:
    """A tag that nobody has any more, beside a prefix: those who had it stay for two answers."""
    rule = Policy(private=RULES, allows=(Allow("r", parse("all"), parse("tag:web or 192.0.2.0/24")),))
    machine = Machine(rule)
    machine.hear(FOUR)
    (name,) = machine.kernel.observe().ruleset.sets  # type: ignore[union-attr]
    without = _all(2, 3, 4, 5, tags=("db",))
    machine.hear(without, without)
    assert {2, 3, 4, 5} == machine.members(name)
    machine.hear(without)
    assert set() == machine.members(name)


def test_a_tag_that_moves_lets_in_at_once_and_out_later() -> None:
    """Whoever gets the other tag is in its set with the same answer that is not believed for the first."""
    rules = _allow("tag:web", 80), _allow("tag:app", 443)
    machine = Machine(Policy(private=RULES, allows=rules))
    machine.hear(fleet(*FOUR.droplets, droplet(40, tags=("app",))))
    machine.hear(fleet(*_all(2, 3, 4, 5, tags=("app",)).droplets, droplet(40, tags=("app",))))
    assert ({2, 3, 4, 5}, {2, 3, 4, 5, 40}) == (
        machine.members("private-tag-web-4"),
        machine.members("private-tag-app-4"),
    )


def test_a_peering_that_is_gone_is_a_shrink_like_any_other() -> None:
    """Its Droplets are there, and are peers while it is held."""
    away = tuple(droplet(n, vpc="away") for n in range(20, 30))
    joined = fleet(*FOUR.droplets, *away, peerings=(Peering(frozenset({"home", "away"})),))
    machine = Machine()
    machine.hear(joined)
    apart = fleet(*FOUR.droplets, *away)
    world = _world(machine.hear(apart, apart))
    assert ({2, 3, 4, 5, *range(20, 30)}, 14) == (machine.members(), len(world.peers))
    machine.hear(apart)
    assert {2, 3, 4, 5} == machine.members()


def test_who_cannot_be_read_takes_nobody_and_lets_in() -> None:
    """An entry that is unknown might be anybody's: removals wait, and say why; additions do not."""
    machine = Machine()
    machine.hear(_all(2, 3))
    world = _world(machine.hear(replace(_all(2, 4), skipped=(Skipped(9, "odd"),))))
    assert ({2, 3, 4}, {Cause.UNREADABLE}) == (machine.members(), {d.cause for d in world.doubts})
    machine.hear(_all(2, 4))
    assert {2, 4} == machine.members()


# Another region, another VPC (with other peers), another Droplet altogether.
_MOVED = {
    "region": replace(OWN, region="fra1"),
    "vpc": replace(OWN, vpc="away"),
    "id": replace(OWN, id=77),
}


def _seen_from(own: "Droplet") -> Fleet:
    others = (*FOUR.droplets[1:], *(droplet(n, vpc="away") for n in (60, 61)))
    return Fleet(tuple(sorted((own, *others), key=lambda d: d.id)), FOUR.vpcs, (), "test", 1000.0)


@pytest.mark.parametrize("what", _MOVED)
def test_another_identity_takes_nobody_before_it_is_confirmed(what: str) -> None:
    """A21: who may come in now comes in, who might not any more stays, until three answers agree."""
    machine, moved = Machine(Policy(peers=Peers(Scope.VPC))), _MOVED[what]
    machine.hear(_seen_from(OWN))
    machine.host = replace(HOST, droplet_id=moved.id)
    for _ in range(2):
        world = _world(machine.hear(_seen_from(moved)))
        assert SELF in {doubt.group for doubt in world.doubts}
        assert {2, 3, 4, 5} <= machine.members()
    if what == "vpc":
        assert {60, 61} <= machine.members()
    world = _world(machine.hear(_seen_from(moved)))
    assert (moved, ()) == (world.own, world.doubts)
    assert ({60, 61} if what == "vpc" else {2, 3, 4, 5}) == machine.members()


def test_rules_do_not_follow_an_identity_that_is_not_confirmed() -> None:
    """An override for the region that this Droplet seems to have left goes on guarding it."""
    here = Override(parse("region:nyc3"), public=InterfaceOverride(managed=True))
    machine = Machine(Policy(overrides=(here,)))
    machine.hear(_seen_from(OWN))
    machine.hear(*[_seen_from(_MOVED["region"])] * 2)
    assert "public-in" in machine.kernel.observe().ruleset.chains  # type: ignore[union-attr]
    machine.hear(_seen_from(_MOVED["region"]))
    assert "public-in" not in machine.kernel.observe().ruleset.chains  # type: ignore[union-attr]


@pytest.mark.fault("C3")
def test_an_interface_that_is_no_more_is_guarded_until_that_is_confirmed() -> None:
    """C3: metadata without the private interface do not end its rules at once."""
    machine = Machine()
    machine.hear(FOUR)
    machine.host = replace(HOST, private=None)
    machine.hear(FOUR, FOUR)
    assert {2, 3, 4, 5} == machine.members()
    machine.hear(FOUR)
    assert set() == machine.members()


def test_what_a_new_policy_takes_away_is_the_operators_will() -> None:
    """All peers of a wider scope go at once; a shrink that comes with the same answer is held."""
    machine = Machine(Policy(peers=Peers(Scope.ACCOUNT)))
    wide = fleet(
        OWN, *(droplet(n) for n in range(2, 12)), *(replace(droplet(n), tags=("x",)) for n in range(12, 30))
    )
    machine.hear(wide)
    machine.reload(Policy(peers=Peers(Scope.ACCOUNT, tag="x")))
    machine.hear(wide)
    assert set(range(12, 30)) == machine.members()
    machine.reload(Policy(peers=Peers(Scope.ACCOUNT)))
    machine.hear(fleet(OWN, *(droplet(n, tags=("x",)) for n in range(2, 6))))
    assert set(range(2, 30)) == machine.members()


def test_a_changed_policy_finds_those_who_are_held() -> None:
    """They are known as they were, so that a new selector knows whether it means them."""
    machine = Machine(Policy(peers=Peers(tag="web")))
    mixed = fleet(OWN, *(droplet(n, tags=("web", "a") if n % 2 else ("web",)) for n in range(2, 12)))
    machine.hear(mixed)
    few = fleet(OWN, *(d for d in mixed.droplets if d.id in {2, 3}))
    machine.hear(few)
    machine.reload(Policy(peers=Peers(tag="a")))
    machine.hear(few)
    assert {3, 5, 7, 9, 11} == machine.members()


@pytest.mark.fault("H5")
@pytest.mark.parametrize("way", ["reload", "recall", "once", "resume"])
def test_a_tag_that_nobody_has_shuts_nobody_out(way: str) -> None:
    """H5: refused with the way to insist, by a reload as by a restart, with the API and without it."""
    machine = Machine()
    machine.hear(FOUR)
    typo = Policy(peers=Peers(tag="wbe"))
    if way in {"reload", "recall"}:
        machine.reload(typo)
    else:
        machine.policy = typo
    outcome = machine.restart(resume=way == "resume") if way in {"once", "resume"} else None
    if way == "recall":
        outcome = asyncio.run(machine.cycle.recall())
    outcome = outcome or machine.hear(FOUR)
    assert isinstance(outcome, Refused)
    assert ("tag_unknown", "tag:wbe") == (outcome.error.reason, outcome.error.accept)
    assert "droplan accept" in str(outcome.error)
    assert {2, 3, 4, 5} == machine.members()


def test_a_tag_that_nobody_has_can_be_meant() -> None:
    """Once it is accepted it is enforced, and what was accepted is used up."""
    machine = Machine()
    machine.hear(FOUR)
    machine.reload(Policy(peers=Peers(tag="soon")))
    machine.shelf.wanted = frozenset({"tag:soon"})
    assert isinstance(machine.hear(FOUR), Committed)
    assert (set(), frozenset()) == (machine.members(), machine.shelf.wanted)
    assert isinstance(machine.hear(FOUR), Unchanged)


def test_a_tag_that_was_taken_off_everybody_is_a_shrink_and_no_slip() -> None:
    """The same configuration as before: three answers, and it is enforced."""
    machine = Machine(Policy(peers=Peers(tag="web")))
    machine.hear(FOUR)
    without = _all(2, 3, 4, 5, tags=("db",))
    machine.hear(without, without)
    assert {2, 3, 4, 5} == machine.members()
    assert isinstance(machine.hear(without), Committed)
    assert set() == machine.members()
    assert isinstance(machine.hear(without), Unchanged)


def test_accepting_lets_go_of_what_was_held_and_only_of_that() -> None:
    """Six that were held go with the next answer; what is missing beside them by then is held anew."""
    machine = Machine()
    machine.hear(_all(*range(2, 30)))
    machine.hear(_all(*range(2, 12)))
    machine.shelf.wanted = frozenset({machine.shelf.doubted.digest})
    machine.hear(_all(2, 3))
    assert (set(range(2, 12)), frozenset()) == (machine.members(), machine.shelf.wanted)


@pytest.mark.parametrize("words", [frozenset({"0123456789abcdef"}), frozenset[str]()])
def test_what_was_accepted_for_something_else_counts_for_nothing(words: frozenset[str]) -> None:
    """Yesterday's word is not today's; it is used up all the same."""
    machine = Machine()
    machine.hear(TEN, FOUR)
    machine.shelf.wanted = words
    machine.hear(FOUR)
    assert (set(range(2, 12)), frozenset()) == (machine.members(), machine.shelf.wanted)


@pytest.mark.parametrize(("most", "refused"), [(9, True), (10, False)])
def test_a_fleet_that_outgrows_the_cap_is_not_enforced(most: int, refused: bool) -> None:
    """Droplets are counted, each once, however many addresses and sets it is in."""
    both = Policy(
        peers=Peers(max_peers=most),
        public=InterfacePolicy(managed=True, allow_peers=True),
        allows=(Allow("r", parse("all"), parse("tag:web")),),
    )
    machine = Machine(both)
    machine.hear(FOUR)
    outcome = machine.hear(TEN)
    if not refused:
        assert set(range(2, 12)) == machine.members()
        return
    assert isinstance(outcome, Refused)
    assert ("too_many", {2, 3, 4, 5}) == (outcome.error.reason, machine.members())
    assert "peers.max_peers = 9" in str(outcome.error)


STALE = Policy(
    peers=Peers(max_stale=3600.0),
    allows=(
        _allow("192.0.2.0/24 or tag:web", 80),
        _allow("any and not tag:web", 443),
    ),
)


def _expired(machine: Machine) -> "Outcome":
    assert isinstance(machine.hear(DOWN), Failed)
    return asyncio.run(machine.cycle.expire())


@pytest.mark.fault("J6")
def test_by_itself_nobody_goes_however_long_the_api_is_away() -> None:
    """A month later everybody is still let in."""
    machine = Machine()
    machine.hear(FOUR)
    machine.clock.go_on(30 * 86_400)
    machine.hear(DOWN)
    assert (False, {2, 3, 4, 5}) == (machine.is_overdue(), machine.members())


@pytest.mark.fault("J6")
def test_when_nobody_answers_for_too_long_no_droplet_is_let_in() -> None:
    """Not before; then sets of Droplets are empty, prefixes stay, and who was kept out stays out."""
    machine = Machine(STALE)
    machine.hear(FOUR)
    machine.clock.go_on(3599)
    machine.hear(DOWN)
    assert not machine.is_overdue()
    machine.clock.go_on(1)
    assert machine.is_overdue()
    world = _world(_expired(machine))
    assert (True, (), set()) == (world.expired, world.peers, machine.members())
    ruleset = machine.kernel.observe().ruleset
    assert ruleset
    spans = {e for item in ruleset.sets.values() for e in item.elements if item.kind is SetKind.RANGES}
    assert parse_address("192.0.2.0") + parse_address("192.0.2.255") in spans
    assert not any(e[:4] <= parse_address("10.10.0.3") <= e[4:] for e in spans if len(e) == 8)
    assert not machine.is_overdue()


def test_one_answer_ends_it() -> None:
    """Nobody is let in by what is known no more; the answer is believed whole, large or small."""
    machine = Machine(STALE)
    machine.hear(TEN)
    machine.clock.go_on(3600)
    _expired(machine)
    world = _world(machine.hear(FOUR))
    assert ({2, 3, 4, 5}, (), False) == (machine.members(), world.doubts, machine.is_overdue())


@pytest.mark.parametrize("resume", [True, False])
def test_a_restart_does_not_begin_to_wait_anew(resume: bool) -> None:
    """For how long nobody has answered outlives the process and the boot."""
    machine = Machine(STALE)
    machine.hear(FOUR)
    machine.clock.go_on(3000)
    machine.boot, machine.clock.up = "another", 5.0
    machine.restart(resume=resume)
    assert ({2, 3, 4, 5}, False) == (machine.members(), machine.is_overdue())
    machine.clock.go_on(600)
    if not resume:  # `once` enforces nothing without an answer
        assert machine.cycle.silence >= 3600
        return
    assert machine.is_overdue()
    _expired(machine)
    assert set() == machine.members()
    machine.restart(resume=True)
    assert set() == machine.members()


def test_an_unknown_age_is_said_and_expires_nobody() -> None:
    """Where no clock can tell, it is counted from the start."""
    machine = Machine(STALE)
    machine.hear(FOUR)
    machine.boot, machine.clock.up, machine.clock.at = "another", 5.0, 100.0
    world = _world(machine.restart(resume=True) or machine.hear(DOWN))
    assert any("peers.max_stale" in text for text in world.warnings)
    machine.hear(DOWN)
    assert {2, 3, 4, 5} == machine.members()
    machine.clock.go_on(3600)
    machine.hear(DOWN)
    assert machine.is_overdue()


def test_a_reload_without_the_key_lets_them_in_again() -> None:
    """It is the operator's choice, and may change while nobody answers."""
    machine = Machine(STALE)
    machine.hear(FOUR)
    machine.clock.go_on(3600)
    _expired(machine)
    machine.reload(replace(STALE, peers=Peers()))
    asyncio.run(machine.cycle.recall())
    assert {2, 3, 4, 5} == machine.members()


def test_a_held_set_is_not_made_anew() -> None:
    """Members that stay and members that come have room in the set that there is; a small set grows once."""
    machine = Machine(Policy(private=RULES, allows=(Allow("r", parse("all"), parse("tag:web")),)))
    machine.hear(TEN)
    before = machine.kernel.observe().ruleset
    outcome = machine.hear(_all(*range(50, 90)))
    assert before
    assert isinstance(outcome, Committed)
    assert all(isinstance(change, AddElements) for change in outcome.plan.changes)
    assert diff(before, outcome.world.desired) == outcome.plan
