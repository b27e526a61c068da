"""What is on trial is written down before it holds, and not if it does not come to that."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.checkpoint import StateFiles
from droplan_daemon.cli import holding, trying
from droplan_daemon.errors import CommitRejected, KernelUnsupported
from droplan_daemon.model.policy import InterfacePolicy, Policy
from droplan_daemon.model.stance import Stance
from droplan_daemon.settings import load
from tests.unit.cycles import Bench, droplet, fleet

if TYPE_CHECKING:
    from droplan_daemon.effects import Generation
    from droplan_daemon.model.plan import Plan


class Witness(FakeBackend):
    """A kernel that looks what is written down at the moment of a commit."""

    def __init__(self, files: StateFiles, *, refuses: bool = False) -> None:
        super().__init__()
        self.files, self.refuses = files, refuses
        self.seen: list[Stance] = []

    def commit(self, plan: "Plan", at: "Generation") -> None:
        self.seen.append(self.files.stance())
        if self.refuses:
            raise CommitRejected("the kernel refused the transaction", errno=1)
        super().commit(plan, at)


def _tried(files: StateFiles, kernel: Witness, path: Path) -> None:
    bench = Bench(
        [fleet(droplet(1), droplet(2))], Policy(public=InterfacePolicy(managed=True, allow_peers=False))
    )
    prospect = asyncio.run(bench.cycle.prospect())
    path.write_text("")
    trying._held(files, kernel, load(path, {}, need_token=False), prospect, 60.0)


def test_it_is_written_before_it_holds(tmp_path: Path) -> None:
    """Killed between the two, it is a configuration that nobody enforces; never the other way round."""
    files = StateFiles(tmp_path, tmp_path)
    kernel = Witness(files)
    _tried(files, kernel, tmp_path / "droplan.toml")
    assert [files.stance()] == kernel.seen
    assert files.stance().tried
    assert ["trial"] == list(kernel.observe().leases)


def test_what_cannot_be_held_is_not_on_trial(tmp_path: Path) -> None:
    """Refused by the kernel, it is as if nobody had tried."""
    files = StateFiles(tmp_path, tmp_path)
    kernel = Witness(files, refuses=True)
    with pytest.raises(CommitRejected):
        _tried(files, kernel, tmp_path / "droplan.toml")
    assert Stance() == files.stance()
    assert kernel.observe().ruleset is None


def test_without_ip_sets_iptables_has_no_leases() -> None:
    """One sentence says so, and what to do instead."""
    with pytest.raises(KernelUnsupported, match="try and pause need ip sets or nftables"):
        holding.require_leases(IptablesBackend(ipset=False))
    holding.require_leases(IptablesBackend())
    holding.require_leases(FakeBackend())


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("90s", 90.0), ("10m", 600.0), ("1h", 3600.0)])
def test_times(text: str, seconds: float) -> None:
    """As the configuration writes them."""
    assert seconds == holding.seconds(text)


@pytest.mark.parametrize("text", ["", "60", "0s", "61m", "2h", "-1s", "soon", "1e9s", "nan"])
def test_other_times(text: str) -> None:
    """Too short, too long, or none: one sentence with an example."""
    with pytest.raises(argparse.ArgumentTypeError, match="such as 60s or 10m"):
        holding.seconds(text)
