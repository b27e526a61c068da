"""Section J: what somebody who wants more than his share gets."""

import base64
import hashlib
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.faults import Fault, Status, html, redirect
from droplan_daemon.lab.scopes import FULL, scoped
from tests.daemon.machine import CANARY, PACKAGES
from tests.faults.conftest import metered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.lab.messages import Application, Request, Response
    from tests.daemon.machine import Machine, Running

DOCUMENTED = re.compile(r"`(\w+:\w+)`")


class Noted:
    """An Application, and what it was asked to do."""

    def __init__(self, application: "Application") -> None:
        self.methods: set[str] = set()
        self._application = application

    def answer(self, request: "Request") -> "Response":
        self.methods.add(request.method)
        return self._application.answer(request)


@pytest.mark.kernel
@pytest.mark.fault("J4")
def test_the_documented_token_is_enough_and_can_only_read(machine: "Machine") -> None:
    """With the scopes that the manual names droplan does all that it does, and asks only to be told."""
    manual = (PACKAGES / "docs" / "install.md").read_text()
    scopes = set(DOCUMENTED.findall(manual[: manual.index("custom-scoped")]))
    assert {"droplet:read", "tag:read", "vpc:read", "vpc_peering:read"} == scopes
    machine.tokens({CANARY: scoped(*scopes)})
    noted = machine.api._application = Noted(machine.cloud)
    metered(machine, '[peers]\ntag = "web"')
    running = machine.start()
    running.ready()
    assert machine.addresses("web-2") == machine.peers
    for words in (("plan",), ("peers",), ("doctor",), ("once",)):
        machine.droplan(*words)
    assert {"GET"} == noted.methods


def _commands(machine: "Machine") -> list[str]:
    """All that finish by themselves and look at nothing but this machine."""
    text = machine.droplan("--help", prefix=()).stdout
    every = re.findall(r"^ {2,6}([a-z]+)  ", text, re.MULTILINE)
    last = [name for name in ("panic", "flush") if name in every]
    return [name for name in every if name not in {"run", "lab", "migrate", *last}] + last


def _seen(machine: "Machine", running: "Running") -> "Iterator[tuple[str, bytes]]":
    """All that others may see of a daemon and its files."""
    process = Path(f"/proc/{running.process.pid}")
    for name in ("cmdline", "environ"):
        yield name, (process / name).read_bytes()
    for note in list(running.notes):
        yield "notify", str(note.fields).encode()
    for path in machine.written():
        yield path.name, path.read_bytes()


def _betrayed(text: bytes) -> bool:
    """Whether the token stands in it, whole, in half, or encoded."""
    secret = CANARY.encode()
    forms = (secret, secret[7:39], base64.b64encode(secret)[:40], secret.hex().encode()[:60])
    return any(form in text for form in forms)


@pytest.mark.kernel
@pytest.mark.fault("J5")
def test_no_command_and_no_trouble_shows_the_token(machine: "Machine") -> None:
    """A life with troubles, and every command meanwhile: outputs, files, arguments, environment, metrics."""
    seen: list[tuple[str, bytes]] = []
    running = machine.start()
    running.ready()
    for effect in (Status(500), html(), redirect(f"https://example.org/?token={CANARY}")):
        machine.cloud.faults.add(Fault(effect, times=1))
        machine.polled(2)
    machine.tokens({})
    running.process.send_signal(signal.SIGUSR1)
    running.logs("api.auth.failed")
    failing = machine.droplan("plan")
    assert failing.returncode
    seen += [("plan", (failing.stdout + failing.stderr).encode()), *_seen(machine, running)]
    machine.tokens({CANARY: FULL})
    running.process.send_signal(signal.SIGUSR1)
    running.logs("api.auth.failed.over")
    commands = _commands(machine)
    assert {"once", "plan", "show", "status", "explain", "doctor", "flush"} <= set(commands)
    for name in commands:
        done = machine.droplan(name, *(("any",) if name == "explain" else ()))
        seen.append((name, (done.stdout + done.stderr).encode()))
    seen += _seen(machine, running)
    running.end(signal.SIGQUIT)  # no handler: a death without a word
    seen += [(path.name, path.read_bytes()) for path in machine.written()]
    assert {"log", "environ", "notify", "droplan.prom", "status.json"} <= {where for where, _ in seen}
    assert [] == [where for where, text in seen if _betrayed(text)]


@pytest.mark.fault("J5")
@pytest.mark.parametrize("unit", ["droplan.service", "droplan-restore.service"])
def test_a_death_leaves_no_core(unit: str) -> None:
    """A core would hold the token."""
    assert "LimitCORE=0" in (PACKAGES / "systemd" / unit).read_text().splitlines()


def _wheel(folder: Path, content: str) -> str:
    """A tiny wheel in this folder; its SHA-256."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    meta = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.py", content)
        wheel.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{meta}/RECORD", f"tiny.py,,\n{meta}/METADATA,,\n{meta}/WHEEL,,\n{meta}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.fault("J9")
def test_a_dependency_that_was_swapped_is_not_installed(tmp_path: Path) -> None:
    """pip, called as the Makefile calls it, takes the file with its hash and refuses the altered one."""
    index, target, wanted = tmp_path / "index", tmp_path / "target", tmp_path / "requirements.txt"
    index.mkdir()
    wanted.write_text(f"tiny==1.0 --hash=sha256:{_wheel(index, 'good = True')}\n")
    words = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
    offline = ("--no-index", "--find-links", str(index), "--no-cache-dir", "--target", str(target))
    command = [sys.executable, *words, *offline, "-r", str(wanted)]
    assert 0 == subprocess.run(command, capture_output=True, check=False).returncode
    (target / "tiny.py").unlink()
    _wheel(index, "good = False")
    refused = subprocess.run([*command, "--upgrade"], capture_output=True, text=True, check=False)
    assert (1, False) == (refused.returncode, (target / "tiny.py").exists())
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in refused.stderr


@pytest.mark.fault("J9")
def test_every_dependency_has_a_hash_and_every_installation_asks_for_it() -> None:
    """In each lock file each requirement, in the Makefile each lock file."""
    locks = sorted(PACKAGES.glob("requirements*.txt"))
    assert locks
    for lock in locks:
        wanted = [part for part in lock.read_text().replace("\\\n", " ").splitlines() if "==" in part]
        assert wanted
        assert [] == [part for part in wanted if "--hash=sha256:" not in part]
    installs = [
        line
        for line in (PACKAGES / "Makefile").read_text().splitlines()
        if "install" in line and "-r " in line
    ]
    assert installs
    assert [] == [line for line in installs if "--require-hashes" not in line]
