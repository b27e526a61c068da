"""The ways in that the manual shows, as far as tools of this machine can try them."""

import hashlib
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from droplan_daemon.settings import load

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
USER_DATA = EXAMPLES / "cloud-init" / "user-data.yaml"
TERRAFORM = EXAMPLES / "terraform" / "main.tf"
ANSIBLE = EXAMPLES / "ansible"
URL = "https://packages.example.com/droplan_0.1.0+deb12_amd64.deb"
NO_DIGEST = "0" * 64
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
"""
CURL = """#!/bin/sh
echo "curl $*" >> "$CALLS"
while [ "$1" != --output ]; do shift; done
printf package > "$2"
"""


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: install {package}")
    return found


def _run(*words: str | Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*map(str, words)],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _written(path: str) -> str:
    """What the user data writes to this path."""
    _, _, rest = USER_DATA.read_text().partition(f"  - path: {path}\n")
    _, _, rest = rest.partition("    content: |\n")
    block = re.match(r"(?:      .*\n|\n)+", rest)
    assert block
    return textwrap.dedent(block[0])


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script of the user data, which looks for the token in the test's folder."""
    made = tmp_path / "install-droplan"
    made.write_text(_written("/usr/local/sbin/install-droplan").replace("/etc/droplan", str(tmp_path)))
    return made


def _install(script: Path, digest: str) -> "tuple[subprocess.CompletedProcess[str], list[str]]":
    """Run it among programs that only write down that they were called."""
    folder, calls = script.parent / "bin", script.parent / "calls"
    folder.mkdir()
    for name in ("curl", "apt-get", "systemctl"):
        (folder / name).write_text(CURL if name == "curl" else STUB)
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = _run("sh", script, URL, digest, PATH=path, CALLS=str(calls), TMPDIR=str(script.parent))
    return done, calls.read_text().splitlines()


def test_cloud_init_takes_the_user_data() -> None:
    """By its own schema."""
    done = _run(_tool("cloud-init", "cloud-init"), "schema", "--config-file", USER_DATA)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_script_is_sound(script: Path) -> None:
    """For the shell, and for shellcheck."""
    assert (0, "") == ((done := _run("sh", "-n", script)).returncode, done.stderr)
    done = _run(_tool("shellcheck", "shellcheck"), script)
    assert (0, "") == (done.returncode, done.stdout)


def test_the_right_package_closes_and_waits_for_the_token(script: Path) -> None:
    """Installed with our configuration kept, enabled, closed; the daemon is not started to fail."""
    done, calls = _install(script, hashlib.sha256(b"package").hexdigest())
    assert 0 == done.returncode, done.stderr
    assert ["curl", "apt-get", "apt-get", "systemctl", "systemctl"] == [call.split()[0] for call in calls]
    assert "--force-confold" in calls[2]
    assert ["systemctl enable droplan", "systemctl start droplan-restore"] == calls[3:]
    assert "droplan waits for its token" in done.stdout
    assert [] == list(script.parent.glob("tmp.*"))


def test_with_a_token_it_starts(script: Path) -> None:
    """From a snapshot that has one."""
    (script.parent / "token").write_text("x\n")
    _, calls = _install(script, hashlib.sha256(b"package").hexdigest())
    assert "systemctl start droplan" == calls[-1]


def test_another_package_is_not_installed(script: Path) -> None:
    """Whatever came instead: the digest is looked at first."""
    done, calls = _install(script, NO_DIGEST)
    assert done.returncode
    assert ["curl"] == [call.split()[0] for call in calls]
    assert [] == list(script.parent.glob("tmp.*"))


@pytest.mark.parametrize("way", ["cloud-init", "ansible"])
def test_the_policies_are_right(way: str, tmp_path: Path) -> None:
    """Without a mistake and without a warning."""
    file = tmp_path / "droplan.toml"
    text = (
        (ANSIBLE / "droplan.toml").read_text() if way == "ansible" else _written("/etc/droplan/droplan.toml")
    )
    file.write_text(text)
    assert () == load(file, {}, need_token=False).warnings


def test_terraform_fills_in_what_is_there() -> None:
    """The two places that it replaces stand in the user data, once each; the token does not."""
    text, main = USER_DATA.read_text(), TERRAFORM.read_text()
    for place in (URL, NO_DIGEST):
        assert (1, 1) == (text.count(place), main.count(place))
    user_data = re.search(r"user_data = replace\(.*?\n  \)\n", main, re.DOTALL)
    assert user_data
    assert "token" not in user_data[0]


def test_terraform_reads_its_file() -> None:
    """Its own formatter understands it, and would change nothing."""
    terraform = _tool("terraform", "terraform")
    done = _run(terraform, "fmt", "-check", "-diff", TERRAFORM, TF_CLI_CONFIG_FILE="/dev/null")
    assert (0, "") == (done.returncode, done.stdout), done.stderr


def test_ansible_reads_its_files(tmp_path: Path) -> None:
    """Playbook, tasks and handlers."""
    ansible = _tool("ansible-playbook", "ansible-core")
    words = ("--syntax-check", "-i", ANSIBLE / "inventory.ini", ANSIBLE / "playbook.yml")
    done = _run(ansible, *words, HOME=str(tmp_path), ANSIBLE_HOME=str(tmp_path))
    assert 0 == done.returncode, done.stderr


def test_ansible_tells_no_token() -> None:
    """The task that handles it logs nothing, and reloading follows the policy, restarting the token."""
    tasks = (ANSIBLE / "tasks.yml").read_text().split("\n\n")
    token = next(task for task in tasks if "droplan_token }}" in task)
    assert ("no_log: true" in token, "Restart droplan" in token) == (True, True)
    policy = next(task for task in tasks if "validate:" in task)
    assert "notify: Reload droplan" in policy
