"""Law 10: the worst that bad input gets is one clear sentence, and the kernel stays as it was."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.delivery import Endless, Reset, Verbatim
from droplan_daemon.lab.faults import Deliver, Fault, Status, Without, empty, garbage, hide, html, redirect
from droplan_daemon.lab.scopes import scoped
from tests.daemon.machine import CANARY, PACKAGES, PEERS, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.lab.faults import Effect
    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel

NOT_ADMIN = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")


@dataclass(frozen=True)
class Case:
    """How it comes about, the exit code, and what the sentence has."""

    spoil: "Callable[[Machine], object]"
    code: int
    words: str
    prefix: tuple[str, ...] = ()


def _config(text: str | bytes) -> "Callable[[Machine], object]":
    def spoil(machine: "Machine") -> None:
        data = text.encode() if isinstance(text, str) else text
        machine.config.write_bytes(machine.config.read_bytes() + data)

    return spoil


def _fault(effect: "Effect", more: str = "") -> "Callable[[Machine], object]":
    def spoil(machine: "Machine") -> None:
        machine.write(more)
        machine.cloud.faults.add(Fault(effect))

    return spoil


def _source(text: str) -> "Callable[[Machine], object]":
    return lambda machine: machine.config.write_text(f"[source]\n{text}\n")


def _scopes(*scopes: str, more: str = "") -> "Callable[[Machine], object]":
    def spoil(machine: "Machine") -> None:
        machine.write(more)
        machine.tokens({CANARY: scoped(*scopes)})

    return spoil


def _folder(machine: "Machine") -> None:
    machine.config.unlink()
    machine.config.mkdir()


def _broken_authority(machine: "Machine") -> None:
    said = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    Path(machine.ca_file).write_text(said)


CASES = {
    "no token": Case(_source(""), 78, "there is no token for the DigitalOcean API"),
    "empty token": Case(lambda m: m.token_file.write_text("\n"), 78, "the token file is empty"),
    "token of two lines": Case(lambda m: m.token_file.write_text(f"{CANARY}\nx\n"), 78, "has line breaks"),
    "no token file": Case(lambda m: m.token_file.unlink(), 78, "cannot be read: no such file"),
    "wrong token": Case(lambda m: m.tokens({}), 1, "does not accept the token (401): put a valid one into /"),
    "no droplet:read": Case(_scopes("vpc:read"), 1, "give the token the scope droplet:read"),
    "no vpc:read": Case(_scopes("droplet:read", "tag:read"), 1, "give the token the scope vpc:read"),
    "no vpc_peering:read": Case(
        _scopes("droplet:read", "tag:read", "vpc:read"), 1, "give the token the scope vpc_peering:read"
    ),
    "no tag:read": Case(
        _scopes("droplet:read", "vpc:read", "vpc_peering:read", more='[peers]\ntag = "web"'),
        1,
        "give the token the scope tag:read",
    ),
    "hidden vpcs": Case(_fault(hide("vpc_uuid")), 1, "give the token the scope vpc:read"),
    "unknown key": Case(
        _config("[private]\nalow_peers = true\n"), 78, "unknown key `alow_peers` in [private]"
    ),
    "wrong type": Case(
        _config('[private]\nmanaged = "yes"\n'), 78, '`private.managed` must be true or false, not "yes"'
    ),
    "not TOML": Case(_config("[private\n"), 78, "this is not TOML"),
    "not UTF-8": Case(_config(b"# caf\xe9\n"), 78, "the file is not UTF-8 text: byte 0xe9"),
    "no file": Case(lambda m: m.config.unlink(), 78, "the file does not exist"),
    "a folder": Case(_folder, 78, "this is a folder, not a file"),
    "no CA file": Case(
        _source('ca_file = "nowhere.pem"\ntoken_file = "token"'), 78, "`source.ca_file` cannot be read"
    ),
    "broken CA file": Case(_broken_authority, 78, "`source.ca_file` holds a certificate that cannot be read"),
    "interface missing": Case(
        lambda m: m.namespace.run("ip", "link", "delete", "eth1"), 1, "No interface has the MAC 04:01:"
    ),
    "no capability": Case(lambda m: None, 77, "run it as root or with CAP_NET_ADMIN", NOT_ADMIN),
    "500": Case(_fault(Status(500)), 1, "The API at 127.0.0.1 answered 500: the trouble is on its side."),
    "404": Case(_fault(Status(404)), 1, "The API at 127.0.0.1 answered 404: check its URL."),
    "html": Case(
        _fault(html()), 1, "The answer of the API at 127.0.0.1 is not JSON; nothing of it was used."
    ),
    "empty body": Case(_fault(empty()), 1, "is not JSON; nothing of it was used."),
    "hangs up": Case(_fault(Deliver(Verbatim(b""))), 1, "hung up or does not speak HTTP."),
    "half a page": Case(_fault(garbage()), 1, "is not proper JSON"),
    "10 GB": Case(_fault(Deliver(Endless())), 1, "is longer than 16777216 bytes; nothing of it was used."),
    "reset": Case(_fault(Deliver(Reset())), 1, "broke the connection off."),
    "redirect": Case(_fault(redirect("http://127.0.0.1:1/")), 1, "answered 302 where only 200 makes sense"),
    "without us": Case(
        _fault(Without(frozenset({3_164_445}))), 1, "is the token of another account or team?"
    ),
    "nobody there": Case(
        _source('url = "https://127.0.0.1:1"\ntoken_file = "token"'), 1, "cannot be reached"
    ),
    "unknown name": Case(
        _source('url = "https://api.digitalocean.invalid"\ntoken_file = "token"'),
        1,
        "its name does not resolve",
    ),
    "untrusted": Case(
        lambda m: m.config.write_text(f'[source]\nurl = "{m.url}"\ntoken_file = "token"\n'),
        1,
        "shows a certificate that cannot be trusted",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_gets_one_clear_sentence(machine: "Machine", case: Case) -> None:
    """The right exit code, few lines on standard error, no traceback, and a kernel as before."""
    machine.protect()
    before = machine.observe()
    case.spoil(machine)
    done = machine.droplan("once", prefix=case.prefix)
    assert (case.code, "") == (done.returncode, done.stdout), done.stderr
    lines = done.stderr.splitlines()
    assert case.words in " ".join(line.strip() for line in lines)
    assert len(lines) <= (5 if case.code == 78 else 1)
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stderr
    after = machine.observe()
    assert (before.generation, before.ruleset) == (after.generation, after.ruleset)


@pytest.mark.parametrize(
    "name", ["no token", "unknown key", "wrong type", "not UTF-8", "broken CA file", "no capability"]
)
def test_the_daemon_ends_with_the_same_code(machine: "Machine", name: str) -> None:
    """What no retry mends ends it at once, the rules of before standing, so that systemd lets it be."""
    case = CASES[name]
    machine.droplan("once")
    before = machine.generation
    case.spoil(machine)
    running = machine.start(prefix=case.prefix)
    assert case.code == running.process.wait(20)
    assert case.words in " ".join(line.strip() for line in running.log)
    assert ([], before) == (running.told("READY"), machine.generation)
    assert machine.addresses(*PEERS) == machine.peers


@pytest.mark.parametrize("name", ["wrong token", "html", "without us", "interface missing"])
def test_plan_and_peers_fail_alike(machine: "Machine", name: str) -> None:
    """Whoever asks first what would happen learns of the same trouble."""
    CASES[name].spoil(machine)
    for command in ("plan", "peers", "show"):
        done = machine.droplan(command)
        assert (1, 1, True) == (
            done.returncode,
            len(done.stderr.splitlines()),
            CASES[name].words in done.stderr,
        )


@pytest.mark.parametrize("name", ["wrong token", "unknown key", "no capability"])
def test_errors_are_documents_for_programs(machine: "Machine", name: str) -> None:
    """With --json: ok, reason and message, and for the configuration each problem."""
    case = CASES[name]
    case.spoil(machine)
    done = machine.droplan("once", "--json", prefix=case.prefix)
    told = json.loads(done.stdout)
    assert (case.code, "", False) == (done.returncode, done.stderr, told["ok"])
    text = told["problems"][0]["message"] if "problems" in told else told["message"]
    assert case.words in text


def test_an_interface_that_nobody_manages_may_be_missing(machine: "Machine") -> None:
    """Without eth0 the private interface is protected all the same."""
    machine.namespace.run("ip", "link", "delete", "eth0")
    done = machine.droplan("once")
    assert (0, machine.addresses(*PEERS)) == (done.returncode, machine.peers)
    machine.write("[public]\nmanaged = true\nallow_peers = true")
    refused = machine.droplan("once")
    assert (1, True) == (refused.returncode, "of the public network" in refused.stderr)


def test_another_user_is_told_what_he_lacks(
    machine: "Machine", nobody: tuple[str, ...], public_folder: "Path"
) -> None:
    """Without root and without CAP_NET_ADMIN: 77, before the API is asked anything."""
    config = public_folder / "droplan.toml"
    config.write_text('[source]\nurl = "https://127.0.0.1:1"\n')
    config.chmod(0o644)
    for command in ("once", "plan", "run", "flush"):
        done = machine.namespace.call(
            subprocess.run,
            [*nobody, *PROGRAM, command, "--config", str(config)],
            env={"PATH": "/usr/bin", "PYTHONPATH": str(PACKAGES), "DO_KEY": CANARY},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd="/",
        )
        sentence = (
            "droplan: the kernel does not let this process change the firewall; "
            "run it as root or with CAP_NET_ADMIN\n"
        )
        assert (77, "", sentence) == (done.returncode, done.stdout, done.stderr)
