"""Whatever others say: only the errors that are written down, in bounded time and memory.

`make test` has a tenth of the inputs of `make test-full`, always the same ones. The input of a finding
is printed; `python -m tests.fuzz TARGET --input FILE` shows it again, and tests/fuzz/findings keeps it.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.backends.nft_batch import Batch
from droplan_daemon.diff import diff
from droplan_daemon.errors import SourceDoubtful
from droplan_daemon.model.fleet import Fleet
from droplan_daemon.model.host import Host
from droplan_daemon.settings import load
from droplan_daemon.sources.payloads import DROPLETS, Shared, read_page
from tests.fuzz.catalogue import INPUTS, SHARES, findings, target
from tests.fuzz.engines import mutated
from tests.fuzz.judging import compiled, with_us
from tests.fuzz.targets.words import FLEET
from tests.kernel.ground import Kernel
from tests.strategies import rulesets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from droplan_daemon.model.ruleset import Ruleset
    from tests.conftest import Namespace

pytestmark = pytest.mark.timeout(1_800)

FULL = bool(os.environ.get("DROPLAN_TEST_FULL"))
ROOT = Path(__file__).parents[2]
_MEMORY = Path("/dev/shm")
_PATIENCE = 1_800
_RUN = "{inputs:7,} inputs, {accepted:,} of them accepted, the slowest {slowest:.3f} s of processor time"


@pytest.fixture
def folder() -> "Iterator[Path]":
    """In memory, for some targets read files, many thousand times; tests work in it."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name, chdir(name):
        yield Path(name)


@pytest.fixture
def fuzzed(folder: Path, figure: "Callable[[str], None]") -> "Callable[[str], None]":
    """Give one target its share of inputs, in a process of its own."""

    def run(name: str) -> None:
        seed = int.from_bytes(os.urandom(4)) if FULL else 1
        inputs = INPUTS[name] * (10 if FULL else 1)
        words = [name, "--inputs", str(inputs), "--seed", str(seed), "--folder", str(folder)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},  # else the same seed would not make the same inputs
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE - 60,
        )
        assert 0 == done.returncode, f"seed {seed}\n{done.stdout[-6_000:]}\n{done.stderr[-2_000:]}"
        told = json.loads(done.stdout)
        assert inputs == told["inputs"]
        assert told["accepted"], "nothing was accepted: only the way into errors was tried"
        figure(f"fuzz {name:17}" + _RUN.format(**told) + (", guided" if told["guided"] else ""))

    return run


@pytest.mark.fault("A13", "A15", "A16", "C4")
@pytest.mark.parametrize("name", SHARES["api"])
def test_no_answer_does_more_than_an_error(name: str, fuzzed: "Callable[[str], None]") -> None:
    """Pages, fleet files, metadata, headers: SourceDoubtful or HostUnknown, or values that nobody need fear.

    No address that no Droplet has, no text that a terminal obeys, no VPC as wide as the Internet; what is
    accepted compiles to sets and messages. No input takes a second, or 256 MiB.
    """
    fuzzed(name)


@pytest.mark.fault("E5", "E6")
@pytest.mark.parametrize("name", SHARES["state"])
def test_no_damage_on_disk_does_more_than_an_error(name: str, fuzzed: "Callable[[str], None]") -> None:
    """Checkpoint, boot script, host file: as they were written, or StoreFailed with a reason.

    A damaged generation gives way to the one before it, each time; nonsense with a right checksum is refused
    by its shape.
    """
    fuzzed(name)


@pytest.mark.fault("D16")
@pytest.mark.parametrize("name", SHARES["netlink"])
def test_no_dump_of_the_kernel_does_more_than_an_error(name: str, fuzzed: "Callable[[str], None]") -> None:
    """Dumps of tables, sets, links, connections: what they say, or that it is none of ours, or ValueError."""
    fuzzed(name)


@pytest.mark.parametrize("name", SHARES["iptables"])
def test_no_output_of_a_program_does_more_than_an_error(name: str, fuzzed: "Callable[[str], None]") -> None:
    """What iptables-save, ipset, nft print, and scripts and cron lines: read as far as understood."""
    fuzzed(name)


@pytest.mark.fault("H1")
@pytest.mark.parametrize("name", SHARES["words"])
def test_no_word_of_an_operator_does_more_than_an_error(name: str, fuzzed: "Callable[[str], None]") -> None:
    """Policy files, selectors, environments: ConfigInvalid with its places, or a policy that compiles."""
    fuzzed(name)


@pytest.mark.parametrize(("name", "finding"), [(name, one) for name in INPUTS for one in findings(name)])
def test_a_finding_stays_found(name: str, finding: Path, folder: Path) -> None:
    """Each input that once did harm: its target says nothing against what comes of it now."""
    assert target(name).check(finding.read_bytes()) in {True, False}


def test_there_are_enough_inputs() -> None:
    """100,000 in `make test`, ten times as many in `make test-full`."""
    assert sum(INPUTS.values()) >= 100_000


def test_a_hang_is_a_finding(folder: Path) -> None:
    """An input for which the code runs for ever ends the run within seconds, and is kept."""
    source = "import tests.fuzz.catalogue as c, tests.fuzz.target as t\n"
    source += "def hang(data):\n    while True: pass\n"
    source += "c.target = lambda name: t.Target(hang, lambda: [b'x'], lambda data, random: data)\n"
    source += "import tests.fuzz.__main__ as m; m.target = c.target; m.main()"
    done = subprocess.run(
        [sys.executable, "-c", source, "metadata", "--blind", "--folder", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (1, b"x") == (done.returncode, (folder / "finding").read_bytes())
    assert "HangError" in done.stdout


def test_a_run_can_be_repeated() -> None:
    """The same seed makes the same inputs."""
    found = target("metadata")
    seeds = found.seeds()
    first, second = (
        [mutated(found, seeds[0], random) for _ in range(50)] for random in (Random(7), Random(7))
    )
    assert first == second
    assert len(set(first)) > 40


@given(rulesets(), st.integers(0, 2**32))
def test_a_changed_dump_of_any_ruleset_is_read(desired: "Ruleset", seed: int) -> None:
    """The messages of whatever droplan can write, each changed somewhere: a value, or ValueError."""
    batch, random = Batch("droplan", {}), Random(seed)
    for index, change in enumerate(diff(None, desired).changes):
        batch.add(index, change)
    dump = target("nft-dump")
    for request in batch.requests:
        assert dump.check(mutated(dump, bytes(4) + request.payload, random)) in {True, False}


def _rulesets(name: str, inputs: int, made: "Callable[[bytes], Ruleset | None]") -> "Iterator[Ruleset]":
    """What comes of those of so many inputs that are accepted."""
    found, random = target(name), Random(3)
    seeds = [data for data in found.seeds() if found.check(data)]
    for _ in range(inputs):
        data = mutated(found, random.choice(seeds), random)
        if found.check(data) and (desired := made(data)):
            yield desired


def _of_page(data: bytes) -> "Ruleset | None":
    try:
        page = read_page(data, DROPLETS, Shared())
    except SourceDoubtful:
        return None  # a page of VPCs
    return compiled(with_us(page.items, Fleet(page.items)))


def _of_policy(data: bytes) -> "Ruleset | None":
    Path("droplan.toml").write_bytes(data)
    policy = load(Path("droplan.toml"), {}, need_token=False).policy
    return compiled(FLEET, policy, Host(1, "eth1", "eth0"))


@pytest.mark.kernel
@pytest.mark.fault("A16")
def test_the_kernel_takes_what_was_accepted(
    namespace: "Namespace", folder: Path, figure: "Callable[[str], None]"
) -> None:
    """Pages and policies that came through are written into a real table, and are read back as they were."""
    kernel, written = Kernel(namespace), 0
    try:
        inputs = 6_000 if FULL else 600
        for desired in (
            *_rulesets("api-page", inputs, _of_page),
            *_rulesets("policy-file", inputs, _of_policy),
        ):
            kernel.become(desired)
            assert desired == kernel.holds()
            written += 1
    finally:
        kernel.close()
    assert written > 20
    figure(f"fuzz: {written} rulesets of accepted inputs written into a kernel and read back")
