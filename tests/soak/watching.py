"""What a process holds over time, and what that says of leaks.

Law: a slope comes with its uncertainty, and is called one only where that leaves no other word.
"""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """Open descriptors, threads, and bytes of memory that are this process's alone or its share (PSS)."""

    at: float
    descriptors: int
    threads: int
    memory: int


def sample(pid: int, at: float) -> Sample:
    """Of a process that lives."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    rollup = (process / "smaps_rollup").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return Sample(at, len(list((process / "fd").iterdir())), int(status["Threads"]), memory * 1024)


@dataclass(frozen=True, slots=True)
class Slope:
    """MiB an hour, and how much more or less it may be (twice the standard error, of independent means)."""

    per_hour: float
    within: float

    def __str__(self) -> str:
        return f"{self.per_hour:+.2f} ± {self.within:.2f} MiB an hour"


def slope(samples: "Sequence[Sample]", blocks: int = 12) -> Slope:
    """By least squares over the means of so many stretches: neighbouring samples are not independent."""
    size = max(1, len(samples) // blocks)
    parts = [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]
    times = [sum(one.at for one in part) / len(part) / 3600 for part in parts]
    sizes = [sum(one.memory for one in part) / len(part) / MIB for part in parts]
    middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((one - middle) ** 2 for one in times)
    found = sum((x - middle) * (y - mean) for x, y in zip(times, sizes, strict=True)) / spread
    left = sum((y - mean - found * (x - middle)) ** 2 for x, y in zip(times, sizes, strict=True))
    return Slope(found, 2 * sqrt(left / max(1, len(parts) - 2) / spread))
