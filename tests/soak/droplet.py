"""A real daemon that is given no rest: a fleet that changes, faults, tampering, reloads, again and again."""

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from droplan_daemon.lab.delivery import Cut, Reset
from droplan_daemon.lab.faults import Deliver, Fault, Status, empty, garbage, hide, html, total
from tests.daemon.machine import DROPLETS, until

from .watching import Sample, sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.daemon.machine import Machine, Running

_CONFIGURATIONS = ("", '[log]\ndenied = "30/minute"', "[public]\nmanaged = true\nallow_peers = true")
_NO_LOCK = "\n[management]\nrequired = false"
_TROUBLES = (
    Status(500),
    Status(401),
    Status(429),
    html(),
    empty(),
    garbage(),
    total(3),
    hide("tags"),
    hide("vpc_uuid"),
    Deliver(Reset()),
    Deliver(Cut(2_000)),
)
_TAMPERINGS = (
    "flush ruleset",
    "delete table inet droplan",
    "add element inet droplan private-peers-4 { 192.0.2.77 }",
    "insert rule inet droplan inbound accept",
)


@dataclass
class Soaking:
    """One daemon, and what was done to it so far."""

    machine: "Machine"
    size: int = 1_000
    seed: int = 1
    interval: str = "1s"
    samples: list[Sample] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.added = [self._add() for _ in range(self.size)]
        self.machine.write(_NO_LOCK, interval=self.interval)
        self.running: Running = self.machine.start()
        self.running.ready(seconds=60)
        until(self._in_step, 60, "the whole fleet in the kernel")

    def _add(self) -> int:
        vpc, tags = self.machine.vpc.id, self.random.sample(("web", "db", "cache"), 2)
        return self.machine.world.add_droplet(
            f"soak-{len(self.machine.world.actions)}", vpc=vpc, tags=tags
        ).id

    def _in_step(self) -> bool:
        return self.meant() == self.machine.peers

    def meant(self) -> set[str]:
        """Who should be let in."""
        others = (one for one in self.machine.world.droplets.values() if one.id != self.machine.own.id)
        return {str(one.address("private")) for one in others if one.vpc == self.machine.vpc.id}

    def disturb(self) -> None:
        """One thing that happens."""
        acts: list[Callable[[], None]] = [
            self.change,
            self.change,
            self.trouble,
            self.tamper,
            self.reload,
            self.wake,
        ]
        act = self.random.choice(acts)
        act()
        self.done[act.__name__] = self.done.get(act.__name__, 0) + 1

    def change(self) -> None:
        """Some come, some go, one has other tags; there are as many as before."""
        for _ in range(self.random.randint(1, 5)):
            self.machine.world.destroy_droplet(self.added.pop(self.random.randrange(len(self.added))))
            self.added.append(self._add())
        self.machine.world.change_droplet(self.random.choice(self.added), tags=("web",))

    def trouble(self) -> None:
        """Some answers are wrong; what was wrong before is right again."""
        self.machine.cloud.faults.clear()
        self.machine.cloud.faults.add(
            Fault(self.random.choice(_TROUBLES), path=DROPLETS, times=self.random.randint(1, 4))
        )

    def tamper(self) -> None:
        """Somebody else is at our table (which may be away just now)."""
        self.machine.namespace.run("nft", self.random.choice(_TAMPERINGS), check=False)

    def reload(self) -> None:
        """Another configuration, or a bad one."""
        chosen = self.random.choice((*_CONFIGURATIONS, "mode = 1"))
        self.machine.write(chosen + _NO_LOCK, interval=self.interval)
        self.running.process.send_signal(signal.SIGHUP)

    def wake(self) -> None:
        """Look again now."""
        self.running.process.send_signal(signal.SIGUSR1)

    def soak(self, seconds: float, pause: float) -> None:
        """For so long, something after each pause, and a look at the process."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.disturb()
            time.sleep(pause * self.random.uniform(0.5, 1.5))
            self.look()

    def look(self) -> Sample:
        """What the process holds now; it must live."""
        assert self.running.process.poll() is None, "\n".join(self.running.log[-40:])
        found = sample(self.running.process.pid, time.monotonic())
        self.samples.append(found)
        return found

    def rest(self) -> Sample:
        """What it holds when nothing is wrong and everything is as it is meant."""
        self.machine.cloud.faults.clear()
        self.machine.write(_NO_LOCK, interval=self.interval)
        self.running.process.send_signal(signal.SIGHUP)
        self.machine.polled(4)
        until(self._in_step, 60, f"the kernel in step, {len(self.machine.peers)} of {len(self.meant())}")
        looks = []
        for _ in range(10):
            time.sleep(0.1)
            with suppress(OSError):  # a thread or a descriptor that goes while it is counted
                looks.append(self.look())
        return min(looks, key=lambda one: (one.descriptors, one.threads))
