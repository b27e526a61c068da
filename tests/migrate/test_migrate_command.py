"""`droplan migrate` on the command line, looking at another machine's disk."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.daemon.machine import PACKAGES, PROGRAM
from tests.migrate.dumps import PRIVATE, dump, members
from tests.migrate.machines import KEY, put, tutorial

if TYPE_CHECKING:
    from collections.abc import Mapping


def migrate(*words: str, environ: "Mapping[str, str] | None" = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, "migrate", *words],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(PACKAGES), **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_disk_is_looked_at(tmp_path: Path) -> None:
    """`--dry-run --root` says what was found and would be done, without the token, and changes nothing."""
    tutorial(tmp_path, more="DO_TAG=web ")
    put(tmp_path, "/etc/iptables/rules.v4", dump(*PRIVATE, *members()))
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    done = migrate("--dry-run", "--root", str(tmp_path))
    assert 0 == done.returncode
    lines = done.stdout.splitlines()
    assert ["found: /etc/cron.d/droplan", "found: /etc/iptables/rules.v4"] == lines[:2]
    assert 4 == len([line for line in lines if line.startswith("would ")])
    assert '    tag = "web"  # DO_TAG' in lines
    assert KEY not in done.stdout + done.stderr
    assert before == {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}


def test_what_is_said_to_programs(tmp_path: Path) -> None:
    """`--json`: one document with the steps, none of them done."""
    tutorial(tmp_path)
    put(tmp_path, "/etc/droplan/droplan.toml", 'mode = "audit"\n')
    told = json.loads(migrate("--dry-run", "--json", "--root", str(tmp_path)).stdout)
    assert (True, True, ["/etc/cron.d/droplan"]) == (told["ok"], told["dry_run"], told["found"])
    assert [("write_token", False), ("disable_file", False)] == [
        (step["step"], step["done"]) for step in told["steps"]
    ]
    assert '-mode = "audit"' in told["difference"]


def test_a_disk_is_not_migrated(tmp_path: Path) -> None:
    """Another machine's disk is only looked at: without --dry-run nothing is done, and it is said."""
    tutorial(tmp_path)
    done = migrate("--root", str(tmp_path))
    assert (2, "") == (done.returncode, done.stdout)
    assert "--dry-run" in done.stderr


def test_a_disk_that_is_not_there_is_no_disk_without_the_old_program(tmp_path: Path) -> None:
    """A folder that does not exist is wrong usage, never "nothing to do"."""
    done = migrate("--dry-run", "--root", str(tmp_path / "mtn"))
    assert (2, "", True) == (done.returncode, done.stdout, str(tmp_path / "mtn") in done.stderr)


def test_files_of_every_kind_stop_nothing(tmp_path: Path) -> None:
    """Bytes that are no text, folders and pipes where files should be: what can be read is read."""
    tutorial(tmp_path)
    (tmp_path / "etc/cron.d/bytes").write_bytes(b"\xff\xfe\x00* * * * * root droplan\n" * 50)
    (tmp_path / "etc/cron.d/folder").mkdir()
    (tmp_path / "etc/crontab").symlink_to("/nowhere/at/all")
    subprocess.run(["mkfifo", tmp_path / "etc/cron.d/pipe"], check=True)
    put(tmp_path, "/etc/iptables/rules.v4", "*filter\n:droplan-peers\n-A\n-A droplan-peers\n")
    put(tmp_path, "/etc/systemd/system/x.service", "[Service]\nExecStart=\nExecStart='\nEnvironment='\n")
    done = migrate("--dry-run", "--root", str(tmp_path))
    assert 0 == done.returncode, done.stderr
    assert "would rename /etc/cron.d/droplan " in done.stdout
