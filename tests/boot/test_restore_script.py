"""`systemd/restore`: which file is loaded, which is refused and why, and what holds instead."""

import os
import random
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from droplan_daemon.backends.nft_text import render
from droplan_daemon.model.ruleset import ruleset
from droplan_daemon.policy.compile import compile_ruleset
from tests.boot.booting import (
    DROPLET,
    MAC,
    OPEN,
    OTHER_MAC,
    RESTORE,
    Machine,
    resealed,
    sealed,
)
from tests.kernel.ground import SMALL, host_set, hosts
from tests.worlds import fleets, own, policies
from tests.worlds import hosts as any_host

if TYPE_CHECKING:
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.model.host import Host
    from droplan_daemon.model.policy import Policy

pytestmark = pytest.mark.kernel

FULL = bool(os.environ.get("DROPLAN_TEST_FULL"))
MUTATIONS = 1_000 if FULL else 100
EXAMPLES = 300 if FULL else 25
GOOD = render(SMALL, "droplan")
HEAD = f"# number 7\n# droplet {DROPLET}\n# link eth1 {MAC}\n# saved 2025-11-22T02:40:00Z\n"


def test_what_was_saved_is_what_the_kernel_holds(machine: Machine, shell: tuple[str, ...]) -> None:
    """Any POSIX shell: the ruleset as the daemon would write it, and one line that says which."""
    machine.keep()
    told = machine.boot(shell=shell)
    assert (0, ["boot.restored"]) == (told.code, told.events)
    assert SMALL == machine.kernel.holds()
    said = told.of("boot.restored")
    assert (6, str(DROPLET), "7", str(machine.current)) == (
        said.priority,
        said.fields["droplet"],
        said.fields["number"],
        said.fields["file"],
    )


def test_any_policy_that_is_saved_is_restored(machine: Machine) -> None:
    """Whatever compiles and is rendered passes the script's own judgement, and is the same in the kernel."""

    @settings(max_examples=EXAMPLES)
    @given(policies(), fleets(), any_host)
    def same(policy: "Policy", fleet: "Fleet", host: "Host") -> None:
        wanted = compile_ruleset(policy, fleet, host, own(fleet))
        machine.keep(wanted)
        told = machine.boot()
        assert (0, ["boot.restored"]) == (told.code, told.events)
        assert wanted == machine.kernel.holds()

    same()


def test_peers_and_age_are_told(machine: Machine) -> None:
    """As many peers as the set has; the age in seconds, and `stale` after a day."""
    many = ruleset((host_set("private-peers-4", hosts("10.1.0.0", 700), 1024),), ())
    machine.write(machine.current, sealed(render(many, "droplan"), saved=time.time() - 100))
    said = machine.boot().of("boot.restored").fields
    assert ("700", "0") == (said["peers"], said["stale"])
    assert 100 <= int(said["age"]) < 200
    machine.write(machine.current, sealed(GOOD, saved=time.time() - 30 * 86_400))
    said = machine.boot().of("boot.restored").fields
    assert ("1", None) == (said["stale"], said.get("peers"))
    assert 0 <= int(said["age"]) - 30 * 86_400 < 100


@pytest.mark.parametrize("saved", [0.0, 951_782_400.0, 1_709_164_800.0, 1_735_689_599.0])
def test_the_age_is_right_over_leap_years(machine: Machine, saved: float) -> None:
    """1970, 29 February of 2000 and 2024, the last second of 2024."""
    machine.write(machine.current, sealed(GOOD, saved=saved))
    age = int(machine.boot().of("boot.restored").fields["age"])
    assert abs(time.time() - saved - age) < 100


@pytest.mark.fault("F2")
def test_a_clock_before_the_save_makes_the_age_unknown(machine: Machine) -> None:
    """A machine that boots in 1970 restores all the same."""
    machine.write(machine.current, sealed(GOOD, saved=time.time() + 86_400))
    told = machine.boot()
    assert ("unknown", SMALL) == (told.of("boot.restored").fields["age"], machine.kernel.holds())


# Which file.


def test_a_damaged_file_gives_way_to_the_generation_before(machine: Machine) -> None:
    """The newest is refused by name and reason, the previous is restored."""
    older = ruleset((), (), "older")
    machine.keep(older, machine.previous, number=6)
    machine.keep()
    machine.write(machine.current, machine.current.read_bytes()[:-9])
    told = machine.boot()
    assert (0, ["state.rejected", "boot.restored"]) == (told.code, told.events)
    assert {"ruleset.nft": "checksum"} == told.reasons
    assert (4, "6") == (told.lines[0].priority, told.of("boot.restored").fields["number"])
    assert older == machine.kernel.holds()


def test_a_ruleset_that_nft_refuses_gives_way_to_the_generation_before(machine: Machine) -> None:
    """A newer kernel or an older nft: what it says is told, and nothing of it was done."""
    machine.keep(path=machine.previous, number=6)
    machine.write(machine.current, sealed(GOOD.replace("type ipv4_addr", "type nosuch", 1)))
    told = machine.boot()
    assert {"ruleset.nft": "refused_by_nft"} == told.reasons
    assert "nosuch" in told.lines[0].fields["said"]
    assert SMALL == machine.kernel.holds()


def test_of_two_backends_the_higher_number_counts(machine: Machine) -> None:
    """A crash while the backend changed leaves both kinds on disk."""
    empty = b"#: ipset\n#: iptables\n#: ip6tables\n"
    machine.write(machine.state / "ruleset.iptables", resealed(HEAD.encode() + empty))
    for number, restored in ((6, "ruleset.iptables"), (8, "ruleset.nft")):
        machine.keep(number=number)
        file = machine.boot().of("boot.restored").fields["file"]
        assert str(machine.state / restored) == file


# What is refused.


@pytest.mark.parametrize("line", range(6))
def test_a_change_in_any_line_of_the_head_is_noticed(machine: Machine, line: int) -> None:
    """The last character of each, exchanged."""
    lines = sealed(GOOD).split(b"\n")
    lines[line] = lines[line][:-1] + bytes([lines[line][-1] ^ 1])
    machine.config.write_text(OPEN)
    machine.write(machine.current, b"\n".join(lines))
    told = machine.boot()
    assert {"ruleset.nft": "version" if line == 0 else "checksum"} == told.reasons
    assert (["state.rejected", "boot.open"], None) == (told.events, machine.kernel.holds())


def test_no_flipped_bit_and_no_cut_is_ever_loaded(machine: Machine) -> None:
    """Random single bits, and random lengths from nothing up."""
    machine.config.write_text(OPEN)
    whole, dice = sealed(GOOD), random.Random(7)
    for _ in range(MUTATIONS // 2):
        at, bit = dice.randrange(len(whole)), 1 << dice.randrange(8)
        for data in (whole[: dice.randrange(len(whole))], _flipped(whole, at, bit)):
            machine.write(machine.current, data)
            told = machine.boot()
            assert ["state.rejected", "boot.open"] == told.events
            assert told.reasons["ruleset.nft"] in {"checksum", "version", "damaged"}
    assert machine.kernel.holds() is None


def _flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


SECOND = "table inet droplan"
_TABLE = "table inet droplan\ndelete table inet droplan\ntable inet droplan {\n"
HOSTILE = {
    "another table": GOOD + "table inet other {\n}\n",
    "everything flushed": GOOD + "flush ruleset\n",
    "flushed first": "flush ruleset\n" + GOOD,
    "flushed within": GOOD.replace("\n}\n", "\n} ; flush ruleset\n}\n"),
    "closed too early": _TABLE + "} ; flush ruleset ; table inet droplan {\n}\n",
    "closed too early in one line": _TABLE
    + "\tset x {\n\t} } ; flush ruleset ; table inet droplan { set y {\n\t}\n}\n",
    "a file read": _TABLE + '\tinclude "/etc/hostname"\n}\n',
    "a file read in a chain": _TABLE + '\tchain c {\n\t\tcounter ; include "/etc/hostname"\n\t}\n}\n',
    "a variable": _TABLE + "\tdefine x = { 10.0.0.1 }\n}\n",
    "a variable used": _TABLE + "\tchain c {\n\t\tip saddr $x\n\t}\n}\n",
    "a quote left open": _TABLE + '\tcomment "\n}\nflush ruleset\n"\n}\n',
    "a comment that hides a quote": _TABLE + '\t# "\n}\nflush ruleset\n# "\n}\n',
    "comments that hide braces": f"{_TABLE}\t# {{\n}}\nflush ruleset\n{SECOND} {{\n\t# }}\n}}\n",
    "a line continued": _TABLE + "\tchain c {\n\t\tcounter \\\n\t}\n}\n",
    "a carriage return": _TABLE + "\tchain c {\n\t\tcounter\r\n\t}\n}\n",
    "no end": _TABLE,
    "something after the end": GOOD + "\n# but\n",
    "another table from the first": GOOD.replace("inet droplan", "inet other"),
    "nothing": "",
    "only its removal": "table inet droplan\ndelete table inet droplan\n",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_does_more_than_our_table_is_refused_whatever_its_checksum(machine: Machine, body: str) -> None:
    """The daemon's user could write such a file; root does not load it."""
    machine.namespace.run("nft", "add", "table", "inet", "foreign")
    machine.config.write_text(OPEN)
    machine.write(machine.current, resealed((HEAD + body).encode()))
    told = machine.boot()
    assert {"ruleset.nft": "shape"} == told.reasons
    assert (None, "table inet foreign\n") == (
        machine.kernel.holds(),
        machine.namespace.run("nft", "list", "tables"),
    )


@pytest.mark.parametrize(
    "head",
    [
        "",
        HEAD.replace("# number 7\n", ""),
        HEAD.replace("# number 7\n", "# number 7\n# number 8\n"),
        HEAD.replace("# number 7", "# number seven"),
        HEAD.replace(f"# droplet {DROPLET}\n", ""),
        HEAD.replace("02:40:00Z", "02:40"),
        HEAD.replace("eth1", "../eth1"),
        HEAD + "# something else\n",
    ],
)
def test_a_head_that_says_too_little_or_too_much_is_refused(machine: Machine, head: str) -> None:
    """Every fact once, and nothing else, even under a right checksum."""
    machine.config.write_text(OPEN)
    machine.write(machine.current, resealed((head + GOOD).encode()))
    assert ({"ruleset.nft": "shape"}, None) == (machine.boot().reasons, machine.kernel.holds())


def test_no_nul_gets_to_nft(machine: Machine) -> None:
    """Shells drop it: one that was sealed breaks the checksum, a tail of them is no part of the file."""
    machine.config.write_text(OPEN)
    machine.write(machine.current, sealed(GOOD.replace("comment", "com\0ment", 1)))
    assert ({"ruleset.nft": "checksum"}, None) == (machine.boot().reasons, machine.kernel.holds())
    machine.write(machine.current, sealed(GOOD) + bytes(4096))
    assert (["boot.restored"], SMALL) == (machine.boot().events, machine.kernel.holds())


@pytest.mark.parametrize("kind", ["symlink", "irregular", "fifo", "owner", "writable", "too_long", "empty"])
def test_what_is_no_plain_file_of_ours_is_refused(machine: Machine, kind: str) -> None:
    """A link, a folder, a pipe that nobody writes, another's file, one that others may write, a huge one."""
    machine.config.write_text(OPEN)
    machine.keep()
    expected = kind
    match kind:
        case "symlink":
            machine.current.rename(machine.state / "elsewhere")
            machine.current.symlink_to("elsewhere")
        case "irregular":
            machine.current.unlink()
            machine.current.mkdir()
        case "fifo":
            machine.current.unlink()
            os.mkfifo(machine.current)
            expected = "irregular"
        case "owner":
            if os.geteuid():
                pytest.skip("only root can give a file away")
            os.chown(machine.current, 12345, 12345)
        case "writable":
            machine.current.chmod(0o602)
            expected = "owner"
        case "too_long":
            machine.write(machine.current, sealed(GOOD + "\n" * (33 << 20)))
        case "empty":
            machine.write(machine.current, b"")
            expected = "damaged"
    told = machine.boot()
    assert ({"ruleset.nft": expected}, None) == (told.reasons, machine.kernel.holds())


# Whose it is.


def test_a_cloned_machine_does_not_get_the_ruleset_of_its_origin(machine: Machine) -> None:
    """Another MAC on the interface that the file names: refused, in both generations, and closed."""
    machine.link("eth1", OTHER_MAC)
    machine.keep()
    machine.keep(path=machine.previous, number=6)
    told = machine.boot()
    assert {"ruleset.nft": "machine", "ruleset.1.nft": "machine"} == told.reasons
    assert "boot.closed" == told.events[-1]


def test_an_interface_that_is_not_there_yet_contradicts_nothing(machine: Machine) -> None:
    """Drivers may be later than we are."""
    shutil.rmtree(machine.system / "class" / "net" / "eth1")
    machine.keep()
    assert ["boot.restored"] == machine.boot().events


def test_an_interface_that_is_about_to_be_renamed_contradicts_nothing(machine: Machine) -> None:
    """Before udev has sorted the names, the MAC may be on another one."""
    machine.link("eth0", MAC)
    machine.link("eth1", OTHER_MAC)
    machine.keep()
    assert ["boot.restored"] == machine.boot().events


@pytest.mark.parametrize(
    ("vendor", "serial", "events"),
    [
        ("DigitalOcean", str(DROPLET), ["boot.restored"]),
        ("DigitalOcean", str(DROPLET + 1), ["state.rejected", "boot.open"]),
        ("DigitalOcean", "", ["boot.restored"]),
        ("DigitalOcean", "not a number", ["boot.restored"]),
        ("QEMU", str(DROPLET + 1), ["boot.restored"]),
    ],
)
def test_on_digitalocean_the_serial_number_is_the_droplet(
    machine: Machine, vendor: str, serial: str, events: list[str]
) -> None:
    """Another number is another Droplet; no number, or another maker's, says nothing."""
    machine.config.write_text(OPEN)
    machine.maker(vendor, serial)
    machine.keep()
    told = machine.boot()
    assert events == told.events
    assert {"ruleset.nft": "droplet"} == told.reasons or events == ["boot.restored"]


# The script itself.


def test_shellcheck_has_nothing_to_say() -> None:
    """Not even in passing."""
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("no shellcheck: install the package shellcheck")
    done = subprocess.run([program, "--shell=sh", str(RESTORE)], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)


@pytest.mark.parametrize("words", [("open",), ("closed", "closed"), ("",)])
def test_wrong_usage_is_2_and_changes_nothing(machine: Machine, words: tuple[str, ...]) -> None:
    """It is nobody's command, but a typo in a unit must be seen."""
    machine.keep()
    done = machine.namespace.call(
        subprocess.run,
        ["/bin/sh", str(RESTORE), *words],
        env=machine.environ,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (2, "usage: restore [closed]\n", None) == (done.returncode, done.stderr, machine.kernel.holds())
