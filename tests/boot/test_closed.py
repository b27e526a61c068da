"""What holds when nothing can be restored: closed, unless the configuration plainly says otherwise."""

import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_daemon.settings import load
from droplan_daemon.settings.plain import plainly
from tests.boot.booting import LIBRARY, NOBODY, OPEN, RESTORE, Machine
from tests.kernel.ground import SMALL
from tests.kernel.wires import (
    HOST,
    HOST_PUBLIC,
    PEER,
    STRANGER,
    STRANGER_PUBLIC,
    Wires,
    icmp,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


EXAMPLES = 1_000 if os.environ.get("DROPLAN_TEST_FULL") else 100

pytestmark = pytest.mark.kernel


@pytest.mark.fault("G11")
def test_closed_is_what_a_policy_without_anybody_compiles_to(machine: Machine) -> None:
    """Rule for rule what the daemon would write for an interface that lets nobody in, logs apart."""
    assert ["boot.closed"] == machine.boot().events
    assert NOBODY == machine.kernel.holds()


@pytest.mark.parametrize("name", ["ens4", "eth1"])
def test_the_interface_is_the_one_that_this_machine_remembers(machine: Machine, name: str) -> None:
    """host.json names it; it is eth1 where nothing is remembered, or nothing that can be a name."""
    _remember(machine, f'"{name}"')
    assert name == machine.boot().of("boot.closed").fields["interface"]
    assert name in machine.kernel.raw()


@pytest.mark.parametrize("kept", ['"x; flush ruleset"', "null", "7", '"' + "x" * 16 + '"'])
def test_nothing_else_becomes_a_name(machine: Machine, kept: str) -> None:
    """A damaged or hostile host.json is not believed."""
    _remember(machine, kept)
    assert "eth1" == machine.boot().of("boot.closed").fields["interface"]


def _remember(machine: Machine, private: str) -> None:
    text = f'{{"body":{{"droplet_id":1,"private":{private},"public":"eth0"}},"sha256":"x","version":1}}\n'
    machine.write(machine.state / "host.json", text.encode())


def test_closed_never_takes_the_place_of_a_ruleset_that_stands(machine: Machine) -> None:
    """Started by hand over damaged files, it leaves what is enforced."""
    machine.keep()
    machine.boot()
    for path in (machine.current, machine.previous):
        machine.write(path, b"damaged")
    told = machine.boot()
    assert (0, ["state.rejected", "state.rejected", "boot.kept"]) == (told.code, told.events)
    assert ["boot.kept"] == machine.boot("closed").events
    assert SMALL == machine.kernel.holds()


def test_closed_at_once_looks_at_no_ruleset(machine: Machine) -> None:
    """What the unit for failures does."""
    machine.keep()
    assert ["boot.closed"] == machine.boot("closed").events


def test_twice_closed_is_closed(machine: Machine) -> None:
    """The second time there is something that stands."""
    machine.boot()
    before = machine.kernel.raw()
    assert (["boot.kept"], before) == (machine.boot().events, machine.kernel.raw())


def test_foreign_tables_stand_as_they_did(machine: Machine) -> None:
    """Restored or closed, nobody else's rules are touched, by a single handle."""
    machine.kernel.nft(
        "table inet other { chain c { type filter hook input priority 0; tcp dport 22 counter; }; }"
    )
    before = machine.kernel.raw(without="inet droplan")
    machine.boot()
    machine.keep()
    machine.boot()
    assert SMALL == machine.kernel.holds()
    assert before == machine.kernel.raw(without="inet droplan")


# Without nft.


def test_without_nft_it_is_closed_by_iptables(machine: Machine) -> None:
    """Both families; the ruleset on disk waits for whoever installs nft."""
    machine.keep()
    path = machine.programs(
        "iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "iptables-save", "ipset"
    )
    told = machine.boot(environ={"PATH": path})
    assert (0, ["state.rejected", "boot.closed"]) == (told.code, told.events)
    assert ("missing_nft", "iptables") == (
        told.reasons["ruleset.nft"],
        told.of("boot.closed").fields["by"],
    )
    for program in ("iptables", "ip6tables"):
        rules = machine.namespace.run(program, "-S", "INPUT").splitlines()
        assert ['-A INPUT -i eth1 -m comment --comment "droplan 0 private" -j droplan-peers'] == rules[1:]
    assert ["state.rejected", "boot.kept"] == machine.boot(environ={"PATH": path}).events


def test_a_host_of_iptables_is_closed_by_iptables(machine: Machine) -> None:
    """Its backend is configured, or its last ruleset was of that kind: no nftables table appears."""
    machine.config.write_text('[firewall]\nbackend = "iptables"\n')
    assert "iptables" == machine.boot().of("boot.closed").fields["by"]
    assert machine.kernel.holds() is None


def test_with_neither_it_fails_and_says_what_to_do(machine: Machine) -> None:
    """Exit 1, so that the unit is seen to have failed."""
    told = machine.boot(environ={"PATH": machine.programs()})
    assert (1, ["boot.unprotected"]) == (told.code, told.events)
    said = told.of("boot.unprotected")
    assert (3, True) == (said.priority, "install nftables" in said.fields["hint"])


def test_without_the_static_scripts_it_fails(machine: Machine) -> None:
    """A package that is half gone."""
    told = machine.boot(environ={"LIBRARY": str(machine.folder)})
    assert (1, ["boot.unprotected"], None) == (told.code, told.events, machine.kernel.holds())


# What the configuration says.

PLAIN = {
    "the default": ("", ""),
    "closed": ('[boot]\nwithout_checkpoint = "closed"\n', ""),
    "open": (OPEN, "open"),
    "open, with blanks and a remark": (
        '# x\n\n\t[ boot ]  # here\n  without_checkpoint="open" # yes\n[log]\ndenied = "off"\n',
        "open",
    ),
    "open, from another system": ('[boot]\r\nwithout_checkpoint = "open"\r\n', "open"),
    "open, after a byte order mark": ("\ufeff" + OPEN, "open"),
    "in another section": ('[log]\nwithout_checkpoint = "open"\n', ""),
    "in a remark": ('# [boot]\n# without_checkpoint = "open"\n', ""),
    "a dotted key": ('boot.without_checkpoint = "open"\n', ""),
    "an inline table": ('boot = { without_checkpoint = "open" }\n', ""),
    "other quotes": ("[boot]\nwithout_checkpoint = 'open'\n", ""),
    "a text of several lines": ('x = """\n[boot]\nwithout_checkpoint = "open"\n"""\n', ""),
    "other triple quotes": ("x = '''\n[boot]\nwithout_checkpoint = \"open\"\n'''\n", ""),
    "twice": (OPEN + 'without_checkpoint = "open"\n', ""),
    "two sections": (OPEN + "[boot]\n", ""),
    "audit drops nothing": ('mode = "audit"\n', "audit"),
    "audit for some": ('mode = "audit"\n[[override]]\non = "all"\nmode = "enforce"\n', ""),
    "audit of a section": ('[log]\nmode = "audit"\n', ""),
    "private left alone": ("[private]\nmanaged = false\n", "unmanaged"),
    "private left alone by most": (
        '[private]\nmanaged = false\n[[override]]\non = "all"\nprivate = { managed = true }\n',
        "",
    ),
    "public left alone": ("[public]\nmanaged = false\n", ""),
    "a remark about overrides": ('# no override\nmode = "audit"\n', "audit"),
    "a name that is written in signs": ('mode = "audit"\n[["over\\u0072ide"]]\non = "all"\n', ""),
}


@pytest.mark.parametrize(("text", "expected"), PLAIN.values(), ids=PLAIN)
def test_only_what_is_plain_leaves_it_open(machine: Machine, text: str, expected: str) -> None:
    """The shell and `check` read the same; what is not plain is closed."""
    machine.config.write_bytes(text.encode())
    told = machine.boot()
    assert expected == plainly(text.removeprefix("\ufeff"))
    if expected:
        assert expected == told.of("boot.open").fields["reason"]
    assert (not expected) == (machine.kernel.holds() is not None)


_PIECES = (
    "[boot]",
    "[ boot ]",
    "[private]",
    "[[override]]",
    "[[allow]]",
    'without_checkpoint = "open"',
    'without_checkpoint="open"# x',
    'without_checkpoint = "closed"',
    'mode = "audit"',
    'mode = "enforce"',
    "managed = false",
    "managed=false   # no",
    "managed = true",
    '"""',
    "'''",
    'name = "a#b"',
    "x = [",
    "[",
    "=",
    "\\",
    "# override",
    "",
)
_texts = st.lists(st.sampled_from(_PIECES) | st.text("[]=# \t\"'ab\r\\", max_size=6), max_size=8)


@settings(max_examples=EXAMPLES)
@given(_texts.map("\n".join))
def test_the_shell_and_check_read_any_file_alike(text: str) -> None:
    """Law of `plainly`: over lines of every sort, in any order."""
    program = RESTORE.read_text(encoding="utf-8").partition("\nplainly() {\n")[2].partition("\n}\n")[0]
    done = subprocess.run(
        ["/bin/sh", "-c", f"config=/dev/stdin; plainly() {{\n{program.replace('[ -f', '[ -e')}\n}}; plainly"],
        input=text.encode(),
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert plainly(text) == done.stdout.decode().strip()


def test_a_form_that_boot_cannot_read_is_warned_about(tmp_path: Path) -> None:
    """`check` says so, with what to write; the plain form has no warning."""
    file = tmp_path / "droplan.toml"
    file.write_text('boot = { without_checkpoint = "open" }\n')
    (warning,) = load(file, {}, need_token=False).warnings
    assert ("boot.without_checkpoint", 1) == (warning.key, warning.line)
    assert "will close the private interface" in warning.message
    file.write_text(OPEN)
    assert () == load(file, {}, need_token=False).warnings


# Packets.


@pytest.fixture
def wires() -> "Iterator[Wires]":
    try:
        made = Wires()
    except OSError as error:
        pytest.skip(f"no network namespace: {error.strerror}; run as root, or with unshare -Urn")
    with made:
        yield made


@pytest.mark.parametrize("kind", ["nft", "iptables"])
def test_closed_lets_replies_in_and_nobody_else(wires: Wires, tmp_path: Path, kind: str) -> None:
    """Nobody by the private interface, everybody by the public one and loopback; what we open works."""
    _close(wires, tmp_path, kind)
    wires.open(wires.host, socket.SOCK_STREAM, HOST, 80)
    wires.open(wires.host, socket.SOCK_STREAM, HOST_PUBLIC, 80)
    wires.open(wires.outside, socket.SOCK_STREAM, PEER, 5432)
    assert not wires.tcp(PEER, HOST, 80, through=False)
    assert not wires.ping(STRANGER, HOST, through=False)
    assert wires.tcp(STRANGER_PUBLIC, HOST_PUBLIC, 80)
    assert wires.connected(HOST, PEER, 5432, where=wires.host)
    assert wires.connected(HOST, HOST, 80, where=wires.host)
    assert wires.ping(HOST, PEER, where=wires.host)


@pytest.mark.parametrize("kind", ["nft", "iptables"])
def test_closed_leaves_the_network_alive(wires: Wires, tmp_path: Path, kind: str) -> None:
    """An ICMP error about a connection that we opened, and a server's DHCP answer, come in."""
    _close(wires, tmp_path, kind)
    server = wires.open(wires.host, socket.SOCK_DGRAM, HOST, 68)
    assert wires.udp(STRANGER, server, port=67)
    assert not wires.udp(STRANGER, server, port=53, through=False)
    ours = wires.open(wires.host, socket.SOCK_DGRAM, HOST, 4000)
    ours.connect((PEER, 9))
    ours.send(b"?")
    quoted = struct.pack("!BBHHHBBH4s4s", 69, 0, 28, 0, 0, 64, 17, 0, *map(socket.inet_aton, (HOST, PEER)))
    error = icmp(3, 3, bytes(4) + quoted + struct.pack("!HHHH", 4000, 9, 8, 0))
    with wires.outside.call(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.bind((STRANGER, 0))
        raw.sendto(error, (HOST, 0))
    with pytest.raises(ConnectionRefusedError):
        ours.recv(10)


def _close(wires: Wires, folder: Path, kind: str) -> None:
    config = folder / "droplan.toml"
    config.write_text(f'[firewall]\nbackend = "{kind.replace("nft", "nftables")}"\n')
    done = wires.host.call(
        subprocess.run,
        ["/bin/sh", str(RESTORE)],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "STATE_DIRECTORY": str(folder / "none"),
            "CONFIG": str(config),
            "LIBRARY": str(LIBRARY),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"by={'nft' if kind == 'nft' else 'iptables'}" in done.stderr
