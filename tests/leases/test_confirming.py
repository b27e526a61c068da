"""What a confirmation reads and writes, what is left of one that fails, and a panic beside a bad file."""

import os
from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import until
from tests.leases.street import OPEN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.machine import Machine
    from tests.leases.street import Street

pytestmark = pytest.mark.kernel

LONG = "10m"
BEFORE = "droplan.toml.before-try"


def _tried(machine: "Machine", seconds: str = LONG) -> "Path":
    """Another configuration on trial, in a file beside the service's."""
    own = machine.config.read_text()
    machine.write(OPEN)
    path = machine.folder / "new.toml"
    path.write_text(machine.config.read_text())
    machine.config.write_text(own)
    done = machine.droplan("try", "--for", seconds, config=path)
    assert 0 == done.returncode, done.stderr
    return path


def _confirm(machine: "Machine") -> None:
    done = machine.droplan("confirm")
    assert (0, "") == (done.returncode, done.stderr)


def test_a_link_and_somebody_elses_file_can_be_confirmed(machine: "Machine", street: "Street") -> None:
    """What could be tried can be kept: what counts is what is in it, and a link stays one."""
    assert 0 == machine.droplan("once").returncode
    old, real = machine.config.read_text(), machine.folder / "real.toml"
    machine.config.rename(real)
    machine.config.symlink_to(real)
    new = _tried(machine)
    os.chown(new, 1234, 1234)
    _confirm(machine)
    street.open()
    assert machine.config.is_symlink()
    assert (new.read_text(), old) == (real.read_text(), (machine.folder / BEFORE).read_text())
    machine.write(OPEN + "# once more, in place\n[log]\ndenied = 'off'\n")
    assert 0 == machine.droplan("try", "--for", LONG).returncode
    _confirm(machine)


def test_a_confirmation_that_comes_to_nothing_makes_no_trial_longer(machine: "Machine") -> None:
    """The file cannot be put in place: the trial ends when it was to end."""
    assert 0 == machine.droplan("once").returncode
    _tried(machine, "60s")
    (machine.folder / BEFORE).mkdir()
    done = machine.droplan("confirm")
    assert (1, True) == (done.returncode, "could not be written" in done.stderr)
    assert 0 < machine.observe().leases["trial"] <= 60


def test_a_second_confirmation_keeps_the_file_of_before(machine: "Machine") -> None:
    """One that was killed after it had replaced the file is done again, and the old file is the old one."""
    assert 0 == machine.droplan("once").returncode
    old, new = machine.config.read_text(), _tried(machine)
    (machine.folder / BEFORE).write_text(old)
    machine.config.write_text(new.read_text())
    _confirm(machine)
    assert old == (machine.folder / BEFORE).read_text()


def test_nothing_but_a_configuration_is_replaced(machine: "Machine") -> None:
    """The service names the file; what it names has to be one of droplan's."""
    assert 0 == machine.droplan("once").returncode
    _tried(machine)
    machine.config.write_text("root:x:0:0::/root:/bin/sh\n")
    done = machine.droplan("confirm")
    assert (1, True) == (done.returncode, "no configuration" in done.stderr)
    assert "root:x:0:0::/root:/bin/sh\n" == machine.config.read_text()


@pytest.mark.parametrize("broken", [False, True])
def test_a_panic_needs_neither_token_nor_a_file_without_mistakes(machine: "Machine", *, broken: bool) -> None:
    """Where the daemon runs it has a configuration without any, and needs no token for it."""
    running = machine.start()
    running.ready()
    (machine.folder / "token").unlink()
    if broken:
        machine.config.write_text("nonsense = 1\n")
    for words, closed in ((("panic",), True), (("panic", "--end"), False)):
        done = machine.droplan(*words)
        assert 0 == done.returncode, done.stderr
        until(lambda closed=closed: closed is _closed(machine))  # type: ignore[misc]


def _closed(machine: "Machine") -> bool:
    """Whether a chain judges the public interface, which is not managed otherwise."""
    found = machine.observe().ruleset
    assert found
    return "public-in" in found.chains
