"""Everything at once, against the laws.

An account that changes, an API that fails, a process that dies, a disk that is gone, somebody else in the
kernel, an operator who changes his mind, a clock that jumps. What is real: the cycle, its Source, the state
files. What is emulated: the API behind it, and in one of two variants the kernel.

Laws of DESIGN, asserted after each step (the numbers are theirs):
1, 3. What a cycle says it enforced is what the kernel holds; a killed commit left the old or the new.
2. Who truly is in the fleet, and was let in, is never taken out, whatever the API answers.
4. A process that dies leaves the kernel as it is, and a second cycle over the same world writes nothing.
5. What is kept for boot is what was enforced last, wherever the disk took it.
7. Somebody else's changes to our table are undone, and nobody else's table is touched.
9. The token is in no file, no error and no status.
10. In the end, when everything is well again, the kernel holds exactly what is meant.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.errors import StoreFailed
from droplan_daemon.keeping import LOOKED_FOR, Keeping
from droplan_daemon.lab.delivery import Cut, Reset
from droplan_daemon.lab.faults import (
    Afterwards,
    Deliver,
    Edit,
    Effect,
    Fault,
    Status,
    Without,
    empty,
    garbage,
    hide,
    html,
    next_link,
    total,
)
from droplan_daemon.lab.scopes import LAB_TOKEN
from droplan_daemon.model.doubt import AGREEING
from droplan_daemon.model.policy import InterfacePolicy, Management, Mode, Peers, Policy, Scope
from droplan_daemon.model.ruleset import SetKind
from droplan_daemon.outcomes import Committed, Failed, Refused, Unchanged
from droplan_daemon.reconcile import Cycle
from tests.chaos.account import Account
from tests.chaos.kernels import MOODS, TAMPERINGS, KilledError, MemoryKernel, Moody, tampered
from tests.chaos.wire import source
from tests.unit.cycles import Cards, Known

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from droplan_daemon.model.ruleset import Ruleset
    from droplan_daemon.outcomes import Outcome
    from droplan_daemon.sources.digitalocean import DigitalOcean
    from tests.chaos.kernels import RealKernel

_ASKED = "/v2/droplets"
_PUBLIC = InterfacePolicy(managed=True, allow_peers=True)
_NO_WAY_IN = Management(required=False)
POLICIES = {
    "the old droplan's": Policy(management=_NO_WAY_IN),
    "by tag": Policy(peers=Peers(tag="web"), management=_NO_WAY_IN),
    "the whole account": Policy(peers=Peers(Scope.ACCOUNT), management=_NO_WAY_IN),
    "both interfaces": Policy(public=_PUBLIC, management=_NO_WAY_IN),
    "audit": Policy(mode=Mode.AUDIT, management=_NO_WAY_IN),
}


def _broken_entry(body: dict[str, Any]) -> dict[str, Any]:
    """The last Droplet of the answer cannot be read."""
    found = list(body.get("droplets", ()))
    if len(found) > 1:
        found[-1] = {**found[-1], "networks": {"v4": [{"ip_address": True, "type": "private"}]}}
    return {**body, "droplets": found}


def _one_less(body: dict[str, Any]) -> dict[str, Any]:
    """The first of them slipped past, as when the list changed between two pages."""
    found = list(body.get("droplets", ()))
    return {**body, "droplets": [one for one in found if one["name"] == "us"] + found[2:]}


TROUBLES: dict[str, Effect] = {
    "500": Status(500),
    "401": Status(401),
    "403": Status(403),
    "429": Status(429),
    "a web page": html(),
    "no body": empty(),
    "half a body": garbage(),
    "a total that is wrong": total(412),
    "an empty list": Edit(lambda body: {**body, "droplets": []} if "droplets" in body else body),
    "no droplets at all": Edit(lambda body: {**body, "droplets": [], "meta": {"total": 0}}),
    "a link to elsewhere": next_link("http://192.0.2.1/v2/droplets?page=2"),
    "hidden tags": hide("tags"),
    "hidden VPCs": hide("vpc_uuid"),
    "one less than its total": Edit(_one_less),
    "an entry that cannot be read": Edit(_broken_entry),
    "a connection that breaks": Deliver(Reset()),
    "an answer that is cut": Deliver(Cut(40)),
}


class Hands:
    """A clock that an operator, NTP or a pause of the machine sets."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_800_000_000.0, 1_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def boottime(self) -> float:
        return self.steady

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        self.steady += seconds


class Chaos(RuleBasedStateMachine):
    """One Droplet and all that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="droplan-chaos-", dir=_memory()))
        self.account, self.clock = Account(), Hands()
        self.kernel = self.make_kernel()
        self.backend = Moody(self.kernel)
        self.policy = POLICIES["the old droplan's"]
        self.enforced: Ruleset | None = None
        self.told: list[str] = []
        self.source = self._source()
        self.cycle = self._cycle()

    def make_kernel(self) -> "MemoryKernel | RealKernel":
        return MemoryKernel()

    def teardown(self) -> None:
        try:
            self._all_is_well()
        finally:
            self.runner.run(self.source.aclose())
            self.runner.close()
            self.kernel.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # What is under test.

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def _files(self) -> StateFiles:
        return StateFiles(self.state, self.folder / "run")

    def _source(self) -> "DigitalOcean":
        return source(self.account.cloud, self.clock.now)

    def _cycle(self) -> Cycle:
        host = self.account.host
        keeping = Keeping(self._files(), Cards(host=host), self.clock, "boot")
        return Cycle(self.policy, self.source, Known(host), self.backend, keeping=keeping, clock=self.clock)

    def _did(self, work: "Coroutine[Any, Any, Outcome]") -> "Outcome":
        """How a cycle ended, which holds against the kernel and against the truth."""
        before = self.kernel.observe().ruleset
        outcome = self.runner.run(work)
        now = self.kernel.observe().ruleset
        if isinstance(outcome, Committed | Unchanged):
            assert outcome.world.enforced == now  # 1, 3
            self._nobody_is_lost(now)
            self.enforced = now
            assert not isinstance(outcome, Unchanged) or before == now
        else:
            self.told.append(str(outcome.error))
            assert before == now or self.backend.commits, outcome
        return outcome

    def _nobody_is_lost(self, now: "Ruleset | None") -> None:
        """2. Who was in and truly is there is in."""
        meant = self.account.meant(self.policy)
        for name, was in (self.enforced.sets if self.enforced else {}).items():
            if was.kind is SetKind.HOSTS and now and name in now.sets and name in meant.sets:
                assert was.elements & meant.sets[name].elements <= now.sets[name].elements, name

    # The account.

    @initialize(count=st.integers(0, 9))
    def begun(self, count: int) -> None:
        for number in range(count):
            self.account.create(("web",) if number % 2 else (), at_home=bool(number % 5))

    @rule(tags=st.sampled_from([(), ("web",), ("web", "db")]), at_home=st.sampled_from([True, True, False]))
    def create(self, tags: tuple[str, ...], *, at_home: bool) -> None:
        self.account.create(tags, at_home=at_home)

    @precondition(lambda self: self.account.others)
    @rule(count=st.integers(1, 10), dice=st.randoms(use_true_random=False))
    def destroy(self, count: int, dice: Any) -> None:
        for number in dice.sample(self.account.others, min(count, len(self.account.others))):
            self.account.destroy(number)

    @precondition(lambda self: self.account.others)
    @rule(tags=st.sampled_from([(), ("web",)]), dice=st.randoms(use_true_random=False))
    def retag(self, tags: tuple[str, ...], dice: Any) -> None:
        self.account.retag(dice.choice(self.account.others), tags)

    # Polls, and what an API answers.

    @rule()
    def poll(self) -> None:
        self._did(self.cycle.run())

    @rule()
    def poll_twice(self) -> None:
        """4. The second one has nothing to do, unless something is held and counted."""
        first = self._did(self.cycle.run())
        generation, moods = self.kernel.generation(), list(self.backend.moods)
        second = self._did(self.cycle.run())
        if isinstance(first, Committed | Unchanged) and not first.world.doubts and not moods:
            assert isinstance(second, Unchanged)
            assert generation == self.kernel.generation()

    @rule(what=st.sampled_from(sorted(TROUBLES)), times=st.integers(1, 4))
    def trouble(self, what: str, times: int) -> None:
        """So many answers in a row are wrong."""
        self.account.cloud.faults.add(Fault(TROUBLES[what], path=_ASKED, type="droplets", times=times))
        for _ in range(times):
            self._did(self.cycle.run())
        self.account.cloud.faults.clear()

    @rule(times=st.integers(1, AGREEING - 1))
    def everybody_vanishes(self, times: int) -> None:
        """A complete answer, consistent in itself, in which only we are; fewer than are believed."""
        self._did(self.cycle.run())
        lie = Without(frozenset(self.account.others))
        self.account.cloud.faults.add(Fault(lie, path=_ASKED, type="droplets", times=times))
        for _ in range(times):
            self._did(self.cycle.run())
        self.account.cloud.faults.clear()
        self._did(self.cycle.run())

    @precondition(lambda self: self.account.others)
    @rule()
    def gone_while_it_is_listed(self) -> None:
        """The account changes between the answers of one poll."""
        number = self.account.others[0]
        gone = Afterwards(lambda world: world.destroy_droplet(number) if number in world.droplets else None)
        self.account.cloud.faults.add(Fault(gone, path=_ASKED, times=1))
        self._did(self.cycle.run())
        self.account.cloud.faults.clear()

    # The process.

    @rule()
    def killed(self) -> None:
        """4. Nothing happens to the kernel; 5. the next one goes on from what is kept."""
        before = self.kernel.observe()
        self._starts_again()
        if not isinstance(self._resumed(), Committed):
            assert before.generation == self.kernel.generation()

    @rule(when=st.sampled_from(["killed before", "killed after"]))
    def killed_in_a_commit(self, when: str) -> None:
        """1. The kernel holds what it held, or what was being committed."""
        before = self.kernel.observe().ruleset
        self.backend.moods = [when]
        try:
            self._did(self.cycle.run())
        except KilledError:
            now = self.kernel.observe().ruleset
            assert (before == now) is (when == "killed before")
            self.enforced = now
            self._starts_again()
            self._resumed()
        finally:
            self.backend.moods = []

    def _starts_again(self) -> None:
        self.runner.run(self.source.aclose())
        self.source = self._source()
        self.cycle = self._cycle()

    def _resumed(self) -> "Outcome | None":
        try:
            checkpoint = self._files().load()
        except StoreFailed:
            return None
        return self._did(self.cycle.resume(checkpoint))

    @rule(policy=st.sampled_from(sorted(POLICIES)), api=st.booleans())
    def reload(self, policy: str, *, api: bool) -> None:
        """Another policy; it waits for no API."""
        changed = self.policy != POLICIES[policy]
        self.policy, old = POLICIES[policy], self.cycle
        self.cycle = self._cycle()
        self.cycle.inherit(old)
        if changed:
            self.enforced = None  # what a policy takes away is the operator's will
        if not api:
            self.account.cloud.faults.add(Fault(Status(503)))
        outcome = self._did(self.cycle.run())
        if isinstance(outcome, Failed):
            self._did(self.cycle.recall())
        self.account.cloud.faults.clear()

    # The kernel, and others who write to it.

    @rule(moods=st.lists(st.sampled_from(MOODS), min_size=1, max_size=3))
    def kernel_in_a_mood(self, moods: list[str]) -> None:
        self.backend.moods = list(moods)
        self._did(self.cycle.run())
        self.backend.moods = []

    @rule(how=st.sampled_from(TAMPERINGS), repaired=st.booleans())
    def tamper(self, how: str, *, repaired: bool) -> None:
        """7. Somebody else changes our table, and it is put right, with the API or without it."""
        found = self.kernel.observe().ruleset
        if found is None:
            return
        self.kernel.write(tampered(found, how))
        if repaired and self.cycle.last is not None:
            meant = self.cycle.last.enforced
            assert isinstance(self._did(self.cycle.repair()), Committed | Unchanged)
            assert meant == self.kernel.observe().ruleset

    # Disk and clock.

    @rule()
    def disk_gone(self) -> None:
        """Where the state folder was there is a file; enforcement goes on."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.unlink(missing_ok=True)
        self.state.write_bytes(b"")
        self._did(self.cycle.run())

    @rule()
    def disk_back(self) -> None:
        if self.state.is_file():
            self.state.unlink()

    @rule(dice=st.randoms(use_true_random=False))
    def bit_flipped(self, dice: Any) -> None:
        """Of some file that we keep."""
        files = sorted(path for path in self.state.glob("*") if path.is_file() and path.stat().st_size)
        if files:
            path = dice.choice(files)
            data = bytearray(path.read_bytes())
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            path.write_bytes(data)

    @rule(seconds=st.sampled_from([-1e9, -3600.0, 600.0, 86_400.0, 1e9]))
    def clock_jumps(self, seconds: float) -> None:
        self.clock.wall = max(0.0, self.clock.wall + seconds)
        self.clock.steady += max(0.0, min(seconds, 86_400.0))

    # Always.

    @invariant()
    def nothing_is_told(self) -> None:
        """9. The token is in no file that we wrote and in no error."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        assert not [path for path in files if LAB_TOKEN.encode() in path.read_bytes()]
        assert not [words for words in self.told if LAB_TOKEN in words]
        self.told.clear()

    def _all_is_well(self) -> None:
        """10. Faults end; a few polls later everything is as it is meant, on disk too."""
        self.account.cloud.faults.clear()
        self.backend.moods = []
        self.disk_back()
        for _ in range(AGREEING + 1):
            outcome = self._did(self.cycle.run())
            assert not isinstance(outcome, Failed | Refused), outcome
        assert self.account.meant(self.policy) == self.kernel.observe().ruleset
        generation = self.kernel.generation()
        self.clock.steady += LOOKED_FOR
        assert isinstance(self._did(self.cycle.run()), Unchanged)
        assert generation == self.kernel.generation()
        assert self._files().load().ruleset == self.kernel.observe().ruleset  # 5


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
