"""Who makes inputs: atheris, guided by what they reach, or where it is not to be had, chance alone.

Laws:
1. Every input gets one second of this process's own time, and the process a bound on its memory: what
   takes more of either is a finding, and how busy the machine is decides nothing.
2. A run has as many inputs as asked for, and ends; the input of a finding is kept.
"""

import gc
import importlib.util
import resource
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NoReturn

from .mutating import scramble

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .target import Target

    Step = Callable[[bytes], None]

SECONDS = 1.0
MEMORY = 256 * 2**20
"""Bytes that may be allocated beyond what the program had when it began."""

_KEPT = 400


class HangError(BaseException):
    """An input took longer than it may; no handler of errors may swallow that."""


@dataclass
class Run:
    """The inputs of one target, counted."""

    target: "Target"
    inputs: int = 0
    accepted: int = 0
    slowest: float = 0.0
    fresh: list[bytes] = field(default_factory=list, repr=False)

    def one(self, data: bytes) -> bool:
        """Judge one input: whether it was accepted. Raises what is a finding."""
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            accepted = self.target.check(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.slowest = max(self.slowest, time.process_time() - begun)
        self.inputs += 1
        self.accepted += accepted
        if accepted and len(self.fresh) < _KEPT:
            self.fresh.append(data)
        return accepted


def bounded() -> None:
    """Time and memory of this process from now on."""

    def hang(_number: int, _frame: "FrameType | None") -> None:
        raise HangError(f"more than {SECONDS:g} s for one input")

    signal.signal(signal.SIGPROF, hang)
    gc.collect()
    gc.freeze()  # what is there already is no work of an input's
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))


def blind(run: Run, seed: int, step: "Step") -> NoReturn:
    """Mutations of seeds, and of what was accepted before, until `step` ends the program."""
    random, seeds = Random(seed), list(run.target.seeds())
    for data in seeds:
        step(data)
    while True:
        pool = run.fresh if run.fresh and random.randrange(3) == 0 else seeds
        step(mutated(run.target, random.choice(pool), random))


def mutated(target: "Target", data: bytes, random: Random) -> bytes:
    """One input more: as the language allows, or against it."""
    for _ in range(1 + random.randrange(2)):
        wild = random.randrange(4) == 0
        data = scramble(data, random, target.words) if wild else target.grammar(data, random)
    return data[: target.longest] if random.randrange(50) else data


def guided(run: Run, seed: int, step: "Step") -> NoReturn:
    """The same under atheris, which goes on with what reached a line that nothing had reached."""
    import atheris  # noqa: PLC0415 - not on every platform

    random, corpus = Random(seed), Path("corpus")
    corpus.mkdir()
    for number, data in enumerate(run.target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)

    def mutate(data: bytes, longest: int, _seed: int) -> bytes:
        if random.randrange(3) == 0:
            return bytes(atheris.Mutate(data, longest))
        if run.fresh and random.randrange(3) == 0:
            data = random.choice(run.fresh)  # else what is accepted drowns in what is refused in a new way
        return mutated(run.target, data, random)[:longest]

    limits = [f"-max_len={run.target.longest}", "-timeout=86400", "-rss_limit_mb=0"]  # `bounded` has its own
    options = [f"-seed={seed}", *limits, "-verbosity=0", "-detect_leaks=0", "-handle_int=0", "-handle_term=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], step, custom_mutator=mutate)
    atheris.Fuzz()
    raise SystemError("atheris came to an end by itself")


def can_be_guided() -> bool:
    """Whether there is an atheris for this Python and machine."""
    return importlib.util.find_spec("atheris") is not None
