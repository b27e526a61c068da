"""The Debian package, built and tried in a clean root of each release."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from droplan_daemon import __version__
from tests.package.tree import TOP, packaging

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

RELEASES = {"bookworm": ("12", "3.11"), "trixie": ("13", "3.13")}
_LATER = "99.0.0"


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """A release whose clean root could be made, or a skip that says why not."""
    name = str(request.param)
    if os.geteuid() != 0:
        pytest.skip("a clean Debian root takes root's rights")
    if shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("no debootstrap: install the package debootstrap")
    command = [sys.executable, str(TOP / "packaging" / "clean_root.py"), name, "/tmp", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    if done.returncode:
        pytest.skip(f"no clean root of {name}: {done.stderr.strip()}")
    return name


@pytest.fixture(scope="session")
def built(release: str, trees: tuple["Path", "Path"], tmp_path_factory: pytest.TempPathFactory) -> "Path":
    """A folder with the package, and a later version of it. lintian had neither errors nor warnings."""
    folder = tmp_path_factory.mktemp(release)
    packaging(trees[0], "deb.py", "--release", release, "--lint", "--output", str(folder))
    packaging(trees[0], "deb.py", "--release", release, "--version", _LATER, "--output", str(folder))
    return folder


@pytest.fixture
def inside(release: str, built: "Path") -> "Callable[[str], str]":
    """Run a script in a clean root with both packages as $old and $new; what it printed."""
    number = RELEASES[release][0]
    names = f"old=droplan_{__version__}+deb{number}_amd64.deb; new=droplan_{_LATER}+deb{number}_amd64.deb\n"

    def run(script: str) -> str:
        command = [
            sys.executable,
            str(TOP / "packaging" / "clean_root.py"),
            release,
            str(built),
            names + script,
        ]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    return run


def test_built_twice_is_the_same_package(release: str, built: "Path", trees: tuple["Path", "Path"]) -> None:
    """From another folder, other times and modes, under another umask; its bill of materials too."""
    name = f"droplan_{__version__}+deb{RELEASES[release][0]}_amd64"
    before = {kind: _digest(built / f"{name}{kind}") for kind in (".deb", ".cdx.json")}
    folder = built / "again"
    packaging(trees[1], "deb.py", "--release", release, "--output", str(folder), umask=0o077)
    assert before == {kind: _digest(folder / f"{name}{kind}") for kind in (".deb", ".cdx.json")}
    bill = json.loads((built / f"{name}.cdx.json").read_text("utf-8"))
    assert {1} == {len(component["externalReferences"]) for component in bill["components"]}


def test_what_it_asks_for(release: str, inside: "Callable[[str], str]") -> None:
    """The very interpreter that it was built for, nftables, and nothing that is asked of a person."""
    said = inside(
        "dpkg-deb -f $old Depends Suggests; dpkg-deb --ctrl-tarfile $old | tar -t; dpkg-deb -c $old"
    )
    assert f"Depends: python{RELEASES[release][1]}, nftables, libc6" in said
    assert "Suggests: ipset, iptables\n" in said
    assert "./conffiles\n" in said
    assert "./config\n" not in said
    example = r" \./usr/share/doc/droplan/examples/iptables\.conf -> \S+/lib/droplan/iptables\.conf$"
    assert re.search(example, said, re.MULTILINE)
    assert [] == re.findall(r"^.*(?:/build/|root-)\S*$", said, re.MULTILINE)
    assert re.search(r"^-rw-r--r-- root/root .* \./etc/droplan/droplan\.toml$", said, re.MULTILINE)


@pytest.mark.fault("G4")
def test_the_unit_waits_longer_each_time_where_systemd_knows_how(
    release: str, inside: "Callable[[str], str]"
) -> None:
    """Delays grow from systemd 254 on (Debian 13); Debian 12's gets no word that it would complain of."""
    said = inside("dpkg-deb --fsys-tarfile $old | tar -xO ./usr/lib/systemd/system/droplan.service")
    assert ("RestartSteps=5" in said) == ("RestartMaxDelaySec=30s" in said) == (release == "trixie")
    assert "RestartSec=1s\n" in said


def test_installed_it_is_there_and_enforces_nothing(inside: "Callable[[str], str]") -> None:
    """No unit is enabled, no rule written; the program runs, and says without a token what is missing."""
    said = inside("""
        unset DO_KEY
        dpkg -i $old
        droplan --version
        DO_KEY=x droplan check
        droplan check || echo "code $?"
        dpkg --verify droplan
        find /etc/systemd -name '*droplan*'
        nft list tables
        man -w droplan droplan.toml
    """)
    lines = said.splitlines()
    assert f"droplan {__version__}" in lines
    assert "code 78" in lines
    assert any(
        line.startswith("droplan is installed and enforces nothing yet. Put a read-only token")
        for line in lines
    )
    assert [] == [line for line in lines if line.startswith(("table", "/etc/systemd", "??"))]
    assert "/usr/share/man/man8/droplan.8.gz" in lines


def test_upgrade_and_downgrade_keep_rules_and_configuration(inside: "Callable[[str], str]") -> None:
    """Nobody is asked anything, though the file was changed; what is in the kernel and the state stay."""
    said = inside("""
        dpkg -i $old
        echo '[peers]' >> /etc/droplan/droplan.toml
        mkdir -p /var/lib/private/droplan; touch /var/lib/private/droplan/host.json
        nft add table inet droplan
        for deb in $new $old; do
            dpkg -i $deb
            echo "tables: $(nft list tables)"
            tail -n 1 /etc/droplan/droplan.toml
            ls /var/lib/private/droplan
        done
    """)
    assert ["tables: table inet droplan", "[peers]", "host.json"] * 2 == [
        line for line in said.splitlines() if line.startswith(("tables", "[peers]", "host"))
    ]


@pytest.mark.parametrize("python", ["there", "gone"])
def test_removed_and_purged_nothing_is_left(
    release: str, inside: "Callable[[str], str]", python: str
) -> None:
    """The rules go with the package, other people's stay; purge takes the rest. With Python and without."""
    gone = (
        f"rm /usr/bin/python{RELEASES[release][1]}; droplan check 2>&1 || echo code $?"
        if python == "gone"
        else ""
    )
    said = inside(f"""
        dpkg -i $old
        touch /etc/droplan/token; mkdir -p /var/lib/private/droplan; touch /var/lib/private/droplan/host.json
        nft add table inet droplan; nft add table inet other
        {gone}
        dpkg -r droplan
        echo "tables: $(nft list tables)"
        ls /etc/droplan
        dpkg -P droplan
        find / -xdev -name '*droplan*' -not -path '/build*' -not -path '/proc*' | sed 's/^/left: /'
    """)
    lines = said.splitlines()
    assert "tables: table inet other" in lines
    assert {"droplan.toml", "token"} <= set(lines)
    assert [] == [line for line in lines if line.startswith("left: ")]
    assert (python == "gone") == ("code 78" in lines)


def _digest(file: "Path") -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
