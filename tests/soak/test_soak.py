"""A daemon that is given no rest holds no more for it; `make soak` looks for longer, at memory too."""

from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import Machine
from tests.soak.droplet import Soaking
from tests.soak.watching import MIB, Sample, slope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Namespace


@pytest.mark.kernel
def test_descriptors_and_threads_stay(
    namespace: "Namespace", tmp_path: "Path", figure: "Callable[[str], None]"
) -> None:
    """Twenty seconds of changes, faults, tampering and reloads: at rest it holds what it held before them.

    Connections to the API come and go by themselves, so a few more or less are no leak.
    """
    with Machine(namespace, tmp_path) as machine:
        soaking = Soaking(machine, size=100, interval="0.2s")
        soaking.soak(3, 0.1)
        before = soaking.rest()
        soaking.soak(12, 0.1)
        after = soaking.rest()
    assert after.threads <= before.threads + 1
    assert after.descriptors <= before.descriptors + 8
    done = sum(soaking.done.values())
    figure(
        f"soak: {done} disturbances in 15 s: descriptors {before.descriptors} to {after.descriptors},"
        f" threads {before.threads} to {after.threads}"
    )
    assert done >= 5  # on however busy a machine


def test_a_leak_is_seen() -> None:
    """A slope is what it is: 10 MiB an hour with some noise is told as that, and none as none."""
    noise = (0, 3, -2, 1, -3, 2, 0, -1)
    for leak in (0, 10):
        samples = [
            Sample(at, 20, 5, int((50 + leak * at / 3600 + noise[at % 8] / 20) * MIB)) for at in range(600)
        ]
        found = slope(samples)
        assert abs(found.per_hour - leak) <= 0.5
        assert found.within < 1.0
