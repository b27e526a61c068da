"""A small process that writes to the kernel once, and says what came of it. Run by the fault tests.

Usage: committer.py commit|cycle DEADLINE
"""

import asyncio
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.commits import setbacks
from droplan_daemon.diff import diff
from droplan_daemon.errors import DroplanError
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Policy
from droplan_daemon.outcomes import Failed, Outcome, Refused
from droplan_daemon.policy.compile import compile_ruleset
from droplan_daemon.reconcile import Cycle

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

HOST = Host(1, private="eth1")
OWN = Droplet(1, "own", vpc="v", private=(parse_address("10.0.0.1"),))
FLEET = Fleet((OWN, Droplet(2, "peer", vpc="v", private=(parse_address("10.0.0.2"),))))
WANTED = compile_ruleset(Policy(), FLEET, HOST, OWN)


@dataclass
class Known:
    """A Source and a HostFinder that know."""

    budget: None = None

    async def gather(self) -> Fleet:
        return FLEET

    async def locate(self, fleet: Fleet) -> Host:
        return HOST


def commit(backend: NftBackend) -> str:
    """One diff and one commit; what was raised, or `done`."""
    try:
        found = backend.observe()
        backend.commit(diff(found.ruleset, WANTED), found.generation)
    except DroplanError as error:
        return f"{type(error).__name__} {error.reason}"
    return "done"


def cycle(backend: NftBackend) -> str:
    """One cycle; its Outcome, and what is told of what was in the way."""
    outcome = asyncio.run(_cycle(backend))
    if isinstance(outcome, Failed | Refused):
        return f"{type(outcome).__name__} {outcome.error.reason}"
    return " ".join((type(outcome).__name__, *(event for _, event, _ in setbacks(outcome))))


class AtOnce(ThreadPoolExecutor):
    """Does it in this thread, so that the program's calls come in one order and can be counted."""

    def submit(self, fn: "Callable[P, T]", /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except DroplanError as error:
            done.set_exception(error)
        return done


async def _cycle(backend: NftBackend) -> Outcome:
    asyncio.get_running_loop().set_default_executor(AtOnce())
    return await Cycle(Policy(), Known(), Known(), backend).run()


def main() -> None:
    made = NftBackend(deadline=float(sys.argv[2]))
    sys.stdout.write({"commit": commit, "cycle": cycle}[sys.argv[1]](made))
    made.close()


if __name__ == "__main__":
    main()
