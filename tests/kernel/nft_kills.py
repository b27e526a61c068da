"""Kills a writer of nftables rules at any moment, again and again, and looks at what it left.

Usage: nft_kills.py COUNT, in a network namespace of its own. Prints one line for each kill: which of the
two Rulesets stood (or `mixed`), and whether a commit was going on.
"""

import mmap
import os
import signal
import sys
import time
from dataclasses import replace
from random import Random

from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.committing import put
from droplan_daemon.diff import diff
from droplan_daemon.model.ruleset import Chain, Ruleset
from tests.kernel.ground import SMALL, host_set, hosts

_LONGEST = 30.0


def _shape(
    first: str, sizes: tuple[int, int] = (16_384, 16_384), rules: tuple[int, ...] = (0, 1, 2, 3)
) -> Ruleset:
    """Two sets whose members are of one block, and some of the rules that there are."""
    also, peers = (
        host_set(n, hosts(first, 2_000), size) for n, size in zip(("also", "peers"), sizes, strict=True)
    )
    judge = SMALL.chains["judge"]
    chosen = Chain("judge", None, tuple(judge.rules[n] for n in rules))
    sets = {"also": also, "nets": SMALL.sets["nets"], "peers": peers}
    return replace(SMALL, sets=sets, chains=SMALL.chains | {"judge": chosen})


_MEMBERS = _shape("10.0.0.0"), _shape("10.0.8.0")
_RULES = _shape("10.0.0.0"), _shape("10.0.8.0", rules=(1, 0, 3))
_TABLES = _shape("10.0.0.0"), _shape("10.0.8.0", sizes=(16_384, 32_768))
PAIRS = (_MEMBERS, _RULES, _TABLES)
"""Other members; other members and rules; a new table in the place of the old one."""


class Board:
    """What the writer tells the one who kills it, in memory that both have."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 2)

    @property
    def committing(self) -> bool:
        return bool(self._shared[0])

    @committing.setter
    def committing(self, now: bool) -> None:
        self._shared[0] = now

    def begun(self, *, now: bool = False) -> bool:
        """Whether anything was committed; `now`: yes, from now on. Cleared by asking for a new writer."""
        self._shared[1] = self._shared[1] or now
        return bool(self._shared[1])

    def clear(self) -> None:
        self._shared[:] = b"\0\0"


def write_for_ever(one: Ruleset, other: Ruleset, board: Board) -> None:
    """From one to the other and back, beginning at the first."""
    backend, plans = NftBackend(), (diff(one, other), diff(other, one))
    number, at = 0, backend.observe().generation
    while True:
        board.committing = True
        backend.commit(plans[number % 2], at)
        board.committing = False
        board.begun(now=True)
        number, at = number + 1, at + 1


def killed(pair: tuple[Ruleset, Ruleset], board: Board, randomness: Random) -> str:
    """How the writer ended, and whether it was committing."""
    board.clear()
    writer = os.fork()
    if not writer:
        try:
            write_for_ever(*pair, board)
        finally:
            os._exit(1)
    give_up = time.monotonic() + _LONGEST
    while not board.begun() and time.monotonic() < give_up:
        time.sleep(0.0005)
    time.sleep(randomness.random() * 0.02)
    os.kill(writer, signal.SIGKILL)
    _, status = os.waitpid(writer, 0)
    doing = "committing" if board.committing else "between"
    return f"{'killed' if os.WIFSIGNALED(status) else 'ended by itself'} {doing}"


def main(count: int) -> None:
    randomness, board, backend = Random(count), Board(), NftBackend()
    for number in range(count):
        pair = PAIRS[number % len(PAIRS)]
        put(backend, pair[0])
        ended = killed(pair, board, randomness)
        found = backend.observe().ruleset
        state = "one" if found == pair[0] else "other" if found == pair[1] else "mixed"
        print(ended, state, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(int(sys.argv[1]))
