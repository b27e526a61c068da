"""Law 1 of the design when the writer dies: the kernel holds the Ruleset of before or the next one."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Namespace

FULL = "DROPLAN_TEST_FULL" in os.environ
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.kernel, pytest.mark.fault("G1")]


@pytest.mark.timeout(900)
def test_a_writer_that_is_killed_leaves_no_mixture(
    namespace: "Namespace", figure: "Callable[[str], None]"
) -> None:
    """SIGKILL at a random moment of a commit of members, of rules or of a new table: all or nothing of it.

    100 of them, 1,000 in a full run; the next writer goes on from there each time.
    """
    count = 1_000 if FULL else 100
    done = namespace.call(
        subprocess.run,
        [sys.executable, "-m", "tests.kernel.nft_kills", str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=850,
    )
    assert "" == done.stderr
    ends = Counter(line.rsplit(" ", 1)[0] for line in done.stdout.splitlines())
    states = Counter(line.rsplit(" ", 1)[1] for line in done.stdout.splitlines())
    figure(f"SIGKILL of a writer in a commit: {count} times, {states['mixed']} mixtures")
    assert (count, {"one", "other"}) == (states.total(), set(states))
    assert {"killed committing", "killed between"} >= set(ends)
