"""Kills a writer of ip sets at any moment, again and again, and looks at what it left.

Usage: ipset_kills.py COUNT, in a network namespace of its own. Prints one line for each kill:
which of the two contents stood, or what else.
"""

import os
import signal
import sys
import time
from random import Random

from droplan_daemon.backends.ipset import IpSets
from tests.kernel.ipset_ground import Sets, by_name, peers

# A small difference and a large one, a set that comes and one that goes.
ONE = by_name(peers(1, 3000), peers(1, 200, name="small"), peers(1, 50, name="goes"))
OTHER = by_name(peers(2000, 3000), peers(101, 200, name="small"), peers(1, 70, name="comes"))


def write_for_ever() -> None:
    """From one to the other and back."""
    sets = IpSets()
    old, new = ONE, OTHER
    while True:
        sets.prepare(old, new, rules_change=False)
        sets.retire(old, new)
        old, new = new, old


def main(count: int) -> None:
    randomness = Random(count)
    sets = IpSets()
    for _ in range(count):
        sets.prepare(sets.observe(), ONE, rules_change=False)
        sets.retire(sets.observe(), ONE)
        writer = os.fork()
        if not writer:
            try:
                write_for_ever()
            finally:
                os._exit(1)
        time.sleep(0.002 + randomness.random() * 0.015)
        os.kill(writer, signal.SIGKILL)
        _, status = os.waitpid(writer, 0)
        ended = "killed" if os.WIFSIGNALED(status) else "ended by itself"
        found = sets.observe()
        states = ",".join(sorted({_state(name, found) for name in ONE.keys() | OTHER.keys()}))
        print(ended, states, flush=True)  # noqa: T201 - the test reads it
    sets.retire(sets.observe(), {})
    print("left", len(sets.headers()))  # noqa: T201


def _state(name: str, found: Sets) -> str:
    if found.get(name) == ONE.get(name):
        return "one"
    return "other" if found.get(name) == OTHER.get(name) else f"neither({name})"


if __name__ == "__main__":
    main(int(sys.argv[1]))
