"""`droplan restore` on a Droplet whose daemon ran before."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import HostUnknown
from droplan_daemon.sources.board import confirm, droplet_id
from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.fixture
def before(machine: "Machine") -> "Machine":
    """web-1 after a reboot: it was protected, its state is on disk, the kernel is empty."""
    assert 0 == machine.droplan("once").returncode
    _reboot(machine)
    return machine


def _reboot(machine: "Machine") -> None:
    machine.namespace.run("nft", "delete", "table", "inet", "droplan")


def test_what_was_enforced_is_enforced_again(before: "Machine") -> None:
    """Read back, told in one line; done once more it writes nothing."""
    first = before.droplan("restore")
    assert (0, "") == (first.returncode, first.stderr)
    assert first.stdout.startswith("restored and read back: the ruleset of ")
    assert first.stdout.endswith(f" ago (number 1) of Droplet {before.own.id}, for a fleet of 5 Droplets\n")
    assert before.addresses(*PEERS) == before.peers
    generation = before.generation
    again = before.droplan("restore")
    assert (0, True) == (again.returncode, again.stdout.startswith("nothing to restore: the kernel holds "))
    assert generation == before.generation


def test_it_needs_no_api_no_metadata_and_no_configuration(before: "Machine") -> None:
    """A file full of mistakes does not keep the rules from coming back."""
    before.config.write_text("[[[")
    before.namespace.run("ip", "address", "del", "169.254.169.254/32", "dev", "lo")
    assert 0 == before.droplan("restore").returncode
    assert before.addresses(*PEERS) == before.peers


@pytest.mark.skipif(shutil.which("iptables-save", path="/usr/sbin:/sbin") is None, reason="no iptables")
@pytest.mark.parametrize("more", ["", "ipset = false\n"])
def test_a_checkpoint_of_iptables_is_restored_by_iptables(machine: "Machine", more: str) -> None:
    """In the form that the configuration asks for; a closed table of nftables goes when it is there."""
    machine.write(f'[firewall]\nbackend = "iptables"\n{more}')
    assert 0 == machine.droplan("once").returncode
    before = _rules(machine)
    assert [] != before
    state = machine.folder / "state" / "checkpoint.json"
    kept = state.read_bytes()
    machine.droplan("flush")
    state.write_bytes(kept)
    machine.namespace.run("nft", "add", "table", "inet", "droplan")
    done = machine.droplan("restore")
    assert (0, True) == (done.returncode, done.stdout.startswith("restored and read back: ")), done.stderr
    assert (before, None) == (_rules(machine), machine.observe().ruleset)


def _rules(machine: "Machine") -> list[str]:
    saved = machine.namespace.run("iptables-save", "-t", "filter")
    return [line for line in saved.splitlines() if line.startswith("-A") and "droplan" in line]


def test_a_dry_run_changes_nothing(before: "Machine") -> None:
    """And says what would be done."""
    done = before.droplan("restore", "--dry-run")
    assert (0, True) == (done.returncode, done.stdout.startswith("would restore the ruleset of "))
    assert None is before.observe().ruleset


def test_json_has_the_documented_keys(before: "Machine") -> None:
    """Each is named by the help."""
    told = json.loads(before.droplan("restore", "--json").stdout)
    documented = before.droplan("restore", "--help").stdout.partition("json:")[2].replace(",", " ").split()
    assert set(documented) == told.keys()
    assert (True, True, False, before.own.id, 1, False, "nftables", 5, []) == tuple(
        told[key]
        for key in (
            "ok", "restored", "dry_run", "droplet", "number", "stale", "backend", "droplets", "rejected"
        )
    )  # fmt: skip
    assert 0 <= told["age"] < 300
    assert False is json.loads(before.droplan("restore", "--json").stdout)["restored"]


def test_it_restores_after_a_flush(machine: "Machine") -> None:
    """The checkpoint outlives it, though boot would restore nothing."""
    machine.droplan("once")
    machine.droplan("flush")
    assert set() == machine.peers
    assert 0 == machine.droplan("restore").returncode
    assert machine.addresses(*PEERS) == machine.peers


def test_a_damaged_checkpoint_gives_way_to_the_one_before(before: "Machine") -> None:
    """Which is said, and the older fleet is what holds."""
    before.world.destroy_droplet(before.droplet("web-2").id)
    assert 0 == before.droplan("once").returncode
    _reboot(before)
    _damage(before.folder / "state" / "checkpoint.json")
    done = before.droplan("restore")
    assert (0, True) == (done.returncode, "(number 1)" in done.stdout)
    assert ("checkpoint.json" in done.stderr, "the generation before it is used" in done.stderr) == (
        True,
        True,
    )
    assert 3 == len(before.peers)


def test_with_nothing_usable_it_says_what_stands(before: "Machine") -> None:
    """Exit 1: damaged, or never there; and what is enforced in the meantime."""
    _damage(before.folder / "state" / "checkpoint.json")
    done = before.droplan("restore")
    assert (1, "", True) == (
        done.returncode,
        done.stdout,
        done.stderr.endswith(
            "; nothing of droplan's is enforced; the daemon makes a new one: systemctl start droplan\n"
        ),
    )
    (before.folder / "state" / "checkpoint.json").unlink()
    done = before.droplan("restore")
    assert "there is no checkpoint in the state folder; nothing of droplan's is enforced; " in done.stderr
    before.protect()
    told = json.loads(before.droplan("restore", "--json").stdout)
    assert (False, "missing") == (told["ok"], told["reason"])
    assert "; droplan's rules in the kernel stand as they are; " in told["message"]


def test_a_clone_does_not_restore_what_its_origin_had(before: "Machine") -> None:
    """Another MAC, and it is refused with the reason; nothing is written."""
    before.namespace.run("ip", "link", "set", "eth1", "address", "04:01:00:00:00:99")
    done = before.droplan("restore")
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "made from a snapshot of another one" in done.stderr
    assert None is before.observe().ruleset


def test_without_rights_it_exits_with_77(before: "Machine", nobody: tuple[str, ...]) -> None:
    """And says to run it as root."""
    done = before.droplan("restore", prefix=nobody)
    assert (77, 1) == (done.returncode, len(done.stderr.splitlines()))


def test_a_running_daemon_goes_on_from_there(before: "Machine") -> None:
    """What is restored under its feet is what it wants, or it mends it."""
    before.start().ready()
    assert 0 == before.droplan("restore").returncode
    gone = before.droplet("web-2")
    before.world.destroy_droplet(gone.id)
    until(lambda: before.addresses("tunnel-1", "mysql-1") == before.peers)


def _damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])


@pytest.mark.parametrize(
    ("vendor", "serial", "expected"),
    [
        ("DigitalOcean\n", "3164444\n", 3164444),
        ("QEMU\n", "3164444\n", None),
        ("DigitalOcean\n", "\n", None),
        ("DigitalOcean\n", "-1\n", None),
        ("DigitalOcean\n", "9" * 5000, None),
        ("DigitalOcean\n", "٣", None),
        ("DigitalOcean\n", None, None),
    ],
)
def test_the_board_says_which_droplet(
    tmp_path: Path, vendor: str, serial: str | None, expected: int | None
) -> None:
    """DigitalOcean's alone, and only a number."""
    (tmp_path / "sys_vendor").write_text(vendor)
    if serial is not None:
        (tmp_path / "product_serial").write_text(serial)
    assert expected == droplet_id(tmp_path)
    confirm(3164444, tmp_path)
    if expected:
        with pytest.raises(HostUnknown, match="and this is Droplet 3164444"):
            confirm(3164445, tmp_path)
