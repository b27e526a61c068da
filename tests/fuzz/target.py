"""What is fuzzed: a function of bytes, how its inputs are made, and what it may say to them.

Laws:
1. `check` returns whether the input was accepted; whatever it raises is a finding.
2. A target is data: engines know nothing of what it tests.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random


@dataclass(frozen=True, slots=True)
class Target:
    """`seeds` to begin with; `grammar` changes an input as its language allows, `words` are its words."""

    check: "Callable[[bytes], bool]"
    seeds: "Callable[[], Sequence[bytes]]"
    grammar: "Callable[[bytes, Random], bytes]"
    words: tuple[bytes, ...] = field(default=())
    longest: int = 4096
