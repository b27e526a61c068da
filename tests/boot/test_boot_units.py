"""The units of boot: systemd accepts them, and they come in an order that leaves no gap."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
RESTORE, CLOSED, DAEMON = "droplan-restore.service", "droplan-closed.service", "droplan.service"


@pytest.mark.parametrize("name", [RESTORE, CLOSED])
def test_systemd_accepts_the_units_of_boot(tmp_path: Path, name: str) -> None:
    """`systemd-analyze verify` has nothing to say about any of the three beside each other."""
    analyze = _analyze()
    for unit in (RESTORE, CLOSED, DAEMON):
        text = (UNITS / unit).read_text().replace("=droplan ", "=/bin/sh ")
        (tmp_path / unit).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )
    assert [] == [line for line in done.stderr.splitlines() if "droplan" in line]
    assert 0 == done.returncode


@pytest.mark.parametrize(("name", "most"), [(DAEMON, 1.8), (RESTORE, 4.0)])
def test_the_exposure_is_small(name: str, most: float) -> None:
    """What `systemd-analyze security` says of 0 (nothing) to 10 (everything)."""
    done = subprocess.run(
        [_analyze(), "security", "--offline=true", "--no-pager", str(UNITS / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip("this systemd-analyze rates no files: it takes systemd 250")
    assert float(found[1]) < most


@pytest.mark.fault("G11")
@pytest.mark.parametrize("name", [RESTORE, CLOSED])
def test_the_network_waits(name: str) -> None:
    """Both are before network-pre.target, which they bring along, and wait for nothing that waits for it."""
    unit = _unit(name)
    assert ("no", "network-pre.target") == (unit["DefaultDependencies"], unit["Wants"])
    assert {"network-pre.target", "droplan.service", "shutdown.target"} <= set(unit["Before"].split())
    late = {"network.target", "sysinit.target", "basic.target", "local-fs.target", "firewalld.service"}
    assert not late & set(unit.get("After", "").split())


def test_whoever_flushes_goes_first() -> None:
    """What replaces whole rulesets when it starts has done so before ours is loaded."""
    flushing = {"nftables.service", "netfilter-persistent.service", "ufw.service"}
    assert flushing <= set(_unit(RESTORE)["After"].split())


@pytest.mark.fault("G11")
def test_a_failure_closes() -> None:
    """Without a sandbox, which may be what failed, and every time anew."""
    assert CLOSED == _unit(RESTORE)["OnFailure"]
    text = (UNITS / CLOSED).read_text()
    assert "ExecStart=/bin/sh /usr/lib/droplan/restore closed\n" in text
    assert [] == re.findall(
        r"^(?:Protect|Private|Restrict|System|RemainAfterExit|Capabilit)\w*=.*", text, re.MULTILINE
    )


def test_stopping_removes_nothing() -> None:
    """Law 4: no unit of ours has anything to do at its stop."""
    for name in (RESTORE, CLOSED, DAEMON):
        assert [] == re.findall(r"^ExecStop\w*=.*", (UNITS / name).read_text(), re.MULTILINE)


def test_the_daemon_takes_over_and_brings_boot_along() -> None:
    """It comes after restoring and is enabled with it, but does not start it: a first start would close."""
    unit = _unit(DAEMON)
    assert RESTORE in unit["After"].split()
    assert not {RESTORE, CLOSED} & {
        word for key in ("Wants", "Requires") for word in unit.get(key, "").split()
    }
    text = (UNITS / DAEMON).read_text()
    assert f"Also={RESTORE}\n" in text


def _analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no systemd-analyze: install the package systemd")
    return found


def _unit(name: str) -> dict[str, str]:
    """Its [Unit] section; what is said on several lines is added up, as systemd does."""
    section = (UNITS / name).read_text().partition("[Unit]\n")[2].partition("\n[")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[key] = f"{found.get(key, '')} {value}".strip()
    return found
