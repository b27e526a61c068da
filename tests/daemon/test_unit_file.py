"""The systemd unit: systemd accepts it, and it says what the daemon needs."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from droplan_daemon.cli.reloading import TIMEOUT

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "droplan.service"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, once the program is where it says."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze: install the package systemd")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("=droplan ", f"={sys.executable} "))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (0, "") == (done.returncode, "\n".join(_about(done.stderr, copy)))


def _about(said: str, unit: Path) -> list[str]:
    """Complaints about this unit; other units of the machine are not our affair."""
    return [line for line in said.splitlines() if unit.name in line]


@pytest.mark.fault("H1", "J5")
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("Type", "notify"),
        ("ExecStart", "droplan run"),
        ("ExecReload", "droplan reload --quiet"),
        ("Restart", "always"),
        ("RestartPreventExitStatus", "77 78"),
        ("WatchdogSec", "2min"),
        ("RestartSec", "1s"),
        ("LoadCredential", "token:/etc/droplan/token"),
        ("StateDirectory", "droplan"),
        ("RuntimeDirectory", "droplan"),
        ("AmbientCapabilities", "CAP_NET_ADMIN"),
        ("CapabilityBoundingSet", "CAP_NET_ADMIN"),
        ("RestrictAddressFamilies", "AF_UNIX AF_NETLINK AF_INET AF_INET6"),
    ],
)
def test_the_unit_says_what_the_daemon_relies_on(key: str, expected: str) -> None:
    """Exit codes that no restart mends, the watchdog, the credential, the folders, the one capability."""
    assert expected == _unit()["Service"][key]


@pytest.mark.fault("G4")
def test_systemd_never_stops_trying() -> None:
    """The default limit leaves a service failed for good after five starts in ten seconds."""
    assert "0" == _unit()["Unit"]["StartLimitIntervalSec"]


def test_a_reload_ends_before_systemd_gives_it_up() -> None:
    """So that the operator reads our sentence, and not systemd's about a timeout."""
    given = _unit()["Service"]["TimeoutStartSec"]
    assert "2min" == given
    assert TIMEOUT < 120


def test_what_would_break_it_is_not_there() -> None:
    """Another network or user namespace would guard nothing; a start limit would give up for ever."""
    service = _unit()["Service"]
    assert [] == [key for key in ("PrivateNetwork", "PrivateUsers", "NetworkNamespacePath") if key in service]
    assert "0" == _unit()["Unit"]["StartLimitIntervalSec"]


def _unit() -> configparser.ConfigParser:
    # Not strict: systemd adds up the lines of one key, and the last one is what is read here.
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(UNIT)
    return parsed
